"""What is answered ahead of Flask's dispatch, as a server hands it over: to whatever is sent, as the dispatch does."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.web.stub import BASIC, PROVIDER, REGISTRATION, StubSettings
from tests.web.test_server import serving

LIMIT = StubSettings().max_body_bytes
QUIET_SECONDS = 0.2, 2.0
"""After so long without a byte an answer is over, where the connection stays; the longer where the machine is slow."""
FIRST = 5
"""How many times as long the first byte may take; to what is not whole none comes."""
FORM, JSON = "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json"
_CHANGING = re.compile(rb'(?i)date: [^\r]*\r\n|(?<="incident":")[^"]*')
Ports = tuple[int, int]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    folder = tmp_path_factory.mktemp("granian")
    with serving("application", folder / "ahead") as ahead, serving("dispatched", folder / "dispatched") as dispatched:
        yield ahead, dispatched


def talk(port: int, sent: bytes, quiet_seconds: float = QUIET_SECONDS[-1]) -> bytes:
    """Send bytes as they are; return what came back, and how it ended."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=FIRST * quiet_seconds) as connection:
        try:
            connection.sendall(sent)
            while part := connection.recv(65_536):
                received += part
                connection.settimeout(quiet_seconds)
            received += b"<end>"
        except TimeoutError:
            received += b"<open>"
        except OSError:
            received += b"<reset>"
    return _CHANGING.sub(b"", received)


class Route:
    """A route that is answered ahead, and a request that it answers."""

    def __init__(self, path: str, authorization: str, kind: str, body: bytes) -> None:
        self.path, self.authorization, self.kind, self.body = path, f"Authorization: {authorization}", kind, body

    def request(
        self, *more: str, method: str = "POST", path: str = "", body: bytes | None = None, head: tuple[str, ...] = ()
    ) -> bytes:
        """Return a request with further headers; `head` stands for credentials, type and length."""
        body = self.body if body is None else body
        lines = [f"{method} {path or self.path} HTTP/1.1", "Host: x"]
        lines += head or (self.authorization, self.kind, f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, *more, "", ""]).encode("latin-1") + body

    def chunked(self, *more: str) -> bytes:
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.body), self.body)
        return self.request(*more, head=(self.authorization, self.kind, "Transfer-Encoding: chunked"), body=chunks)

    def padded(self, size: int) -> bytes:
        """Return a body of a size."""
        if self.kind == JSON:
            return self.body.ljust(size)
        return self.body + b"&x=" + b"y" * (size - len(self.body) - 3)


ROUTES = {
    "introspection": Route("/oauth/introspect", BASIC["Authorization"], FORM, b"token=nym_good"),
    "token": Route("/oauth/token", BASIC["Authorization"], FORM, b"grant_type=client_credentials"),
    "registration": Route("/v1/registrations", PROVIDER["Authorization"], JSON, json.dumps(REGISTRATION).encode()),
}
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def sent(route: Route) -> Iterator[bytes]:
    """Yield what a clumsy client, or a thief, sends."""
    one, length = route.request(), f"Content-Length: {len(route.body)}"
    bare = route.request(head=(route.kind, length))
    yield from (one, one * 3, one + HEALTH + bare + one, route.request("Connection: close") + one)
    yield from (
        route.chunked(),
        route.chunked(length),
        route.chunked("Content-Length: 4") + HEALTH,
        route.chunked() + one,
    )
    for coding in ("identity", "gzip, chunked", "xchunked", "chunked\r\nTransfer-Encoding: chunked"):
        yield route.request(f"Transfer-Encoding: {coding}") + one
    for said in (length, "Content-Length: 3", "Content_Length: 3", "Transfer_Encoding: chunked", route.authorization,
                 "Authorization: Bearer none", "Content-Type: text/plain", "Content-Encoding: gzip",
                 "Content-Encoding:", "Content-Encoding: Identity", "Accept: text/html",
                 "Accept: application/token-introspection+jwt", "Accept: application/token-introspection+jwt;q=0",
                 "X-HTTP-Method-Override: DELETE", "Host: y",
                 "Expect: 100-continue", "Idempotency-Key: \xff", 'Idempotency-Key: "k"\r\nIdempotency-Key: "l"',
                 "Connection: upgrade\r\nUpgrade: h2c", "Origin: https://x.example", "If-None-Match: *"):  # fmt: skip
        yield route.request(said) + one
    for said in ("+5", "-1", "", f"{len(route.body)}, {len(route.body)}", "0", str(len(route.body) + 1)):
        yield route.request(head=(route.authorization, route.kind, f"Content-Length: {said}"))
    for kind in (f"{route.kind}; charset=utf-8", f"{route.kind};charset=utf-16", route.kind.upper(), f"{route.kind};",
                 f"{route.kind}, text/plain", "Content-Type: multipart/form-data; boundary=x",
                 "Content-Type:"):  # fmt: skip
        yield route.request(head=(route.authorization, kind, length)) + one
    yield route.request(head=tuple(line.swapcase().replace(":", ": ", 1) for line in (route.kind, length)))
    yield route.request(head=(route.authorization.replace("Authorization", "aUTHORIZATION"), route.kind, length))
    for method in ("HEAD", "OPTIONS", "GET", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "post", "OTHER"):
        yield route.request(method=method) + one
    for path in (f"{route.path}?a=1", f"{route.path}?a=1&a=2", f"{route.path}?%ff", f"{route.path};x", f"{route.path}/",
                 route.path.replace("s", "%73", 1), route.path.replace("/", "%2f"), route.path.replace("/", "/%2e/", 1),
                 f"/%2e%2e{route.path}", f"/x/..{route.path}", f"/{route.path}", route.path.upper(), f"{route.path}%00",
                 f"{route.path}%2e", f"http://x{route.path}", f"{route.path}#x"):  # fmt: skip
        yield route.request(path=path) + one
    for size in (LIMIT - 1, LIMIT, LIMIT + 1):
        yield route.request(body=route.padded(size)) + one
        yield route.request(body=route.padded(size), head=(route.kind, f"Content-Length: {size}")) + one
    yield one.replace(b"HTTP/1.1", b"HTTP/1.0")
    yield one.replace(b"Host: x\r\n", b"")
    yield one.replace(b"\r\n", b"\n")
    yield one.replace(b"Authorization:", b"Authorization :")
    yield one.replace(b"Authorization: ", b"Authorization:\r\n ")


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_whatever_is_sent_every_byte_is_that_of_the_dispatch(ports: Ports, route: Route) -> None:
    def differs(request: bytes) -> bool:
        for quiet in QUIET_SECONDS:
            first, second = (talk(port, request, quiet) for port in ports)
            if first == second:
                return False
        return True

    requests = list(sent(route))
    with ThreadPoolExecutor(8) as pool:  # what it takes is waiting
        found = list(pool.map(differs, requests))
    assert not any(found), [request[:300] for request, differed in zip(requests, found, strict=True) if differed]


def test_the_plain_ones_are_answered(ports: Ports) -> None:
    for route in ROUTES.values():
        assert talk(ports[0], route.request() * 3).count(b" 20") == 3
