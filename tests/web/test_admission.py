"""Bounded queues: what one worker serves at once, lets wait in order, and refuses; without a server."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from keys import slots
from vault.config import Settings
from vault.errors import Kind, VaultError
from vault.web.admission import ALWAYS, Admission, rest


class Work:
    """An application whose requests last until they are let go; it knows how many there were at once."""

    def __init__(self) -> None:
        self.go, self.lock = threading.Event(), threading.Lock()
        self.now = self.most = 0
        self.order: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] in ALWAYS:
            start_response("200 OK", [])
            return [b"always"]
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.order.append(environ["PATH_INFO"])
        self.go.wait(5)
        with self.lock:
            self.now -= 1
        if environ["PATH_INFO"] == "/fails":
            raise ZeroDivisionError
        start_response("200 OK", [])
        return [b"done"]


class Caller(threading.Thread):
    """One request in a thread of its own."""

    def __init__(self, admission: Admission, path: str, method: str = "GET") -> None:
        super().__init__(daemon=True)
        self.method = method
        self.admission, self.path = admission, path
        self.status, self.headers, self.body = "", dict[str, str](), b""

    def run(self) -> None:
        try:
            self.body = b"".join(self.admission({"PATH_INFO": self.path, "REQUEST_METHOD": self.method}, self._start))
        except ZeroDivisionError:
            self.status = "failed"

    def _start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, dict(headers)


def until(holds: Any) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


@contextmanager
def full(threads: int = 2, waiting: int = 3, milliseconds: int = 5000) -> Iterator[tuple[Admission, Work, list[int]]]:
    """An admission whose slots are all taken, its work, and the list of refusals."""
    work, refusals = Work(), list[int]()
    settings = Settings(blocking_threads=threads, waiting_requests=waiting, waiting_milliseconds=milliseconds)
    admission = Admission(work, settings, lambda: refusals.append(1))
    busy = [Caller(admission, f"/busy{i}") for i in range(threads)]
    for caller in busy:
        caller.start()
    until(lambda: work.now == threads)
    yield admission, work, refusals
    work.go.set()
    for caller in busy:
        caller.join(5)
        assert caller.status == "200 OK"


def asked(admission: Admission, path: str) -> Caller:
    caller = Caller(admission, path)
    caller.start()
    return caller


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_work_at_once_than_there_are_slots_and_the_rest_waits_in_its_order(threads: int) -> None:
    with full(threads) as (admission, work, refusals):
        waiting = []
        for i in range(3):
            waiting.append(asked(admission, f"/wait{i}"))
            until(lambda i=i: admission.waiting == i + 1)
        assert (work.now, admission.working) == (threads, threads)
        work.go.set()
        for caller in waiting:
            caller.join(5)
        assert [caller.status for caller in waiting] == ["200 OK"] * 3
        assert work.most == threads
        if threads == 1:  # of two that are let in together, either may be the first to say so
            assert work.order[1:] == ["/wait0", "/wait1", "/wait2"]
    assert refusals == []
    assert (admission.working, admission.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("path", "form", "member"),
    [("/v1/registrations", "application/problem+json", b'"urn:idvault:problem:overloaded"'),
     ("/oauth/introspect", "application/json", b'"temporarily_unavailable"')],
)  # fmt: skip
def test_who_finds_the_queue_full_is_refused_at_once_in_the_form_of_the_route(
    path: str,
    form: str,
    member: bytes,
) -> None:
    with full(waiting=1) as (admission, _, refusals):
        asked(admission, "/wait")
        until(lambda: admission.waiting == 1)
        refused = asked(admission, path)
        refused.join(1)
        assert refused.status == "503 Service Unavailable"
        assert (refused.headers["Content-Type"], refused.headers["Retry-After"]) == (form, "1")
        assert int(refused.headers["Content-Length"]) == len(refused.body)
        assert member in refused.body
        assert refusals == [1]


def test_who_has_waited_too_long_is_refused_and_leaves_the_queue() -> None:
    with full(milliseconds=50) as (admission, work, _):
        refused = asked(admission, "/wait")
        refused.join(2)
        assert refused.status == "503 Service Unavailable"
        assert admission.waiting == 0
        work.go.set()
    assert (admission.working, "/wait" in work.order) == (0, False)


@pytest.mark.parametrize("path", sorted(ALWAYS))
def test_health_readiness_and_metrics_are_answered_when_the_queue_is_full(path: str) -> None:
    with full(waiting=1) as (admission, _, _):
        asked(admission, "/wait")
        until(lambda: admission.waiting == 1)
        always = asked(admission, path)
        always.join(1)
        assert (always.status, always.body) == ("200 OK", b"always")


def test_a_request_that_fails_gives_its_slot_back() -> None:
    with full(threads=1) as (admission, work, _):
        failing = asked(admission, "/fails")
        until(lambda: admission.waiting == 1)
        work.go.set()
        failing.join(5)
        assert failing.status == "failed"
    until(lambda: admission.working == 0)


def introspected(admission: Admission) -> Caller:
    caller = Caller(admission, "/oauth/introspect", "POST")
    caller.start()
    return caller


def test_introspections_need_no_slot_and_those_beyond_what_is_answered_at_once_count_as_waiting() -> None:
    with full(threads=2, waiting=3) as (admission, work, refusals):
        answered = [introspected(admission) for _ in range(2)]
        until(lambda: work.now == 4)
        assert (admission.working, admission.waiting) == (4, 0)
        answered += [introspected(admission) for _ in range(2)]
        until(lambda: admission.waiting == 2)
        waits = asked(admission, "/wait")
        until(lambda: admission.waiting == 3)
        for refused in (introspected(admission), asked(admission, "/refused")):
            refused.join(1)
            assert refused.status == "503 Service Unavailable"
        assert refusals == [1, 1]
        work.go.set()
        for caller in (*answered, waits):
            caller.join(5)
            assert caller.status == "200 OK"
    assert (admission.working, admission.waiting) == (0, 0)


def test_introspections_are_answered_where_all_others_fill_the_queue() -> None:
    with full(waiting=1) as (admission, work, _):
        asked(admission, "/wait")
        until(lambda: admission.waiting == 1)
        introspected(admission)
        until(lambda: work.now == 3)


class Listener:
    """An application whose requests rest as long as they are told to."""

    def __init__(self) -> None:
        self.rested = list[bool]()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/listen":
            self.rested.append(rest(environ, 5))
        start_response("200 OK", [])
        return [b"done"]


def test_who_rests_gives_his_slot_away_and_takes_one_again_and_so_many_rest_at_a_time() -> None:
    listener, refusals = Listener(), list[int]()
    read, write = os.pipe()
    admission = Admission(listener, Settings(blocking_threads=1, listening_requests=2), lambda: refusals.append(1))
    admission.ending = read
    resting = [asked(admission, "/listen") for _ in range(2)]
    until(lambda: admission.listening == 2)
    assert (admission.working, admission.waiting) == (0, 0)
    for path in ("/other", "/listen"):
        other = asked(admission, path)
        other.join(1)
        assert other.status == "200 OK"
    assert listener.rested == [False], "one too many is answered now"
    os.write(write, b"\x0f")
    for caller in resting:
        caller.join(1)
        assert caller.status == "200 OK"
    assert listener.rested == [False] * 3, "told to end, nobody rests on"
    assert (admission.working, admission.waiting, admission.listening, refusals) == (0, 0, 0, [])
    for descriptor in (read, write):
        os.close(descriptor)


def test_who_rested_and_finds_the_queue_full_is_refused_and_leaves_no_slot_taken() -> None:
    work, outcome = Work(), list[object]()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/listen":
            return work(environ, start_response)
        try:
            outcome.append(rest(environ, 1.5))
        except VaultError as error:
            outcome.append(error.kind)
        start_response("200 OK", [])
        return [b"done"]

    refusals = list[int]()
    settings = Settings(blocking_threads=1, waiting_requests=1, waiting_milliseconds=5000)
    admission = Admission(app, settings, lambda: refusals.append(1))
    listener = asked(admission, "/listen")
    until(lambda: admission.listening == 1)
    busy, waiting = asked(admission, "/busy"), asked(admission, "/wait")
    until(lambda: admission.waiting == 1)
    listener.join(5)
    assert (outcome, refusals) == ([Kind.OVERLOADED], []), "it is counted where it is answered"
    work.go.set()
    for caller in (busy, waiting):
        caller.join(2)
        assert caller.status == "200 OK"
    assert (admission.working, admission.waiting) == (0, 0)


class Line:
    """An application whose requests lend their slots until they are let go, and then take one again if they are to."""

    def __init__(self) -> None:
        self.go, self.again = threading.Event(), threading.Event()
        self.lock, self.lent = threading.Lock(), 0
        self.order: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path.startswith("/line"):
            slots.lend()
            with self.lock:
                self.lent += 1
            assert self.go.wait(5)
        if path.startswith("/line/leads"):
            slots.take_back()
        with self.lock:
            self.order.append(path)
        if path.endswith("/fails"):
            raise ZeroDivisionError
        if path == "/busy":
            assert self.again.wait(5)
        start_response("200 OK", [])
        return [b"done"]


def lined(threads: int, waiting: int) -> tuple[Admission, Line, list[int]]:
    line, refusals = Line(), list[int]()
    settings = Settings(blocking_threads=threads, waiting_requests=waiting, waiting_milliseconds=5000)
    return Admission(line, settings, lambda: refusals.append(1)), line, refusals


def test_more_wait_in_a_line_than_there_are_slots_and_others_are_served_meanwhile() -> None:
    admission, line, refusals = lined(threads=1, waiting=4)
    callers = [asked(admission, f"/line/{number}") for number in range(3)]
    until(lambda: line.lent == 3)
    assert (admission.working, admission.waiting) == (1, 2), "those beyond what is done at once count as waiting"
    other = asked(admission, "/other")
    other.join(2)
    assert other.status == "200 OK"
    line.go.set()
    for caller in callers:
        caller.join(2)
        assert caller.status == "200 OK"
    assert (admission.working, admission.waiting, refusals) == (0, 0, [])


def test_who_takes_a_slot_again_comes_before_those_that_have_not_begun() -> None:
    admission, line, refusals = lined(threads=1, waiting=4)
    leads = asked(admission, "/line/leads")
    until(lambda: line.lent == 1)
    busy = asked(admission, "/busy")
    until(lambda: "/busy" in line.order)
    late = asked(admission, "/late")
    until(lambda: admission.waiting == 1)
    line.go.set()
    until(lambda: admission.waiting == 2)
    line.again.set()
    for caller in (leads, busy, late):
        caller.join(2)
        assert caller.status == "200 OK"
    assert line.order == ["/busy", "/line/leads", "/late"]
    assert (admission.working, admission.waiting, refusals) == (0, 0, [])


@pytest.mark.parametrize("path", ["/line/fails", "/line/leads/fails"])
def test_a_request_that_fails_in_a_line_leaves_no_place_taken(path: str) -> None:
    admission, line, _ = lined(threads=1, waiting=1)
    line.go.set()
    for _ in range(4):
        failing = asked(admission, path)
        failing.join(2)
        assert failing.status == "failed"
    assert (admission.working, admission.waiting) == (0, 0)


def test_a_line_is_bounded_though_slots_are_free() -> None:
    admission, line, refusals = lined(threads=2, waiting=1)
    callers = [asked(admission, f"/line/{number}") for number in range(3)]
    until(lambda: line.lent == 3)
    refused = asked(admission, "/line/refused")
    refused.join(2)
    assert (refused.status, refusals) == ("503 Service Unavailable", [1])
    line.go.set()
    for caller in callers:
        caller.join(2)
        assert caller.status == "200 OK"
    again = asked(admission, "/other")
    again.join(2)
    assert (again.status, admission.working, admission.waiting) == ("200 OK", 0, 0)
