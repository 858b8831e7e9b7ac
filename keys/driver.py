"""Statements compiled once and run by the driver: for the hot paths. SQLAlchemy's own way costs several times as much.

On PostgreSQL each statement is prepared, and its values and rows go in binary form, those of several statements in one
round trip. `Driver` reads on a connection that each slot of work keeps; one that was lost is opened anew. `run` works
on a connection of the caller's, within his transaction if he has one.
"""

import importlib
import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import ARRAY, Connection, Dialect, Engine, PoolProxiedConnection, Select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql.dml import UpdateBase

from keys.arrays import array
from keys.engine import BEGIN, COMMITTED, WATCH, Watch, driver_errors, unbegun
from keys.errors import UnavailableError
from keys.slots import Kept

_MANY: Final = re.compile(r"IN \(__\[POSTCOMPILE_(\w+)[^\]]*\]\)")
"""How SQLAlchemy spells `column.in_(bindparam(name, expanding=True))` before the values are known."""
_FAILED: Final = re.compile(r"constraint failed: (\w+)\.")
"""How SQLite names the column of a constraint (sqlite3.c, sqlite3UniqueConstraint)."""
_FEW: Final = 8
_MOST_VALUES: Final = 32_000
"""SQLite takes 32,766 values a statement (SQLITE_MAX_VARIABLE_NUMBER)."""


_BY_KEY: Final = """
    SELECT set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false),
           set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false)
"""
"""Statements of the hot paths look rows up by their keys, in tables of any size: one plan for all calls. Left to itself
the server plans those that take lists anew for each call, which costs more than running them."""


_PIPELINE: Final = "idvault_pipeline"
"""What a connection's `info` holds for as long as the driver's connection is the same."""


class StoreError(UnavailableError):
    """The store cannot be read now; its connection is dropped."""

    default = "a store cannot be read now"


class _LostError(StoreError):
    """The server ended this connection, perhaps long ago."""


class _Compiled:
    """A statement in the words of one database."""

    __slots__ = ("_fixed", "_lists", "_order", "_sizes", "_text", "many")

    def __init__(self, dialect: Dialect, statement: Select[Any] | UpdateBase) -> None:
        compiled = statement.compile(dialect=dialect)
        text = str(compiled)
        self.many = tuple(_MANY.findall(text))
        self._lists = (*self.many, *(name for name, one in compiled.binds.items() if isinstance(one.type, ARRAY)))
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self._order: Sequence[str] | None = compiled.positiontup
        self._sizes: dict[tuple[int, ...], str] = {}
        self._text = text if self._order is not None else _MANY.sub(r"= ANY(%(\1)s)", text)

    def fitted(self, values: Mapping[str, Any]) -> tuple[str, Any]:
        """Return text and values as the driver takes them."""
        if self._fixed:
            values = {**self._fixed, **values}
        if self._order is None:
            lists = {name: array(values[name]) for name in self._lists}
            return self._text, {**values, **lists} if lists else values
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
    if not values:
        return [None] * size  # equal to nothing
    while size < len(values):
        size *= 2
    return [*values, *([values[-1]] * (min(size, _MOST_VALUES) - len(values)))]


@dataclass(frozen=True, slots=True)
class Step:
    """A statement with its values as the driver takes them; `each` where the values are those of many runs of it."""

    text: str
    values: Any
    row: Callable[[Iterable[Any]], Any] = tuple
    each: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a statement: its rows, and how many it wrote."""

    rows: list[Any]
    count: int


class Speaking(Protocol):
    """A connection, an engine or a store: what a statement is put in the words of."""

    @property
    def dialect(self) -> Dialect:
        """What its database speaks."""


class Prepared:
    """A statement, built at import and compiled at first use; what is compared with many values takes a list.

    Rows of a SELECT are named tuples of what the driver gives.
    """

    __slots__ = ("_compiled", "row", "statement")

    def __init__(self, statement: Select[Any] | UpdateBase) -> None:
        self.statement, self._compiled = statement, dict[str, _Compiled]()
        self.row: Callable[[Iterable[Any]], Any] = tuple
        if isinstance(statement, Select):
            made = namedtuple("row", statement.selected_columns.keys())  # type: ignore[misc]  # noqa: PYI024 - made at run time
            self.row = made._make

    def on(self, connection: "Speaking", **values: Any) -> Step:  # noqa: ANN401 - what columns hold
        """Return it with values, to be run; one of its lists that is empty matches no row."""
        return Step(*self.of(connection.dialect).fitted(values), self.row)

    def of(self, dialect: Dialect) -> _Compiled:
        """Return it in the words of a database."""
        found = self._compiled.get(dialect.name)
        if found is None:
            found = self._compiled[dialect.name] = _Compiled(dialect, self.statement)
        return found


class Driver:
    """One store's driver connections: one a slot of work or thread, opened at first use, and anew after it was lost."""

    __slots__ = ("_dialect", "_engine", "_errors", "_kept")

    def __init__(self, engine: Engine) -> None:
        self._engine, self._dialect, self._kept = engine, engine.dialect, Kept()
        # The driver's own errors, and SQLAlchemy's where a connection is opened through its pool.
        self._errors: tuple[type[Exception], ...] = (engine.dialect.loaded_dbapi.Error, SQLAlchemyError)

    def all(self, prepared: Prepared, **values: Any) -> list[Any]:  # noqa: ANN401 - what columns hold
        """Return all rows of a statement; none where one of its lists is empty.

        Raises:
            StoreError: the store cannot be read now.
        """
        compiled = prepared.of(self._dialect)
        if not all(values[name] for name in compiled.many):
            return []
        return self.read(Step(*compiled.fitted(values), prepared.row))[0].rows

    def read(self, *steps: Step) -> list[Outcome]:
        """Run statements that only read: one round trip on PostgreSQL.

        Raises:
            StoreError: the store cannot be read now.
        """
        try:
            return self._run(steps)
        except _LostError:  # reading again changes nothing
            return self._run(steps)

    def close(self) -> None:
        """Close the connection that is kept here."""
        held = self._held()
        if held is not None:
            self._kept.here().held = None
            held.close()

    def _held(self) -> PoolProxiedConnection | None:
        held: PoolProxiedConnection | None = getattr(self._kept.here(), "held", None)
        return held

    def _run(self, steps: Sequence[Step]) -> list[Outcome]:
        """Run statements on the connection that is kept here; whatever goes wrong with it, the connection goes."""
        held = self._held()
        try:
            if held is None:
                held = self._kept.here().held = self._engine.raw_connection()
                if self._dialect.name == "postgresql":
                    _speak(self._dialect, held, (Step(_BY_KEY, ()),))
            return _speak(self._dialect, held, steps)
        except self._errors:
            self._kept.here().held = None
            lost = held is not None and getattr(held.driver_connection, "broken", False)
            if held is not None:
                held.invalidate()
            raise (_LostError if lost else StoreError) from None


