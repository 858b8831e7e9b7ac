"""The acts `outbox.take` and `outbox.settle`, behind `outbox.sock`: the key store's audit rows on their way to the log.

A row that was taken is still there: it goes when the caller says that its leaf stands in the log. What was taken and
not settled is taken again, with the same numbers or others; so a caller settles first what it finds in its log, and
takes anew, before it writes any more leaves. The agent numbers a record's leaves and names records by commitments; the
caller never learns a rid.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    bindparam,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import audit, leaves, record_keys, records, store
from keys.agent.arguments import Args, listed, whole
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.driver import Prepared, run
from keys.engine import reading, writing
from keys.errors import KeysError, ProtocolError
from keys.primitives import Secret, random_bytes

MOST: Final = 10_000
_AT_ONCE: Final = 10_000
"""Records in one statement's list: within what either database takes; rows may name several each."""
_WAITING: Final = Prepared(select(store.audit_outbox).limit(bindparam("limit")))
_COUNTED: Final = Prepared(
    select(store.leaf_count).where(store.leaf_count.c.rid.in_(bindparam("rids", expanding=True)))
)
_SETTLE: Final = Prepared(
    delete(store.audit_outbox)
    .where(store.audit_outbox.c.id.in_(bindparam("ids", expanding=True)))
    .returning(store.audit_outbox.c.type, store.audit_outbox.c.address)
)
_lists: Final = (
    func.unnest(bindparam("rids", type_=ARRAY(LargeBinary)), bindparam("counts", type_=ARRAY(BigInteger)))
    .table_valued("rid", "leaves", name="new")
    .render_derived()
)


def _adding(rid: ColumnElement[bytes], count: ColumnElement[int]) -> Prepared:
    """Return what adds to the counts of those records that there are."""
    there = select(rid, count).where(store.record_key.c.rid == rid)
    statement = upsert(store.leaf_count).from_select(["rid", "leaves"], there)
    grown = store.leaf_count.c.leaves + statement.excluded.leaves
    return Prepared(statement.on_conflict_do_update(index_elements=["rid"], set_={"leaves": grown}))


_ADD: Final = _adding(bindparam("rid", type_=LargeBinary), bindparam("count", type_=BigInteger))
_ADD_MANY: Final = _adding(_lists.c.rid, _lists.c.leaves)
"""The same for many, in one statement; PostgreSQL alone has it."""


def take(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return up to `limit` rows as {rows: [{id, entry, detail}]}, the entry ready for the log.

    A record whose keys were destroyed meanwhile is named by random bytes: nobody can tell it from any other.
    """
    limit = whole(args, "limit")
    if not 0 < limit <= MOST:
        raise ProtocolError(f"limit: from 1 to {MOST}")
    with reading(names.engine) as connection:
        found = run(connection, _WAITING.on(connection, limit=limit))[0].rows
        told = [audit.read_address(row.type, row.address) for row in found]
        rids = sorted({rid for named, _ in told for rid in named})
        keys = commitment_keys(names, connection, rids)
        numbers = Counter(counted(connection, rids))
    rows = []
    for row, (named, facts) in zip(found, told, strict=True):
        of_subject = row.type in leaves.BY_SUBJECT and len(row.address) == leaves.SUBJECT_BYTES
        subjects = [row.address] if of_subject else []
        for place, rid in enumerate([] if of_subject else named):
            if rid in keys:
                first_told = place == 0 and row.type in leaves.TOLD
                subjects.append(leaves.record_subject(keys[rid], numbers[rid], told=first_told))
                numbers[rid] += 1
            else:  # the others keep their places: the first is whom the act was done to
                subjects.append(random_bytes(leaves.SUBJECT_BYTES))
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
        for kind, address in run(connection, _SETTLE.on(connection, ids=ids))[0].rows:
            new.update(audit.read_address(kind, address)[0])
        if new:
            _count(connection, new)
    return {}


def forget(connection: Connection, rids: Iterable[bytes]) -> None:
    """Forget how many leaves records have: in the transaction that destroys their keys."""
    for rid in rids:
        connection.execute(delete(store.leaf_count).where(store.leaf_count.c.rid == rid))


def _parts(rids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (rids[place : place + _AT_ONCE] for place in range(0, len(rids), _AT_ONCE))


def commitment_keys(names: Names, connection: Connection, rids: Sequence[bytes]) -> dict[bytes, Secret]:
    """Return rid → commitment key of those records that there are; one that was altered has none here."""
    keys: dict[bytes, Secret] = {}
    for some in _parts(rids):
        for rid, record in records.intact(names.keyring, records.rows_of(connection, some)).items():
            try:
                if record is not None:
                    keys[rid] = record_keys.commitment_key(names.keyring, record)
            except KeysError:
                continue
    return keys


def counted(connection: Connection, rids: Sequence[bytes]) -> dict[bytes, int]:
    """Return rid → how many leaves a record has, of those that have any."""
    return {
        row.rid: row.leaves
        for some in _parts(rids)
        for row in run(connection, _COUNTED.on(connection, rids=some))[0].rows
    }


def _count(connection: Connection, new: Counter[bytes]) -> None:
    if connection.dialect.name == "postgresql":
        run(connection, _ADD_MANY.on(connection, rids=list(new), counts=list(new.values())))
    else:
        run(connection, *(_ADD.on(connection, rid=rid, count=count) for rid, count in new.items()))
