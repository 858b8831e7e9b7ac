"""Idempotency rows and the audit outbox of the directory store."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from keys.bulk import Bulk, Rows, insert_all
from keys.driver import Prepared, Speaking, Step, run
from vault.stores.directory import audit_outbox, idempotency, revoked
from vault.stores.unit import Unit, inserted, oldest

_OUTBOX = Bulk(audit_outbox)
_WAITING = Prepared(select(audit_outbox).limit(bindparam("limit")))
_SETTLE = Prepared(delete(audit_outbox).where(audit_outbox.c.id.in_(bindparam("ids", expanding=True))))
_FINISH = Prepared(
    update(idempotency)
    .where(idempotency.c.client == bindparam("of_client"), idempotency.c.key == bindparam("of_key"))
    .values(status=bindparam("new_status"), answer=bindparam("new_answer"))
)
_columns = itemgetter(*audit_outbox.c.keys())


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """What is known of a request with an idempotency key; `ids` are those drawn for it, `answer` is sealed."""

    request: bytes
    ids: bytes
    lease_until: int
    status: int | None
    answer: bytes | None


def begin(unit: Unit, client: str, key: bytes, row: AnswerRow, now: int) -> bool:
    """Write the row first; False if there is one already."""
    statement = upsert(idempotency).values(
        client=client, key=key, request=row.request, ids=row.ids, lease_until=row.lease_until, created=now
    )
    return inserted(unit, statement, idempotency.c.key)


def find(unit: Unit, client: str, key: bytes) -> AnswerRow | None:
    """Return what is known of a key."""
    columns = [idempotency.c[name] for name in AnswerRow.__slots__]
    query = select(*columns).where(idempotency.c.client == client, idempotency.c.key == key)
    row = unit.execute(query).one_or_none()
    return None if row is None else AnswerRow(*row)


def take_over(unit: Unit, client: str, key: bytes, until: int, now: int) -> bool:
    """Go on with a request whose worker is gone; False if another was quicker."""
    where = (idempotency.c.client == client) & (idempotency.c.key == key) & (idempotency.c.lease_until <= now)
    return unit.execute(update(idempotency).where(where).values(lease_until=until)).rowcount == 1


def finish(unit: Unit, client: str, key: bytes, status: int, answer: bytes) -> None:
    """Store the sealed answer, in the transaction of its effect. Idempotent."""
    run(unit, finishing(unit, client, key, status, answer))


def finishing(store: Speaking, client: str, key: bytes, status: int, answer: bytes) -> Step:
    """Return the statement of `finish`, to be run together with others."""
    return _FINISH.on(store, of_client=client, of_key=key, new_status=status, new_answer=answer)


def forget(unit: Unit, client: str, key: bytes) -> None:
    """Drop the row of a request that was refused without effect: a retry may be another request."""
    where = (idempotency.c.client == client) & (idempotency.c.key == key) & (idempotency.c.answer.is_(None))
    unit.execute(delete(idempotency).where(where))


def expire(unit: Unit, before: int, now: int, limit: int) -> None:
    """Delete rows older than the retention, and revocations of access tokens that have expired anyway.

    About `limit` of each at most: the rest waits for the next round.
    """
    unit.execute(delete(idempotency).where(oldest(unit, idempotency.c.created, before, limit)))
    unit.execute(delete(revoked).where(oldest(unit, revoked.c.until, now, limit)))


def waiting(unit: Unit, limit: int) -> Sequence[Any]:
    """Return audit rows that are not in the log yet, up to so many."""
    return run(unit, _WAITING.on(unit, limit=limit))[0].rows


def settling(store: Speaking, ids: Sequence[bytes]) -> Step:
    """Return the deletion of audit rows whose leaves stand in the log. Idempotent."""
    return _SETTLE.on(store, ids=ids)


def audit_all(unit: Unit, rows: Sequence[dict[str, Any]]) -> None:
    """Write audit rows of one act, as their columns, in the act's own transaction."""
    insert_all(unit, [], adding(rows))


def adding(rows: Sequence[dict[str, Any]]) -> Rows:
    """Return audit rows as they are inserted together with others."""
    return Rows(_OUTBOX, [_columns(row) for row in rows])


def audit(unit: Unit, audit_id: bytes, kind: str, minute: int, address: str, detail: bytes) -> None:
    """Write an audit row of an act of the directory, in the act's own transaction; `detail` is sealed."""
    row = {"id": audit_id, "type": kind, "minute": minute, "address": address.encode(), "detail": detail}
    audit_all(unit, [row])


def auditing(store: Speaking, audit_id: bytes, kind: str, minute: int, address: str, detail: bytes) -> Step:
    """Return the statement of `audit`, to be run together with others."""
    return _OUTBOX.of(store, [(audit_id, kind, minute, address.encode(), detail)])
