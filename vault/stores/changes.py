"""What the processes of one machine tell each other about the directory: which rows of it change, and have changed.

A file of counters in memory that all of them share. Who writes the directory takes the next number before each commit
that touches what introspections read, and marks the rows with it; after the commit it says how far commits are over.
One writes at a time, holding the store's write lock until its commit is decided, so whatever has a lower number is
decided too: a writer that was killed in between holds things up until the next one, unless that touches nothing that is
read and goes in one round trip (`keys.driver.once`); there is one every two seconds (`services/retention.py`).

A file that is removed while processes run is made anew, and each goes over to it: who writes, with his next
transaction; who reads, with his next reading of the store, which is soon: the first who goes over ends what all keep by
the old one. Where a new process was first, what another keeps until then he read within five seconds. A file that
cannot be made anew is as good as a store that cannot be written.

Guarantees: `stamp` is given only where no commit of these rows is under way, and `holds` until one begins. So what was
read between the two is what reading now would give. Leaves to `keys.engine.Watch` that it is told of every write
transaction, and to its owner that every process that writes names the same file.
"""

import contextlib
import fcntl
import mmap
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, event

from keys.arrays import Octets
from keys.engine import WATCH, WATCHED
from keys.errors import SetupError
from vault.errors import Kind, VaultError
from vault.stores import tellers
from vault.stores.directory import account, client, metadata, provider, revoked, standing

STRIPES: Final = 4096
"""Standings and access tokens share a counter by two bytes of their pid or id, which are random."""
_NEXT, _OVER, _EVERY, _FIRST = range(4)
"""Places in the file: the last number given; up to which commits are over; the last that touched every row; stripes."""
_NUMBER_BYTES: Final = 8
_BYTES: Final = _NUMBER_BYTES * (_FIRST + STRIPES)
_PID_BYTES: Final = 16
_MODE: Final = 0o660
"""Its group is that of those who serve, as its folder says."""
_TARGET: Final = re.compile(r'\s*(SELECT\b|BEGIN\b|(?:INSERT INTO|UPDATE|DELETE FROM|COPY)\s+"?(\w+)"?)', re.IGNORECASE)
_OF_PID: Final = re.compile(
    r"(?!.*\b(?:OR|SELECT)\b)(?:(?!\bWHERE\b).)*\bWHERE (?:standing|account)\.pid = (?!.*\bWHERE\b)", re.DOTALL
)
"""What writes the rows of one standing, which its values name."""
_ADDS: Final = re.compile(r"\s*(?:INSERT|COPY)\b(?!.*\bDO UPDATE\b)", re.DOTALL)
_MAKES: Final = re.compile(r'\s*(?:INSERT INTO|COPY) "?\w+"? \("?pid"?, (?!.*\bON CONFLICT\b)', re.DOTALL)
"""What adds rows whose first column is a pid, or fails."""
_NOBODY_IS_TOLD: Final = "the directory's file of changes cannot be made or written now; nothing was lost, try again"
_READ: Final = frozenset(table.name for table in (client, provider, standing, account, revoked))
"""The tables that introspections read, and those who call."""
_FORGETS: Final = re.compile(r'\s*DELETE FROM "?revoked\b', re.IGNORECASE)
"""What forgets that a token was revoked, when it has expired: that decides nothing any more."""
_ROWS: Final = frozenset((standing.name, account.name))
Stamp = tuple[int, int, int]
"""(stripe, its number, the number that touched every row)"""


