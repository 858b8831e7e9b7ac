"""One sequencer at a time: a lock beside a SQLite store, an advisory lock of a PostgreSQL one; a second waits."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from keys.engine import reading
from vault.stores import log
from vault.stores.unit import Store, Unit

_ASK_SECONDS: Final = 1.0


@contextmanager
def leading(store: Store, lock: Path, ending: threading.Event) -> Iterator[Callable[[], bool]]:
    """Wait for the lead, and return what tells whether it is still had; False at once where it is time to end.

    A process that ends, however it does, gives the lead back: the kernel's lock, or the connection's, goes with it.

    Raises:
        OSError: the lock's file cannot be made.
        DBAPIError: the store cannot be reached.
    """
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not (_has(descriptor) or ending.wait(_ASK_SECONDS)):
            pass
        with reading(store.engine) as connection:
            while not (ending.is_set() or log.try_to_lead(connection) or ending.wait(_ASK_SECONDS)):
                pass
            yield lambda: not ending.is_set() and _lives(connection)
    finally:
        os.close(descriptor)


def _has(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lives(connection: Unit) -> bool:
    """Tell whether the connection that holds the lock is still there: with it, the lock went."""
    try:
        connection.exec_driver_sql("SELECT 1")
    except DBAPIError:
        return False
    return True
