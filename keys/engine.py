"""Engines of the stores, SQLite or PostgreSQL: no default transaction, one round trip a read, explicit writes.

SQLite is set to lose nothing that was committed and to overwrite what is deleted; a missing file is never created.
"""

import random
import select
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, InvalidRequestError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from keys.errors import SetupError

DEFAULT_BUSY_SECONDS: Final = 5
_POOL_CONNECTIONS: Final = 8
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
"""WAL with synchronous=FULL: a commit is on disk when it returns (sqlite.org/pragma.html)."""

_Result = TypeVar("_Result")
_LOST: Final = frozenset({"40001", "40P01"})
"""serialization_failure and deadlock_detected (PostgreSQL, appendix A): another transaction was given way to."""
_PAUSES_SECONDS: Final = (0.01, 0.05, 0.2)
_KEEPALIVE: Final = {"keepalives_idle": 5, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""A server that is gone without a word is noticed within ten seconds (libpq; milliseconds for the last)."""

_PSYCOPG: Final = "postgresql+psycopg"
BEGIN: Final[Mapping[str, tuple[str, ...]]] = {
    "sqlite": ("BEGIN IMMEDIATE",),
    # One writer at a time, as in SQLite: what is read in a write transaction stays so until its end, without retries.
    # Those statements that follow see what was committed before the lock was had.
    "postgresql": ("BEGIN", "SELECT pg_advisory_xact_lock(1768191585)"),
}
"""What a write transaction begins with."""
_BEGIN: Final = {name: "; ".join(commands) for name, commands in BEGIN.items()}
"""The same in one round trip."""

COMMITTED: Final = "idvault_committed"
"""What a connection's `info` holds from its commit by `keys.driver.end` until its transaction is left."""

WATCHED: Final = "idvault_watched"
"""An execution option of an engine: makes the `Watch` of each of its write transactions."""
WATCH: Final = "idvault_watch"
"""What a connection's `info` holds from then until its transaction is left."""

_SNAPSHOT: Final[Mapping[str, str]] = {
    "sqlite": "BEGIN",
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
}


class _Here(threading.local):
    """What this thread is in the midst of."""

    def __init__(self) -> None:
        self.written = list[Engine]()


_here: Final = _Here()


def is_written_here(engine: Engine) -> bool:
    """Tell whether this thread is in a write transaction of an engine, in which another one would wait for itself."""
    return engine in _here.written


class Watch(Protocol):
    """Is told what one write transaction does."""

    def ran(self, text: str, values: Any) -> None:  # noqa: ANN401 - as the driver takes them
        """Take a statement that is about to be run past SQLAlchemy."""

    def silent(self) -> bool:
        """Tell whether nobody is to be told of the commit of what was taken so far: then `commits` may be left out."""

    def commits(self) -> None:
        """Do what comes before the commit, while the store's write lock is held; if it raises, there is none."""

    def over(self) -> None:
        """Do what comes after the commit, or after it failed; not called where what became of it is not known."""


def open_engine(url: str, *, busy_seconds: int = DEFAULT_BUSY_SECONDS, planned_once: bool = False) -> Engine:
    """Return the engine of a store.

    Args:
        url: a SQLAlchemy URL without a password, such as sqlite:////folder/keys.db or postgresql://keys@host/keys.
        busy_seconds: how long a writer waits for another.
        planned_once: whether one plan serves all calls of a statement, as where each looks rows up by their keys; left
            to itself PostgreSQL plans those that take lists anew for each call, which costs more than running them.

    Raises:
        SetupError: the URL is not one, or its SQLite file is missing.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SetupError("a store's URL is not a SQLAlchemy URL") from None
    if parsed.password is not None or "password" in parsed.query:
        raise SetupError("a store's URL holds no password; use peer, certificate or a password file")
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _sqlite(parsed, busy_seconds)
    if backend == "postgresql":
        return _postgresql(parsed, busy_seconds, planned_once=planned_once)
    raise SetupError("a store's URL begins with sqlite: or postgresql:")


def in_use(engine: Engine) -> int:
    """Return how many connections of this process's pool are checked out."""
    pool = engine.pool
    return pool.checkedout() if isinstance(pool, QueuePool) else 0


def _engine(url: URL, **more: Any) -> Engine:  # noqa: ANN401 - handed on
    return create_engine(
        url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, pool_size=_POOL_CONNECTIONS, max_overflow=-1,
        pool_use_lifo=True, **more,
    )  # fmt: skip


def _sqlite(url: URL, busy_seconds: int) -> Engine:
    path = Path(url.database or "")
    if not path.is_file():
        raise SetupError(f"the store {path.stem} is missing; restore it from a backup, or set another home folder")
    # Without mode=rw a connection made after the file was taken away would make an empty one in its place.
    existing = f"file:{quote(str(path.resolve()))}?mode=rw"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(existing, uri=True, timeout=busy_seconds, check_same_thread=False)

    engine = _engine(url, creator=connect)
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _postgresql(url: URL, busy_seconds: int, *, planned_once: bool) -> Engine:
    # A commit is on disk when it returns (synchronous_commit), whatever the server's own setting says.
    # Rows are looked up by their keys: plans that are made while a table is empty serve it when it is large.
    options = (
        f"-c lock_timeout={busy_seconds}s -c synchronous_commit=on -c enable_seqscan=off -c application_name=idvault"
    )
    if planned_once:
        options += " -c plan_cache_mode=force_generic_plan"
    # The driver deallocates all that is prepared on a connection, ours too, once it prepared something itself.
    arguments = {"connect_timeout": busy_seconds, "options": options, "prepare_threshold": None, **_KEEPALIVE}
    engine = _engine(url.set(drivername=_PSYCOPG), connect_args=arguments)
    event.listen(engine, "checkout", _peek)
    return engine


def _peek(connection: Any, _: ConnectionPoolEntry, __: object) -> None:  # noqa: ANN401 - the driver's own class
    """Have the pool replace a connection whose server went away while it lay there: a system call, no round trip.

    An idle server has nothing to say but its end; where it says something else, a fresh connection does no harm.
    """
    if connection.closed:
        raise DisconnectionError
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


def repeated(work: Callable[[], _Result]) -> _Result:
    """Run work, again up to three times where its transaction gave way to another's (deadlock, serialization).

    Nothing of that transaction happened; the work begins anew, so it must do what its caller may do twice.

    Raises:
        DBAPIError: it gave way four times, or failed otherwise.
    """
    for pause in _PAUSES_SECONDS:
        try:
            return work()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _LOST:
                raise
        time.sleep(pause * (1 + random.random()))  # noqa: S311 - so that two do not meet again
    return work()


def _connected(engine: Engine) -> Connection:
    """Return a connection of the pool.

    Raises:
        OperationalError: none can be had now.
    """
    try:
        return engine.connect()
    except InvalidRequestError as error:  # the pool's word for a fresh connection that was ended at once, twice
        raise OperationalError("connect", None, error) from None


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Return a connection for single statements, each its own transaction."""
    with _connected(engine) as connection:
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Return a connection that sees one moment of the store: for reading much of it, row by row."""
    with _connected(engine) as connection:
        connection.exec_driver_sql(_SNAPSHOT[engine.dialect.name])
        try:
            yield connection
        finally:
            connection.rollback()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Return a connection in a write transaction: leaving normally commits, raising rolls back.

    The write lock is taken at the start, so that what is read in the transaction is still so when it is written.
    """
    with unbegun(engine) as connection:
        _command(connection, _BEGIN[engine.dialect.name])
        yield connection


@contextmanager
def unbegun(engine: Engine) -> Iterator[Connection]:
    """Return a connection whose user begins the write transaction himself; leaving ends it as `writing` does.

    Nothing is left to commit where he committed it himself (`keys.driver.end`).
    """
    with _connected(engine) as connection:
        connection.begin()  # for SQLAlchemy's books alone: in autocommit it sends nothing
        watched: Callable[[], Watch] | None = connection.get_execution_options().get(WATCHED)
        watch = None if watched is None else watched()
        connection.info[WATCH] = watch
        _here.written.append(engine)
        try:
            yield connection
            if not connection.info.pop(COMMITTED, False):
                if watch is not None:
                    watch.commits()
                _command(connection, "COMMIT")
        except BaseException:
            if not connection.invalidated:  # one that is lost holds nothing any more
                connection.info.pop(COMMITTED, None)
            connection.rollback()  # nothing to do where SQLite ended the transaction itself, as on a full disk
            if watch is not None and _is_alive(connection):
                watch.over()
            raise
        finally:
            _here.written.remove(engine)
            if not connection.invalidated:
                connection.info.pop(WATCH, None)
        if watch is not None:
            watch.over()


def _is_alive(connection: Connection) -> bool:
    """Tell whether what became of a transaction is known: its connection was not lost with it."""
    return not (connection.invalidated or getattr(connection.connection.driver_connection, "closed", False))


def _command(connection: Connection, text: str) -> None:
    """Run what takes and gives no values, past SQLAlchemy, which costs several times as much."""
    with driver_errors(connection):
        connection.connection.driver_connection.execute(text)  # type: ignore[union-attr]


@contextmanager
def driver_errors(connection: Connection) -> Iterator[None]:
    """Raise the driver's errors as SQLAlchemy's, so that callers see the same whichever ran a statement.

    Raises:
        DBAPIError: of the class that SQLAlchemy has for it.
    """
    family = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except family as error:
        raise DBAPIError.instance("driver", None, error, family, dialect=connection.dialect) from None
