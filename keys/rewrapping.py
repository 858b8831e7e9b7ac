"""Wrapped keys under the current key encryption key: sealed anew in batches, and counted by the version they lie under.

Guarantees: a wrapped key is read back under the new version before the old one goes; a row that another act changed
since it was read is left for the next batch; a batch is done whole or not at all.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import Connection, Engine, bindparam, func, select, update
from sqlalchemy.types import ARRAY

from keys import store
from keys.bulk import listed
from keys.driver import Prepared, run
from keys.engine import reading, writing
from keys.entries import KEK, Key
from keys.errors import MissingError, OpenError
from keys.frame import Place, Purpose, key_named_in
from keys.keyring import Keyring
from keys.primitives import Mac, Secret, equal
from keys.rows import key_of_rows, mac_of_row

_RECORD: Final = store.record_key.c
_RECORD_TABLE: Final = "keys.record_key"
_EVIDENCE: Final = store.evidence_key.c
_EVIDENCE_TABLE: Final = "keys.evidence_key"
_EVIDENCE_BATCH: Final = 1000
_KEY_ID_AT: Final = 7
"""Where a frame's header says the key's id, counted from 1: `keys.frame`."""
_KEYS_A_RECORD: Final = 2
"""In one frame: `keys.record_keys`."""
_AT: Final = {name: at for at, name in enumerate(store.record_key.c.keys())}
_CHANGED: Final = {
    "read_rid": _RECORD.rid, "read_version": _RECORD.kek_version, "read_mac": _RECORD.mac,
    "kek_version": _RECORD.kek_version, "wrapped": _RECORD.wrapped, "mac": _RECORD.mac,
}  # fmt: skip
_WRITTEN: Final = ("kek_version", "wrapped", "mac")
_written: Final = itemgetter(*(_AT[name] for name in _WRITTEN))
_ALL: Final = b"\xff" * 16
"""No rid comes after it."""
_NEXT: Final = Prepared(
    select(store.record_key)
    .where(_RECORD.kek_version < bindparam("version"), _RECORD.rid > bindparam("after"),
           _RECORD.rid <= bindparam("until"))
    .order_by(_RECORD.rid)
    .limit(bindparam("most"))
)  # fmt: skip
_ONE: Final = Prepared(
    update(store.record_key)
    .where(_RECORD.rid == bindparam("new_read_rid"), _RECORD.kek_version == bindparam("new_read_version"),
           _RECORD.mac == bindparam("new_read_mac"))
    .values({name: bindparam(f"new_{name}") for name in _WRITTEN})
)  # fmt: skip
_lists: Final = (
    func.unnest(*(bindparam(f"new_{name}", type_=ARRAY(column.type)) for name, column in _CHANGED.items()))
    .table_valued(*_CHANGED, name="changed")
    .render_derived()
)
_MANY: Final = Prepared(
    update(store.record_key)
    .where(_RECORD.rid == _lists.c.read_rid, _RECORD.kek_version == _lists.c.read_version,
           _RECORD.mac == _lists.c.read_mac)
    .values({name: _lists.c[name] for name in _WRITTEN})
)  # fmt: skip


Seal = Callable[[bytes, bytes], bytes]
"""Seals the keys of the row at an address."""


class Batch(NamedTuple):
    """What became of a batch of records."""

    sealed: int
    """Keys that were sealed anew."""
    last: bytes
    """The last rid that was looked at, empty where there are no more."""
    altered: int
    """Records that another hand altered: they stay as they are."""


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What sealing anew takes of a keyring, and no more: the key encryption key's versions, and the key of row MACs."""

    deployment: bytes
    current: Key
    keys: Mapping[int, Key]
    rows: Secret
    uses: int
    """How often a version may seal."""

    @classmethod
    def of(cls, keyring: Keyring) -> Self:
        """Return that of a keyring."""
        current, keys = keyring.current(KEK), dict(keyring.versions(KEK))
        return cls(keyring.deployment, current, keys, key_of_rows(keyring), keyring.uses.limit)

    def sealer(self, table: str, count: int) -> Seal:
        """Return what seals the keys of so many rows of a table under the current version.

        Raises:
            UsesError: it may not seal so many; none of its uses is taken.
        """
        return self.current.sealer(Purpose.WRAP, Place(self.deployment, table, b"", "wrapped"), count)

    def sealed_anew(self, seal: Seal, place: Place, wrapped: bytes) -> bytes:
        """Return wrapped keys under the current version.

        Raises:
            OpenError: it does not open, or what was sealed does not.
            MissingError: its version is gone.
        """
        key_id, version = key_named_in(wrapped)
        former = self.keys.get(version)
        if former is None or former.id != key_id:
            raise MissingError("no key encryption key of that version")
        secret = former.open(Purpose.WRAP, place, wrapped)
        sealed = seal(place.address, secret)
        if not equal(self.current.open(Purpose.WRAP, place, sealed), secret):
            raise OpenError
        return sealed


