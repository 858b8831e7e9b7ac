"""The floor on SQLite: raw `sqlite3`, WAL and `synchronous=FULL`; see `bench/floor.py`.

FLOOR_DB=floor.db granian --interface wsgi --workers 2 --blocking-threads 1 --no-ws bench.floor_sqlite:app
"""

import os
import sqlite3
import threading
from collections.abc import Sequence
from typing import Final

from bench import floor
from bench.floor import Row

_INSERT: Final = "insert into floor values (?, ?, ?)"
_local: Final = threading.local()


def connect(path: str) -> sqlite3.Connection:
    """Return a connection that commits each statement durably, as the vault's do."""
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def load(path: str) -> None:
    """Make the table with its rows."""
    connection = connect(path)
    connection.execute("create table floor (id blob primary key, nonce blob not null, sealed blob not null)")
    connection.execute("begin")
    connection.executemany(_INSERT, floor.rows())
    connection.execute("commit")
    connection.close()


def insert(connection: sqlite3.Connection, row: Row) -> None:
    """Insert a row durably."""
    connection.execute(_INSERT, row)


def _connection() -> sqlite3.Connection:
    held: sqlite3.Connection | None = getattr(_local, "connection", None)
    if held is None:
        held = _local.connection = connect(os.environ["FLOOR_DB"])
    return held


def _read(key: bytes) -> Row:
    found: Row = _connection().execute("select id, nonce, sealed from floor where id = ?", (key,)).fetchone()
    return found


def _read_all(keys: Sequence[bytes]) -> Sequence[Row]:
    marks = ", ".join("?" * len(keys))
    return _connection().execute(f"select id, nonce, sealed from floor where id in ({marks})", keys).fetchall()  # noqa: S608


app = floor.application(_read, _read_all, lambda row: insert(_connection(), row))
