import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from vault.logs import MAX_TEXT_CHARACTERS, UNNAMED_EVENT, configure, describe

MARK = "Zq7markedvalue"


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    stream = io.BytesIO()
    configure(stream)
    yield stream
    structlog.reset_defaults()


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_only_listed_fields_with_plain_values_are_written(stream: io.BytesIO) -> None:
    structlog.get_logger().info("started", role="all", name=MARK, body={MARK: MARK}, count=[MARK], state="x" * 500)
    (line,) = lines(stream)
    assert line.pop("time") == pytest.approx(time.time(), abs=5)
    assert line == {"event": "started", "level": "info", "role": "all", "dropped": 4}


@pytest.mark.parametrize("event", [f"user {MARK} came", "", "A", "x" * 65, MARK])
def test_an_event_is_a_constant_name_and_never_a_sentence(stream: io.BytesIO, event: str) -> None:
    structlog.get_logger().info(event)
    assert lines(stream)[0]["event"] == UNNAMED_EVENT
    assert MARK not in stream.getvalue().decode()


def test_of_other_libraries_only_the_place_is_kept(stream: io.BytesIO) -> None:
    logging.getLogger("some.library").warning("value %s", MARK)
    try:
        int(MARK)
    except ValueError:
        logging.getLogger("some.library").exception(MARK)
    first, second = lines(stream)
    assert (first["event"], first["logger"], first["level"]) == ("library_log", "some.library", "warning")
    assert second["level"] == "error"
    assert MARK not in stream.getvalue().decode()


def test_an_exception_is_described_without_its_text() -> None:
    def fail() -> None:
        try:
            int(MARK)
        except ValueError as cause:
            raise KeyError(MARK) from cause

    with pytest.raises(KeyError) as caught:
        fail()
    described = describe(caught.value)
    assert described["error"] == "builtins.KeyError"
    assert described["cause"] == "builtins.ValueError"
    assert described["where"].startswith("tests.web.test_logs:")
    assert describe(RuntimeError()) == {"error": "builtins.RuntimeError", "where": ""}


def test_quiet_routes_write_no_request_line() -> None:
    stream = io.BytesIO()
    log = configure(stream, frozenset({"/healthz"}))
    log.write("GET", "/healthz", 200, time.perf_counter(), None)
    log.write("GET", "/readyz", 200, time.perf_counter(), None)
    assert [line["route"] for line in lines(stream)] == ["/readyz"]


def test_a_request_line_is_cheap() -> None:
    log = configure(io.BytesIO())
    rounds = 2000
    best = min(_seconds_of(log.write, rounds) for _ in range(5))
    assert best / rounds < 50e-6  # 5 microseconds where nothing else runs


def _seconds_of(write: Any, rounds: int) -> float:
    started = time.perf_counter()
    for _ in range(rounds):
        write("POST", "/oauth/introspect", 200, started, "cli_p")
    return time.perf_counter() - started


def test_the_longest_text_of_a_field_is_bounded(stream: io.BytesIO) -> None:
    structlog.get_logger().info("started", state="x" * MAX_TEXT_CHARACTERS)
    assert len(lines(stream)[0]["state"]) == MAX_TEXT_CHARACTERS
