"""Units of work on one store: leaving normally commits, raising rolls back. There is no transaction across stores."""

import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Engine, Select, select
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.exc import InterfaceError, OperationalError

from keys.engine import reading, snapshot, writing
from vault.errors import Kind, VaultError

Unit = Connection
_UNAVAILABLE = "a store cannot be read or written now; nothing was lost, try again"


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError):
        raise VaultError(Kind.UNAVAILABLE, _UNAVAILABLE, retry_after_seconds=1) from None


def inserted(unit: Unit, statement: Insert, key: Column[Any]) -> bool:
    """Insert a row where none stands yet; False if one does. `key` is any column of it."""
    return unit.execute(statement.on_conflict_do_nothing().returning(key)).first() is not None


def oldest(unit: Unit, column: Column[Any], before: int, limit: int) -> ColumnElement[bool]:
    """Return the condition of rows older than a time, but no more than about so many: what is deleted in one go.

    A range of an indexed column, so that nothing else is read; rows of the same second go together.
    """
    due = column < before
    last = unit.execute(select(column).where(due).order_by(column).offset(limit - 1).limit(1)).scalar_one_or_none()
    return due if last is None else column <= last


class Prepared:
    """A SELECT compiled once and run by the driver on a connection that each thread keeps: for the hot path.

    SQLAlchemy's own way costs several times the read itself. Rows are named tuples of what the driver gives.
    """

    __slots__ = ("_engine", "_error", "_local", "_order", "_row", "_sql")

    def __init__(self, engine: Engine, statement: Select[Any]) -> None:
        compiled = statement.compile(dialect=engine.dialect)
        self._engine, self._local, self._sql = engine, threading.local(), str(compiled)
        self._order = compiled.positiontup
        self._error: type[Exception] = engine.dialect.loaded_dbapi.Error
        row = namedtuple("row", statement.selected_columns.keys())  # type: ignore[misc]  # noqa: PYI024 - made at run time
        self._row: Callable[..., Any] = row

    def all(self, **parameters: object) -> list[Any]:
        """Return all rows; read again on a fresh connection where the thread's own was lost.

        Raises:
            VaultError: the store cannot be read now; the thread's connection is dropped.
        """
        given = parameters if self._order is None else tuple(parameters[name] for name in self._order)
        try:
            return self._rows(given)
        except (self._error, OperationalError):
            self._drop()
        try:
            return self._rows(given)
        except (self._error, OperationalError):
            self._drop()
            raise VaultError(Kind.UNAVAILABLE, _UNAVAILABLE, retry_after_seconds=1) from None

    def _rows(self, given: Any) -> list[Any]:  # noqa: ANN401 - as the driver takes it
        held = getattr(self._local, "connection", None)
        if held is None:
            held = self._local.connection = self._engine.raw_connection()
        cursor = held.cursor()
        cursor.execute(self._sql, given)
        rows = [self._row(*row) for row in cursor.fetchall()]
        cursor.close()
        return rows

    def _drop(self) -> None:
        held = getattr(self._local, "connection", None)
        self._local.connection = None
        if held is not None:
            held.invalidate()


class Store:
    """One store's engine, as services see it."""

    __slots__ = ("engine",)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def reading(self) -> Iterator[Unit]:
        """Return a connection for single statements, each its own transaction.

        Raises:
            VaultError: the store cannot be read now.
        """
        with _available(), reading(self.engine) as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Unit]:
        """Return a connection that sees one moment of the store, for reading much of it.

        Raises:
            VaultError: the store cannot be read now.
        """
        with _available(), snapshot(self.engine) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Unit]:
        """Return a connection in a write transaction.

        Raises:
            VaultError: the store cannot be written now: locked, full or gone.
        """
        with _available(), writing(self.engine) as connection:
            yield connection
