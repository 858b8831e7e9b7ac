"""Stores that fail (I2): a full disk, one that errs, a store that another holds: 503, nothing lost, no restart."""

import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.http.crashing import STRACE, again, assert_whole, await_traced, is_whole, items, key, roughly_ended
from tests.http.test_processes import eventually, holders, workers
from tests.keys.killing import end_tracer
from tests.people import person
from tests.serving import Client, Server

pytestmark = pytest.mark.sqlite  # the faults are those of files

DISK_BYTES = 12 * 1024 * 1024
ACCEPTS = {"terms": "2026-01", "truthful": True}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a small disk of its own, at `home`; needs root."""
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "idvault-test", home], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", home], check=True)


def fill(home: Path, leave_bytes: int = 0) -> Path:
    """Take all room on a disk but this much."""
    filler = home / "filler"
    with filler.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(65_536))
        except OSError:
            pass
        if leave_bytes:
            os.truncate(out.fileno(), max(0, out.tell() - leave_bytes))
    return filler


def keyed(client: Client, number: int) -> httpx.Response:
    """Register with a key of its own, so that the client may try again where the server ended the connection."""
    return register(client, number, {"Idempotency-Key": f'"number-{number}"'})


def register(client: Client, number: int, headers: dict[str, str] | None = None) -> httpx.Response:
    return client.register(person(number), f"h{number}", headers=headers or {})


def assert_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:idvault:problem:unavailable"
    assert int(answer.headers["Retry-After"]) >= 1


def test_on_a_full_disk_writes_are_refused_reads_go_on_and_room_is_all_it_needs(small_disk: Path) -> None:
    with roughly_ended(small_disk) as server:
        chat, rita = server.provider("chat"), server.reviewer("rita")
        known, waiting = chat.registered(person(0), "h0"), chat.registered(person(1), "h1")
        rita.approve(known["id"])
        filler = fill(server.home)
        tries = {number: key() for number in (2, 3)}
        for number, headers in tries.items():
            assert_refused(register(chat, number, headers))
        assert_refused(rita.decide(waiting["id"], headers=key()))
        assert chat.introspect(known["token"])["scope"] == "read publish"
        assert chat.registration(waiting["id"])["state"] == "in_review"
        filler.unlink()
        for number, headers in tries.items():
            body = {"handle": f"h{number}", "kind": "public", "accepts": ACCEPTS, "identity": person(number)}
            again(chat, "/v1/registrations", body, headers, 202)
        rita.approve(waiting["id"], headers=key())
        assert len(items(chat, "/v1/registrations")) == 4
        assert_whole(server)
        assert server.stop() == 0


def test_what_was_acknowledged_while_the_disk_filled_up_is_there(small_disk: Path) -> None:
    with roughly_ended(small_disk) as server:
        chat = server.provider("chat")
        chat.registered(person(0), "h0")
        filler = fill(server.home, leave_bytes=300_000)
        acknowledged, refused = [], 0
        for number in range(1, 400):
            answer = register(chat, number)
            if answer.status_code == 202:
                acknowledged.append(answer.json()["id"])
            else:
                assert_refused(answer)
                refused += 1
            if refused > 5:
                break
        assert acknowledged
        assert refused
        filler.unlink()
        listed = {item["id"] for item in items(chat, "/v1/registrations")}
        assert set(acknowledged) <= listed
        assert_whole(server)
        assert server.stop() == 0


@contextmanager
def failing(pids: list[int], call: str, output: Path) -> Iterator[None]:
    """Let a call of processes fail with EIO."""
    command = [STRACE, "-f", "-qq", "-o", str(output), "-e", f"trace={call}", "-e", f"inject={call}:error=EIO"]
    command += [argument for pid in pids for argument in ("-p", str(pid))]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        await_traced(pids)
        yield
    finally:
        end_tracer(tracer)
    assert "INJECTED" in output.read_text(), "the injection must really hit"


@pytest.mark.costly
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
@pytest.mark.parametrize("which", ["workers", "names"])
def test_a_disk_that_errs_refuses_the_write_and_nothing_else(tmp_path: Path, which: str, call: str) -> None:
    with roughly_ended(tmp_path) as server:
        chat, rita = server.provider("chat"), server.reviewer("rita")
        known = chat.registered(person(0), "h0")
        rita.approve(known["id"])
        headers = key()
        pids = workers(server) if which == "workers" else [holders(server)["names"]]
        with failing(pids, call, tmp_path / "trace"):
            assert_refused(register(chat, 1, headers))
            assert chat.introspect(known["token"])["scope"] == "read publish"
        body = {"handle": "h1", "kind": "public", "accepts": ACCEPTS, "identity": person(1)}
        again(chat, "/v1/registrations", body, headers, 202)
        assert len(items(chat, "/v1/registrations")) == 2
        assert_whole(server)
        assert server.stop() == 0


@pytest.mark.costly
@pytest.mark.parametrize("store", ["keys", "identity", "directory"])
def test_a_store_that_another_holds_refuses_after_its_wait_and_recovers_by_itself(tmp_path: Path, store: str) -> None:
    with roughly_ended(tmp_path, IDVAULT_BUSY_SECONDS="1") as server:
        chat, rita = server.provider("chat"), server.reviewer("rita")
        known = chat.registered(person(0), "h0")
        rita.approve(known["id"])
        headers = key()
        holding = sqlite3.connect(server.home / f"{store}.db", isolation_level=None)
        holding.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        assert_refused(register(chat, 1, headers))
        assert time.monotonic() - begun < 10
        assert chat.introspect(known["token"])["scope"] == "read publish"
        holding.execute("ROLLBACK")
        holding.close()
        body = {"handle": "h1", "kind": "public", "accepts": ACCEPTS, "identity": person(1)}
        again(chat, "/v1/registrations", body, headers, 202)
        assert_whole(server)
        assert server.stop() == 0


def test_a_key_store_that_is_gone_is_not_made_anew_and_its_return_is_all_it_needs(tmp_path: Path) -> None:
    """Its holders are killed meanwhile, so that nobody goes on with a file that was open already."""
    with roughly_ended(tmp_path) as server:
        chat, headers = server.provider("chat"), key()
        chat.authorise()
        away = moved_away(server, "keys", tmp_path / "away")
        for pid in holders(server).values():
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: register(chat, 1, headers).status_code == 503)
        time.sleep(1)
        assert_refused(register(chat, 1, headers))
        assert not (server.home / "keys.db").exists()
        moved_back(server, away)
        assert eventually(lambda: is_whole(server), 20)
        body = {"handle": "h1", "kind": "public", "accepts": ACCEPTS, "identity": person(1)}
        again(chat, "/v1/registrations", body, headers, 202)
        assert_whole(server)
        assert server.stop() == 0


@pytest.mark.parametrize("store", ["identity", "directory"])
def test_what_was_acknowledged_while_a_store_was_moved_is_there_when_it_is_back(tmp_path: Path, store: str) -> None:
    """Who has the file open goes on in it; who has not is refused, and makes no empty one in its place."""
    with roughly_ended(tmp_path) as server:
        chat = server.provider("chat")
        chat.registered(person(0), "h0")
        away = moved_away(server, store, tmp_path / "away")
        answers: list[httpx.Response] = []
        numbers = [range(first, first + 10) for first in range(1, 81, 10)]
        threads = [
            threading.Thread(target=lambda some=some: answers.extend(keyed(chat, number) for number in some))
            for some in numbers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        acknowledged = {answer.json()["id"] for answer in answers if answer.status_code == 202}
        for answer in answers:
            if answer.status_code != 202:
                assert_refused(answer)
        assert not (server.home / f"{store}.db").exists()
        moved_back(server, away)
        assert acknowledged <= {item["id"] for item in items(chat, "/v1/registrations")}
        assert_whole(server)
        assert server.stop() == 0


def moved_away(server: Server, store: str, away: Path) -> Path:
    away.mkdir()
    for path in sorted(server.home.glob(f"{store}.db*")):
        path.rename(away / path.name)
    return away


def moved_back(server: Server, away: Path) -> None:
    for path in sorted(away.iterdir()):
        path.rename(server.home / path.name)


def test_acts_in_parallel_on_one_person_have_one_outcome(fresh: Server) -> None:
    """Two reviewers decide, the provider erases, at once: what won is whole, and fsck is clean."""
    chat, rita, otto = fresh.provider("chat"), fresh.reviewer("rita"), fresh.reviewer("otto")
    for number in range(8):
        made = register(chat, number).json()
        path = f"/v1/registrations/{made['id']}"
        statuses: list[int] = []
        calls = [
            lambda made=made: rita.decide(made["id"]).status_code,
            lambda made=made: otto.decide(made["id"], "rejected", reason="not_the_holder").status_code,
            lambda path=path: chat.call("DELETE", path).status_code,
        ]
        barrier = threading.Barrier(len(calls))

        def run(call: object, barrier: threading.Barrier = barrier, statuses: list[int] = statuses) -> None:
            barrier.wait()
            statuses.append(call())  # type: ignore[operator]

        threads = [threading.Thread(target=run, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) <= {200, 204, 404, 409}, (statuses, fresh.log.read_text()[-1500:])
        assert statuses.count(200) <= 1
        if 204 not in statuses:
            assert chat.call("DELETE", path).status_code == 204
        assert chat.registration(made["id"])["state"] == "withdrawn"
        assert chat.introspect(made["token"]) == {"active": False}
    assert_whole(fresh)
