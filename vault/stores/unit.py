"""Units of work on one store: leaving normally commits, raising rolls back. There is no transaction across stores."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Dialect, Engine, select
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.exc import InterfaceError, OperationalError

from keys.bulk import Rows, insert_alone, insert_last
from keys.driver import Driver, Outcome, Prepared, Speaking, Step, StoreError, begun, end, run
from keys.engine import reading, snapshot, writing
from vault.errors import Kind, VaultError

__all__ = ["Outcome", "Prepared", "Rows", "Speaking", "Step", "Store", "Unit", "end", "insert_last", "inserted", "run"]

Unit = Connection
_UNAVAILABLE = "a store cannot be read or written now; nothing was lost, try again"
_OTHER_ROLE = "this role has no such store; ask a worker of the other role"


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError):
        raise _unavailable() from None


def _unavailable() -> VaultError:
    return VaultError(Kind.UNAVAILABLE, _UNAVAILABLE, retry_after_seconds=1)


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


class Store:
    """One store's engine, as services see it."""

    __slots__ = ("_driver", "engine")

    def __init__(self, engine: Engine) -> None:
        self.engine, self._driver = engine, Driver(engine)

    @property
    def dialect(self) -> Dialect:
        """What its database speaks: for statements that are made before there is a connection."""
        return self.engine.dialect

    @property
    def distant(self) -> bool:
        """Whether a statement costs a round trip to another process: then several go together where they can."""
        return self.engine.dialect.name == "postgresql"

    def rows(self, prepared: Prepared, **values: Any) -> list[Any]:  # noqa: ANN401 - what columns hold
        """Return all rows of a statement of the hot path; none where one of its lists is empty.

        Raises:
            VaultError: the store cannot be read now.
        """
        try:
            return self._driver.all(prepared, **values)
        except StoreError:
            raise _unavailable() from None

    def read(self, *steps: Step) -> list[Outcome]:
        """Run statements of the hot path that only read, in one round trip.

        Raises:
            VaultError: the store cannot be read now.
        """
        try:
            return self._driver.read(*steps)
        except StoreError:
            raise _unavailable() from None

    def close(self) -> None:
        """Close this thread's connection of the hot path, and those of the pool."""
        self._driver.close()
        self.engine.dispose()

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

    @contextmanager
    def begun(self, *steps: Step) -> Iterator[tuple[Unit, list[Outcome]]]:
        """Return a connection in a write transaction, and what became of the first statements, sent with its beginning.

        Raises:
            VaultError: the store cannot be written now: locked, full or gone.
        """
        with _available(), begun(self.engine, *steps) as (connection, outcomes):
            yield connection, outcomes

    def insert(self, *rows: Rows, steps: Sequence[Step] = ()) -> None:
        """Insert rows of several tables in a transaction of their own, after statements.

        Raises:
            IntegrityError: a row of the same key stands already, and nothing of the transaction stands.
            VaultError: the store cannot be written now: locked, full or gone.
        """
        with _available():
            insert_alone(self.engine, *rows, steps=steps)


class AbsentStore(Store):
    """The store of another role: not opened in this process, and nothing of it can be read or written here."""

    __slots__ = ()

    def __init__(self) -> None:
        """Hold no engine at all."""

    @contextmanager
    def reading(self) -> Iterator[Unit]:
        """Refuse.

        Raises:
            VaultError: always.
        """
        raise VaultError(Kind.UNAVAILABLE, _OTHER_ROLE)
        yield  # makes this a context manager like the others

    snapshot = writing = reading

    @contextmanager
    def begun(self, *steps: Step) -> Iterator[tuple[Unit, list[Outcome]]]:
        """Refuse.

        Raises:
            VaultError: always.
        """
        del steps
        raise VaultError(Kind.UNAVAILABLE, _OTHER_ROLE)
        yield  # makes this a context manager like the others

    def insert(self, *rows: Rows, steps: Sequence[Step] = ()) -> None:
        """Refuse.

        Raises:
            VaultError: always.
        """
        del rows, steps
        raise VaultError(Kind.UNAVAILABLE, _OTHER_ROLE)
