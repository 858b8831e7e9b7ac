"""Audit rows of acts on records: written in the act's own transaction, sealed under the record's commitment key.

A row is {random id, type, minute, address, sealed detail}. It becomes one leaf of the log when it is drained. An act on
several records is one row, so that its leaf does not tell how many there were.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import msgpack
from sqlalchemy import Connection

from keys import bulk, leaves, store
from keys.bulk import Bulk, Rows
from keys.frame import Place, Purpose, length_prefixed, seal
from keys.keyring import Keyring
from keys.primitives import Secret, random_bytes
from keys.records import Opened, detail_key

_OUTBOX: Final = Bulk(store.audit_outbox)
_COLUMNS: Final = itemgetter(*store.audit_outbox.c.keys())


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
    audit_id = random_bytes(16)
    place = Place(deployment, "keys.audit_outbox", audit_id, "detail")
    sealed = seal(detail_key(commitment_key, audit_id), Purpose.AUDIT, place, msgpack.packb(dict(detail)))
    return {"id": audit_id, "type": kind, "minute": minute, "address": rid, "detail": sealed}


def write_group(
    connection: Connection, deployment: bytes, opened: Sequence[Opened], kind: str, minute: int,
    detail: Mapping[str, object],
) -> None:  # fmt: skip
    """Write the audit row of one act on several records; more than its leaf has places take a further row.

    The address is that of all of them, one after another; the detail is sealed once for each, under its own key.
    """
    places = leaves.PLACES[leaves.type_of(kind)]
    write_all(
        connection,
        [
            _group_row(deployment, opened[place : place + places], kind, minute, detail)
            for place in range(0, len(opened), places)
        ],
    )


def _group_row(
    deployment: bytes, opened: Sequence[Opened], kind: str, minute: int, detail: Mapping[str, object]
) -> dict[str, Any]:
    audit_id, packed = random_bytes(16), msgpack.packb(dict(detail))
    place = Place(deployment, "keys.audit_outbox", audit_id, "detail")
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
    place = Place(keyring.deployment, "keys.audit_outbox", audit_id, "detail")
    sealed = keyring.current("map").seal(Purpose.AUDIT, place, msgpack.packb(dict(detail)))
    return {"id": audit_id, "type": kind, "minute": minute, "address": address, "detail": sealed}


def write_all(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write audit rows; if they cannot be written, the caller's transaction does not happen."""
    bulk.insert_all(connection, [], adding(rows))


def adding(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Return audit rows as they are inserted together with others."""
    return Rows(_OUTBOX, [_COLUMNS(row) for row in rows])
