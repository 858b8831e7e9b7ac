"""Inserting many rows at once: COPY on PostgreSQL, one prepared statement on SQLite; never a statement a row.

Guarantees: within the caller's transaction, all rows or an error; errors are SQLAlchemy's, as of any other statement.
Leaves to its caller: what the values are. Rows are tuples in the order of the table's columns, without
those that have a default.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Engine, LargeBinary, Table, Text, insert
from sqlalchemy.dialects import sqlite

from keys.arrays import Numbers, Octets, Texts, copied
from keys.driver import Outcome, Speaking, Step, begun, end, once, run, tell
from keys.engine import driver_errors, writing

FEW: Final = 64
"""Up to so many rows go in one statement of arrays: a round trip, where COPY takes two and more work to begin."""
MANY: Final = 1000
"""The same for tables whose writers hold the store's lock beside threads that compute: each wait for a round trip is
one for the interpreter's lock too."""
_TYPES: Final = {LargeBinary: "bytea", Text: "text", BigInteger: "int8"}
"""What the stores' columns are in PostgreSQL; COPY in binary form needs to know."""
_LISTS: Final[dict[str, Callable[[Sequence[Any]], Any]]] = {"bytea": Octets, "text": Texts, "int8": Numbers}


def listed(column: Column[Any], values: Sequence[Any]) -> Any:  # noqa: ANN401 - one of the kinds of lists
    """Return values of a column as PostgreSQL takes a list of them."""
    return _LISTS[_TYPES[type(column.type)]](values)


