"""Bodies as a real server hands them over: what is refused unread must not disturb the next request."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.serving import NO_TLS
from tests.web.stub import BASIC, PROVIDER, REGISTRATION, StubSettings

HUGE_BYTES = 100_000_000
START_SECONDS = 20
EVIDENCE = "/v1/registrations/reg_1/evidence/front"
MAX_EVIDENCE_BYTES = StubSettings().max_evidence_bytes


@contextmanager
def serving(name: str, log: Path) -> Iterator[int]:
    """Have granian serve one of the applications; return its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--host", "127.0.0.1", "--port", str(port),
        "--blocking-threads", "2", f"tests.web.granian_app:{name}",
    ]  # fmt: skip
    with log.open("wb") as stream:
        root = Path(__file__).parents[2]
        server = subprocess.Popen(command, cwd=root, stdout=stream, stderr=stream, env=dict(os.environ))
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=START_SECONDS)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving("application", tmp_path_factory.mktemp("granian") / "log") as port:
        yield port


def _listens(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", verify=NO_TLS).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def http(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=PROVIDER, timeout=30, verify=NO_TLS) as client:
        yield client


def sent(port: int, head: str, body: bytes = b"", times: int = 1) -> str:
    """Send raw bytes and return the status line; a server that closes the door early may break the sending off."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        try:
            for _ in range(times):
                connection.sendall(body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        received = b""
        while b"\r\n" not in received and (part := connection.recv(4096)):
            received += part
        return received.partition(b"\r\n")[0].decode()


def heading(method: str, path: str, *headers: str) -> str:
    authorization = PROVIDER["Authorization"]
    return "\n".join([f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: {authorization}", *headers, "", ""])


MEBIBYTE = b"10000\r\n" + b" " * 65_536 + b"\r\n"


@pytest.mark.parametrize("path", ["/v1/registrations", "/oauth/introspect", "/oauth/token"])
def test_a_huge_body_is_refused_by_its_length_unread(port: int, http: httpx.Client, path: str) -> None:
    started = time.perf_counter()
    # Not a byte of the body is sent: the answer does not wait for it.
    assert " 413 " in sent(port, heading("POST", path, f"Content-Length: {HUGE_BYTES}"))
    head = heading("POST", path, "Content-Type: application/json", f"Content-Length: {HUGE_BYTES}")
    assert " 413 " in sent(port, head, b" " * 65_536, HUGE_BYTES // 65_536)
    assert http.post("/v1/registrations", json=REGISTRATION).status_code == 202
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("path", ["/v1/registrations", "/oauth/introspect", "/oauth/token"])
def test_a_chunked_body_is_refused_unread(port: int, http: httpx.Client, path: str) -> None:
    head = heading("POST", path, "Content-Type: application/json", "Transfer-Encoding: chunked")
    assert " 411 " in sent(port, head)
    assert " 411 " in sent(port, head, MEBIBYTE, HUGE_BYTES // 65_536)
    for _ in range(3):
        # Small enough that the connection may live on: the rest of the body is not taken for the next request.
        assert http.post(path, content=iter([b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])).status_code == 411
        assert http.post("/v1/registrations", json=REGISTRATION).status_code == 202


def test_evidence_may_be_chunked_up_to_its_limit(port: int, http: httpx.Client) -> None:
    kind = {"Content-Type": "image/png"}

    def parts(size: int) -> Iterator[bytes]:
        for start in range(0, size, 65_536):
            yield b"x" * min(65_536, size - start)

    assert http.put(EVIDENCE, content=parts(MAX_EVIDENCE_BYTES), headers=kind).status_code == 204
    assert http.put(EVIDENCE, content=b"x" * MAX_EVIDENCE_BYTES, headers=kind).status_code == 204
    assert http.put(EVIDENCE, content=b"x", headers=kind).status_code == 204
    head = heading("PUT", EVIDENCE, "Content-Type: image/png", "Transfer-Encoding: chunked")
    assert " 413 " in sent(port, head, MEBIBYTE, HUGE_BYTES // 65_536)
    head = heading("PUT", EVIDENCE, "Content-Type: image/png", f"Content-Length: {MAX_EVIDENCE_BYTES + 1}")
    assert " 413 " in sent(port, head)
    assert http.get("/v1/registrations/reg_1").status_code == 200


def test_a_deep_body_and_a_long_number_are_refused_at_once(http: httpx.Client) -> None:
    started = time.perf_counter()
    for body in (b"[" * 60_000, b'{"a":' * 10_000, b'{"a":' + b"9" * 60_000 + b"}", b'{"a":NaN}', b'{"a":1,"a":1}'):
        answer = http.post("/v1/registrations", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
    compressed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert http.post("/v1/registrations", content=b"\x1f\x8b" + bytes(100), headers=compressed).status_code == 400
    assert time.perf_counter() - started < 1


def test_the_server_tells_no_version_and_the_basic_story_works(http: httpx.Client) -> None:
    answer = http.post("/oauth/introspect", headers=BASIC, data={"token": "nym_good"})
    assert answer.json() == {"active": True, "scope": "read"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert not any(char.isdigit() for char in answer.headers.get("Server", ""))
    assert answer.headers["Content-Length"] == str(len(json.dumps(answer.json(), separators=(",", ":"))))


@pytest.mark.parametrize(
    "path", ["/v1//accounts", "/v1/./accounts", "/v1/x/../accounts", "/%2e%2e/v1/accounts", "/v1/accounts/", "/v1/%00"]
)
def test_odd_spellings_of_a_path_reach_nothing(port: int, path: str) -> None:
    assert " 404 " in sent(port, heading("GET", path))


def test_slashes_before_a_path_change_no_verdict(port: int) -> None:
    assert " 200 " in sent(port, heading("GET", "//v1/accounts"))
    assert " 401 " in sent(port, "GET //v1/accounts HTTP/1.1\nHost: x\n\n")
