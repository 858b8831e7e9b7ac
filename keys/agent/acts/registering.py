"""The acts of a registration: `create`, `create.check`, `create.done`, `create.undo`, `revise`, `revise.done`.

Those of a creation take lists, so that a batch costs one transaction; a single registration is a list of one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from sqlalchemy import Connection, delete

from keys import audit, budgets, record_keys, records, store
from keys.agent.acts import draining
from keys.agent.arguments import Args, listed, mapping, octets, text, whole
from keys.agent.names import Names, check_standing, commitment_key, open_record
from keys.agent.wire import Dialogue
from keys.bulk import Bulk, Rows, insert_all, inserting
from keys.driver import Step
from keys.engine import reading, writing
from keys.errors import ConflictError, MissingError, OpenError, ProtocolError, RefusedError
from keys.fields import key_label
from keys.record_keys import Opened
from keys.records import RID_BYTES, Record, State
from keys.tokens import PID_BYTES

FIELDS: Final = frozenset(
    ("legal_name", "names", "birth_date", "document", "phone", "email", "form", "registration", "mandate")
)
MADE: Final = "exchange.made"
"""The audit row of a standing whose exchange was cut off after it was made, and its hand-off not consumed."""
_CREATED: Final = "registration.created"
_NO_DETAIL: Final[bytes] = msgpack.packb({})
MOST: Final = 2000
"""Records in one call: a batch of 1,000, each an organisation with its representative."""
_TRIES: Final = 3
_PERSONS: Final = Bulk(store.person)


def _fields(args: Args) -> list[str]:
    names = listed(args, "fields", most=len(FIELDS))
    if not names or len(set(names)) != len(names) or not FIELDS.issuperset(names):
        raise ProtocolError("fields: distinct names of known fields")
    return names


def _items(args: Args) -> list[dict[str, Any]]:
    items = [mapping(item, "item") for item in listed(args, "items", most=MOST)]
    if not items:
        raise ProtocolError("items: at least one")
    return items


def _rids(args: Args) -> list[bytes]:
    return [octets({"rid": rid}, "rid", RID_BYTES) for rid in listed(args, "rids", most=MOST)]


def create(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Draw rid, uid and keys for registrations; return record links and the first field keys. Sees no plain text.

    Args:
        names: the holder.
        args: {sector, items: [{pid, fields}]}.

    Returns:
        {items: [{rid, link, keys, revisions}]} in the same order.

    Raises:
        BudgetError: this sector's creations of the hour are used up.
        MissingError: no such sector.
    """
    drawn = draw_all(names, args, State.CREATING)
    insert_drawn(names, [drawn])
    return {"items": drawn.answers}


@dataclass(frozen=True, slots=True)
class Drawn:
    """Fresh records, not written yet."""

    sector: str
    fresh: Sequence[tuple[Opened, bytes]]
    """(record, pid) in the order of the request"""
    persons: Sequence[bytes]
    rows: Sequence[Mapping[str, Any]]
    answers: Sequence[Mapping[str, Any]]
    """{rid, link, keys, revisions}"""

    def write(self, names: Names, connection: Connection) -> None:
        """Insert the records and their persons.

        Raises:
            BudgetError: this sector's creations of the hour are used up.
        """
        for outcome in insert_all(connection, *_written(names, [self])):
            budgets.check(outcome.rows)


def insert_drawn(names: Names, drawn: Sequence[Drawn]) -> None:
    """Insert the records of several calls and their persons in a transaction of their own.

    Raises:
        BudgetError: a sector's creations of the hour are used up; nothing stands.
    """
    with inserting(names.engine, *_written(names, drawn)) as spent:
        for outcome in spent:
            budgets.check(outcome.rows)


def _written(names: Names, drawn: Sequence[Drawn]) -> tuple[list[Step], Rows, Rows]:
    """Return what writes the records of several calls: budgets first, whose outcomes are to be checked."""
    window, limit = names.now() // budgets.HOUR_SECONDS, names.limits.creates_per_hour
    counts: Counter[str] = Counter()
    for one in drawn:
        counts[one.sector] += len(one.rows)
    return (
        [budgets.spending(names.engine, f"create/{name}", limit, window, count) for name, count in counts.items()],
        records.adding(row for one in drawn for row in one.rows),
        Rows(_PERSONS, [(uid, "provisional") for one in drawn for uid in one.persons]),
    )


def draw_all(names: Names, args: Args, state: State) -> Drawn:
    """Draw rid, uid and keys of {sector, items: [{pid, fields}]}; all is sealed before a transaction begins.

    Raises:
        MissingError: no such sector.
    """
    sector = text(args, "sector")
    wanted = [(octets(item, "pid", PID_BYTES), dict.fromkeys(_fields(item), 1)) for item in _items(args)]
    links = names.keyring.links(sector)
    drawn = record_keys.draw_all(names.keyring, sector, wanted, names.minute, state)
    labels = {name: key_label(name, 1) for name in FIELDS}
    answers = [
        {
            "rid": opened.record.rid, "link": links.link(opened.record.rid, pid),
            "keys": dict(zip(revisions, opened.keys_by([labels[name] for name in revisions]), strict=True)),
            "revisions": revisions,
        }
        for (pid, revisions), (opened, _) in zip(wanted, drawn, strict=True)
    ]  # fmt: skip
    fresh = [(opened, pid) for (pid, _), (opened, _) in zip(wanted, drawn, strict=True)]
    rows = [opened.record.values(names.keyring) for opened, _ in drawn]
    return Drawn(sector, fresh, [uid for _, uid in drawn], rows, answers)


