"""Wrapped keys under the current key encryption key: sealed anew in batches, and counted by the version they lie under.

Guarantees: a wrapped key is read back under the new version before the old one goes; a row that another act changed
since it was read is left for the next batch; a batch is done whole or not at all.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, func, select, update
from sqlalchemy.types import ARRAY

from keys import store
from keys.bulk import listed
from keys.driver import Prepared, run
from keys.engine import reading, writing
from keys.entries import KEK, Key
from keys.errors import MissingError, OpenError
from keys.frame import Place, Purpose
from keys.keyring import Keyring
from keys.primitives import equal
from keys.records import Record
from keys.rows import check_row, row_mac

_RECORD: Final = store.record_key.c
_EVIDENCE: Final = store.evidence_key.c
_EVIDENCE_TABLE: Final = "keys.evidence_key"
_EVIDENCE_BATCH: Final = 1000
_KEY_ID_AT: Final = 7
"""Where a frame's header says the key's id, counted from 1: `keys.frame`."""
_KEYS_OF_RECORD: Final = ("record_key", "commitment_key")
_CHANGED: Final = {
    "read_rid": _RECORD.rid, "read_version": _RECORD.kek_version, "read_mac": _RECORD.mac,
    "kek_version": _RECORD.kek_version, "record_key": _RECORD.record_key, "commitment_key": _RECORD.commitment_key,
    "mac": _RECORD.mac,
}  # fmt: skip
_WRITTEN: Final = ("kek_version", "record_key", "commitment_key", "mac")
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


def references(connection: Connection, key: Key) -> int:
    """Return how many wrapped keys lie under a version of a key; 0 for keys that wrap none."""
    if key.purpose != KEK:
        return 0
    rows = select(func.count()).where(_RECORD.kek_version == key.version)
    found = len(_KEYS_OF_RECORD) * connection.execute(rows).scalar_one()
    for column in (_EVIDENCE.wrapped, store.ceremony.c.root):
        named = select(func.count()).where(func.substr(column, _KEY_ID_AT, len(key.id)) == key.id)
        found += connection.execute(named).scalar_one()
    return int(found)


def rewrap_records(engine: Engine, keyring: Keyring, kek: Key, after: bytes, most: int) -> tuple[int, bytes, int]:
    """Seal the keys of the next records behind a rid anew, in one transaction; altered ones stay as they are.

    Returns:
        How many keys were sealed, the last rid that was looked at, which is empty where there are no more, and how many
        records were altered.
    """
    query = (
        select(store.record_key).where(_RECORD.kek_version < kek.version, _RECORD.rid > after)
        .order_by(_RECORD.rid).limit(most)
    )  # fmt: skip
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    if not rows:
        return 0, b"", 0
    changes = []
    for row in rows:
        with suppress(OpenError, MissingError):
            changes.append(_changed(keyring, kek, Record.from_row(keyring, row)))
    with writing(engine) as connection:
        done = _write(connection, changes)
    return len(_KEYS_OF_RECORD) * done, bytes(rows[-1].rid), len(rows) - len(changes)


def _changed(keyring: Keyring, kek: Key, record: Record) -> dict[str, Any]:
    wrapped = {}
    for name in _KEYS_OF_RECORD:
        place, former = Place(keyring.deployment, "keys.record_key", record.rid, name), getattr(record, name)
        secret = keyring.opener(KEK, former).open(Purpose.WRAP, place, former)
        wrapped[name] = _sealed(kek, place, secret)
    changed = replace(
        record, kek_version=kek.version, record_key=wrapped["record_key"], commitment_key=wrapped["commitment_key"]
    ).values(keyring)
    return {
        "read_rid": record.rid, "read_version": record.kek_version, "read_mac": record.mac,
        **{name: changed[name] for name in _WRITTEN},
    }  # fmt: skip


def _sealed(kek: Key, place: Place, secret: bytes) -> bytes:
    sealed = kek.seal(Purpose.WRAP, place, secret)
    if not equal(kek.open(Purpose.WRAP, place, sealed), secret):
        raise OpenError
    return sealed


def _write(connection: Connection, changes: list[dict[str, Any]]) -> int:
    if connection.dialect.name != "postgresql":
        steps = [_ONE.on(connection, **{f"new_{name}": value for name, value in row.items()}) for row in changes]
    else:
        lists = {f"new_{name}": listed(column, [row[name] for row in changes]) for name, column in _CHANGED.items()}
        steps = [_MANY.on(connection, **lists)]
    return sum(outcome.count for step in steps for outcome in run(connection, step))


def rewrap_evidence(engine: Engine, keyring: Keyring, kek: Key) -> int:
    """Seal the keys of all pieces of evidence anew that lie under former versions; return how many.

    Pieces live for days, so that there are few.

    Raises:
        OpenError: one was altered.
    """
    done, table = 0, store.evidence_key
    query = select(table).where(func.substr(_EVIDENCE.wrapped, _KEY_ID_AT, len(kek.id)) != kek.id)
    while True:
        with writing(engine) as connection:
            rows = connection.execute(query.limit(_EVIDENCE_BATCH)).all()
            for row in rows:
                check_row(keyring, _EVIDENCE_TABLE, (row.rid, row.name, row.wrapped, row.views), row.mac)
                place = Place(keyring.deployment, _EVIDENCE_TABLE, row.rid + row.name.encode(), "wrapped")
                secret = keyring.opener(KEK, row.wrapped).open(Purpose.WRAP, place, row.wrapped)
                wrapped = _sealed(kek, place, secret)
                mac = row_mac(keyring, _EVIDENCE_TABLE, (row.rid, row.name, wrapped, row.views))
                same = (_EVIDENCE.rid == row.rid) & (_EVIDENCE.name == row.name) & (_EVIDENCE.mac == row.mac)
                connection.execute(update(table).where(same).values(wrapped=wrapped, mac=mac))
        done += len(rows)
        if len(rows) < _EVIDENCE_BATCH:
            return done
