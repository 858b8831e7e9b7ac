"""Kill -9 at any moment: what was acknowledged is there, what was not is retried to exactly one effect (I1, I8, I10).

Sampled, not exhaustive: each round kills at another offset from the start of the traffic, so that over many runs every
step of an act is hit; the offsets are drawn from a seed that a failure names. The sweep with strace at the end is
exact for the calls that it samples: the process dies on entering its Nth write.
"""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.http.test_processes import eventually, holders, is_ready, workers
from tests.people import person
from tests.serving import BIN, Client, Server

ROUNDS = 2
THREADS = 3
RETRY_SECONDS = 12.0
STRACE = shutil.which("strace")


@pytest.fixture
def crashing(tmp_path: Path) -> Iterator[Server]:
    """A served vault that a test kills parts of; its end may be rough. The lease of a key is as short as may be."""
    server = Server(tmp_path / "home", IDVAULT_IDEMPOTENCY_RUNNING_SECONDS="1").start()
    yield server
    for client in server.clients:
        client.http.close()
    for pid in server.processes():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    assert server.process is not None
    server.process.wait(10)


@pytest.fixture
def drawn() -> random.Random:
    seed = int.from_bytes(os.urandom(4))
    print("seed of the offsets:", seed)  # noqa: T201 - pytest shows it with a failure
    return random.Random(seed)  # noqa: S311 - offsets, not keys


def key() -> dict[str, str]:
    return {"Idempotency-Key": f'"{uuid.uuid4()}"'}


def again(client: Client, path: str, body: dict[str, Any], headers: dict[str, str], wanted: int) -> httpx.Response:
    """Repeat a request with its key until it has its answer: 409 while the first still counts as running, 503 and a
    lost connection while a part is away; nothing else is allowed, and not for ever."""
    end = time.monotonic() + RETRY_SECONDS
    seen: list[str] = []
    while time.monotonic() < end:
        try:
            answer = client.post(path, body, headers=headers)
        except httpx.TransportError as error:
            seen.append(type(error).__name__)
            time.sleep(0.1)
            continue
        if answer.status_code == wanted:
            return answer
        seen.append(f"{answer.status_code} {answer.json().get('type', '').rpartition(':')[2]}")
        retried = answer.status_code == 503 or answer.json()["type"].endswith("idempotency-running")
        assert retried, (seen, answer.text)
        time.sleep(0.1)
    raise AssertionError(f"no answer after {RETRY_SECONDS} s: {seen[:3]} … {seen[-3:]}")


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
                answer = client.post(one.path, one.body, headers=one.headers)
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
        assert eventually(lambda: is_ready(server) and len(workers(server)) == 2 and len(holders(server)) == 2, 12)


def settle(client: Client, tries: list[Try]) -> int:
    """Repeat every try, answered or not; return how many had had no answer."""
    wrong = [one.wrong for one in tries if one.wrong]
    assert not wrong, f"a fault shows as 503 or a cut connection, never as {wrong[0]}"
    # The unanswered first: their leases run out together.
    for one in sorted(tries, key=lambda each: each.answer is not None):
        answer = again(client, one.path, one.body, one.headers, one.wanted).json()
        assert one.answer is None or answer == one.answer, "the acknowledged answer is the stored one"
    return sum(one.answer is None for one in tries)


def items(client: Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(path, params={"limit": "200", **cursor}).json()
        found += page["items"]
        if not page.get("next"):
            return found
        cursor = {"cursor": page["next"]}


def assert_whole(server: Server) -> dict[str, Any]:
    """fsck is clean after at most one run that repairs; nothing stays half-way."""
    report: dict[str, Any] = {}
    for _ in range(2):
        done = subprocess.run(
            [BIN / "idvault", "fsck", "--grace-minutes", "0", "--json"], env=server.environment, timeout=60,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode in {0, 4}, done.stderr[-600:]
        report = httpx.Response(200, content=done.stdout).json()
        if report["clean"] and not report["finished"]:
            break
    assert report["clean"], report["findings"]
    assert (report["finished"], report["waiting"]) == (0, 0)
    return report


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


def await_traced(pids: list[int]) -> None:
    def traced(pid: int) -> bool:
        return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()

    assert eventually(lambda: all(traced(pid) for pid in pids))


@pytest.mark.parametrize("which", ["workers", "names"])
def test_a_process_killed_on_its_nth_write_leaves_one_effect(crashing: Server, tmp_path: Path, which: str) -> None:
    """F1: SQLite writes with pwrite64, and a registration is three transactions in the worker and two in `names`."""
    server, killed = crashing, 0
    chat, rita = server.provider("chat"), server.reviewer("rita")
    chat.registered(person(0), "h0")
    points = (1, 4, 9, 16)
    for at, write in enumerate(points, 1):
        pids = workers(server) if which == "workers" else [holders(server)["names"]]
        command = [str(STRACE), "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=pwrite64",
                   "-e", f"inject=pwrite64:signal=KILL:when={write}"]  # fmt: skip
        command += [argument for pid in pids for argument in ("-p", str(pid))]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            await_traced(pids)
            one = next(registrations(counter(at)))
            made = again(chat, one.path, one.body, one.headers, 202).json()
            decided = key()
            path, body = f"/v1/reviews/{made['id']}/decision", {"decision": "approved", "method": "document_checked"}
            again(rita, path, body, decided, 200)
            killed += any(not Path(f"/proc/{pid}").exists() for pid in pids)
        finally:
            tracer.terminate()
            tracer.wait(10)
        assert eventually(lambda: is_ready(server) and len(workers(server)) == 2 and len(holders(server)) == 2, 12)
        assert again(chat, one.path, one.body, one.headers, 202).json() == made
        assert chat.registration(made["id"])["state"] == "approved"
    assert killed >= len(points) // 2, "the injection must really hit"
    handles = sorted(account["handle"] for account in items(chat, "/v1/accounts"))
    assert handles == sorted(f"h{at}" for at in range(len(points) + 1))
    assert_whole(server)
    assert server.stop() == 0
