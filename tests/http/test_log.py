"""The log of a served vault: what it serves to anybody, and that its own commands verify, prove and copy it."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from keys.leaves import read
from tests.keys.killing import PAGES, SENT, Point, at_points, killed_at
from tests.people import person
from tests.serving import NO_TLS, Client, Server
from vault.log import tiles
from vault.log.verify import head_of

SANCTION: Final = {
    "rung": "limit_publish", "until": "2031-01-01T00:00:00Z", "ground": "spam", "facts": "as seen", "by": "mod-1",
}  # fmt: skip


def serve(home: Path) -> Server:
    """Return a server with its sequencer."""
    server = Server(home)
    server.environment |= {"IDVAULT_SEQUENCER": "yes", "IDVAULT_LOG_MILLISECONDS": "100"}
    return server.start()


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Server]:
    server = serve(tmp_path / "home")
    yield server
    server.stop()


def get(server: Server, path: str) -> httpx.Response:
    return httpx.get(f"{server.url}/log/{path}", verify=NO_TLS)


def key_of(server: Server) -> str:
    return str(server.json("log", "checkpoint")["key"])


def await_size(server: Server, key: str, size: int) -> int:
    """Wait until a checkpoint has so many entries; return how many it has."""
    end = time.monotonic() + 20
    while True:
        answer = get(server, "checkpoint")
        found = head_of(answer.content, key).size if answer.status_code == httpx.codes.OK else -1
        if found >= size:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def await_checkpoint(server: Server) -> str:
    """Wait for the first checkpoint; return the key."""
    end = time.monotonic() + 20
    while get(server, "checkpoint").status_code != httpx.codes.OK:
        assert time.monotonic() < end
        time.sleep(0.05)
    return key_of(server)


def test_a28_the_log_is_served_with_the_types_and_cache_headers_of_its_specification(logged: Server) -> None:
    key = await_checkpoint(logged)
    provider = logged.provider("chat")
    made = provider.registered(person(1), "anna")
    size = await_size(logged, key, 3)
    assert made["state"] == "in_review"
    checkpoint = get(logged, "checkpoint")
    assert checkpoint.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["Cache-Control"] == "public, max-age=1"
    for path in (f"tile/0/000.p/{size}", f"tile/entries/000.p/{size}", "tile/0/000.p/1"):
        answer = get(logged, path)
        assert answer.status_code == httpx.codes.OK
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in (
        "tile/0/000", f"tile/0/000.p/{size + 1}", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/0", "tile/0/x000/000",
        "tile/1/000.p/1", "tile/entries/001.p/1", "tile/", "tile/0/000.p/0", "tile/0/%30%30%30", "tile/64/000", "", "x",
    ):  # fmt: skip
        answer = get(logged, path)
        assert answer.status_code == httpx.codes.NOT_FOUND, path
        assert answer.headers["Cache-Control"] == "no-store"


def test_its_commands_verify_prove_and_copy_it_and_a_changed_byte_is_named(logged: Server, tmp_path: Path) -> None:
    key = await_checkpoint(logged)
    provider, reviewer = logged.provider("chat"), logged.reviewer("rita")
    for number in range(3):
        made = provider.registered(person(number), f"name{number}")
        reviewer.reveal(made["id"])
        reviewer.approve(made["id"])
    size = await_size(logged, key, 2 + 3 * 4)
    folder, export, proof, entry = (tmp_path / name for name in ("mirror", "log.tar", "a.tlog-proof", "entry"))
    assert logged.json("log", "mirror", str(folder))["size"] >= size
    assert logged.json("log", "export", str(export), "--from", f"{logged.url}/log")["size"] >= size
    for where in ([], [str(folder)], [str(export)], [f"{logged.url}/log"]):
        found = logged.json("log", "verify", *where, "--key", key, "--since", str(folder / "checkpoint"))
        assert found["verified"] is True
        assert found["types"]["review.decided"] == 3
    shown = logged.json("log", "proof", "1", str(proof), "--entry", str(entry))
    assert proof.read_text().startswith("c2sp.org/tlog-proof@v1\nindex 1\n")
    assert entry.read_text() == shown["entry"]
    bundle = next((folder / "tile/entries").rglob("*000.p/*"))
    bundle.write_bytes(bundle.read_bytes().replace(b'"v":1}', b'"v":2}', 1))
    found = logged.json("log", "verify", str(folder), "--key", key, code=4)
    assert (found["verified"], found["entry"]) == (False, 0)
    assert logged.run("log", "verify", str(folder), code=1) == "", "a log that says its own key proves nothing"


def test_a33_each_act_is_one_leaf_however_often_the_sequencer_is_killed(logged: Server) -> None:
    key = await_checkpoint(logged)
    provider = logged.provider("chat")
    for number in range(20):
        provider.registered(person(number), f"name{number}")
        for pid in logged.processes():
            if number % 4 == 1 and Path(f"/proc/{pid}/comm").read_text() == "sequencer\n":
                os.kill(pid, signal.SIGKILL)
    await_size(logged, key, 41)
    found = logged.json("log", "verify")
    assert found["types"] == {"provider.enrolled": 1, "registration.created": 20, "account.bound": 20}


def sequencer_of(server: Server) -> int:
    """Return the pid of a vault's sequencer, once there is one."""
    end = time.monotonic() + 20
    while True:
        for pid in server.processes():
            try:
                if Path(f"/proc/{pid}/comm").read_text() == "sequencer\n":
                    return pid
            except FileNotFoundError:  # it ended meanwhile
                continue
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.timeout(7200)
def test_a33_each_act_is_one_leaf_at_whatever_write_the_sequencer_is_killed(
    tmp_path: Path, drawn: random.Random, *, full: bool
) -> None:
    """Its writes: pages of SQLite, and what it sends to PostgreSQL and to the agent. Two are drawn, on PostgreSQL one;
    all with --full."""
    rounds = 3

    def act(chat: Client, number: int) -> None:
        """Two leaves from the key store and one from the directory."""
        made = chat.registered(person(number), f"name{number}")
        answer = chat.post("/v1/sanctions", SANCTION | {"token": made["token"]})
        assert answer.status_code == httpx.codes.CREATED, answer.text

    def attempt(at: Point) -> Path:
        output = tmp_path / "trace"
        server = serve(tmp_path / f"at-{at.call}{at.nth}")
        try:
            key = await_checkpoint(server)
            chat = server.provider("chat")
            act(chat, 0)
            await_size(server, key, 4)
            with killed_at(sequencer_of(server), at, output, (PAGES, SENT)):
                act(chat, 1)
                await_size(server, key, 7)
            act(chat, 2)
            await_size(server, key, 1 + 3 * rounds)
            assert server.stop() == 0
            server.start()
            act(chat := Client(server, chat.id, chat.secret), rounds)
            size = await_size(server, key, 1 + 3 * (rounds + 1))
            found = server.json("log", "verify", "--key", key)
            assert (found["verified"], size) == (True, 1 + 3 * (rounds + 1)), "none doubled, and none lost"
            assert found["types"] == {
                "provider.enrolled": 1,
                **dict.fromkeys(("registration.created", "account.bound", "sanction.set"), rounds + 1),
            }
            for store in ("keys", "directory"):
                assert server.sql(store, "SELECT count(*) FROM audit_outbox") == [(0,)], "what stands in the log went"
        finally:
            server.stop()
        return output

    at_points(attempt, drawn, full=full)