def references(connection: Connection, key: Key) -> int:
    """Return how many wrapped keys lie under a version of a key; 0 for keys that wrap none."""
    if key.purpose != KEK:
        return 0
    rows = select(func.count()).where(_RECORD.kek_version == key.version)
    found = _KEYS_A_RECORD * connection.execute(rows).scalar_one()
    for column in (_EVIDENCE.wrapped, store.ceremony.c.root):
        named = select(func.count()).where(func.substr(column, _KEY_ID_AT, len(key.id)) == key.id)
        found += connection.execute(named).scalar_one()
    return int(found)


def rewrap_records(engine: Engine, wrapping: Wrapping, after: bytes, until: bytes, most: int) -> Batch:
    """Seal the keys of the next records anew, in one transaction.

    Args:
        engine: of the key store.
        wrapping: the keys.
        after: rid that the batch begins behind, or nothing.
        until: rid that it ends with, or nothing.
        most: how many records at most.

    Raises:
        UsesError: the current version may not seal so many; nothing of the batch is done.
    """
    bounds = {"version": wrapping.current.version, "after": after, "until": until or _ALL, "most": most}
    with reading(engine) as connection:
        rows: Sequence[Any] = run(connection, _NEXT.on(connection, **bounds))[0].rows
    if not rows:
        return Batch(0, b"", 0)
    mac, changes, seal = Mac(wrapping.rows), [], wrapping.sealer(_RECORD_TABLE, len(rows))
    for row in rows:
        with suppress(OpenError, MissingError):
            changes.append(_changed(wrapping, seal, mac, row))
    with writing(engine) as connection:
        done = _write(connection, changes)
    last = bytes(rows[-1].rid) if len(rows) == most else b""
    return Batch(_KEYS_A_RECORD * done, last, len(rows) - len(changes))


def _changed(wrapping: Wrapping, seal: Seal, mac: Mac, row: Sequence[Any]) -> tuple[Any, ...]:
    """Return what `_CHANGED` names. The row is read as it lies: making a record of it costs as much as a frame."""
    values = list(row)
    if not equal(mac_of_row(mac, _RECORD_TABLE, values[:-1]), values[-1]):
        raise OpenError
    rid = values[_AT["rid"]]
    place = Place(wrapping.deployment, _RECORD_TABLE, rid, "wrapped")
    values[_AT["wrapped"]] = wrapping.sealed_anew(seal, place, values[_AT["wrapped"]])
    values[_AT["kek_version"]] = wrapping.current.version
    values[-1] = mac_of_row(mac, _RECORD_TABLE, values[:-1])
    return rid, row[_AT["kek_version"]], row[-1], *_written(values)


def _write(connection: Connection, changes: Sequence[tuple[Any, ...]]) -> int:
    names = [f"new_{name}" for name in _CHANGED]
    if connection.dialect.name != "postgresql":
        steps = [_ONE.on(connection, **dict(zip(names, change, strict=True))) for change in changes]
    else:
        columns = zip(*changes, strict=True)
        lists = [listed(kind, values) for kind, values in zip(_CHANGED.values(), columns, strict=True)]
        steps = [_MANY.on(connection, **dict(zip(names, lists, strict=True)))] if changes else []
    return sum(outcome.count for step in steps for outcome in run(connection, step))


def rewrap_evidence(engine: Engine, wrapping: Wrapping) -> tuple[int, int]:
    """Seal the keys of all pieces of evidence anew that lie under former versions.

    Pieces live for days, so that there are few.

    Returns:
        How many keys were sealed, and how many pieces were altered: those stay as they are.

    Raises:
        UsesError: the current version may not seal so many; nothing is done.
    """
    table, kek, changes, mac = store.evidence_key, wrapping.current, [], Mac(wrapping.rows)
    query = select(table).where(func.substr(_EVIDENCE.wrapped, _KEY_ID_AT, len(kek.id)) != kek.id)
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    seal = wrapping.sealer(_EVIDENCE_TABLE, len(rows))
    for row in rows:
        with suppress(OpenError, MissingError):
            changes.append((row, _changed_evidence(wrapping, seal, mac, row)))
    done = 0
    for begin in range(0, len(changes), _EVIDENCE_BATCH):
        with writing(engine) as connection:
            for row, change in changes[begin : begin + _EVIDENCE_BATCH]:
                same = (_EVIDENCE.rid == row.rid) & (_EVIDENCE.name == row.name) & (_EVIDENCE.mac == row.mac)
                done += connection.execute(update(table).where(same).values(change)).rowcount
    return done, len(rows) - len(changes)


def _changed_evidence(
    wrapping: Wrapping, seal: Seal, mac: Mac, row: Any  # noqa: ANN401 - a SQL row
) -> dict[str, bytes]:  # fmt: skip
    if not equal(mac_of_row(mac, _EVIDENCE_TABLE, (row.rid, row.name, row.wrapped, row.views)), row.mac):
        raise OpenError
    place = Place(wrapping.deployment, _EVIDENCE_TABLE, row.rid + row.name.encode(), "wrapped")
    wrapped = wrapping.sealed_anew(seal, place, row.wrapped)
    return {"wrapped": wrapped, "mac": mac_of_row(mac, _EVIDENCE_TABLE, (row.rid, row.name, wrapped, row.views))}
