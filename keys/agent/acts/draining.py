"""The acts `outbox.take` and `outbox.settle`, behind `outbox.sock`: the key store's audit rows on their way to the log.

A row that was taken is still there: it goes when the caller says that its leaf stands in the log. What was taken and
not settled is taken again, with the same numbers or others; so a caller settles first what it finds in its log, and
takes anew, before it writes any more leaves. The agent numbers a record's leaves and names records by commitments; the
caller never learns a rid.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import audit, leaves, record_keys, records, store
from keys.agent.arguments import Args, listed, whole
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import KeysError, ProtocolError
from keys.primitives import Secret

MOST: Final = 10_000
_AT_ONCE: Final = 500
"""Values in one statement's list: within what either database takes."""
_COUNTED: Final = select(store.leaf_count).where(store.leaf_count.c.rid.in_(bindparam("rids", expanding=True)))
_FOUND: Final = select(store.audit_outbox.c.type, store.audit_outbox.c.address).where(
    store.audit_outbox.c.id.in_(bindparam("ids", expanding=True))
)
_DELETE: Final = delete(store.audit_outbox).where(store.audit_outbox.c.id.in_(bindparam("ids", expanding=True)))
_PRESENT: Final = select(store.record_key.c.rid).where(store.record_key.c.rid.in_(bindparam("rids", expanding=True)))


def take(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return up to `limit` rows as {rows: [{id, entry, detail}]}, the entry ready for the log.

    A record whose keys were destroyed meanwhile is named by random bytes: nobody can tell it from any other.
    """
    limit = whole(args, "limit")
    if not 0 < limit <= MOST:
        raise ProtocolError(f"limit: from 1 to {MOST}")
    with reading(names.engine) as connection:
        found = connection.execute(select(store.audit_outbox).limit(limit)).all()
        told = [audit.read_address(row.type, row.address) for row in found]
        rids = sorted({rid for named, _ in told for rid in named})
        keys = commitment_keys(names, connection, rids)
        numbers = Counter(_counted(connection, rids))
    rows = []
    for row, (named, facts) in zip(found, told, strict=True):
        of_subject = row.type in leaves.BY_SUBJECT and len(row.address) == leaves.SUBJECT_BYTES
        subjects = [row.address] if of_subject else []
        for rid in named:
            if rid in keys:
                subjects.append(leaves.record_subject(keys[rid], numbers[rid]))
                numbers[rid] += 1
        entry = leaves.entry(row.type, row.minute, subjects, facts)
        rows.append({"id": row.id, "entry": entry, "detail": row.detail})
    return {"rows": rows}


def settle(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Delete rows whose leaves stand in the log, and count the leaves of their records. Idempotent.

    Args:
        names: the holder.
        args: {ids}.
    """
    ids = [one for one in listed(args, "ids", most=MOST) if isinstance(one, bytes)]
    with writing(names.engine) as connection:
        new = Counter[bytes]()
        for some in _parts(ids):
            for row in connection.execute(_FOUND, {"ids": some}):
                new.update(audit.read_address(row.type, row.address)[0])
            connection.execute(_DELETE, {"ids": some})
        _count(connection, new)
    return {}


def forget(connection: Connection, rids: Iterable[bytes]) -> None:
    """Forget how many leaves records have: in the transaction that destroys their keys."""
    for rid in rids:
        connection.execute(delete(store.leaf_count).where(store.leaf_count.c.rid == rid))


def _parts(values: Sequence[bytes]) -> Iterable[list[bytes]]:
    return (list(values[place : place + _AT_ONCE]) for place in range(0, len(values), _AT_ONCE))


def commitment_keys(names: Names, connection: Connection, rids: Sequence[bytes]) -> dict[bytes, Secret]:
    """Return rid → commitment key of those records that there are; one that was altered has none here."""
    keys: dict[bytes, Secret] = {}
    for some in _parts(rids):
        rows = records.rows_of(connection, some)
        for rid, record in records.intact(names.keyring, rows).items():
            try:
                if record is not None:
                    keys[rid] = record_keys.commitment_key(names.keyring, record)
            except KeysError:
                continue
    return keys


def _counted(connection: Connection, rids: Sequence[bytes]) -> Mapping[bytes, int]:
    return {row.rid: row.leaves for some in _parts(rids) for row in connection.execute(_COUNTED, {"rids": some})}


def _count(connection: Connection, new: Counter[bytes]) -> None:
    rids = sorted(new)
    before = _counted(connection, rids)
    present = {rid for some in _parts(rids) for rid in connection.execute(_PRESENT, {"rids": some}).scalars()}
    rows = [{"rid": rid, "leaves": before.get(rid, 0) + new[rid]} for rid in rids if rid in present]
    if rows:
        statement = upsert(store.leaf_count)
        changed = {"leaves": statement.excluded.leaves}
        connection.execute(statement.on_conflict_do_update(index_elements=["rid"], set_=changed), rows)
