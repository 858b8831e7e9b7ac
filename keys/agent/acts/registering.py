"""The acts of a registration: `create`, `create.done`, `create.undo`, `revise`, `revise.done`."""

from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from keys import audit, records, store
from keys.agent.arguments import Args, listed, octets, text, whole
from keys.agent.names import Names, check_standing, open_record
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import BudgetError, ConflictError, MissingError, OpenError, ProtocolError, RefusedError
from keys.records import RID_BYTES, Record, State
from keys.tokens import PID_BYTES

FIELDS: Final = frozenset(
    ("legal_name", "names", "birth_date", "document", "phone", "email", "form", "registration", "mandate")
)
MADE: Final = "exchange.made"
"""The audit row of a standing whose exchange was cut off after it was made, and its hand-off not consumed."""
_HOUR_SECONDS: Final = 3600
_BUDGET: Final = store.budget.c
_COUNT: Final = (
    update(store.budget)
    .where(
        _BUDGET.name == bindparam("budget"),
        _BUDGET.window == bindparam("at"),
        _BUDGET.used + bindparam("count") <= bindparam("limit"),
    )
    .values(used=_BUDGET.used + bindparam("count"))
)
_RENEW: Final = (
    update(store.budget)
    .where(_BUDGET.name == bindparam("budget"), _BUDGET.window < bindparam("at"))
    .values(window=bindparam("at"), used=bindparam("count"))
)
_NEW_PERSON: Final = insert(store.person)


def _fields(args: Args) -> list[str]:
    names = listed(args, "fields", most=len(FIELDS))
    if not names or len(set(names)) != len(names) or not FIELDS.issuperset(names):
        raise ProtocolError("fields: distinct names of known fields")
    return names


def spend(connection: Connection, name: str, limit: int, window: int, count: int = 1) -> None:
    """Count uses of a budget, by conditional update: all of them or none.

    Raises:
        BudgetError: used up in this window.
    """
    if count > limit:
        raise BudgetError
    renewed = {"budget": name, "at": window, "count": count}
    if connection.execute(_COUNT, {**renewed, "limit": limit}).rowcount or connection.execute(_RENEW, renewed).rowcount:
        return
    try:
        connection.execute(insert(store.budget), {"name": name, "window": window, "used": count})
    except IntegrityError:
        raise BudgetError from None


def create(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Draw rid, uid and keys for a registration; return rid, record link and the first field keys. Sees no plain text.

    Raises:
        BudgetError: this sector's creations of the hour are used up.
        MissingError: no such sector.
    """
    sector, pid, fields = text(args, "sector"), octets(args, "pid", PID_BYTES), _fields(args)
    links, revisions = names.keyring.links(sector), dict.fromkeys(fields, 1)
    opened, uid = records.draw(names.keyring, sector, pid, revisions, names.minute)
    with writing(names.engine) as connection:
        spend(connection, f"create/{sector}", names.limits.creates_per_hour, names.now() // _HOUR_SECONDS)
        records.add(connection, names.keyring, opened.record)
        connection.execute(_NEW_PERSON, {"uid": uid, "state": "provisional"})
    rid = opened.record.rid
    return {"rid": rid, "link": links.link(rid, pid), "keys": opened.field_keys(revisions), "revisions": revisions}


def _in_creation(names: Names, connection: Connection, args: Args) -> tuple[Record, str, bytes]:
    record = records.load(connection, names.keyring, octets(args, "rid", RID_BYTES))
    if record.state is not State.CREATING:
        raise ConflictError
    return record, *records.origin_of(names.keyring, record)


def create_done(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """The directory row stands: the record is in review from now on. Idempotent.

    Args:
        names: the holder.
        args: {sector, pid, link} as the directory row has them; `rid` where the caller knows which record it must be.

    Raises:
        RefusedError: the link is not that of this record at its own standing.
    """
    sector, pid = text(args, "sector"), octets(args, "pid", PID_BYTES)
    try:
        rid = names.keyring.links(sector).rid(octets(args, "link"), pid)
    except OpenError:
        raise RefusedError from None
    if args.get("rid", rid) != rid:
        raise RefusedError
    with writing(names.engine) as connection:
        record = records.load(connection, names.keyring, rid)
        if record.state is not State.CREATING:
            return {}
        if records.origin_of(names.keyring, record) != (sector, pid):
            raise RefusedError
        exchange = records.exchange_of(names.keyring, record)
        # An exchange makes a record of somebody who is verified already: nothing of it is reviewed.
        state, kind = (State.IN_REVIEW, "registration.created") if exchange is None else (State.VERIFIED, MADE)
        record = records.change(connection, names.keyring, record, state=state, origin=None)
        opened = open_record(names, record)
        audit.write(connection, names.keyring.deployment, opened, kind, names.minute, exchange or {})
    return {}


def create_undo(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Remove a record that no directory row ever reached. Idempotent.

    Raises:
        ConflictError: it was finished.
    """
    with writing(names.engine) as connection:
        try:
            record, _sector, _pid = _in_creation(names, connection, args)
        except MissingError:
            return {}
        uid = records.uid_of(names.keyring, record)
        records.remove(connection, record)
        if records.exchange_of(names.keyring, record) is None:  # the person of an exchange lives on
            connection.execute(delete(store.person).where(store.person.c.uid == uid))
    return {}


def create_open(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return creations older than `older_minutes` that were never finished, for the service to finish or undo."""
    before, limit = names.minute - whole(args, "older_minutes"), min(whole(args, "limit"), 1000)
    table = store.record_key
    with reading(names.engine) as connection:
        query = select(table).where(table.c.state == State.CREATING, table.c.created <= before).limit(limit)
        rows = [Record.from_row(names.keyring, row) for row in connection.execute(query).all()]
    found = [(record.rid, *records.origin_of(names.keyring, record)) for record in rows]
    return {"open": [{"rid": rid, "sector": sector, "pid": pid} for rid, sector, pid in found]}


def revise(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return the keys of the next revision of a returned registration's fields; nothing changes yet.

    Raises:
        RefusedError: the evidence does not hold.
        ConflictError: the record is not `returned`.
    """
    fields = _fields(args)
    with writing(names.engine) as connection:
        record = check_standing(names, connection, args.get("standing")).record
        if record.state is not State.RETURNED:
            raise ConflictError
        last = max((*record.revisions.values(), *(record.pending or {}).values()))
        pending = dict.fromkeys(fields, last + 1)
        record = records.change(connection, names.keyring, record, pending=pending)
    opened = open_record(names, record)
    return {"rid": record.rid, "keys": opened.field_keys(pending), "revisions": pending}


def revise_done(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """The new fields stand in both stores: back in review. Idempotent.

    Raises:
        ConflictError: the record is in another state, or nothing was revised.
    """
    with writing(names.engine) as connection:
        record = check_standing(names, connection, args.get("standing")).record
        if record.state is State.IN_REVIEW:
            return {}
        if record.state is not State.RETURNED or record.pending is None:
            raise ConflictError
        record = records.change(
            connection, names.keyring, record, state=State.IN_REVIEW, revisions=record.pending, pending=None
        )
        opened = open_record(names, record)
        audit.write(connection, names.keyring.deployment, opened, "registration.revised", names.minute, {})
    return {}
