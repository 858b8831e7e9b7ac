"""Prepared statements on a connection to PostgreSQL, sent together: one write to the socket and one wait for them all.

The driver's own pipeline makes a cursor for each statement, and writes each to the socket as it comes: for statements
that take the server some microseconds that costs more than all else. Here they go through its libpq (`psycopg.pq`),
with its own loops for waiting.

Guarantees: no statement after one that failed is run. All answers are read before anything is raised, or the connection
is closed. Leaves to its caller: that one thread at a time uses a connection.
"""

import re
import struct
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Final

from psycopg import Connection, errors
from psycopg.adapt import Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from keys.arrays import Numbers, Octets, Texts

_HOLE: Final = re.compile(r"%(?:\((\w+)\)s|s|%)")
"""Where a value goes in a statement, by its name or by its place; %% is a per cent sign."""
_int8: Final = struct.Struct("!q").pack


def _of_nothing(values: Sequence[None]) -> bytes:
    """Return a list that says nothing of the type of its values: there are none, or nulls alone."""
    if any(value is not None for value in values):
        raise TypeError("a list of a store's values is one of keys.arrays")
    return f"{{{','.join(['NULL'] * len(values))}}}".encode()


_Sent = tuple[int, bytes | None, Format]
"""(type as pg_type.dat numbers it, value, its form); 0 where the server is to find out the type"""
_SENT: Final[Mapping[type, Callable[[Any], _Sent]]] = {
    bytes: lambda value: (17, value, Format.BINARY),
    str: lambda value: (25, value.encode(), Format.BINARY),
    int: lambda value: (20, _int8(value), Format.BINARY),
    bool: lambda value: (16, bytes((value,)), Format.BINARY),
    type(None): lambda _: (0, None, Format.BINARY),
    Octets: lambda value: (1001, value.sent(), Format.BINARY),
    Texts: lambda value: (1009, value.sent(), Format.BINARY),
    Numbers: lambda value: (1016, value.sent(), Format.BINARY),
    list: lambda value: (0, _of_nothing(value), Format.TEXT),
}
"""How a value is sent, by its type."""
_Key = tuple[bytes, tuple[int, ...]]
"""A statement and the types of its values."""
Statement = tuple[str, Any, Callable[[Iterable[Any]], Any]]
"""(text, values by name or in order, what makes a row of its columns)"""
Answer = tuple[list[Any], int]
"""(rows, how many were read or written)"""


class Pipeline:
    """One connection, and what is prepared there."""

    __slots__ = ("_connection", "_count", "_loads", "_prepared")

    def __init__(self, connection: "Connection[Any]") -> None:
        self._connection, self._loads = connection, Transformer(connection)
        self._prepared: dict[_Key, bytes] = {}
        self._count = 0

    def run(self, statements: Sequence[Statement]) -> list[Answer]:
        """Run statements one after the other.

        Raises:
            psycopg.Error: one failed, or the connection is lost.
        """
        pgconn, fresh, places = self._connection.pgconn, dict[_Key, bytes](), list[int]()
        results: list[list[PGresult]] | None = None
        pgconn.enter_pipeline_mode()
        try:
            for text, values, _ in statements:
                self._send(pgconn, fresh, text, values)
                places.append(len(places) + len(fresh))
            pgconn.pipeline_sync()
            results = self._connection.wait(_answered(pgconn, len(places) + len(fresh) + 1))
        finally:
            if results is not None:
                pgconn.exit_pipeline_mode()
            elif pgconn.status != ConnStatus.BAD:
                self._connection.close()  # what else it answers is nobody's
        for result in results:
            if result[0].status == ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result[0])
        self._prepared |= fresh
        return [self._answer(results[at][0], row) for at, (_, _, row) in zip(places, statements, strict=True)]

    def _send(self, pgconn: PGconn, fresh: dict[_Key, bytes], text: str, values: Any) -> None:  # noqa: ANN401 - by name or in order
        numbered, names = _numbered(text)
        sent = [
            _SENT.get(type(value), _sent_otherwise)(value)
            for value in (values if names is None else [values[name] for name in names])
        ]
        key = numbered, tuple([kind for kind, _, _ in sent])
        name = self._prepared.get(key) or fresh.get(key)
        if name is None:
            self._count += 1  # a name that failed stays taken: the statement may have come before what failed
            name = fresh[key] = b"idvault_%d" % self._count
            pgconn.send_prepare(name, *key)
        given, forms = [value for _, value, _ in sent], [form for _, _, form in sent]
        pgconn.send_query_prepared(name, given, forms, Format.BINARY)

    def _answer(self, result: PGresult, row: Callable[[Iterable[Any]], Any]) -> Answer:
        if result.status != ExecStatus.TUPLES_OK:
            return [], result.command_tuples or 0
        if not result.ntuples:
            return [], 0
        self._loads.set_pgresult(result, format=Format.BINARY)
        rows = self._loads.load_rows(0, result.ntuples, row)
        return rows, result.ntuples


_KNOWN: Final[dict[str, tuple[bytes, tuple[str, ...] | None]]] = {}
"""What was made of each text: they are those of our own modules, so few."""


def _numbered(text: str) -> tuple[bytes, tuple[str, ...] | None]:
    """Return a statement as the server takes it, and the names of its values in order; None if they have no names."""
    if text not in _KNOWN:
        _KNOWN[text] = _made(text)
    return _KNOWN[text]


def _made(text: str) -> tuple[bytes, tuple[str, ...] | None]:
    names: dict[str, int] = {}
    count = 0

    def hole(found: re.Match[str]) -> str:
        nonlocal count
        if found[0] == "%%":
            return "%"
        if found[1] is not None:
            return f"${names.setdefault(found[1], len(names) + 1)}"
        count += 1
        return f"${count}"

    numbered = _HOLE.sub(hole, text).encode()
    return numbered, tuple(names) if names else None


def _sent_otherwise(value: Any) -> _Sent:  # noqa: ANN401 - of a class of ours, or one that is not sent
    """Return a value of a class that is a kind of text or number, such as an enumeration's.

    Raises:
        TypeError: it is of none.
    """
    for kind in (str, int, bytes):
        if isinstance(value, kind):
            return _SENT[kind](value)
    raise TypeError(f"no value of a store: {type(value).__name__}")


def _answered(pgconn: PGconn, count: int) -> Generator[Any, Any, list[list[PGresult]]]:
    yield from send(pgconn)
    results = []
    for _ in range(count):
        results.append((yield from fetch_many(pgconn)))  # noqa: PERF401 - a comprehension cannot hand on
    return results
