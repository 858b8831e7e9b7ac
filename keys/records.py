"""The agent's own rows about records: keys, state, assurance, field revisions and the sealed map rid → uid.

Guarantees: a row is read only if its MAC holds, and changed only if it still is the row that was read (the update is
conditional on the MAC), so that states and marks are rows, never memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import itemgetter
from typing import Any, Final, Self

import msgpack
from sqlalchemy import ARRAY, Column, Connection, Engine, bindparam, delete, func, null, select, update

from keys import store
from keys.bulk import Bulk, Rows, insert_all, inserting, listed
from keys.driver import Outcome, Prepared, Speaking, Step, run
from keys.errors import ConflictError, MissingError, OpenError
from keys.frame import Place, Purpose
from keys.keyring import Keyring
from keys.rows import checked, with_mac

RID_BYTES: Final = 16
UID_BYTES: Final = 16
_TABLE: Final = "keys.record_key"
# Built once: building a statement costs more than running it.
_ROWS: Final = Bulk(store.record_key)
_COLUMNS: Final = itemgetter(*store.record_key.c.keys())
_READ: Final = Prepared(select(store.record_key).where(store.record_key.c.rid.in_(bindparam("rids", expanding=True))))
_SELECT: Final = select(store.record_key).where(store.record_key.c.rid == bindparam("rid"))
_UPDATE: Final = update(store.record_key).where(
    store.record_key.c.rid == bindparam("read_rid"), store.record_key.c.mac == bindparam("read_mac")
)
_CHANGED: Final[Mapping[str, Column[Any]]] = {
    "read_rid": store.record_key.c.rid,
    "read_mac": store.record_key.c.mac,
    **{column.name: column for column in store.record_key.c if column.name not in {"rid", "kek_version"}},
}
"""What a change is told: which record, as it was read, and what it holds from now on."""
_WRITTEN: Final = [name for name in _CHANGED if not name.startswith("read_")]
_CHANGE: Final = Prepared(
    update(store.record_key)
    .where(store.record_key.c.rid == bindparam("new_read_rid"), store.record_key.c.mac == bindparam("new_read_mac"))
    .values({name: bindparam(f"new_{name}") for name in _WRITTEN})
)
_lists: Final = (
    func.unnest(*(bindparam(f"new_{name}", type_=ARRAY(column.type)) for name, column in _CHANGED.items()))
    .table_valued(*_CHANGED, name="changed")
    .render_derived()
)
_CHANGE_MANY: Final = Prepared(
    update(store.record_key)
    .where(store.record_key.c.rid == _lists.c.read_rid, store.record_key.c.mac == _lists.c.read_mac)
    .values({name: _lists.c[name] for name in _WRITTEN})
)
"""The same for many, in one statement; PostgreSQL alone has it."""


_leaving: Final = (
    func.unnest(*(bindparam(name, type_=ARRAY(store.record_key.c.mac.type)) for name in ("rids", "read", "written")))
    .table_valued("rid", "read", "mac", name="leaving")
    .render_derived()
)
_IN_REVIEW: Final = {"state": "in_review", "origin": null()}
_LEAVE_MANY: Final = Prepared(
    update(store.record_key)
    .where(store.record_key.c.rid == _leaving.c.rid, store.record_key.c.mac == _leaving.c.read)
    .values(mac=_leaving.c.mac, **_IN_REVIEW)
)
_LEAVE: Final = Prepared(
    update(store.record_key)
    .where(store.record_key.c.rid == bindparam("of"), store.record_key.c.mac == bindparam("read"))
    .values(mac=bindparam("written"), **_IN_REVIEW)
)


class State(StrEnum):
    """What a record is in; `create.done` leads from creating to in_review."""

    CREATING = "creating"
    IN_REVIEW = "in_review"
    RETURNED = "returned"
    REJECTED = "rejected"
    VERIFIED = "verified"
    RESTRICTED = "restricted"
    FROZEN = "frozen"
    HELD = "held"
    CONTESTED = "contested"


class Assurance(StrEnum):
    """Whose word stands behind a record."""

    NONE = "none"
    PROVIDER = "provider"
    VAULT = "vault"


@dataclass(frozen=True, slots=True)
class Record:
    """One row of record_key, its MAC checked. `created` is a minute since 1970."""

    rid: bytes
    kek_version: int
    wrapped: bytes
    state: State
    assurance: Assurance
    revisions: Mapping[str, int]
    pending: Mapping[str, int] | None
    uid: bytes
    origin: bytes | None
    created: int
    mac: bytes

    @classmethod
    def from_row(cls, keyring: Keyring, row: Any) -> Self:  # noqa: ANN401 - a SQL row
        """Return the record.

        Raises:
            OpenError: the row was altered.
        """
        checked(keyring, _TABLE, row)
        pending = None if row.pending is None else msgpack.unpackb(row.pending)
        return cls(
            rid=row.rid, kek_version=row.kek_version, wrapped=row.wrapped, state=State(row.state),
            assurance=Assurance(row.assurance), revisions=msgpack.unpackb(row.revisions), pending=pending,
            uid=row.uid, origin=row.origin, created=row.created, mac=row.mac,
        )  # fmt: skip

    def values(self, keyring: Keyring) -> dict[str, Any]:
        """Return the column values with a fresh MAC."""
        pending = None if self.pending is None else msgpack.packb(dict(self.pending))
        columns = {
            "rid": self.rid, "kek_version": self.kek_version, "wrapped": self.wrapped, "state": str(self.state),
            "assurance": str(self.assurance), "revisions": msgpack.packb(dict(self.revisions)), "pending": pending,
            "uid": self.uid, "origin": self.origin, "created": self.created,
        }  # fmt: skip
        return with_mac(keyring, _TABLE, columns)


def place_of(keyring: Keyring, rid: bytes, field: str) -> Place:
    """Return the place that a value of a record is sealed to."""
    return Place(keyring.deployment, _TABLE, rid, field)


def seal_uid(keyring: Keyring, rid: bytes, uid: bytes) -> bytes:
    """Return the sealed map entry of a record."""
    return keyring.current("map").seal(Purpose.UID, place_of(keyring, rid, "uid"), uid)


def uid_of(keyring: Keyring, record: Record) -> bytes:
    """Return the person behind a record.

    Raises:
        OpenError: the map entry was altered or moved.
    """
    return keyring.opener("map", record.uid).open(Purpose.UID, place_of(keyring, record.rid, "uid"), record.uid)


def seal_origin(
    keyring: Keyring, rid: bytes, sector: str, pid: bytes, exchange: Mapping[str, str] | None = None,
    *, salt: bytes = b"",
) -> bytes:  # fmt: skip
    """Return the sealed {sector, pid} that a record in creation is cleaned up by; `exchange` where one makes it.

    `salt` is as in `frame.seal`.
    """
    origin = {"sector": sector, "pid": pid} | ({} if exchange is None else {"exchange": dict(exchange)})
    return keyring.current("map").seal(Purpose.INTENT, place_of(keyring, rid, "origin"), msgpack.packb(origin), salt)


def origin_of(keyring: Keyring, record: Record) -> tuple[str, bytes, dict[str, str] | None]:
    """Return (sector, pid, exchange) of a record in creation.

    The exchange is {giver, taker, purpose} where one makes the record, else None.

    Raises:
        OpenError: altered or moved.
    """
    sealed = record.origin or b""
    plain = keyring.opener("map", sealed).open(Purpose.INTENT, place_of(keyring, record.rid, "origin"), sealed)
    origin: dict[str, Any] = msgpack.unpackb(plain)
    return origin["sector"], origin["pid"], origin.get("exchange")


def add(connection: Connection, keyring: Keyring, record: Record) -> None:
    """Insert a fresh record."""
    add_rows(connection, [record.values(keyring)])


def add_rows(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert fresh records by their column values."""
    insert_all(connection, [], adding(rows))


