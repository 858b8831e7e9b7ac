"""The floor on PostgreSQL: raw psycopg, prepared statements, one round trip each; see `bench/floor.py`.

FLOOR_DB="host=/run/pg user=postgres" granian --interface wsgi --workers 2 --blocking-threads 1 --no-ws \
    bench.floor_postgresql:app
"""

import os
import threading
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from bench import floor
from bench.floor import Row

Connection = psycopg.Connection[Any]
_INSERT: Final = "insert into floor values (%b, %b, %b)"
_DURABLE: Final = "-c synchronous_commit=on"
_local: Final = threading.local()


def connect(where: str) -> Connection:
    """Return a connection that prepares each statement and commits it durably, as the vault's do."""
    connection = psycopg.connect(where, autocommit=True, options=_DURABLE)
    connection.prepare_threshold = 0
    return connection


def load(where: str) -> None:
    """Make the table with its rows."""
    with psycopg.connect(where) as connection:
        connection.execute("create table floor (id bytea primary key, nonce bytea not null, sealed bytea not null)")
        with connection.cursor().copy("copy floor from stdin (format binary)") as copy:
            copy.set_types(["bytea"] * 3)
            for row in floor.rows():
                copy.write_row(row)
    with connect(where) as connection:
        connection.execute("vacuum analyze floor")


def insert(connection: Connection, row: Row) -> None:
    """Insert a row durably."""
    connection.execute(_INSERT, row)


def _connection() -> Connection:
    held: Connection | None = getattr(_local, "connection", None)
    if held is None:
        held = _local.connection = connect(os.environ["FLOOR_DB"])
    return held


def _read(key: bytes) -> Row:
    query = "select id, nonce, sealed from floor where id = %b"
    found: Row | None = _connection().execute(query, (key,), binary=True).fetchone()
    if found is None:
        raise LookupError
    return found


def _read_all(keys: Sequence[bytes]) -> Sequence[Row]:
    query = "select id, nonce, sealed from floor where id = any(%b)"
    return _connection().execute(query, (list(keys),), binary=True).fetchall()


app = floor.application(_read, _read_all, lambda row: insert(_connection(), row))
