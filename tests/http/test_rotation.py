"""Keys change under a vault that is being used: no answer is lost, nothing refers to an old version in the end, and
what M officers must approve waits for them (A9, A10, A43)."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from click.testing import CliRunner

from keys.cli.main import cli
from tests.http import test_log
from tests.http.test_officers import Machines
from tests.http.test_processes import eventually, holders
from tests.people import ANNA, person
from tests.serving import NO_TLS, Client, Server

KILLS, MORE_KILLS = 2, 5


@pytest.fixture
def served(fresh: Server) -> Iterator[Server]:
    yield fresh
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def keys(server: Server, verb: str, *arguments: str, code: int = 0) -> Any:
    """Say a command of `idvault-keys` beside the agent; return its JSON, or what it refused with."""
    done = CliRunner().invoke(cli, [verb, *arguments, "--home", str(server.home), "--json"])
    assert done.exit_code == code, done.stderr[-600:]
    return json.loads(done.stdout) if code == 0 else done.stderr


def killed_rewrap(server: Server, seconds: float) -> None:
    """Begin to seal anew, one record a transaction, and kill the command a while after the first one moved."""
    query = "SELECT count(*) FROM record_key WHERE kek_version < (SELECT max(version) FROM key WHERE purpose = 'kek')"
    command = [sys.executable, "-c", "from keys.cli.main import main; main()", "rewrap", "--batch", "1"]
    before = server.sql("keys", query)[0][0]
    with subprocess.Popen([*command, "--home", str(server.home), "--json"], stdout=subprocess.DEVNULL) as running:
        while running.poll() is None and server.sql("keys", query)[0][0] >= before:
            time.sleep(0.005)
        time.sleep(seconds)
        running.send_signal(signal.SIGKILL)


class Traffic:
    """Four who register and four who ask, until they are told to stop; whatever is not as it should be is kept."""

    def __init__(self, server: Server, tokens: list[str], client: Client) -> None:
        self.wrong: list[str] = []
        self.registered = self.asked = 0
        self._over, self._client, self._tokens, self._server = threading.Event(), client, tokens, server
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(4)]
        self._threads += [threading.Thread(target=self._read, args=(n,)) for n in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _own(self) -> Client:
        client = Client(self._server, self._client.id, self._client.secret)
        client.authorise()
        return client

    def _write(self, number: int) -> None:
        client, at = self._own(), 0
        while not self._over.is_set():
            answer = client.register(person(1000 * (number + 1) + at), f"w{number}-{at}")
            at += 1
            self.registered += 1
            if answer.status_code != httpx.codes.ACCEPTED:
                self.wrong.append(f"registration: {answer.status_code}")

    def _read(self, number: int) -> None:
        client = self._own()
        while not self._over.is_set():
            if not client.introspect(self._tokens[number % len(self._tokens)])["active"]:
                self.wrong.append("introspection: inactive")
            self.asked += 1


def test_a9_no_answer_is_lost_while_keys_rotate_and_a_killed_rewrap_goes_on_to_zero(
    served: Server, drawn: random.Random, *, full: bool
) -> None:
    kills = MORE_KILLS if full else KILLS
    chat = served.provider("chat")
    rita = served.reviewer("rita")
    people = [chat.registered(person(n), f"p{n}") for n in range(12)]
    rita.approve(people[0]["id"])
    with Traffic(served, [one["token"] for one in people], chat) as traffic:
        for _ in range(kills):
            for _ in range(4):
                keys(served, "rotate", "kek")
            killed_rewrap(served, drawn.uniform(0, 0.05))
        found = keys(served, "rewrap")
        keys(served, "rotate", "signing")
    assert not traffic.wrong, traffic.wrong[:5]
    assert traffic.registered > kills
    assert traffic.asked > kills
    assert (found["version"], found["left"]) == (1 + 4 * kills, 0)
    held = {key["version"]: key["records"] for key in keys(served, "keys")["keys"] if key["purpose"] == "kek"}
    assert {version for version, records in held.items() if records} == {1 + 4 * kills}
    for version in range(1, 1 + 4 * kills):
        assert keys(served, "destroy", "kek", "--version", str(version), "--yes")["state"] == "destroyed"
    rita.approve(people[1]["id"])  # its fields open, under a key that was sealed anew


def test_a9_a_holder_that_is_killed_while_it_seals_anew_loses_nothing(served: Server) -> None:
    chat, rita = served.provider("chat"), served.reviewer("rita")
    people = [chat.registered(person(n), f"p{n}") for n in range(10)]
    keys(served, "rotate", "kek")
    statement = "SELECT count(*) FROM record_key WHERE kek_version = 1"
    for _ in range(2):
        holder = holders(served)["names"]
        command = [sys.executable, "-c", "from keys.cli.main import main; main()", "rewrap", "--batch", "1", "--json"]
        with subprocess.Popen([*command, "--home", str(served.home)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as running:  # fmt: skip
            before = served.sql("keys", statement)[0][0]
            while running.poll() is None and served.sql("keys", statement)[0][0] == before:
                pass
            os.kill(holder, signal.SIGKILL)
            running.communicate()
        while httpx.get(f"{served.url}/readyz", verify=NO_TLS).status_code != httpx.codes.OK:
            time.sleep(0.05)
    assert keys(served, "rewrap")["left"] == 0
    for one in people:
        rita.approve(one["id"])


def test_a10_a_version_under_which_records_lie_is_not_destroyed(served: Server) -> None:
    chat = served.provider("chat")
    made = chat.registered(ANNA, "anna")
    assert "version 1 is active: rotate first" in keys(served, "destroy", "kek", "--version", "1", "--yes", code=1)
    keys(served, "rotate", "kek")
    assert keys(served, "destroy", "kek", "--version", "1")["references"] == 2
    assert "2 keys are sealed under version 1" in keys(served, "destroy", "kek", "--version", "1", "--yes", code=1)
    keys(served, "rewrap")
    dry = keys(served, "destroy", "kek", "--version", "1")
    assert (dry["references"], dry["state"]) == (0, "deactivated")
    assert keys(served, "destroy", "kek", "--version", "1", "--yes")["state"] == "destroyed"
    assert chat.registered(person(1), "ben")
    assert chat.introspect(made["token"])["active"]


def test_a43_a_provider_gets_the_new_tokens_for_its_old_ones_and_no_other_does(served: Server) -> None:
    chat, blog = served.provider("chat"), served.provider("blog")
    old = [chat.registered(person(n), f"p{n}")["token"] for n in range(3)]
    other = blog.registered(ANNA, "anna")["token"]
    found = keys(served, "rotate", "token", "--sector", "chat.example")
    assert found["version"] == 2
    new = [item["token"] for item in chat.post("/v1/tokens/translate", {"tokens": old}).json()["items"]]
    for _ in range(100):  # each worker asks for the keys again in a few seconds
        if not set(new) & set(old):
            break
        time.sleep(0.1)
        new = [item["token"] for item in chat.post("/v1/tokens/translate", {"tokens": old}).json()["items"]]
    assert len(set(new) | set(old)) == 6
    for _ in range(12):  # often enough to meet every worker
        assert all(chat.introspect(token)["active"] for token in (*old, *new))
    assert {item["status"] for item in blog.post("/v1/tokens/translate", {"tokens": old}).json()["items"]} == {404}
    assert blog.post("/v1/tokens/translate", {"tokens": [other]}).json()["items"][0]["token"] == other
    keys(served, "destroy", "token", "--sector", "chat.example", "--version", "1", "--yes")
    deadline = time.monotonic() + 20
    while any(chat.introspect(old[0])["active"] for _ in range(12)):
        assert time.monotonic() < deadline
    assert all(chat.introspect(token)["active"] for token in new)
    assert blog.introspect(other)["active"]


def test_records_that_another_hand_altered_are_told_and_keep_their_version(fresh: Server) -> None:
    chat = fresh.provider("chat")
    for n in range(3):
        chat.registered(person(n), f"p{n}")
    rid = bytes(fresh.sql("keys", "SELECT rid FROM record_key ORDER BY rid")[0][0])
    fresh.sql("keys", "UPDATE record_key SET assurance = 'vault' WHERE rid = ?", rid)
    keys(fresh, "rotate", "kek")
    assert "altered by another hand" in keys(fresh, "rewrap", code=4)
    assert keys(fresh, "destroy", "kek", "--version", "1")["references"] == 2


def test_a_log_is_verified_by_its_old_key_and_by_its_new_one_until_the_old_one_ends(tmp_path: Path) -> None:
    server = test_log.serve(tmp_path / "home")
    where = f"{server.url}/log"

    def signed_by(number: int) -> bool:
        return eventually(lambda: test_log.get(server, "checkpoint").text.count("\n\u2014 ") == number)

    try:
        old = test_log.await_checkpoint(server)
        server.provider("chat").registered(ANNA, "anna")
        keys(server, "rotate", "log")
        new = test_log.key_of(server)
        assert new != old
        assert signed_by(2)
        for key in (old, new):
            assert server.json("log", "verify", where, "--key", key)["verified"] is True
        keys(server, "destroy", "log", "--version", "1", "--yes")
        assert signed_by(1)
        assert server.json("log", "verify", where, "--key", new)["verified"] is True
        server.json("log", "verify", where, "--key", old, code=4)
    finally:
        server.stop()


def test_both_signing_keys_are_shown_until_the_old_one_is_destroyed(served: Server) -> None:
    def shown() -> list[str]:
        return [key["kid"] for key in httpx.get(f"{served.url}/jwks.json", verify=NO_TLS).json()["keys"]]

    before = shown()
    keys(served, "rotate", "signing")
    assert len(set(shown()) | set(before)) == len(shown()) == 2
    keys(served, "destroy", "signing", "--version", "1", "--yes")
    assert len(shown()) == 1
    assert shown() != before


def test_a10_officers_approve_a_rotation_and_a_destruction_and_it_is_done_once(tmp_path: Path) -> None:
    server = Server(tmp_path / "home")
    server.for_officers = True
    server.start(httpx.codes.SERVICE_UNAVAILABLE)
    try:
        machines = Machines(server, tmp_path / "machines").ceremony()
        for said in (("rotate", "kek"), ("destroy", "kek", "--version", "1", "--yes")):
            asked = keys(server, *said)
            assert asked["state"] == "pending"
            assert keys(server, *said) == asked  # a retry asks for nothing anew
            machines.approved(asked["request"], "anna")
            assert keys(server, *said) == asked
            machines.approved(asked["request"], "maria")
            done = keys(server, *said)
            assert done["version"] in {1, 2}
            assert "pending" not in done.values()
        states = {key["version"]: key["state"] for key in keys(server, "keys")["keys"] if key["purpose"] == "kek"}
        assert states == {1: "destroyed", 2: "active"}
        # What was approved is used up: the next rotation waits for officers again.
        assert keys(server, "rotate", "kek")["state"] == "pending"
    finally:
        server.stop()
