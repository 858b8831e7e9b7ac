"""PostgreSQL that goes away in the middle: nothing acknowledged is lost or doubled, and the vault needs no restart."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.databases import Cluster
from tests.http.crashing import again, assert_whole, items, key
from tests.http.test_processes import eventually, is_ready
from tests.people import person
from tests.serving import Client, Server

pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(600)]

CLIENTS, MANY_CLIENTS = 8, 50
SECONDS, LONG_SECONDS = 4, 60
KILL_EVERY_SECONDS = 0.05
RESTARTS, MANY_RESTARTS = 2, 20
RECOVERY_SECONDS = 60.0
"""How long the server may take to recover: it flushes every file of the cluster first."""
READY_SECONDS = 3.0
"""How long a readiness answer may take at most: it must not wait for a store that is gone."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "home", IDVAULT_IDEMPOTENCY_RUNNING_SECONDS="1").start()
    yield server
    assert server.stop() == 0


class Registering:
    """Clients that register one person after another while something is done to the database."""

    def __init__(self, server: Server, clients: int) -> None:
        self.chat, self._over = server.provider("chat"), threading.Event()
        self._numbers, self._clients = count(1), clients
        self.chat.authorise()
        self.acknowledged: dict[str, str] = {}
        """Registrations by token."""

    def _register(self) -> None:
        client = Client(self.chat.server, self.chat.id, self.chat.secret)
        client.token = self.chat.token
        while not self._over.is_set():
            number = next(self._numbers)
            body = {
                "handle": f"h{number}", "kind": "public", "accepts": {"terms": "2026-01", "truthful": True},
                "identity": person(number),
            }  # fmt: skip
            made = again(client, "/v1/registrations", body, key(), 202, RECOVERY_SECONDS).json()
            self.acknowledged[made["token"]] = made["id"]

    def during(self, disturb: Callable[[], None]) -> None:
        """Register while the disturbance lasts; each client gets the answer of its last one too."""
        with ThreadPoolExecutor(self._clients) as pool:
            done = [pool.submit(self._register) for _ in range(self._clients)]
            try:
                disturb()
            finally:
                self._over.set()
            for one in done:
                one.result()

    def check(self, server: Server) -> None:
        """All that was acknowledged stands, once; nothing else does, and nothing is half-way."""
        assert self.acknowledged
        assert eventually(lambda: is_ready(server))
        stands = [(one["token"], one["id"]) for one in items(self.chat, "/v1/registrations")]
        assert len(stands) == len(set(stands))
        assert dict(stands) == self.acknowledged
        assert all(self.chat.introspect(token)["scope"] == "read" for token in list(self.acknowledged)[:20])
        assert_whole(server)


def test_f5_connections_killed_every_50_ms_lose_and_double_nobody(
    served: Server, cluster: Cluster, *, full: bool
) -> None:
    registering = Registering(served, MANY_CLIENTS if full else CLIENTS)
    killed = 0

    def kill() -> None:
        nonlocal killed
        end = time.monotonic() + (LONG_SECONDS if full else SECONDS)
        while time.monotonic() < end:
            killed += cluster.kill_backends()
            time.sleep(KILL_EVERY_SECONDS)

    registering.during(kill)
    assert killed > SECONDS, "connections were there to be killed"
    registering.check(served)


def test_f5_immediate_restarts_lose_and_double_nobody(served: Server, cluster: Cluster, *, full: bool) -> None:
    registering = Registering(served, MANY_CLIENTS if full else CLIENTS)

    def restart() -> None:
        for _ in range(MANY_RESTARTS if full else RESTARTS):
            time.sleep(0.5)
            cluster.restart()
        time.sleep(0.5)

    registering.during(restart)
    registering.check(served)


def test_i10_a_database_that_is_gone_is_said_at_once_and_used_again_when_it_is_back(
    served: Server, cluster: Cluster
) -> None:
    chat = served.provider("chat")
    made = chat.registered(person(1), "before")
    cluster.halt()
    try:
        for answer in (
            chat.register(person(2), "during"),
            chat.http.post("/oauth/introspect", data={"token": made["token"]}, auth=(chat.id, chat.secret)),
        ):
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text
        assert httpx.get(served.url + "/healthz").status_code == 200
        started = time.monotonic()
        assert httpx.get(served.url + "/readyz", timeout=30).status_code == 503
        assert time.monotonic() - started < READY_SECONDS
    finally:
        cluster.resume()
    assert eventually(lambda: is_ready(served))
    assert chat.introspect(made["token"])["scope"] == "read"
    assert chat.register(person(2), "during").status_code == 202
    assert_whole(served)
