"""How often each version of the key encryption key has sealed: counted before it seals, and bounded.

    key_use = key id ‖ used ‖ row MAC over both

Guarantees: `used` never falls, is not raised above the limit, and is never below what was sealed, whatever ends when. A
holder adds a block to it in a transaction of its own, then counts down in memory; what is left of a block when its
holder ends is never made use of. Where the row is missing or altered nothing is sealed. Leaves to its caller: that a
block is set aside before a write transaction in which something is sealed, for a store has one writer at a time.
"""

import threading
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, select, update

from keys import store
from keys.engine import is_written_here, writing
from keys.errors import OpenError, UnavailableError, UsesError
from keys.primitives import Mac, equal
from keys.rows import mac_of_row
from keys.states import State

MOST: Final = 2**32
"""How many messages one key of AES-GCM may seal under random nonces (NIST SP 800-38D section 8.3). Each frame here has
a key and nonce of its own, so that the bound is on the safe side."""
BLOCK: Final = 65_536
"""How many uses a holder sets aside at a time: what a start costs at most, one in 65,536 of `MOST`."""
_BLOCKS: Final = 64
"""In a limit at least, so that a few starts do not use a small one up."""
RESTORED: Final = 2**20
"""What a restore adds to the number of its backup: what was sealed in between is not known."""
NEARLY: Final = 0.9
"""The part of its limit from which on officers are told to rotate."""
_KEK: Final = "kek"
_TABLE: Final = "keys.key_use"
_USE: Final = store.key_use.c
_KEY: Final = store.key.c
_UNSIGNED: Final = b""
"""The MAC of rows that the migration wrote, which has no key."""
ALTERED: Final = "how often the key encryption key was used is missing or was altered: rotate it, and idvault fsck"


