"""Who writes a directory on PostgreSQL: all tell each other of what they change by one file, or nobody by any (ADR 31).

Each connection says by which file its process tells: it holds a shared advisory lock of that name for as long as it
lives. It takes the lock first and looks then for others; of two that come at once each may be refused, none is missed.

Guarantees: while a process is connected that remembers, no other one is that would not tell it; its first connection is
refused, and with it the process. Leaves to whoever writes by hand, or past this module, that he waits five seconds; and
to the file's counters what those tell each other who do name one file.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from keys.errors import SetupError, UnavailableError

_TELLERS: Final = 1_768_191_588
"""The first key of these locks; the second is the file's name. Any number that nobody else takes."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
"""Another one on each machine (random(4))."""
_HAVE: Final = """
    SELECT pg_advisory_lock_shared(%s::int, %s::int), set_config('tcp_keepalives_idle', '5', false),
           set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false)
"""
"""The server, too, soon notices a machine that is gone without a word, and gives up its locks."""
_OTHERS: Final = """
    SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database
                   WHERE datname = current_database() AND locktype = 'advisory' AND objsubid = 2
                     AND classid::bigint = %s::bigint AND objid::bigint <> %s::bigint)
"""


def named(file: Path) -> int:
    """Return the name of a file of counters, or of one that is to be made: 31 bits, 0 where there is none.

    It is that of its folder and machine, so that a file which is made anew has it too, and whatever the folder's path.

    Raises:
        SetupError: its folder cannot be looked into.
    """
    if file == Path():
        return 0
    try:
        folder = file.resolve().parent.stat()
        boot = _BOOT.read_text()
    except OSError:
        raise SetupError(f"directory_changes: {file.name} cannot be made or written by this user") from None
    said = f"{boot.strip()} {folder.st_dev} {folder.st_ino} {file.resolve().name}"
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:4], "big") >> 1 or 1


def bind(engine: Engine, file: Path) -> None:
    """Have each connection of an engine from now on say by which file its process tells, or that it tells by none.

    Raises:
        SetupError: the file's folder cannot be looked into.
    """
    event.listen(engine, "connect", partial(_say, named(file)))


def _say(name: int, connection: Any, _: ConnectionPoolEntry) -> None:  # noqa: ANN401 - the driver's own class
    """Say it for one connection.

    Raises:
        UnavailableError: another process that is connected says otherwise.
    """
    connection.execute(_HAVE, (_TELLERS, name))
    [others] = connection.execute(_OTHERS, (_TELLERS, name)).fetchone()
    connection.rollback()  # the lock is the connection's, and stays
    if others:
        connection.close()
        raise UnavailableError(
            "directory_changes: another process writes this directory that names another file, or none; "
            "all name the same one, on one machine, or none does"
        )
