"""The stores' schemas: each has its own history; a store that is not at its newest revision stops the start."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from keys import migrating, store
from keys.engine import open_engine, reading
from keys.errors import SetupError, UnavailableError
from vault.stores import directory, identity, log

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
HISTORIES: Final = {
    "identity": _MIGRATIONS / "identity",
    "directory": _MIGRATIONS / "directory",
    "log": _MIGRATIONS / "log",
    "keys": migrating.KEYS,
}
METADATA: Final = {
    "identity": identity.metadata,
    "directory": directory.metadata,
    "log": log.metadata,
    "keys": store.metadata,
}

FILLER: Final = 1_768_191_587
"""The advisory lock of whoever fills a vault's databases; any number that nobody else takes."""


@contextmanager
def opened(urls: Mapping[str, str], busy_seconds: int) -> Iterator[dict[str, Engine]]:
    """Open stores for one piece of work on their schemas or files.

    Raises:
        SetupError: see `open_engine`.
    """
    engines = {name: open_engine(url, busy_seconds=busy_seconds) for name, url in urls.items()}
    try:
        yield engines
    finally:
        for engine in engines.values():
            engine.dispose()


def are_empty(engines: Mapping[str, Engine]) -> bool:
    """Tell whether no store has any table.

    Raises:
        SetupError: it names the store that cannot be read.
    """
    for name, engine in engines.items():
        try:
            if inspect(engine).get_table_names():
                return False
        except SQLAlchemyError:
            raise SetupError(f"the store {name} cannot be read") from None
    return True


@contextmanager
def filled_alone(engines: Mapping[str, Engine]) -> Iterator[None]:
    """Be the only one who fills the databases of a vault, from wherever, until these engines are disposed of.

    Files are held by a lock beside them.

    Raises:
        SetupError: another one does.
    """
    engine = engines["keys"]
    if engine.dialect.name != "postgresql":
        yield
        return
    with reading(engine) as connection:
        if not connection.execute(select(func.pg_try_advisory_lock(FILLER))).scalar_one():
            raise SetupError("another restore or upgrade fills these databases; wait until it has ended")
        yield


def upgrade_all(engines: Mapping[str, Engine]) -> None:
    """Bring stores up to this version."""
    for name, engine in engines.items():
        migrating.upgrade(engine, HISTORIES[name])


def check_all(engines: Mapping[str, Engine]) -> None:
    """Check that each store is at its newest revision and has all its tables.

    Raises:
        SetupError: it names the store and what to do.
    """
    for name, engine in engines.items():
        try:
            at, tables = migrating.current(engine), set(inspect(engine).get_table_names())
        except SQLAlchemyError:
            raise SetupError(f"the store {name} cannot be read") from None
        if at != migrating.head(HISTORIES[name]):
            raise SetupError(f"the store {name} is not of this version; run idvault db upgrade")
        missing = set(METADATA[name].tables) - tables
        if missing:
            raise SetupError(f"the store {name} lacks tables ({', '.join(sorted(missing))}); restore it from a backup")


def compact(engine: Engine) -> bool:
    """Write a store anew without what was deleted, and empty its write-ahead log; False while readers hold it.

    SQLite overwrites what is deleted (secure_delete), but the log keeps old pages until it is written over. The log of
    PostgreSQL is its server's affair: it goes as its checkpoints and archives do.
    """
    with reading(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM FULL")
            return True
        connection.exec_driver_sql("VACUUM")
        busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        return not busy


def heads() -> dict[str, str]:
    """Return the newest revision of each store."""
    return {name: str(migrating.head(history)) for name, history in HISTORIES.items()}


def beyond(revisions: Mapping[str, str]) -> list[str]:
    """Return which stores are at a revision that this version does not know, as a newer one has it."""
    return sorted(
        name for name, revision in revisions.items()
        if name not in HISTORIES or not migrating.knows(HISTORIES[name], revision)
    )  # fmt: skip


def emptied(engine: Engine, name: str) -> None:
    """Bring a store to the newest schema, without any row of before."""
    if inspect(engine).get_table_names():
        migrating.downgrade(engine, HISTORIES[name], "base")
    migrating.upgrade(engine, HISTORIES[name])


def answers(engine: Engine) -> bool:
    """Tell whether a store can be read."""
    try:
        with reading(engine) as connection:
            connection.execute(text("select 1"))
    except (SQLAlchemyError, UnavailableError):
        return False
    return True