class Uses:
    """The uses that one process has set aside, by key.

    Owned by its keyring. `_lock` is held for a count in memory alone; `_reserving` while a block is set aside, never by
    a thread that is in a write transaction, for whom its holder would wait.
    """

    def __init__(self, engine: Engine, mac: Callable[[], Mac], limit: int = MOST, most: int = BLOCK) -> None:
        """Take the key store, what gives the MAC of its rows, the limit, and how many to set aside at most."""
        self._engine, self._mac, self.limit = engine, mac, limit
        self.block = max(1, min(most, limit // _BLOCKS))
        self._left, self._seen = dict[bytes, int](), dict[bytes, int]()
        self._lock, self._reserving = threading.Lock(), threading.Lock()

    def take(self, key_id: bytes, count: int = 1) -> None:
        """Use a key so often, before it is used; all of it, or nothing is taken.

        Raises:
            UsesError: that would be more than the limit, or the row is missing or altered.
            UnavailableError: none are set aside, and the caller is in a write transaction; again, it will be done.
            DBAPIError: the store cannot be written.
        """
        if self._taken(key_id, count):
            return
        if is_written_here(self._engine):
            raise UnavailableError("uses of the key encryption key are not set aside yet; nothing was done, try again")
        with self._reserving:
            while not self._taken(key_id, count):
                self._reserve(key_id, count - self._left_of(key_id))

    def prepare(self, key_id: bytes) -> None:
        """Set a block aside where less than half of one is left: before a write transaction that seals.

        Raises:
            UsesError: there is none left, or the row is missing or altered.
            DBAPIError: the store cannot be written.
        """
        if self._left_of(key_id) < self._half:
            with self._reserving:
                left = self._left_of(key_id)
                if left < self._half:
                    self._reserve(key_id, 0 if left else 1)

    @property
    def _half(self) -> int:
        return self.block // 2 or 1

    def _left_of(self, key_id: bytes) -> int:
        with self._lock:
            return self._left.get(key_id, 0)

    def _taken(self, key_id: bytes, count: int) -> bool:
        with self._lock:
            left = self._left.get(key_id, 0)
            if left < count:
                return False
            self._left[key_id] = left - count
            return True

    def _reserve(self, key_id: bytes, needed: int) -> None:
        uses = self.reserve(key_id, needed)
        with self._lock:
            self._left[key_id] = self._left.get(key_id, 0) + len(uses)

    def reserve(self, key_id: bytes, needed: int) -> range:
        """Set a block aside, or as many as are needed; return their numbers. No two holders get the same.

        Raises:
            UsesError: fewer are left than are needed, or the row is missing or altered.
        """
        if self.limit - self._seen.get(key_id, 0) < needed:
            raise UsesError  # it never falls: the store is not asked
        with writing(self._engine) as connection:
            used = self._seen[key_id] = self._checked(connection, key_id)
            left = self.limit - used
            if left < needed:
                raise UsesError
            until = used + min(max(self.block, needed), max(left, 0))
            self._write(connection, key_id, used, until)
        self._seen[key_id] = until
        return range(used, until)

    def _checked(self, connection: Connection, key_id: bytes) -> int:
        row = connection.execute(select(store.key_use).where(_USE.key_id == key_id)).one_or_none()
        # A row that was put back whole has a MAC that holds: this process knows better as long as it lives.
        if row is None or not self._holds(row) or row.used < self._seen.get(key_id, 0):
            raise UsesError(ALTERED)
        return int(row.used)

    def _holds(self, row: Any) -> bool:  # noqa: ANN401 - a SQL row
        return equal(mac_of_row(self._mac(), _TABLE, (row.key_id, row.used)), row.mac)

    def _write(self, connection: Connection, key_id: bytes, used: int, until: int) -> None:
        statement = update(store.key_use).where(_USE.key_id == key_id, _USE.used == used)
        if connection.execute(statement.values(values(self._mac(), key_id, until))).rowcount != 1:
            raise UsesError(ALTERED)

    def begin(self, connection: Connection, key_id: bytes) -> None:
        """Have the count of a new key begin, in the transaction that writes it."""
        connection.execute(insert(store.key_use).values(values(self._mac(), key_id, 0)))

    def sign(self, connection: Connection) -> None:
        """Sign the rows that the migration wrote for the keys of an earlier version, in the caller's transaction."""
        for row in connection.execute(select(store.key_use).where(_USE.mac == _UNSIGNED)).all():
            self._write(connection, row.key_id, row.used, row.used)

    def restored(self, connection: Connection) -> None:
        """Add what may have been sealed between a backup and now, in the transaction that brings the store back."""
        for row in connection.execute(select(store.key_use)).all():
            if self._holds(row):
                self._write(connection, row.key_id, row.used, row.used + RESTORED)

    def told(self, connection: Connection) -> dict[bytes, int | None]:
        """Return key id → used; None where the row was altered."""
        rows = connection.execute(select(store.key_use)).all()
        return {row.key_id: int(row.used) if self._holds(row) else None for row in rows}

    def check(self, row: Any) -> None:  # noqa: ANN401 - a SQL row
        """Check a row.

        Raises:
            OpenError: it was altered.
        """
        if not self._holds(row):
            raise OpenError


def values(mac: Mac, key_id: bytes, used: int) -> dict[str, Any]:
    """Return what is written of one row."""
    return {"key_id": key_id, "used": used, "mac": mac_of_row(mac, _TABLE, (key_id, used))}


def to_rotate(used: int | None, limit: int) -> str:
    """Return why a version in force is to be rotated, or nothing."""
    if used is None:
        return "seals nothing: how often it did is missing or was altered"
    if used >= limit:
        return f"used all of its {limit} uses and seals no more"
    return f"used {used} of {limit} uses" if used >= NEARLY * limit else ""


def lacking(connection: Connection) -> int:
    """Return how many versions have no row, though they are not destroyed."""
    has_none = _KEY.id.not_in(select(_USE.key_id))
    query = select(_KEY.id).where(_KEY.purpose == _KEK, _KEY.state != State.DESTROYED, has_none)
    return len(connection.execute(query).all())


def by_version(connection: Connection) -> dict[int, int]:
    """Return version → used of those that are not destroyed, unchecked: for monitoring, which decides nothing."""
    joined = select(_KEY.version, _USE.used).join(store.key_use, _USE.key_id == _KEY.id)
    rows = connection.execute(joined.where(_KEY.purpose == _KEK, _KEY.state != State.DESTROYED)).all()
    return {int(row.version): int(row.used) for row in rows}
