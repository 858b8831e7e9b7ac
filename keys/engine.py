"""Engines of the stores: no default transaction, one round trip a read, explicit write transactions.

SQLite is set to lose nothing that was committed and to overwrite what is deleted; a missing file is never created.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from keys.errors import SetupError

DEFAULT_BUSY_SECONDS: Final = 5
_POOL_CONNECTIONS: Final = 8
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
"""WAL with synchronous=FULL: a commit is on disk when it returns (sqlite.org/pragma.html)."""


def open_engine(url: str, *, busy_seconds: int = DEFAULT_BUSY_SECONDS) -> Engine:
    """Return the engine of a store.

    Args:
        url: a SQLAlchemy URL without a password, such as sqlite:////folder/keys.db.
        busy_seconds: how long a writer waits for another.

    Raises:
        SetupError: the URL is not one, or its SQLite file is missing.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SetupError("a store's URL is not a SQLAlchemy URL") from None
    if parsed.password is not None:
        raise SetupError("a store's URL holds no password; use peer, certificate or a password file")
    if parsed.get_backend_name() != "sqlite":
        raise SetupError("this version keeps its stores in SQLite")
    path = Path(parsed.database or "")
    if not path.is_file():
        raise SetupError(f"the store {path.stem} is missing; restore it from a backup, or set another home folder")
    # Without mode=rw a connection made after the file was taken away would make an empty one in its place.
    existing = f"file:{quote(str(path.resolve()))}?mode=rw"
    engine = create_engine(
        url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, pool_size=_POOL_CONNECTIONS, max_overflow=-1,
        creator=lambda: sqlite3.connect(existing, uri=True, timeout=busy_seconds, check_same_thread=False),
    )  # fmt: skip
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Return a connection for single statements, each its own transaction."""
    with engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Return a connection in a write transaction: leaving normally commits, raising rolls back.

    The write lock is taken at the start, so that what is read in the transaction is still so when it is written.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.rollback()  # nothing to do where SQLite ended the transaction itself, as on a full disk
            raise