def adding(rows: Iterable[Mapping[str, Any]]) -> Rows:
    """Return fresh records by their column values, as they are inserted together with others."""
    return Rows(_ROWS, [_COLUMNS(row) for row in rows])


def load_present(connection: Connection, keyring: Keyring, rids: Iterable[bytes]) -> list[Record]:
    """Return the rows of those records that are there.

    Raises:
        OpenError: one was altered.
    """
    return [Record.from_row(keyring, row) for row in run(connection, reading_rids(connection, rids))[0].rows]


def load_all(connection: Connection, keyring: Keyring, rids: Iterable[bytes]) -> dict[bytes, Record]:
    """Return the rows of records: rid → record.

    Raises:
        MissingError: one is not there.
        OpenError: one was altered.
    """
    wanted = list(rids)
    found = {record.rid: record for record in load_present(connection, keyring, wanted)}
    if len(found) != len(set(wanted)):
        raise MissingError("no such record")
    return found


def rows_of(connection: Connection, rids: Iterable[bytes]) -> Sequence[Any]:
    """Return the rows of those records that are there, unchecked: for `intact`."""
    return run(connection, reading_rids(connection, rids))[0].rows


def reading_rids(store: Speaking, rids: Iterable[bytes]) -> Step:
    """Return the statement that reads records, to be run together with others."""
    return _READ.on(store, rids=list(rids))


def intact(keyring: Keyring, rows: Iterable[Any]) -> dict[bytes, "Record | None"]:
    """Return records by rid from rows; None for one that was altered, or stands twice."""
    found: dict[bytes, Record | None] = {}
    for row in rows:
        try:
            found[row.rid] = None if row.rid in found else Record.from_row(keyring, row)
        except OpenError:
            found[row.rid] = None
    return found