def _in_creation(names: Names, connection: Connection, rid: bytes) -> Record:
    record = records.load(connection, names.keyring, rid)
    if record.state is not State.CREATING:
        raise ConflictError
    return record


def create_check(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Check that records still are in creation: nobody has given them up.

    Raises:
        ConflictError: one is finished; MissingError: one was undone.
    """
    with reading(names.engine) as connection:
        for rid in _rids(args):
            _in_creation(names, connection, rid)
    return {}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a directory row says of its record."""

    rid: bytes
    sector: str
    pid: bytes


Claims = Mapping[bytes, Claim]
"""rid → what its directory row says"""


@dataclass(frozen=True, slots=True)
class Completion:
    """What `create.done` writes of a record that was drawn a moment ago: no key is in it."""

    claim: Claim
    leaving: records.Leaving
    audit: Mapping[str, Any]

    @property
    def minute(self) -> int:
        """When its audit row says that it happened."""
        return int(self.audit["minute"])


def completions(names: Names, drawn: Drawn) -> dict[bytes, Completion]:
    """Return what will be written of records that were drawn in creation, by rid, while their keys are at hand."""
    keyring, minute = names.keyring, names.minute
    said = [(opened.record.rid, opened.commitment_key, _NO_DETAIL) for opened, _ in drawn.fresh]
    audited = audit.rows_of(keyring.deployment, _CREATED, minute, said)
    return {
        opened.record.rid: Completion(
            Claim(opened.record.rid, drawn.sector, pid), records.leaving(keyring, opened.record, row["mac"]), audit_row
        )
        for (opened, pid), row, audit_row in zip(drawn.fresh, drawn.rows, audited, strict=True)
    }


def complete_drawn(names: Names, ready: Sequence[Completion]) -> None:
    """Do what `complete` does for records that are as they were drawn, without reading them.

    Raises:
        ConflictError: one is not; nothing was changed.
    """
    records.leave_creation(names.engine, [one.leaving for one in ready], audit.adding([one.audit for one in ready]))


def _claim(names: Names, item: Args) -> Claim:
    sector, pid = text(item, "sector"), octets(item, "pid", PID_BYTES)
    try:
        rid = names.keyring.links(sector).rid(octets(item, "link"), pid)
    except OpenError:
        raise RefusedError from None
    if item.get("rid", rid) != rid:
        raise RefusedError
    return Claim(rid, sector, pid)


def create_done(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """The directory rows stand: their records are in review from now on. Idempotent.

    Args:
        names: the holder.
        args: {items: [{sector, pid, link}]} as the directory rows have them; `rid` where the caller knows which record
            one must be.

    Raises:
        RefusedError: a link is not that of its record at its own standing.
        ConflictError: other acts keep changing the records.
    """
    complete(names, claims_of(names, args))
    return {}


def claims_of(names: Names, args: Args) -> Claims:
    """Return what directory rows say of their records.

    Raises:
        RefusedError: a link is not of its row.
    """
    return {claim.rid: claim for claim in (_claim(names, item) for item in _items(args))}


def complete(names: Names, claims: Claims) -> None:
    """Put records in review whose directory rows stand. Idempotent.

    Raises:
        RefusedError, ConflictError: see `create_done`.
    """
    for _try in range(_TRIES):
        try:
            _finish(names, claims)
        except ConflictError:
            continue
        return
    raise ConflictError


def _finish(names: Names, claims: Claims) -> None:
    """Write state and audit row of each record still in creation; all is sealed before the transaction begins."""
    with reading(names.engine) as connection:
        found = records.load_all(connection, names.keyring, claims)
    creating = [record for record in found.values() if record.state is State.CREATING]
    rows, changes = [], []
    for record in creating:
        claim, (sector, pid, exchange) = claims[record.rid], records.origin_of(names.keyring, record)
        if (sector, pid) != (claim.sector, claim.pid):
            raise RefusedError
        # An exchange makes a record of somebody who is verified already: nothing of it is reviewed.
        state, kind = (State.IN_REVIEW, _CREATED) if exchange is None else (State.VERIFIED, MADE)
        key = commitment_key(names, record)
        rows.append(audit.row_of(names.keyring.deployment, record.rid, key, kind, names.minute, exchange or {}))
        changes.append((record, {"state": state, "origin": None}))
    if creating:
        records.change_all(names.engine, names.keyring, changes, audit.adding(rows))


def create_undo(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Remove records that no directory row ever reached. Idempotent.

    Raises:
        ConflictError: one was finished; none is removed then.
    """
    with writing(names.engine) as connection:
        for rid in _rids(args):
            _undo(names, connection, rid)
    return {}


def _undo(names: Names, connection: Connection, rid: bytes) -> None:
    try:
        record = _in_creation(names, connection, rid)
    except MissingError:
        return
    uid = records.uid_of(names.keyring, record)
    records.remove(connection, record)
    draining.forget(connection, [rid])  # of a vault that came back, the log may have told of it
    if records.origin_of(names.keyring, record)[2] is None:  # the person of an exchange lives on
        connection.execute(delete(store.person).where(store.person.c.uid == uid))


def create_open(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return creations older than `older_minutes` that were never finished, for the service to finish or undo."""
    before, limit = names.minute - whole(args, "older_minutes"), min(whole(args, "limit"), 1000)
    with reading(names.engine) as connection:
        rows = records.creating(connection, names.keyring, before, limit)
    found = [(record.rid, *records.origin_of(names.keyring, record)[:2]) for record in rows]
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
