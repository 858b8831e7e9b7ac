"""A directory and a key store with many rows, written by SQL alone: for the plans of statements and figures at size.

What is sealed or bound is made up: nothing here opens, and no act of the agent takes these rows.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from keys import migrating
from keys.engine import reading, writing
from keys.store import make_partition
from vault.stores import schema

BIG = "cli_big"
"""The provider of nine rows in ten."""
NOW = 1_900_000_000
DAY = 86_400
_FOLDER = Path(__file__).parent
_ID_FUNCTION = (
    "create function id(name text, n bigint) returns bytea language sql immutable"
    " as $$ select decode(md5(name || n), 'hex') $$"
)
_NUMBERS = {
    "postgresql": "insert into numbers select generate_series(1, {0})",
    "sqlite": "insert into numbers with recursive t(n) as (select 1 union all select n + 1 from t where n < {0})"
    " select n from t",
}


def id_of(name: str, number: int) -> bytes:
    """Return an id of a row."""
    return hashlib.md5(f"{name}{number}".encode(), usedforsecurity=False).digest()


def fill(engine: Engine, store: str, rows: int) -> None:
    """Bring an empty store up to this version and write so many rows into each big table."""
    migrating.upgrade(engine, schema.HISTORIES[store])
    dialect = engine.dialect.name
    statements = (_FOLDER / f"at_size_{store}.sql").read_text().split(";\n")
    with writing(engine) as connection:
        if store == "keys":
            make_partition(connection, 1)
        if dialect == "postgresql":
            connection.exec_driver_sql(_ID_FUNCTION)
        else:
            driver: Any = connection.connection.driver_connection
            driver.create_function("id", 2, id_of, deterministic=True)
        connection.exec_driver_sql("create temporary table numbers (n bigint)")
        connection.exec_driver_sql(_NUMBERS[dialect].format(rows))
        for statement in statements:
            if statement.strip():
                # Without parameters, so that a driver takes % for what it is.
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        connection.exec_driver_sql("drop table numbers")
        if dialect == "postgresql":
            connection.exec_driver_sql("drop function id")
    if dialect == "postgresql":  # as its autovacuum does; nothing of the vault has SQLite take statistics
        with reading(engine) as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


@dataclass(frozen=True)
class Statement:
    """A statement as it was sent to the driver."""

    sql: str
    parameters: Any


def sent(connection: Connection, call: Callable[[Connection], object]) -> Sequence[Statement]:
    """Call a function of a store and return the statements that it sent."""
    found: list[Statement] = []

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        found.append(Statement(sql, parameters))

    event.listen(connection, "before_cursor_execute", note)
    try:
        call(connection)
    finally:
        event.remove(connection, "before_cursor_execute", note)
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return a plan of PostgreSQL and all that is below it."""
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)
