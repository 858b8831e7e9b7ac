"""Kill -9 at any moment: what was acknowledged is there, what was not is retried to exactly one effect (I1, I8, I10).

Sampled, not exhaustive: each round kills at another offset from the start of the traffic, so that over many runs every
step of an act is hit; the offsets are drawn from a seed that a failure names. `test_crash_sweep.py` is exact instead.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.http.crashing import again, assert_whole, is_whole, items, key, roughly_ended
from tests.http.test_processes import eventually, holders, workers
from tests.people import person
from tests.serving import Client, Server

ROUNDS = 2
THREADS = 3


@pytest.fixture
def crashing(tmp_path: Path) -> Iterator[Server]:
    with roughly_ended(tmp_path) as server:
        yield server


@dataclass
class Try:
    """One request with its key, and the answer if there was one."""

    path: str
    body: dict[str, Any]
    wanted: int
    headers: dict[str, str] = field(default_factory=key)
    answer: dict[str, Any] | None = None
    wrong: str = ""


class Traffic:
    """Threads that send tries one after another, each once, until told to stop."""

    def __init__(self, client: Client, tries: Iterator[Try]) -> None:
        self._source, self._lock, self._stop = tries, threading.Lock(), threading.Event()
        self.tries: list[Try] = []
        self._clients = [Client(client.server, client.id, client.secret) for _ in range(THREADS)]
        for each in self._clients:
            each.authorise()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in self._clients]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: Client) -> None:
        while not self._stop.is_set():
            with self._lock:
                one = next(self._source, None)
                if one is None:
                    return
                self.tries.append(one)
            try:
                # Not the client's own way, which would try again where a connection was cut.
                headers = {"Authorization": f"Bearer {client.token}", **one.headers}
                answer = client.http.post(one.path, json=one.body, headers=headers)
            except httpx.TransportError:
                time.sleep(0.02)
                continue
            if answer.status_code == one.wanted:
                one.answer = answer.json()
            elif answer.status_code != 503:
                one.wrong = answer.text


def registrations(numbers: Iterator[int]) -> Iterator[Try]:
    for number in numbers:
        accepts = {"terms": "2026-01", "truthful": True}
        body = {"handle": f"h{number}", "kind": "public", "accepts": accepts, "identity": person(number)}
        yield Try("/v1/registrations", body, 202)


def counter(start: int = 0) -> Iterator[int]:
    while True:
        yield start
        start += 1


def victim(server: Server, which: str, drawn: random.Random) -> int:
    assert server.process is not None
    if which == "server":
        return server.process.pid
    return drawn.choice(workers(server)) if which == "worker" else holders(server)[which]


def strike(server: Server, which: str, drawn: random.Random) -> None:
    """Kill -9 at a random moment, let the traffic run on for a while where the server still is, and have it back."""
    pid = victim(server, which, drawn)
    time.sleep(drawn.uniform(0.03, 0.5))
    os.kill(pid, signal.SIGKILL)
    if which != "server":
        time.sleep(0.4)


def back(server: Server, which: str) -> None:
    if which == "server":
        assert server.process is not None
        server.process.wait(10)
        server.await_silence()
        assert eventually(lambda: not server.processes()), "orphans"
        server.start()
    else:
        assert eventually(lambda: is_whole(server), 20)


def settle(client: Client, tries: list[Try]) -> int:
    """Repeat every try, answered or not; return how many had had no answer."""
    wrong = [one.wrong for one in tries if one.wrong]
    assert not wrong, f"a fault shows as 503 or a cut connection, never as {wrong[0]}"
    # The unanswered first: their leases run out together.
    for one in sorted(tries, key=lambda each: each.answer is not None):
        answer = again(client, one.path, one.body, one.headers, one.wanted).json()
        assert one.answer is None or answer == one.answer, "the acknowledged answer is the stored one"
    return sum(one.answer is None for one in tries)


@pytest.mark.costly
@pytest.mark.parametrize("which", ["server", "worker", "names", "standing"])
def test_killed_registrations_have_one_effect_each(crashing: Server, which: str, drawn: random.Random) -> None:
    chat = crashing.provider("chat")
    numbers, sent = counter(), list[Try]()
    for _ in range(ROUNDS):
        with Traffic(chat, registrations(numbers)) as traffic:
            strike(crashing, which, drawn)
        back(crashing, which)
        settle(chat, traffic.tries)
        sent += traffic.tries
    accounts = [account["handle"] for account in items(chat, "/v1/accounts")]
    assert sorted(accounts) == sorted(one.body["handle"] for one in sent)
    listed = [item["id"] for item in items(chat, "/v1/registrations")]
    assert len(listed) == len(set(listed)) == len(sent)
    assert {one.answer["id"] for one in sent if one.answer} <= set(listed)
    report = assert_whole(crashing)
    assert report["checked"]["standings"] == report["checked"]["records"] == len(sent)


def decisions(made: list[dict[str, Any]]) -> Iterator[Try]:
    for at, registration in enumerate(made):
        body = {"decision": "rejected", "reason": "not_the_holder"} if at % 4 == 3 else {
            "decision": "approved", "method": "document_checked",
        }  # fmt: skip
        yield Try(f"/v1/reviews/{registration['id']}/decision", body, 200)


@pytest.mark.costly
@pytest.mark.parametrize("which", ["server", "worker", "names", "standing"])
def test_killed_decisions_have_one_effect_each(crashing: Server, which: str, drawn: random.Random) -> None:
    """Two providers have the same people, so that decisions of one round unite persons as well."""
    chat, blog, rita = crashing.provider("chat"), crashing.provider("blog"), crashing.reviewer("rita")
    number = 0
    for _ in range(2):
        made = []
        for _ in range(25):
            made += [provider.registered(person(number), f"h{number}") for provider in (chat, blog)]
            number += 1
        with Traffic(rita, decisions(made)) as traffic:
            strike(crashing, which, drawn)
        back(crashing, which)
        settle(rita, traffic.tries)
        decided = {one.path.split("/")[3]: one.body["decision"] for one in traffic.tries}
        states = {
            item["id"]: item["state"] for provider in (chat, blog) for item in items(provider, "/v1/registrations")
        }
        for at, registration in enumerate(made):
            assert states[registration["id"]] == decided.get(registration["id"], "in_review")
            owner = (chat, blog)[at % 2]
            scope = "read publish" if decided.get(registration["id"]) == "approved" else "read"
            assert owner.introspect(registration["token"])["scope"] == scope
        # What is left is decided plainly: nothing was locked by the fault.
        for registration in made:
            if registration["id"] not in decided:
                rita.approve(registration["id"], headers=key())
                break
    assert_whole(crashing)
