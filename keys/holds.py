"""Legal holds: records that are not erased while a case needs them. A case holds a record once, until a time.

Guarantees: a row is what the agent wrote; one that was altered holds its record all the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import store
from keys.errors import HeldError
from keys.keyring import Keyring
from keys.rows import checked, with_mac

_TABLE: Final = "keys.hold"
_ROW: Final = store.hold.c


@dataclass(frozen=True, slots=True)
class Hold:
    """One row; times in seconds since 1970."""

    rid: bytes
    case: str
    since: int
    until: int

    @classmethod
    def from_row(cls, keyring: Keyring, row: Any) -> Self:  # noqa: ANN401 - a SQL row
        """Return the hold.

        Raises:
            OpenError: the row was altered.
        """
        return cls(*checked(keyring, _TABLE, row))


def put(connection: Connection, keyring: Keyring, hold: Hold) -> None:
    """Write a hold over the one of the same record and case."""
    columns = {"rid": hold.rid, "case_number": hold.case, "since": hold.since, "until": hold.until}
    values = with_mac(keyring, _TABLE, columns)
    statement = upsert(store.hold).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=["rid", "case_number"], set_=values))


def of_record(connection: Connection, keyring: Keyring, rid: bytes, now: int) -> list[Hold]:
    """Return the holds of a record that run.

    Raises:
        OpenError: a row was altered.
    """
    query = select(store.hold).where(_ROW.rid == rid, _ROW.until > now).order_by(_ROW.case_number)
    return [Hold.from_row(keyring, row) for row in connection.execute(query)]


def lift(connection: Connection, rid: bytes, case: str) -> None:
    """End the hold of a record by a case. Idempotent."""
    connection.execute(delete(store.hold).where(_ROW.rid == rid, _ROW.case_number == case))


def forget(connection: Connection, rids: Sequence[bytes]) -> None:
    """Delete what holds these records."""
    for rid in rids:
        connection.execute(delete(store.hold).where(_ROW.rid == rid))


def check(connection: Connection, rids: Iterable[bytes], now: int) -> None:
    """Check that no case holds any of these records.

    Raises:
        HeldError: one does.
    """
    held = select(_ROW.rid).where(_ROW.rid.in_(list(rids)), _ROW.until > now).limit(1)
    if connection.execute(held).first() is not None:
        raise HeldError


def expire(connection: Connection, now: int) -> int:
    """Delete holds that are over; return how many."""
    return connection.execute(delete(store.hold).where(_ROW.until <= now)).rowcount
