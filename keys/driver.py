"""Statements compiled once and run by the driver on a connection that each thread keeps: for the hot paths.

SQLAlchemy's own way costs several times the read itself. On PostgreSQL each statement is prepared, its values and rows
go in binary form, and it is one round trip. A connection that was lost is opened anew for the next statement.
"""

import re
import threading
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Dialect, Engine, PoolProxiedConnection, Select, Table
from sqlalchemy.sql import ClauseElement

from keys.errors import UnavailableError

_MANY: Final = re.compile(r"IN \(__\[POSTCOMPILE_(\w+)[^\]]*\]\)")
"""How SQLAlchemy spells `column.in_(bindparam(name, expanding=True))` before the values are known."""
_BEGIN: Final = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN"}
_COPIED: Final = {"BLOB": "bytea", "TEXT": "text", "BIGINT": "int8"}
_FEW: Final = 8
_MOST_VALUES: Final = 32_000
"""SQLite takes 32,766 values a statement (SQLITE_MAX_VARIABLE_NUMBER)."""


class StoreError(UnavailableError):
    """The store cannot be read or written now; the thread's connection is dropped."""

    default = "a store cannot be read or written now"


class _LostError(StoreError):
    """The server ended this connection, perhaps long ago."""


class _Compiled:
    """A statement in the words of one database."""

    __slots__ = ("_order", "_sizes", "_text", "many")

    def __init__(self, dialect: Dialect, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=dialect)
        text = str(compiled)
        self.many = tuple(_MANY.findall(text))
        self._order: Sequence[str] | None = compiled.positiontup  # type: ignore[attr-defined]
        self._sizes: dict[tuple[int, ...], str] = {}
        self._text = text if self._order is not None else _MANY.sub(r"= ANY(%(\1)s)", text)

    def fitted(self, values: Mapping[str, Any]) -> tuple[str, Any]:
        """Return text and values as the driver takes them."""
        if self._order is None:
            return self._text, values
        if not self.many:
            return self._text, [values[name] for name in self._order]
        # Not a text for each number of values: the driver keeps what it has prepared by its text.
        filled = {name: _filled(values[name]) for name in self.many}
        given: list[Any] = []
        for name in self._order:
            given += filled.get(name) or [values[name]]
        return self._of_sizes(tuple(len(filled[name]) for name in self.many)), given

    def _of_sizes(self, sizes: tuple[int, ...]) -> str:
        if sizes not in self._sizes:
            left = iter(sizes)
            self._sizes[sizes] = _MANY.sub(lambda _: f"IN ({', '.join('?' * next(left))})", self._text)
        return self._sizes[sizes]


def _filled(values: Sequence[Any]) -> list[Any]:
    size = _FEW
    while size < len(values):
        size *= 2
    return [*values, *([values[-1]] * (min(size, _MOST_VALUES) - len(values)))]


class Prepared:
    """A statement, built at import and compiled at first use; what is compared with many values takes a list.

    Rows of a SELECT are named tuples of what the driver gives.
    """

    __slots__ = ("_compiled", "_statement", "row")

    def __init__(self, statement: ClauseElement) -> None:
        self._statement, self._compiled = statement, dict[str, _Compiled]()
        self.row: Callable[[Iterable[Any]], Any] | None = None
        if isinstance(statement, Select):
            made = namedtuple("row", statement.selected_columns.keys())  # type: ignore[misc]  # noqa: PYI024 - made at run time
            self.row = made._make

    def of(self, dialect: Dialect) -> _Compiled:
        """Return it in the words of a database."""
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _Compiled(dialect, self._statement)
        return found


class Driver:
    """One store's driver connections: one a thread, opened at first use, and anew after it was lost."""

    __slots__ = ("_cursors", "_dialect", "_engine", "_error", "_local", "_options")

    def __init__(self, engine: Engine) -> None:
        self._engine, self._dialect, self._local = engine, engine.dialect, threading.local()
        self._error: type[Exception] = engine.dialect.loaded_dbapi.Error
        postgresql = engine.dialect.name == "postgresql"
        self._cursors: dict[str, Any] = {"binary": True} if postgresql else {}
        self._options: dict[str, Any] = {"prepare": True} if postgresql else {}

    def all(self, prepared: Prepared, **values: Any) -> list[Any]:  # noqa: ANN401 - what columns hold
        """Return all rows of a statement; none where one of its lists is empty.

        Raises:
            StoreError: the store cannot be read now.
        """
        compiled = prepared.of(self._dialect)
        if not all(values[name] for name in compiled.many):
            return []
        rows = self._run(*compiled.fitted(values), again=True).fetchall()
        return rows if prepared.row is None else list(map(prepared.row, rows))

    def count(self, prepared: Prepared, **values: Any) -> int:  # noqa: ANN401 - what columns hold
        """Run a statement; return how many rows it changed.

        Raises:
            StoreError: the store cannot be written now.
        """
        return int(self._run(*prepared.of(self._dialect).fitted(values)).rowcount)

    def add(self, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, each in the order of the table's columns.

        Raises:
            StoreError: one of them stands already, or the store cannot be written now.
        """
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        with self._cursor() as cursor:
            if self._options:
                with cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN (FORMAT BINARY)') as copy:
                    copy.set_types([_COPIED[str(column.type)] for column in table.columns])
                    for row in rows:
                        copy.write_row(row)
                return
            places = ", ".join("?" * len(table.columns))
            cursor.executemany(f'INSERT INTO "{table.name}" ({names}) VALUES ({places})', rows)  # noqa: S608 - names of our own schema

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Have this thread's statements in one transaction: leaving normally commits, raising rolls back.

        On PostgreSQL without the lock of other writers (ADR 15): for what unique keys and conditional updates guard.

        Raises:
            StoreError: the store cannot be written now.
        """
        self._run(_BEGIN[self._dialect.name], (), again=True)
        try:
            yield
            self._run("COMMIT", ())
        except BaseException:
            held = self._held()
            if held is not None:
                held[0].rollback()
            raise

    def _held(self) -> tuple[PoolProxiedConnection, Any] | None:
        held: tuple[PoolProxiedConnection, Any] | None = getattr(self._local, "held", None)
        return held

    def _run(self, text: str, values: Any, *, again: bool = False) -> Any:  # noqa: ANN401 - the driver's own
        """Run a statement; `again` on a fresh connection where this one was lost, for what nothing hangs on."""
        try:
            with self._cursor() as cursor:
                cursor.execute(text, values, **self._options)
                return cursor
        except _LostError:
            if not again:
                raise
        return self._run(text, values)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """Lend this thread's cursor; whatever goes wrong with it, the connection goes too."""
        held = self._held()
        try:
            if held is None:
                connection = self._engine.raw_connection()
                held = self._local.held = (connection, connection.cursor(**self._cursors))
            yield held[1]
        except self._error:
            self._local.held = None
            lost = held is not None and getattr(held[0].driver_connection, "broken", False)
            if held is not None:
                held[0].invalidate()
            raise (_LostError if lost else StoreError) from None
