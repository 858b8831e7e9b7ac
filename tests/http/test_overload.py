"""More requests than the vault can bear: the rest is refused with 503 and Retry-After, and what is served goes on."""

import itertools
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest

from tests.people import person
from tests.serving import Client, Server

pytestmark = pytest.mark.sqlite  # one test locks the file of a store

WORKING, WAITING, WAIT_SECONDS = 2, 4, 1.0
BEARABLE = WORKING + WAITING
SPAN_SECONDS = 1.5
BACK_OFF_SECONDS = 0.1
KEPT = 0.5
"""Part of the best rate that is answered at least under overload; the callers of the test take from the same cores."""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("overload") / "home", IDVAULT_WORKERS="1", IDVAULT_BLOCKING_THREADS=str(WORKING),
        IDVAULT_WAITING_REQUESTS=str(WAITING), IDVAULT_WAITING_MILLISECONDS=str(round(WAIT_SECONDS * 1000)),
    ).start()  # fmt: skip
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def chat(served: Server) -> Client:
    made = served.provider("chat")
    made.authorise()
    return made


def _another(chat: Client) -> Client:
    client = Client(chat.server, chat.id, chat.secret)
    client.token = chat.token
    return client


def _registered(client: Client) -> tuple[int, float]:
    """Register somebody; return the status and how long it took."""
    number, started = next(_numbers), time.monotonic()
    answer = client.register(person(number), f"h{number}")
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        assert answer.headers["Retry-After"] == "1"
        assert answer.json()["type"] == "urn:idvault:problem:overloaded"
    else:
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return answer.status_code, time.monotonic() - started


def _load(chat: Client, callers: int) -> Counter[int]:
    """Return how many answers of each status so many callers get, who wait a little after each refusal."""
    end, total, lock = time.monotonic() + SPAN_SECONDS, Counter[int](), threading.Lock()

    def call() -> None:
        client, got = _another(chat), Counter[int]()
        while time.monotonic() < end:
            status, _ = _registered(client)
            got[status] += 1
            if status == httpx.codes.SERVICE_UNAVAILABLE:
                time.sleep(BACK_OFF_SECONDS)
        with lock:
            total.update(got)

    with ThreadPoolExecutor(callers) as pool:
        for one in [pool.submit(call) for _ in range(callers)]:
            one.result()
    return total


def _accounts(served: Server) -> int:
    [(count,)] = served.sql("directory", "select count(*) from account")
    return int(count)


def test_under_twice_the_bearable_load_the_rate_is_kept_and_the_rest_refused_with_nothing_done(
    served: Server, chat: Client
) -> None:
    before = _accounts(served)
    rounds = [(_load(chat, BEARABLE), _load(chat, 2 * BEARABLE)) for _ in "12"]
    bearable, twice = (sum(one, Counter[int]()) for one in zip(*rounds, strict=True))
    assert twice[503] > 0
    assert bearable[503] == 0, "what works and waits at once is not refused"
    assert twice[202] > KEPT * bearable[202], (bearable, twice)
    assert _accounts(served) == before + bearable[202] + twice[202], "what was refused did nothing"
    assert _registered(chat)[0] == 202, "it recovers at once"


def test_who_finds_the_queue_full_is_told_at_once_and_who_waits_too_long_then(served: Server, chat: Client) -> None:
    clients, before = [_another(chat) for _ in range(3 * BEARABLE)], _accounts(served)
    with (
        closing(sqlite3.connect(served.home / "directory.db", isolation_level=None)) as block,
        ThreadPoolExecutor(len(clients)) as pool,
    ):
        block.execute("begin immediate")
        calls = [pool.submit(_registered, client) for client in clients]
        time.sleep(3 * WAIT_SECONDS)
        health = chat.http.get("/healthz")
        told = [call.result() for call in calls if call.done()]
        working = [call for call in calls if not call.done()]
        block.execute("rollback")
        assert health.status_code == 200
        assert working, "the group that is being carried out waits for the store"
        assert {status for status, _ in told} == {503}
        seconds = sorted(seconds for _, seconds in told)
        assert seconds[0] < WAIT_SECONDS, "who finds the queue full is told at once"
        assert len(working) + len([late for late in seconds if late >= WAIT_SECONDS]) >= BEARABLE
        assert {call.result()[0] for call in working} == {202}
    assert _accounts(served) == before + len(working), "what was refused did nothing"
    assert _registered(chat)[0] == 202