class Changes:
    """The counters of one directory."""

    __slots__ = ("_file", "_mode", "_numbers", "_owner", "_place")

    def __init__(self, file: Path, mode: int, owner: tuple[int, int] = (-1, -1)) -> None:
        """Open the file; whoever comes first makes it, with this mode, for this user and group as far as he may.

        Raises:
            SetupError: it cannot be opened to be written, or is another file.
        """
        self._file, self._mode, self._owner = file, mode, owner
        self._open()

    def _open(self) -> None:
        file, mode = self._file, self._mode
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                found = os.fstat(descriptor)
                if found.st_size < _BYTES and not any(os.pread(descriptor, _BYTES, 0)):  # or cut off as it was made
                    os.fchmod(descriptor, mode)
                    _give(descriptor, *self._owner)
                    os.posix_fallocate(descriptor, 0, _BYTES)  # a hole that cannot be filled later would kill
                elif found.st_size != _BYTES:
                    raise SetupError(f"directory_changes: {file.name} is another file; name one that is not there")
                # Whole numbers at their own boundary: the processor reads and writes each in one.
                numbers = memoryview(mmap.mmap(descriptor, _BYTES)).cast("Q")
                if numbers[_NEXT] == 0:
                    # Later than all numbers of a file before, so that no stamp of that time holds.
                    numbers[_NEXT] = numbers[_OVER] = numbers[_EVERY] = time.time_ns()
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # the map keeps a copy of the descriptor, and the lock with it
            finally:
                os.close(descriptor)
        except OSError:
            raise SetupError(f"directory_changes: {file.name} cannot be made or written by this user") from None
        self._numbers, self._place = numbers, (found.st_dev, found.st_ino)

    def _follow(self) -> None:
        """Go over to the file that is there now.

        Raises:
            SetupError: it cannot be had.
        """
        with contextlib.suppress(OSError):
            found = self._file.stat()
            if (found.st_dev, found.st_ino) == self._place:
                return
        before = self._numbers
        self._open()
        before[_NEXT] = before[_EVERY] = before[_NEXT] + 1  # whoever reads those still is to follow too

    def stamp(self, pid: bytes | None) -> Stamp | None:
        """Return what tells later whether a standing, its accounts, its provider and client are as they are now.

        With the id of an access token in its place: whether it is revoked. Without either: whether providers and
        clients are as they are now.
        """
        try:
            self._follow()
        except SetupError:
            return None
        numbers, stripe = self._numbers, _EVERY if pid is None else _stripe(pid)
        of_stripe, of_every = numbers[stripe], numbers[_EVERY]
        # Read last: what is over by now was over before anything that the caller reads next.
        over = numbers[_OVER]
        return (stripe, of_stripe, of_every) if of_stripe <= over and of_every <= over else None

    def holds(self, stamp: Stamp) -> bool:
        """Tell whether nothing of it changed, nor is about to."""
        stripe, of_stripe, of_every = stamp
        return self._numbers[stripe] == of_stripe and self._numbers[_EVERY] == of_every

    def begin(self, pids: Iterable[bytes] | None) -> int:
        """Take the number of a commit that touches these standings, or every row; with the store's write lock held."""
        numbers = self._numbers
        number = numbers[_NEXT] = numbers[_NEXT] + 1
        if pids is None:
            numbers[_EVERY] = number
        else:
            for pid in pids:
                numbers[_stripe(pid)] = number
        return number

    def over(self, number: int) -> None:
        """Say that a commit is over, and with it all before."""
        # Who is overtaken here sets an older number back: that holds things up until the next commit, and no more.
        self._numbers[_OVER] = max(self._numbers[_OVER], number)

    def settle(self) -> None:
        """Say that all commits are over; with the store's write lock held.

        Raises:
            SetupError: the file is not there any more, and cannot be had.
        """
        self._follow()
        self.over(self._numbers[_NEXT])

    def watch(self, engine: Engine) -> None:
        """Be told of every write transaction of an engine from now on."""
        engine.update_execution_options(**{WATCHED: lambda: _Watched(self)})
        event.listen(engine, "before_cursor_execute", _tell)


def of_store(engine: Engine, file: Path) -> Changes | None:
    """Return the counters of a directory, and have them told of what this engine writes; None where it has none.

    Those of a SQLite file lie beside it, so that whoever writes it finds them, whatever his settings say.

    Args:
        engine: of the directory.
        file: where those of a PostgreSQL database are; without a name it has none.

    Raises:
        SetupError: the file cannot be had.
    """
    if engine.dialect.name == "sqlite":
        store = Path(engine.url.database or "").resolve()
        like = store.stat()
        made = Changes(store.with_name(store.name + ".changes"), stat.S_IMODE(like.st_mode), (like.st_uid, like.st_gid))
    else:
        tellers.bind(engine, file)
        if file == Path():
            return None
        made = Changes(file, _MODE)
    made.watch(engine)
    return made