def test_the_whole_vault_killed_goes_on_with_the_same_log(tmp_path: Path) -> None:
    server = serve(tmp_path / "home")
    key = await_checkpoint(server)
    provider = server.provider("chat")
    for number in range(5):
        provider.registered(person(number), f"name{number}")
    server.kill()
    server.start()
    await_size(server, key, 11)
    assert server.json("log", "verify")["types"]["registration.created"] == 5
    server.stop()


def test_a_known_and_an_unknown_person_leave_equal_leaves_through_review(logged: Server, tmp_path: Path) -> None:
    """What is told of two registrations differs in nothing but random bytes, whoever reviews, known or not."""
    key = await_checkpoint(logged)
    chat, blog, rita = logged.provider("chat"), logged.provider("blog"), logged.reviewer("rita")
    own = logged.reviewer("bea", blog)
    size = await_size(logged, key, 4)

    def told(provider: Client, reviewer: Client, number: int, handle: str) -> list[tuple[str, int, int]]:
        nonlocal size
        made = provider.registered(person(number), handle)
        shown = reviewer.reveal(made["id"])
        reviewer.approve(made["id"], **({"shown": shown["shown"]} if shown.get("candidates") else {}))
        size, before = await_size(logged, key, size + 4), size
        folder = tmp_path / handle
        logged.json("log", "mirror", str(folder))
        [bundle] = (path for path in (folder / "tile/entries").rglob("*") if path.is_file())
        entries = tiles.entries_of(bundle.read_bytes())
        return sorted(
            (said["type"], len(entry), len(said["subjects"]))
            for entry in entries[before:size]
            for said in [read(entry)]
        )

    for number in (1, 4):
        told(chat, rita, number, f"first{number}")
    for reviewer in (rita, own):
        known = told(blog, reviewer, 1 if reviewer is rita else 4, f"known{reviewer.id[4:8].lower()}")
        assert known == told(blog, reviewer, 2 if reviewer is rita else 3, f"other{reviewer.id[4:8].lower()}")


