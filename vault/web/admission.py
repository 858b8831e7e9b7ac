"""Bounded queues: a worker serves a few requests at once, lets some wait in their order, and refuses the rest at once.

Guarantees that a request waits no longer than its limit, that what is refused costs next to nothing and did nothing,
and that health, readiness and metrics are answered at any load. The server has a thread for each request that may
wait; only those that hold a slot work.

Introspections need no slot: they wait in a line of their own, where one answers for all
(`vault/services/introspecting.py`), and to wait twice would cost more than they do. Those beyond what the line answers
at once count as waiting.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import orjson

from keys import slots
from vault.config import Settings
from vault.errors import TOO_BUSY, Kind
from vault.web.oauth.introspection import is_plain
from vault.web.problems import PROBLEMS, TYPE_PREFIX

ALWAYS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_OAUTH: Final = "/oauth/"
_Wsgi = Callable[[dict[str, Any], Any], Any]


class _Waiter:
    """One waiting request: its lock is released when it is given a slot."""

    __slots__ = ("lock", "slot")

    def __init__(self) -> None:
        self.lock, self.slot = threading.Lock(), -1
        self.lock.acquire()


class Admission:
    """Stands before an application and lets in what it can bear."""

    def __init__(self, app: _Wsgi, settings: Settings, refused: Callable[[], None]) -> None:
        """Take the application, its limits, and what is called for each request that is refused."""
        self._app, self._refused = app, refused
        self._most, self._seconds = settings.waiting_requests, settings.waiting_milliseconds / 1000
        self._at_once, self._lined = settings.blocking_threads, 0
        self._lock = threading.Lock()
        self._free = list(range(settings.blocking_threads))
        self._waiting: deque[_Waiter] = deque()
        self._slots_held = 0
        problem, oauth = _bodies()
        retry = ("Retry-After", str(settings.overload_retry_seconds))
        self._problem = _answer(problem, "application/problem+json", retry)
        self._oauth = _answer(oauth, "application/json", retry)

    @property
    def working(self) -> int:
        """How many requests are served."""
        return self._slots_held + min(self._lined, self._at_once)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting) + max(self._lined - self._at_once, 0)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 - WSGI's own types
        """Answer a request, or refuse it."""
        path = environ["PATH_INFO"]
        if path in ALWAYS:
            return self._app(environ, start_response)
        if is_plain(environ):
            return self._introspection(environ, start_response)
        slot = self._take()
        if slot < 0:
            return self._refusal(path, start_response)
        slots.hold(slot)
        try:
            return self._app(environ, start_response)
        finally:
            slots.leave()
            self._give(slot)

    def _introspection(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 - WSGI's own types
        with self._lock:
            full = self._lined >= self._at_once and self.waiting >= self._most
            self._lined += not full
        if full:
            return self._refusal(environ["PATH_INFO"], start_response)
        try:
            return self._app(environ, start_response)
        finally:
            with self._lock:
                self._lined -= 1

    def _refusal(self, path: str, start_response: Any) -> list[bytes]:  # noqa: ANN401 - WSGI's own types
        self._refused()
        headers, body = self._oauth if path.startswith(_OAUTH) else self._problem
        start_response("503 Service Unavailable", headers)
        return [body]

    def _take(self) -> int:
        """Return a slot, at once or after a wait in the order of arrival; -1 if there is none."""
        with self._lock:
            if self._free:
                self._slots_held += 1
                return self._free.pop()
            if self.waiting >= self._most:
                return -1
            waiter = _Waiter()
            self._waiting.append(waiter)
        if not waiter.lock.acquire(timeout=self._seconds):
            with self._lock:
                if waiter.slot < 0:
                    self._waiting.remove(waiter)
        return waiter.slot

    def _give(self, slot: int) -> None:
        with self._lock:
            if self._waiting:
                waiter = self._waiting.popleft()
                waiter.slot = slot
                waiter.lock.release()
            else:
                self._slots_held -= 1
                self._free.append(slot)


def _bodies() -> tuple[bytes, bytes]:
    """Return the refusal in problem form and in OAuth form."""
    status, title = PROBLEMS[Kind.OVERLOADED]
    problem = {"type": TYPE_PREFIX + Kind.OVERLOADED.value, "title": title, "status": status, "detail": TOO_BUSY}
    oauth = {"error": "temporarily_unavailable", "error_description": TOO_BUSY}
    return orjson.dumps(problem), orjson.dumps(oauth)


def _answer(body: bytes, content_type: str, retry: tuple[str, str]) -> tuple[list[tuple[str, str]], bytes]:
    headers = [
        ("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"), retry,
    ]  # fmt: skip
    return headers, body
