"""The four stores at one moment: copied out into SQLite files, whatever they are kept in, and back in from them.

Guarantees: the copies are of one moment, at which no transaction was under way in any store: as if the machine had
been cut off then. What acts were in the midst of, the service finishes or undoes, as after any crash.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, MetaData, Table, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from keys import migrating, store
from keys.backups import PURPOSE
from keys.bulk import Bulk
from keys.engine import open_engine, reading, snapshot, writing
from keys.errors import UnavailableError
from vault.stores.schema import HISTORIES, METADATA

_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.2
_ROWS: Final = 5000
STORE_ERRORS: Final = (SQLAlchemyError,)
"""What a store raises that cannot be read or written."""
Progress = Callable[[int], None]
"""Is told how many rows were copied."""


@contextmanager
def one_moment(engines: Mapping[str, Engine]) -> Iterator[Mapping[str, Connection]]:
    """Have a connection to each store that sees it as it was at one moment, the same for all.

    For that moment, some milliseconds, nobody writes.

    Raises:
        UnavailableError: writers did not give way.
    """
    for _ in range(_TRIES):
        with ExitStack() as snapshots:
            try:
                with ExitStack() as writers:
                    for engine in engines.values():
                        writers.enter_context(writing(engine))
                    found = {name: snapshots.enter_context(snapshot(engine)) for name, engine in engines.items()}
                    for name, connection in found.items():
                        # The first read is what fixes the moment.
                        connection.execute(select(func.count()).select_from(_any_table(METADATA[name])))
            except DBAPIError:
                time.sleep(_PAUSE_SECONDS)
                continue
            yield found
            return
    raise UnavailableError("the stores are written too much to be copied now; try again")


def _any_table(metadata: MetaData) -> Table:
    """Return a table to be read for its moment's sake, a small one where it is known."""
    return metadata.tables["deployment" if "deployment" in metadata.tables else next(iter(metadata.tables))]


def copy_out(connection: Connection, name: str, path: Path, progress: Progress) -> None:
    """Write a store's copy into a new SQLite file, mode 0600.

    Args:
        connection: that sees the moment.
        name: of the store.
        path: of the file.
        progress: is told of rows.

    Raises:
        OSError: the file cannot be written.
    """
    path.touch(0o600, exist_ok=False)
    target = open_engine(f"sqlite:///{path.resolve()}")
    try:
        migrating.upgrade(target, HISTORIES[name])
        with writing(target) as to:
            _copy_rows(METADATA[name], connection, to, progress)
        with reading(target) as last:
            # One file, that nothing lies beside.
            last.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            last.exec_driver_sql("PRAGMA journal_mode=DELETE")
    finally:
        target.dispose()


def copy_in(engine: Engine, name: str, path: Path, progress: Progress) -> None:
    """Fill an empty database from a copy, in one transaction.

    Args:
        engine: of the store, migrated and without rows.
        name: of the store.
        path: of the copy.
        progress: is told of rows.

    Raises:
        DBAPIError: the store cannot be written.
    """
    source = open_engine(f"sqlite:///{path.resolve()}")
    try:
        with snapshot(source) as connection, writing(engine) as to:
            if name == "keys":
                for version in connection.execute(select(store.key.c.version).where(store.key.c.purpose == "kek")):
                    store.make_partition(to, version[0])
            for table in METADATA[name].sorted_tables:
                to.execute(table.delete())  # what migrations wrote
            _copy_rows(METADATA[name], connection, to, progress)
    finally:
        source.dispose()


def merged(path: Path) -> None:
    """Have all that was committed in a SQLite store in its one file, so that it can be moved.

    Raises:
        UnavailableError: somebody uses it.
    """
    engine = open_engine(f"sqlite:///{path.resolve()}")
    try:
        with reading(engine) as connection:
            busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    finally:
        engine.dispose()
    if busy:
        raise UnavailableError(f"{path.name}: in use; try again")


def _copy_rows(metadata: MetaData, connection: Connection, to: Connection, progress: Progress) -> None:
    for table in metadata.sorted_tables:
        query = select(table)
        if table is store.key:
            query = query.where(store.key.c.purpose != PURPOSE)  # what opens backups is in none
        bulk = Bulk(table, whole=True)
        found = connection.execution_options(yield_per=_ROWS).execute(query)
        for some in found.partitions(_ROWS):
            bulk.insert(to, some)
            progress(len(some))