class Bulk:
    """How rows come into one table; made once a table."""

    def __init__(self, table: Table, *, whole: bool = False, conflict: str = "", few: int = 0) -> None:
        """Take the table.

        Args:
            table: where rows come into.
            whole: whether rows hold the columns that have a default too.
            conflict: what becomes of rows of which one of the same key stands, in SQL: ON CONFLICT … DO …
            few: how many go in one statement of arrays; `FEW` where it is not said.
        """
        self._table, self._conflict, self._few = table, conflict, few
        self._columns = [column for column in table.columns if whole or column.server_default is None]

    def insert(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, each a tuple in the order of the table's columns.

        Raises:
            IntegrityError: a row of the same key stands already, or two of these have the same.
            DBAPIError: the store cannot be written.
        """
        if not rows:
            return
        if connection.dialect.name == "postgresql" and not self.is_few(rows) and not self._conflict:
            self._copy(connection, rows)
        else:
            run(connection, self.of(connection, rows))

    def is_few(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Tell whether rows go in one statement."""
        return len(rows) <= (self._few or FEW)

    def of(self, connection: Speaking, rows: Sequence[Sequence[Any]]) -> Step:
        """Return the insertion of a few rows, to be run together with other statements."""
        if connection.dialect.name == "postgresql":
            columns = zip(*rows, strict=True)
            return Step(self._unnest, [kind(column) for kind, column in zip(self._lists, columns, strict=True)])
        return Step(self._insert, list(map(tuple, rows)), each=True)

    def beside(self, store: Speaking, rows: Sequence[tuple[Any, Sequence[Any]]], key: Column[Any]) -> Step:
        """Return the insertion of (value, row) of those rows alone whose value stands in a column of another table."""
        names, other = self._names, key.table.name
        if store.dialect.name == "postgresql":
            kind = _TYPES[type(key.type)]
            source = f"{names} FROM unnest({self._arrays}, %s::{kind}[]) AS given ({names}, beside)"
            columns = zip(*(row for _, row in rows), strict=True)
            lists = [listed(column, values) for column, values in zip(self._columns, columns, strict=True)]
            place, values, each = "beside", [*lists, listed(key, [one for one, _ in rows])], False
        else:
            source, place = ", ".join("?" * len(self._columns)), "?"
            values, each = [(*row, one) for one, row in rows], True
        stands = f'EXISTS (SELECT 1 FROM "{other}" WHERE "{other}"."{key.name}" = {place})'  # noqa: S608 - names of our own schema
        return Step(f'INSERT INTO "{self._table.name}" ({names}) SELECT {source} WHERE {stands}', values, each=each)

    def _copy(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        driver: Any = connection.connection.driver_connection
        tell(connection, self._statement.decode(), rows)
        with driver_errors(connection), driver.cursor() as cursor, cursor.copy(self._statement) as copy:
            copy.write(copied(rows, self._types))

    @cached_property
    def _names(self) -> str:
        return ", ".join(f'"{column.name}"' for column in self._columns)

    @cached_property
    def _types(self) -> list[str]:
        return [_TYPES[type(column.type)] for column in self._columns]

    @cached_property
    def _lists(self) -> list[Callable[[Sequence[Any]], Any]]:
        return [_LISTS[name] for name in self._types]

    @cached_property
    def _statement(self) -> bytes:
        return f'COPY "{self._table.name}" ({self._names}) FROM STDIN (FORMAT BINARY)'.encode()

    @cached_property
    def _arrays(self) -> str:
        return ", ".join(f"%s::{name}[]" for name in self._types)

    @cached_property
    def _unnest(self) -> str:
        return f'INSERT INTO "{self._table.name}" ({self._names}) SELECT * FROM unnest({self._arrays}) {self._conflict}'  # noqa: S608 - names of our own schema

    @cached_property
    def _insert(self) -> str:
        statement = insert(self._table)
        compiled = statement.compile(dialect=sqlite.dialect(), column_keys=[one.name for one in self._columns])
        return f"{compiled} {self._conflict}"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table, tuples in the order of its columns."""

    bulk: Bulk
    rows: Sequence[Sequence[Any]]

    @property
    def few(self) -> bool:
        """Whether they go in one statement."""
        return self.bulk.is_few(self.rows)


def insert_all(connection: Connection, steps: Sequence[Step], *rows: Rows) -> list[Outcome]:
    """Run statements, then insert rows of several tables: in one round trip where they are few.

    Returns:
        What became of the statements.

    Raises:
        IntegrityError: a row of the same key stands already.
        DBAPIError: the store cannot be written.
    """
    outcomes = run(connection, *steps, *_together(connection, rows))
    _insert_many(connection, rows)
    return outcomes[: len(steps)]


def insert_last(connection: Connection, *rows: Rows) -> None:
    """Insert the last rows of the caller's write transaction, and commit it: in one round trip where they are few.

    Raises:
        IntegrityError: a row of the same key stands already, and nothing of the transaction stands.
        DBAPIError: the store cannot be written; or what became of the commit is not known.
    """
    _insert_many(connection, rows)
    end(connection, *_together(connection, rows))


@contextmanager
def inserting(engine: Engine, steps: Sequence[Step], *rows: Rows) -> Iterator[list[Outcome]]:
    """Begin a write transaction with statements and rows, in one round trip where they are few; leaving it commits.

    Raises:
        IntegrityError: a row of the same key stands already.
        DBAPIError: the store cannot be written.
    """
    with begun(engine, *steps, *_together(engine, rows)) as (connection, outcomes):
        _insert_many(connection, rows)
        yield outcomes[: len(steps)]


def insert_alone(engine: Engine, *rows: Rows, steps: Sequence[Step] = ()) -> None:
    """Insert rows of several tables in a write transaction of their own, after statements.

    One round trip where they are few.

    Raises:
        IntegrityError: a row of the same key stands already.
        DBAPIError: the store cannot be written.
    """
    if all(one.few for one in rows):
        once(engine, *steps, *_together(engine, rows))
        return
    with writing(engine) as connection:
        insert_all(connection, steps, *rows)


def _together(store: Speaking, rows: Iterable[Rows]) -> list[Step]:
    return [one.bulk.of(store, one.rows) for one in rows if one.rows and one.few]


def _insert_many(connection: Connection, rows: Iterable[Rows]) -> None:
    for one in rows:
        if not one.few:
            one.bulk.insert(connection, one.rows)