def run(connection: Connection, *steps: Step) -> list[Outcome]:
    """Run statements one after the other on the caller's connection: one round trip on PostgreSQL.

    Within a transaction none after one that failed is run.

    Raises:
        DBAPIError: one of them failed.
    """
    return _run(connection, (), steps, ())


def end(connection: Connection, *steps: Step) -> list[Outcome]:
    """Run the last statements of the caller's write transaction, and commit it: one round trip on PostgreSQL.

    Raises:
        DBAPIError: one failed, and nothing of the transaction stands; or what became of the commit is not known.
    """
    outcomes = _run(connection, (), steps, ("COMMIT",))
    connection.info[COMMITTED] = True
    return outcomes


@contextmanager
def begun(engine: Engine, *steps: Step) -> Iterator[tuple[Connection, list[Outcome]]]:
    """Return a connection in a write transaction, as `writing` does, and what became of its first statements.

    They are sent with its beginning, in one round trip on PostgreSQL; they see what was committed before its lock.
    """
    with unbegun(engine) as connection:
        yield connection, _run(connection, BEGIN[engine.dialect.name], steps, ())
        if COMMITTED not in connection.info:
            end(connection)


def once(engine: Engine, *steps: Step) -> list[Outcome]:
    """Run statements in a write transaction of their own: one round trip on PostgreSQL.

    Raises:
        DBAPIError: one failed, and nothing of them stands; or what became of the commit is not known.
    """
    with unbegun(engine) as connection:
        begin, watch = BEGIN[engine.dialect.name], connection.info[WATCH]
        _tell(connection, steps)
        if watch is not None and not watch.silent():  # who watches is told of the commit with the write lock held
            _send(connection, begin, (), ())
            begin = ()
            watch.commits()
        outcomes = _send(connection, begin, steps, ("COMMIT",))
        connection.info[COMMITTED] = True
    return outcomes


def table_of(error: DBAPIError) -> str:
    """Return the table whose constraint a statement did not keep, nothing where the database does not say."""
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is not None:
        return diagnosis.table_name or ""
    found = _FAILED.search(str(error.orig))
    return "" if found is None else found[1]


def tell(connection: Connection, text: str, values: Any) -> None:  # noqa: ANN401 - as the driver takes them
    """Tell who watches the caller's transaction, if anybody does, of a statement that is run past SQLAlchemy."""
    watch: Watch | None = connection.info.get(WATCH)
    if watch is not None:
        watch.ran(text, values)


def _run(connection: Connection, before: Sequence[str], steps: Sequence[Step], after: Sequence[str]) -> list[Outcome]:
    _tell(connection, steps)
    watch: Watch | None = connection.info.get(WATCH)
    if after and watch is not None:
        watch.commits()
    return _send(connection, before, steps, after)


def _tell(connection: Connection, steps: Sequence[Step]) -> None:
    for step in steps:
        tell(connection, step.text, step.values)


def _send(connection: Connection, before: Sequence[str], steps: Sequence[Step], after: Sequence[str]) -> list[Outcome]:
    first, last = [Step(text, ()) for text in before], [Step(text, ()) for text in after]
    with driver_errors(connection):
        outcomes = _speak(connection.dialect, connection.connection, (*first, *steps, *last))
    return outcomes[len(before) : len(before) + len(steps)]


def _speak(dialect: Dialect, connection: PoolProxiedConnection, steps: Sequence[Step]) -> list[Outcome]:
    """Run statements on a connection as its driver takes them; its errors are the driver's own."""
    driver: Any = connection.driver_connection
    if dialect.name != "postgresql":
        return [_outcome(step, _executed(driver.cursor(), step)) for step in steps]
    if not steps:
        return []
    pipeline = connection.info.get(_PIPELINE)
    if pipeline is None:
        made = importlib.import_module("keys.pipeline")
        pipeline = connection.info[_PIPELINE] = made.Pipeline(driver)
    return [Outcome(*answer) for answer in pipeline.run([(step.text, step.values, step.row) for step in steps])]


def _executed(cursor: Any, step: Step) -> Any:  # noqa: ANN401 - the driver's own
    return cursor.executemany(step.text, step.values) if step.each else cursor.execute(step.text, step.values)


def _outcome(step: Step, cursor: Any) -> Outcome:  # noqa: ANN401 - the driver's own
    rows = [] if cursor.description is None else list(map(step.row, cursor.fetchall()))
    return Outcome(rows, cursor.rowcount)
