"""Sends chunks over several connections, again and again until each stands or is refused for good."""

import base64
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from vault.errors import StartError

_TIMEOUT_SECONDS: Final = 60
_RETRY_SECONDS: Final = 300.0
"""How long the vault may be away or busy before the import gives up; it may be called again then."""
_PAUSE_SECONDS: Final = 0.5
_AGAIN: Final = frozenset({409, 429, 502, 503, 504})
_UNAUTHENTICATED: Final = 401
_FIRST_ERROR: Final = 400


@dataclass(frozen=True, slots=True)
class Told:
    """What the vault said of one chunk."""

    rows: int
    refused: int


class Sender:
    """One provider's calls of `/v1/imports`; every thread has a connection of its own."""

    def __init__(self, url: str, token: Callable[[bool], str]) -> None:
        """Take the vault's URL, and what gives an access token: with True a new one."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise StartError("--url: http or https and a host, such as https://vault.example")
        self._host, self._port, self._secure = parts.hostname, parts.port, parts.scheme == "https"
        self._token, self._local = token, threading.local()
        self._stop = threading.Event()

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer to a call that may safely be made twice.

        Raises:
            StartError: the vault refuses it, or is away for too long.
        """
        data = b"" if body is None else orjson.dumps(body)
        end, renew = time.monotonic() + _RETRY_SECONDS, False
        while not self._stop.is_set():
            try:
                status, answer = self._once(method, path, data, renew=renew)
            except (OSError, HTTPException):
                self._forget()
                status, answer = 503, {}
            if status < _FIRST_ERROR:
                return answer
            renew = status == _UNAUTHENTICATED and not renew
            if not renew and (status not in _AGAIN or time.monotonic() > end):
                raise StartError(_refused(status, answer))
            if not renew:
                self._stop.wait(_PAUSE_SECONDS)
        raise StartError("the import was stopped; the same command goes on with it")

    def stop(self) -> None:
        """Make all calls that wait end."""
        self._stop.set()

    def _once(self, method: str, path: str, data: bytes, *, renew: bool) -> tuple[int, dict[str, Any]]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            kind = HTTPSConnection if self._secure else HTTPConnection
            connection = self._local.connection = kind(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self._token(renew)}", "Content-Type": "application/json"}
        connection.request(method, path, data or None, headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, orjson.loads(text) if text else {}

    def _forget(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Return all items of a list."""
        cursor = ""
        while True:
            page = self.call("GET", f"{path}?limit=1000{cursor}")
            yield from page["items"]
            if "next" not in page:
                return
            cursor = f"&cursor={page['next']}"

    def send(self, import_id: str, chunks: Iterable[tuple[int, int, list[Any]]], connections: int) -> Iterator[Told]:
        """Send chunks side by side; yield what became of each. No more are read than are under way.

        Raises:
            StartError: one is refused as a whole, or the vault is away for too long.
        """

        def one(number: int, first: int, rows: list[Any]) -> Told:
            body = {"first": first, "rows": rows}
            answer = self.call("PUT", f"/v1/imports/{import_id}/chunks/{number}", body)
            return Told(len(rows), len(answer["refused"]))

        with ThreadPoolExecutor(connections) as pool:
            waiting: set[Future[Told]] = set()
            try:
                for chunk in chunks:
                    waiting.add(pool.submit(one, *chunk))
                    if len(waiting) > connections:
                        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                        yield from (future.result() for future in done)
                yield from (future.result() for future in waiting)
            except BaseException:
                self.stop()
                raise


def _refused(status: int, answer: Mapping[str, Any]) -> str:
    if status in _AGAIN and not answer:
        return "the vault does not answer; the same command goes on with the import when it does"
    rules = "; ".join(f"{one['pointer']}: {one['detail']}" for one in answer.get("errors", ()))
    said = ": ".join(part for part in (answer.get("title", ""), answer.get("detail", ""), rules) if part)
    return f"the vault refuses the import ({status}) {said}".rstrip()


def remote_token(url: str, client_id: str, secret: str) -> Callable[[bool], str]:
    """Return what gets access tokens with a provider's own credentials, from a vault elsewhere."""
    basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    lock, held = threading.Lock(), [""]

    def token(renew: bool) -> str:  # noqa: FBT001 - the sender's own call
        with lock:
            if renew or not held[0]:
                held[0] = _granted(url, basic)
            return held[0]

    return token


def _granted(url: str, basic: str) -> str:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request("POST", "/oauth/token", "grant_type=client_credentials", headers)
        answer = orjson.loads(connection.getresponse().read())
    finally:
        connection.close()
    if "access_token" not in answer:
        raise StartError("the vault refuses the client's credentials")
    granted: str = answer["access_token"]
    return granted
