"""Operational logs: JSON lines on standard error, with constant event names and fields from an allow-list.

Guarantees that no body, query, header or exception text is written: a field that is not on the list, or whose value
is not plain, is dropped and counted. One line per request, written without the logging machinery's costs.
"""

import logging
import os
import re
import sys
import threading
import time
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, BinaryIO, Final

import orjson
import structlog

FIELDS: Final = frozenset({
    "event", "level", "time", "method", "route", "status", "duration_ms", "request_id", "client", "incident", "error",
    "cause", "where", "logger", "count", "role", "socket", "store", "state", "seconds", "attempt", "version", "workers",
    "pid", "reason",
})  # fmt: skip
"""The names of all fields that a line may have; none is meant for personal values, secrets or tokens."""
MAX_TEXT_CHARACTERS: Final = 200
UNNAMED_EVENT: Final = "unnamed"
_EVENT: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_OUR_PACKAGES: Final = ("vault.", "keys.")


class RequestLog:
    """Writes the request lines of one process; `quiet` names the routes that write none."""

    def __init__(self, stream: BinaryIO, quiet: frozenset[str] = frozenset()) -> None:
        self._write, self._flush, self._lock, self._quiet = stream.write, stream.flush, threading.Lock(), quiet

    def write(self, method: str, route: str, status: int, started: float, client: str | None) -> float:
        """Write one line; return how many seconds the request took.

        Args:
            method: the HTTP method, one that the route map knows.
            route: the rule that matched, never the path.
            status: of the answer.
            started: `time.perf_counter()` at the start.
            client: the client id once it was authenticated.
        """
        seconds = time.perf_counter() - started
        if route in self._quiet:
            return seconds
        line = orjson.dumps(
            {
                "event": "request",
                "time": round(time.time(), 3),
                "method": method,
                "route": route,
                "status": status,
                "duration_ms": round(seconds * 1000, 2),
                "request_id": os.urandom(8).hex(),
                "client": client,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        with self._lock:
            self._write(line)
            self._flush()
        return seconds


def event(name: str, **fields: str | int) -> None:
    """Write one line; `name` is a constant, the fields are of the allow-list."""
    structlog.get_logger().info(name, **fields)


def configure(stream: BinaryIO | None = None, quiet: frozenset[str] = frozenset()) -> RequestLog:
    """Set up logging for this process and return the log of its requests.

    Args:
        stream: where lines go; standard error by default.
        quiet: route rules whose requests are not logged.
    """
    stream = sys.stderr.buffer if stream is None else stream
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, _allow, _stamp, _render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Library()], level=logging.WARNING, force=True)
    return RequestLog(stream, quiet)


def describe(error: BaseException) -> dict[str, str]:
    """Return what may be logged of an exception: its type, its cause's type and where it came from; never its text."""
    cause = error.__cause__ or error.__context__
    fields = {"error": _type_name(error), "where": _where(error.__traceback__)}
    return fields | ({"cause": _type_name(cause)} if cause is not None else {})


def _type_name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _where(traceback: TracebackType | None) -> str:
    """Return module:line of the innermost frame in our packages, of the innermost one where none is ours."""
    ours = innermost = ""
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__", ""))
        innermost = f"{name}:{traceback.tb_lineno}"
        ours = innermost if name.startswith(_OUR_PACKAGES) else ours
        traceback = traceback.tb_next
    return ours or innermost


def _plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT_CHARACTERS
    return value is None or isinstance(value, bool | int | float)


def _allow(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    kept = {name: value for name, value in fields.items() if name in FIELDS and _plain(value)}
    dropped = len(fields) - len(kept)
    if not _EVENT.fullmatch(str(kept.get("event", ""))):
        kept["event"] = UNNAMED_EVENT
        dropped += 1
    return kept | {"dropped": dropped} if dropped else kept


def _stamp(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    fields["time"] = round(time.time(), 3)
    return fields


def _render(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> bytes:
    return orjson.dumps(fields)


class _Library(logging.Handler):
    """Libraries write sentences with values in them: only who wrote, how loud and from where is kept."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("library_log", logger=record.name, where=f"{record.module}:{record.lineno}")
