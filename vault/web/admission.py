"""Bounded queues: a worker serves a few requests at once, lets some wait in their order, and refuses the rest at once.

Guarantees that a request waits no longer than its limit, that what is refused costs next to nothing and did nothing,
and that health, readiness and metrics are answered at any load. The server has a thread for each request that may
wait; only those that hold a slot work.

Introspections need no slot: they wait in a line of their own, where one answers for all
(`vault/services/introspecting.py`), and to wait twice would cost more than they do. Those beyond what the line answers
at once count as waiting.

Single registrations, exchanges and sanctions wait for each other, and are carried out in groups: who waits so lends his
slot, so that a group may be larger than there are slots. They count as introspections do.

Who listens for events rests between two looks: he gives his slot back, and waits for one again as all do. So many may
rest at a time; one more is answered at once, and so are all when the server was told to end.
"""

import select
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from keys import slots
from vault.config import Settings
from vault.errors import TOO_BUSY, Kind, VaultError
from vault.web.oauth.introspection import is_plain
from vault.web.problems import PROBLEMS, TYPE_PREFIX

ALWAYS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_OAUTH: Final = "/oauth/"
_SEAT: Final = "idvault.seat"
"""Where the WSGI environ holds what a request works in."""
_Wsgi = Callable[[dict[str, Any], Any], Any]


class _Waiter:
    """One waiting request: its lock is released when it is given a slot."""

    __slots__ = ("lock", "slot")

    def __init__(self) -> None:
        self.lock, self.slot = threading.Lock(), -1
        self.lock.acquire()


class _Seat:
    """What a request works in: its slot, which it may give back for a while, or lend while it waits for others."""

    __slots__ = ("admission", "lent", "slot")

    def __init__(self, admission: "Admission", slot: int) -> None:
        self.admission, self.slot, self.lent = admission, slot, False

    def lend(self) -> None:
        """Let others have the slot."""
        self.admission.lend(self)

    def take_back(self) -> int:
        """Return a slot again; waits until there is one, before those that have not begun."""
        return self.admission.take_back(self)


def rest(environ: Mapping[str, Any], seconds: float) -> bool:
    """Let others have this request's slot for some time; False if it is to be answered now.

    Raises:
        VaultError: too many wait for a slot afterwards.
    """
    seat = environ.get(_SEAT)
    return seconds > 0 and isinstance(seat, _Seat) and seat.admission.rest(seat, seconds)


class Admission:
    """Stands before an application and lets in what it can bear."""

    ending = -1
    """A descriptor that can be read once this process was told to end; -1 where nobody says so."""

    def __init__(self, app: _Wsgi, settings: Settings, refused: Callable[[], None]) -> None:
        """Take the application, its limits, and what is called for each request that is refused."""
        self._app, self._refused = app, refused
        self._most, self._seconds = settings.waiting_requests, settings.waiting_milliseconds / 1000
        self._at_once, self._lined, self._lent = settings.blocking_threads, 0, 0
        self._lock = threading.Lock()
        self._free = list(range(settings.blocking_threads))
        self._waiting: deque[_Waiter] = deque()
        self._slots_held = 0
        self._listening, self._listeners = 0, settings.listening_requests
        self._retry_seconds = settings.overload_retry_seconds
        problem, oauth = _bodies()
        retry = ("Retry-After", str(settings.overload_retry_seconds))
        self._problem = _answer(problem, "application/problem+json", retry)
        self._oauth = _answer(oauth, "application/json", retry)

    @property
    def working(self) -> int:
        """How many requests are served."""
        return self._slots_held + min(self._lined + self._lent, self._at_once)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting) + max(self._lined + self._lent - self._at_once, 0)

    @property
    def listening(self) -> int:
        """How many requests rest until something happens."""
        return self._listening

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
        seat = environ[_SEAT] = _Seat(self, slot)
        slots.hold(slot, seat)
        try:
            return self._app(environ, start_response)
        finally:
            self._rise(seat)

    def _rise(self, seat: _Seat) -> None:
        slots.leave()
        slot, seat.slot = seat.slot, -1
        if seat.lent:
            seat.lent = False
            with self._lock:
                self._lent -= 1
        elif slot >= 0:
            self._give(slot)

    def lend(self, seat: _Seat) -> None:
        """Take a slot back for as long as its request waits in a line."""
        slot, seat.slot, seat.lent = seat.slot, -1, True
        with self._lock:
            self._lent += 1
        self._give(slot)

    def take_back(self, seat: _Seat) -> int:
        """Return a slot for one that was lent: at once, or as soon as one is free.

        Whoever has one works, and waits for nobody who has none: so there is one soon.
        """
        seat.lent = False
        with self._lock:
            self._lent -= 1
            if self._free:
                seat.slot = self._free_slot()
                return seat.slot
            waiter = _Waiter()
            self._waiting.appendleft(waiter)
        waiter.lock.acquire()
        seat.slot = waiter.slot
        return seat.slot

    def rest(self, seat: _Seat, seconds: float) -> bool:
        """Do what `rest` says."""
        with self._lock:
            if self._listening >= self._listeners:
                return False
            self._listening += 1
        try:
            self._rise(seat)
            ended, *_ = select.select([self.ending] if self.ending >= 0 else [], [], [], seconds)
        finally:
            with self._lock:
                self._listening -= 1
        seat.slot = self._take()
        if seat.slot < 0:
            raise VaultError(Kind.OVERLOADED, TOO_BUSY, retry_after_seconds=self._retry_seconds)
        slots.hold(seat.slot, seat)
        return not ended

    def _introspection(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 - WSGI's own types
        with self._lock:
            full = self._is_full()
            self._lined += not full
        if full:
            return self._refusal(environ["PATH_INFO"], start_response)
        try:
            return self._app(environ, start_response)
        finally:
            with self._lock:
                self._lined -= 1

    def _is_full(self) -> bool:
        """Tell whether no more may wait in lines."""
        return self._lined + self._lent >= self._at_once and self.waiting >= self._most

    def _refusal(self, path: str, start_response: Any) -> list[bytes]:  # noqa: ANN401 - WSGI's own types
        self._refused()
        headers, body = self._oauth if path.startswith(_OAUTH) else self._problem
        start_response("503 Service Unavailable", headers)
        return [body]

    def _take(self) -> int:
        """Return a slot, at once or after a wait in the order of arrival; -1 if there is none."""
        with self._lock:
            # Who lent his slot has a thread all the same: a free slot is no reason to let in more than there are.
            if self._free and not (self._lent and self._is_full()):
                return self._free_slot()
            if self.waiting >= self._most:
                return -1
            waiter = _Waiter()
            self._waiting.append(waiter)
        if not waiter.lock.acquire(timeout=self._seconds):
            with self._lock:
                if waiter.slot < 0:
                    self._waiting.remove(waiter)
        return waiter.slot

    def _free_slot(self) -> int:
        """Return one of the free slots, which is held from now on; the lock is."""
        self._slots_held += 1
        return self._free.pop()

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