def load(connection: Connection, keyring: Keyring, rid: bytes) -> Record:
    """Return the row of a record.

    Raises:
        MissingError: there is none.
        OpenError: it was altered.
    """
    row = connection.execute(_SELECT, {"rid": rid}).one_or_none()
    if row is None:
        raise MissingError("no such record")
    return Record.from_row(keyring, row)


def creating(connection: Connection, keyring: Keyring, before: int, limit: int) -> list[Record]:
    """Return records in creation since a minute or longer.

    Raises:
        OpenError: one was altered.
    """
    table = store.record_key
    query = select(table).where(table.c.state == State.CREATING, table.c.created <= before).limit(limit)
    return [Record.from_row(keyring, row) for row in connection.execute(query).all()]


def change(connection: Connection, keyring: Keyring, record: Record, **changes: object) -> Record:
    """Write a changed record over the one that was read, and return it.

    Raises:
        ConflictError: another act changed it meanwhile.
    """
    changed = replace(record, **changes)  # type: ignore[arg-type]
    values = changed.values(keyring)
    if connection.execute(_UPDATE, {**values, "read_rid": record.rid, "read_mac": record.mac}).rowcount != 1:
        raise ConflictError
    return replace(changed, mac=values["mac"])


def change_all(
    engine: Engine, keyring: Keyring, changes: Sequence[tuple[Record, Mapping[str, object]]], *beside: Rows
) -> None:
    """Write changes over records that were read, all or none, in a transaction of their own.

    Args:
        engine: of the key store.
        keyring: for the MACs.
        changes: records, and what changes of each; never the version of the key that wraps its keys.
        beside: rows that are inserted with them: of the audit.

    Raises:
        ConflictError: another act changed one meanwhile; nothing was changed.
    """
    with inserting(engine, _changing(engine, keyring, changes), *beside) as outcomes:
        _check(outcomes, changes)


@dataclass(frozen=True, slots=True)
class Leaving:
    """A record that leaves creation for review: the MAC of its row as it was drawn, and as it will be."""

    rid: bytes
    read: bytes
    mac: bytes


def leaving(keyring: Keyring, record: Record, mac: bytes) -> Leaving:
    """Return how a record that was just drawn, with this MAC, leaves creation."""
    changed = replace(record, state=State.IN_REVIEW, origin=None)
    return Leaving(record.rid, mac, changed.values(keyring)["mac"])


def leave_creation(engine: Engine, leaving: Sequence[Leaving], *beside: Rows) -> None:
    """Put records in review that still are as they were drawn, all or none, in a transaction of their own.

    Args:
        engine: of the key store.
        leaving: the records.
        beside: rows that are inserted with them: of the audit.

    Raises:
        ConflictError: another act changed one meanwhile, or it is not there; nothing was changed.
    """
    if engine.dialect.name == "postgresql":
        lists = {"rids": [one.rid for one in leaving], "read": [one.read for one in leaving]}
        steps = [_LEAVE_MANY.on(engine, **lists, written=[one.mac for one in leaving])]
    else:
        steps = [_LEAVE.on(engine, of=one.rid, read=one.read, written=one.mac) for one in leaving]
    with inserting(engine, steps, *beside) as outcomes:
        _check(outcomes, leaving)


def change_many(
    connection: Connection, keyring: Keyring, changes: Sequence[tuple[Record, Mapping[str, object]]]
) -> None:
    """Write changes over records that were read, in the caller's transaction, which must not stand if one fails.

    Raises:
        ConflictError: another act changed one meanwhile.
    """
    if changes:
        _check(run(connection, *_changing(connection, keyring, changes)), changes)


def _changing(store: Speaking, keyring: Keyring, changes: Sequence[tuple[Record, Mapping[str, object]]]) -> list[Step]:
    rows = [
        {**replace(record, **change).values(keyring), "read_rid": record.rid, "read_mac": record.mac}  # type: ignore[arg-type]
        for record, change in changes
    ]
    if store.dialect.name != "postgresql" or len(rows) == 1:
        return [_CHANGE.on(store, **{f"new_{name}": value for name, value in row.items()}) for row in rows]
    lists = {f"new_{name}": listed(column, [row[name] for row in rows]) for name, column in _CHANGED.items()}
    return [_CHANGE_MANY.on(store, **lists)]


def _check(outcomes: Iterable[Outcome], changes: Sequence[object]) -> None:
    if sum(outcome.count for outcome in outcomes) != len(changes):
        raise ConflictError


def remove(connection: Connection, record: Record) -> None:
    """Destroy the keys of a record: delete its row, if it still is the one that was read.

    Raises:
        ConflictError: another act changed it meanwhile.
    """
    table = store.record_key
    where = (table.c.rid == record.rid) & (table.c.mac == record.mac)
    if connection.execute(delete(table).where(where)).rowcount != 1:
        raise ConflictError