def _give(descriptor: int, user: int, group: int) -> None:
    """Give a file to a user and a group, as SQLite does with those beside a store; who may not, to the group alone."""
    try:
        os.fchown(descriptor, user, group)
    except PermissionError:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, -1, group)


def _stripe(pid: bytes) -> int:
    return _FIRST + int.from_bytes(pid[:2], "big") % STRIPES


def _tell(connection: Connection, _cursor: object, statement: str, parameters: object, *_: object) -> None:
    """Tell of a statement that SQLAlchemy runs; one that changes what is read, outside of a transaction, is refused."""
    watch: _Watched | None = connection.info.get(WATCH)
    if watch is not None:
        watch.ran(statement, parameters)
    elif _target(statement) in _READ:
        raise AssertionError("the directory is written in write transactions alone")


class _Watched:
    """What one write transaction touches; `None` is every row."""

    __slots__ = ("_changes", "_fresh", "_number", "_touched")

    def __init__(self, changes: Changes) -> None:
        self._changes, self._number = changes, 0
        self._touched: set[bytes] | None = set()
        self._fresh: set[bytes] = set()
        """Standings that this transaction makes: nobody can have read anything of them."""

    def ran(self, text: str, values: Any) -> None:  # noqa: ANN401 - as the driver takes them
        """Take a statement."""
        table = _target(text)
        if self._touched is None or (table is not None and table not in _READ) or _FORGETS.match(text):
            return
        made = _first(values) if _MAKES.match(text) else None
        if table == standing.name and _ADDS.match(text):
            # Who has no row yet is answered "not active", which nobody keeps.
            self._fresh |= made or set()
        elif made is not None:
            self._touched |= made - self._fresh
        elif table in _ROWS and _OF_PID.match(text) and (pids := _bytes_of(values)):
            self._touched |= pids
        elif table == revoked.name and _ADDS.match(text) and (jtis := _bytes_of(values)):
            self._touched |= jtis
        else:
            self._touched = None

    def silent(self) -> bool:
        """Tell whether nothing was touched that is read."""
        return self._touched == set()

    def commits(self) -> None:
        """Take a number, if anything was touched that is read; whoever died before he could say so is over.

        Raises:
            VaultError: nobody can be told; it is refused as where the store itself cannot be written.
        """
        try:
            self._changes.settle()
        except SetupError:
            raise VaultError(Kind.UNAVAILABLE, _NOBODY_IS_TOLD, retry_after_seconds=1) from None
        if self._touched is None or self._touched:
            self._number = self._changes.begin(self._touched)

    def over(self) -> None:
        """Say that it is over."""
        if self._number:
            self._changes.over(self._number)


def _target(text: str) -> str | None:
    """Return the table that a statement writes, nothing if it writes none; None if that cannot be told."""
    found = _TARGET.match(text)
    if found is None:
        return None
    table: str = (found[2] or "").lower()
    return table if not table or table in metadata.tables else None


def _first(values: Any) -> set[bytes] | None:  # noqa: ANN401 - as the driver takes them
    """Return the first column of rows that `keys.bulk` inserts; None if they are of another form."""
    if not (isinstance(values, list) and values):
        return None
    pids = (
        values[0].values
        if isinstance(values[0], Octets)
        else [row[0] if isinstance(row, tuple) else None for row in values]
    )
    known = {pid for pid in pids if isinstance(pid, bytes)}
    return None if None in pids else known


def _bytes_of(values: Any) -> set[bytes] | None:  # noqa: ANN401 - as the driver takes them
    """Return whatever may be a pid among the values of a statement; None if one of them is of a kind not known."""
    try:
        return set(_flat(values))
    except TypeError:
        return None


def _flat(values: Any) -> Iterator[bytes]:  # noqa: ANN401 - as the driver takes them
    if isinstance(values, memoryview):
        values = bytes(values)  # as SQLAlchemy wraps them for SQLite, and below for PostgreSQL
    values = getattr(values, "obj", values)
    if isinstance(values, bytes):
        if len(values) == _PID_BYTES:
            yield values
    elif isinstance(values, Mapping):
        yield from _flat(list(values.values()))
    elif isinstance(values, list | tuple):
        for one in values:
            yield from _flat(one)
    elif not (values is None or isinstance(values, str | int)):
        raise TypeError
