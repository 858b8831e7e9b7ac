"""Audit rows of acts on records: written in the act's own transaction, sealed under the record's commitment key.

A row is {random id, type, minute, address, sealed detail}. It becomes one leaf of the log when it is drained. An act on
several records is one row, so that its leaf does not tell how many there were.

    address = rid…, or of a disclosure rid ‖ digest of the request(32) ‖ u64be minute in which its notice is due, or 0;
              or of records that were sealed anew u64be how many
"""

import base64
from collections.abc import Mapping, Sequence
from operator import itemgetter
from struct import Struct
from typing import Any, Final

import msgpack
from sqlalchemy import Column, Connection, func, select

from keys import bulk, leaves, store
from keys.bulk import MANY, Bulk, Rows
from keys.driver import Speaking, Step
from keys.frame import SALT_BYTES, Place, Purpose, Stencil, length_prefixed, seal
from keys.keyring import Keyring
from keys.primitives import Secret, random_bytes
from keys.record_keys import Opened, detail_key
from keys.records import RID_BYTES

_DIGEST_BYTES: Final = 32
_ID_BYTES: Final = 16
_DRAWN: Final = Struct(f"{_ID_BYTES}s{SALT_BYTES}s")
_COUNTED: Final = "keys.resealed"
_DISCLOSURES: Final = frozenset({"disclosure.granted", "disclosure.deferred", "disclosure.notified"})
_NAME: Final = "keys.audit_outbox"
_OUTBOX: Final = Bulk(store.audit_outbox, few=MANY)
_COLUMNS: Final = itemgetter(*store.audit_outbox.c.keys())


def waiting(connection: Connection) -> tuple[int, int] | None:
    """Return the minutes, since 1970, of the oldest and the newest row that wait for the log; None where none waits."""
    minute = store.audit_outbox.c.minute
    oldest, newest = connection.execute(select(func.min(minute), func.max(minute))).one()
    return None if oldest is None else (oldest, newest)


def write(
    connection: Connection,
    deployment: bytes,
    opened: Opened,
    kind: str,
    minute: int,
    detail: Mapping[str, object],
) -> None:
    """Write one audit row about a record; if it cannot be written, the caller's transaction does not happen."""
    write_all(connection, [row(deployment, opened, kind, minute, detail)])


def row(deployment: bytes, opened: Opened, kind: str, minute: int, detail: Mapping[str, object]) -> dict[str, Any]:
    """Return an audit row about a record, sealed: so that a batch is sealed before its transaction begins."""
    return row_of(deployment, opened.record.rid, opened.commitment_key, kind, minute, detail)


def row_of(
    deployment: bytes, rid: bytes, commitment_key: Secret, kind: str, minute: int, detail: Mapping[str, object]
) -> dict[str, Any]:
    """Return an audit row about a record of which the commitment key alone was opened."""
    [made] = rows_of(deployment, kind, minute, [(rid, commitment_key, msgpack.packb(dict(detail)))])
    return made


def rows_of(
    deployment: bytes, kind: str, minute: int, said: Sequence[tuple[bytes, Secret, bytes]]
) -> list[dict[str, Any]]:
    """Return audit rows as `row_of` does, each of (rid, commitment key, packed detail): random bytes are drawn once."""
    stencil, rows = Stencil(Purpose.AUDIT, Place(deployment, _NAME, b"", "detail")), []
    random = _DRAWN.iter_unpack(random_bytes(_DRAWN.size * len(said)))
    for (rid, key, packed), (audit_id, salt) in zip(said, random, strict=True):
        sealed = stencil.seal(detail_key(key, audit_id), audit_id, packed, salt)
        rows.append({"id": audit_id, "type": kind, "minute": minute, "address": rid, "detail": sealed})
    return rows


def write_group(
    connection: Connection, deployment: bytes, opened: Sequence[Opened], kind: str, minute: int,
    detail: Mapping[str, object],
) -> None:  # fmt: skip
    """Write the audit row of one act on several records; more than its leaf has places take a further row.

    The address is that of all of them, one after another; the detail is sealed once for each, under its own key. Whom
    the act is about is the first of all: a further row has the public name of the act, which tells nobody's provider.
    """
    public = leaves.type_of(kind)
    places = leaves.PLACES[public]
    write_all(
        connection,
        [
            row_of_group(deployment, opened[place : place + places], public if place else kind, minute, detail)
            for place in range(0, len(opened), places)
        ],
    )


def row_of_group(
    deployment: bytes, opened: Sequence[Opened], kind: str, minute: int, detail: Mapping[str, object]
) -> dict[str, Any]:
    """Return the audit row of one act on no more records than its leaf has places, sealed: see `write_group`."""
    audit_id, packed = random_bytes(16), msgpack.packb(dict(detail))
    place = Place(deployment, _NAME, audit_id, "detail")
    sealed = [seal(one.detail_key(audit_id), Purpose.AUDIT, place, packed) for one in opened]
    address = b"".join(one.record.rid for one in opened)
    return {
        "id": audit_id, "type": kind, "minute": minute, "address": address, "detail": length_prefixed(*sealed),
    }  # fmt: skip


def sealed_row(
    keyring: Keyring, address: bytes, kind: str, minute: int, detail: Mapping[str, object]
) -> dict[str, Any]:
    """Return an audit row about an act that no single record stands for, sealed under the map key."""
    audit_id = random_bytes(16)
    place = Place(keyring.deployment, _NAME, audit_id, "detail")
    sealed = keyring.current("map").seal(Purpose.AUDIT, place, msgpack.packb(dict(detail)))
    return {"id": audit_id, "type": kind, "minute": minute, "address": address, "detail": sealed}


def disclosure_address(rid: bytes, digest: bytes, notice_due: int = 0) -> bytes:
    """Return the address of an audit row about a disclosure: with what its leaf says, for the record may be gone."""
    return rid + digest + notice_due.to_bytes(8, "big")


def count_address(count: int) -> bytes:
    """Return the address of the audit row of an act on so many records, whose leaf says no more."""
    return count.to_bytes(8, "big")


def read_address(kind: str, address: bytes) -> tuple[list[bytes], dict[str, object]]:
    """Return the rids of an audit row, and the facts that its leaf says."""
    if kind == _COUNTED:
        return [], {"count": int.from_bytes(address, "big")}
    if kind not in _DISCLOSURES:
        return [address[place : place + RID_BYTES] for place in range(0, len(address), RID_BYTES)], {}
    rid, rest = address[:RID_BYTES], address[RID_BYTES:]
    digest, due = rest[:_DIGEST_BYTES], int.from_bytes(rest[_DIGEST_BYTES:], "big")
    facts: dict[str, object] = {"disclosure": base64.urlsafe_b64encode(digest).rstrip(b"=").decode()}
    return [rid], facts | ({"notice_due": due} if due else {})


def write_all(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write audit rows; if they cannot be written, the caller's transaction does not happen."""
    bulk.insert_all(connection, [], adding(rows))


def adding(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Return audit rows as they are inserted together with others."""
    return Rows(_OUTBOX, [_COLUMNS(row) for row in rows])


def beside(speaking: Speaking, rows: Mapping[bytes, Mapping[str, Any]], key: Column[Any]) -> Step:
    """Return the statement that writes audit rows, by the keys of what they are about, where that still stands."""
    return _OUTBOX.beside(speaking, [(one, _COLUMNS(row)) for one, row in rows.items()], key)
