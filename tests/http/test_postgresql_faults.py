"""PostgreSQL that goes away in the middle: nothing acknowledged is lost or doubled, and the vault needs no restart."""

import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.databases import Cluster
from tests.http.crashing import again, assert_whole, items, key
from tests.http.test_processes import eventually, is_ready
from tests.people import person
from tests.serving import NO_TLS, Client, Server

pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(600)]

CLIENTS, MANY_CLIENTS = 8, 50
SECONDS, LONG_SECONDS = 4, 60
KILL_EVERY_SECONDS = 0.05
RESTARTS, MANY_RESTARTS = 2, 20
RECOVERY_SECONDS = 60.0
"""How long the server may take to recover: it flushes every file of the cluster first."""
READY_SECONDS = 5.0
"""How long a readiness answer may take at most on a busy machine: it must not wait for a store that is gone."""


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


def test_a_database_that_hangs_is_said_in_bounded_time_and_by_each_that_asks(served: Server, cluster: Cluster) -> None:
    def asked() -> tuple[int, str]:
        started = time.monotonic()
        answer = httpx.get(served.url + "/readyz", timeout=30, verify=NO_TLS)
        assert time.monotonic() - started < READY_SECONDS
        return answer.status_code, answer.json()["parts"]["directory"]

    cluster.freeze()
    try:
        with ThreadPoolExecutor(6) as pool:
            told = [pool.submit(asked) for _ in range(12)]
            assert {one.result() for one in told} == {(503, "unavailable")}
    finally:
        cluster.thaw()
    assert eventually(lambda: is_ready(served))


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
        assert httpx.get(served.url + "/readyz", timeout=30, verify=NO_TLS).status_code == 503
        assert time.monotonic() - started < READY_SECONDS
    finally:
        cluster.resume()
    assert eventually(lambda: is_ready(served))
    assert chat.introspect(made["token"])["scope"] == "read"
    assert chat.register(person(2), "during").status_code == 202
    assert_whole(served)


class Cutter:
    """Stands before PostgreSQL, in a folder of its own; armed, it cuts a connection between a COMMIT and its answer."""

    def __init__(self, folder: Path, server_folder: str) -> None:
        self.folder, self._server = folder, f"{server_folder}/.s.PGSQL.5432"
        self._armed, self.cut = threading.Event(), 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self) -> Self:
        """Cut the next connection that commits."""
        self._armed.set()
        return self

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        committing = False
        with client, server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for ready, _ in selector.select():
                    source: socket.socket = ready.fileobj  # type: ignore[assignment]
                    data = source.recv(65_536)
                    if not data or (committing and source is server):
                        return  # the answer to the COMMIT is here, and goes no further
                    if source is client and b"COMMIT" in data and self._armed.is_set():
                        self._armed.clear()
                        self.cut += 1
                        committing = True
                    ready.data.sendall(data)


STORES_CUT = ("IDENTITY", "DIRECTORY", "KEYS")


@pytest.mark.parametrize("store", STORES_CUT)
def test_f6_a_connection_cut_between_a_commit_and_its_answer_leaves_one_effect(
    tmp_path: Path, cluster: Cluster, store: str
) -> None:
    """Who asked cannot know whether the commit happened: the same key resolves it, and nothing is doubled."""
    server = Server(tmp_path / "home", IDVAULT_IDEMPOTENCY_RUNNING_SECONDS="1").start()
    with tempfile.TemporaryDirectory(prefix="idvault-cut-") as folder:
        cutter = Cutter(Path(folder), cluster.uri.partition("host=")[2])
        name = f"IDVAULT_{store}_URL"
        server.environment[name] = f"{server.environment[name].partition('?')[0]}?host={folder}"
        assert server.stop() == 0
        server.start()
        chat, rita = server.provider("chat"), server.reviewer("rita")
        for number in range(4):
            body = {
                "handle": f"h{number}", "kind": "public", "accepts": {"terms": "2026-01", "truthful": True},
                "identity": person(number),
            }  # fmt: skip
            cutter.arm()
            made = again(chat, "/v1/registrations", body, key(), 202).json()
            decision = {"decision": "approved", "method": "document_checked"}
            cutter.arm()
            again(rita, f"/v1/reviews/{made['id']}/decision", decision, key(), 200, also="conflict")
            assert chat.introspect(made["token"])["scope"] == "read publish"
            if store != "IDENTITY":
                sanction = {"token": made["token"], "rung": "limit_publish", "ground": "spam", "facts": "as seen",
                            "by": "mod-1", "until": "2031-01-01T00:00:00Z"}  # fmt: skip
                cutter.arm()
                set_ = again(chat, "/v1/sanctions", sanction, key(), 201).json()
                shown = chat.get("/v1/sanctions", params={"token": made["token"]}).json()["items"]
                assert [one["id"] for one in shown] == [set_["id"]]
        assert cutter.cut >= 4, "commits were cut off from their answers"
        assert len(items(chat, "/v1/registrations")) == 4
        assert_whole(server)
        assert server.stop() == 0
        cutter.close()