def test_fsck_verifies_the_log_and_names_the_first_entry_that_is_wrong_or_lost(tmp_path: Path) -> None:
    server = serve(tmp_path / "home")
    key = await_checkpoint(server)
    provider = server.provider("chat")
    for number in range(5):
        provider.registered(person(number), f"name{number}")
    size = await_size(server, key, 11)
    report = server.json("fsck", "--grace-minutes", "0")
    assert (report["clean"], report["checked"]["log"]) == (True, size)
    assert server.stop() == 0
    server.sql("log", "UPDATE leaf SET entry = (SELECT entry FROM leaf WHERE number = 4) WHERE number = 7")
    [found] = server.json("fsck", "--grace-minutes", "0", code=4)["findings"]
    assert found["row"] == "log.leaf 7"
    (first, _) = server.sql("log", "SELECT size, note FROM checkpoint ORDER BY size")[0]
    for table in ("leaf", "detail", "drained"):
        server.sql("log", f"DELETE FROM {table} WHERE number >= ?", first)  # noqa: S608 - our own names
    server.sql("log", "DELETE FROM checkpoint WHERE size > ?", first)
    [found] = server.json("fsck", "--grace-minutes", "0", code=4)["findings"]
    assert found["row"] == f"log.leaf {first}"
    assert "lost its end" in found["rule"]
    server.sql("log", "DELETE FROM checkpoint")
    [found] = server.json("fsck", "--grace-minutes", "0", code=4)["findings"]
    assert found["row"] == "log"


def test_the_transparency_report_is_served_to_anybody_and_counts_what_was_signed(logged: Server) -> None:
    key = await_checkpoint(logged)
    provider = logged.provider("chat")
    for number in range(6):
        provider.registered(person(number), f"anna_{number}")
    size = await_size(logged, key, 13)
    answer = httpx.get(f"{logged.url}/transparency", verify=NO_TLS)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    said = answer.json()
    assert said.pop("kept_by").startswith("the development seal")
    assert said["checkpoint"]["size"] >= size
    assert said["acts"]["registration.created"] == said["acts"]["account.bound"] == 6
    assert said["acts"]["provider.enrolled"] is None, "a count of one is not shown"
    again = httpx.get(f"{logged.url}/transparency?period={said['period']}", verify=NO_TLS)
    assert again.content == answer.content
    assert logged.json("report", "transparency", said["period"]) == said
    for query in ("period=", "period=2026-13", "period=2026&period=2026", "month=2026-11"):
        refused = httpx.get(f"{logged.url}/transparency?{query}", verify=NO_TLS)
        assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        assert refused.headers["Cache-Control"] == "no-store"
    assert refused.json()["errors"][0]["detail"] == "no parameter but one period"
