"""The act `exchange.open`: a provider turns a person it knows into a hand-off for another provider.

Acts of the exchange socket take lists: a batch costs one call and few transactions. An item's answer or refusal stands
at its place; a refusal leaves nothing behind.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, select

from keys import agreements, audit, handoffs, store
from keys.agent.acts.registering import spend
from keys.agent.arguments import Args, listed, mapping, octets, text, whole
from keys.agent.names import Names, check_standing, open_record
from keys.agent.wire import Dialogue
from keys.agreements import Agreement, Basis
from keys.engine import reading, writing
from keys.errors import KeysError, ProtocolError
from keys.handoffs import Handoff
from keys.records import Assurance, Record, State

MOST_ITEMS: Final = 1000
_HOUR_SECONDS: Final = 3600


class Refusal(StrEnum):
    """Why an item got nothing."""

    SUBJECT = "subject"
    """The hand-off, or the person behind the token, is none that may be exchanged; why is not told."""
    TARGET = "target"
    """There is no agreement with this audience."""
    SCOPE = "scope"
    """The purpose is in none of the agreements with this audience."""
    BUDGET = "budget"
    BUSY = "busy"
    """Another act on the same person is under way; try again."""
    REFUSED = "refused"
    """The rows shown do not agree: between two stores of another act, or because somebody changed them."""


def refused(why: Refusal) -> dict[str, Any]:
    """Return a refusal as the answer of one item."""
    return {"error": str(why)}


@dataclass(frozen=True, slots=True)
class _Ready:
    """An item that may be opened, sealed and all."""

    agreement: Agreement
    record: Record
    text: str
    row: Mapping[str, Any]
    audit: Mapping[str, Any]


def may_be_exchanged(record: Record) -> bool:
    """Tell whether a person stands behind a record on the word of a vault reviewer."""
    return record.state is State.VERIFIED and record.assurance is Assurance.VAULT


def open_handoffs(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Draw hand-offs: rows, budget and audit rows in one transaction.

    Args:
        names: the holder.
        args: {giver, items: [{audience, purpose, generation, standing}]}, `generation` of the token that was shown.

    Returns:
        {items: [{handoff, expires_in} | {error}]} in the order of the items.

    Raises:
        ProtocolError: an item is not of that form.
    """
    giver, items = text(args, "giver"), [mapping(item, "item") for item in listed(args, "items", most=MOST_ITEMS)]
    with reading(names.engine) as connection:
        try:
            known = agreements.of_giver(connection, names.keyring, giver)
        except KeysError:
            return {"items": [refused(Refusal.REFUSED) for _ in items]}
        prepared = [_prepared(names, connection, known, item) for item in items]
    results = [refused(item) if isinstance(item, Refusal) else {} for item in prepared]
    ready = {at: item for at, item in enumerate(prepared) if isinstance(item, _Ready)}
    if ready:
        for at, why in _write(names, ready).items():
            results[at] = refused(why)
    seconds = names.limits.handoff_seconds
    return {
        "items": [result or {"handoff": ready[at].text, "expires_in": seconds} for at, result in enumerate(results)]
    }


def _prepared(names: Names, connection: Connection, known: list[Agreement], item: Args) -> _Ready | Refusal:
    agreement = _agreed(known, text(item, "audience"), text(item, "purpose"))
    if isinstance(agreement, Refusal):
        return agreement
    if agreement.basis is not Basis.LEGAL:
        return Refusal.SUBJECT  # until people can sign in, nobody's consent can be shown to the agent
    try:
        standing = check_standing(names, connection, item.get("standing"))
        opened = open_record(names, standing.record)
    except ProtocolError:
        raise
    except KeysError:
        return Refusal.REFUSED
    if standing.sector != agreement.giver_sector:
        return Refusal.REFUSED
    if not may_be_exchanged(standing.record):
        return Refusal.SUBJECT
    handoff = Handoff(
        standing.record.rid, octets(item["standing"], "pid"), whole(item, "generation"), agreement.giver,
        agreement.taker, agreement.taker_sector, agreement.purpose, agreement.id,
        names.now() + names.limits.handoff_seconds,
    )  # fmt: skip
    drawn, row = handoffs.draw(names.keyring, handoff)
    said = audit.row(names.keyring.deployment, opened, "exchange.opened", names.minute, handoff.told)
    return _Ready(agreement, standing.record, drawn, row, said)


def _agreed(known: Iterable[Agreement], audience: str, purpose: str) -> Agreement | Refusal:
    active = [agreement for agreement in known if agreement.active and agreement.taker == audience]
    found = [agreement for agreement in active if agreement.purpose == purpose]
    if not found:
        return Refusal.SCOPE if active else Refusal.TARGET
    return found[0]


def _write(names: Names, ready: Mapping[int, _Ready]) -> dict[int, Refusal]:
    """Write what may be written; return who may not, since what it rests on changed or its budget is used up."""
    failed: dict[int, Refusal] = {}
    with writing(names.engine) as connection:
        handoffs.expire(connection, names.now())
        agreed = agreements.by_id(connection, names.keyring, {item.agreement.id for item in ready.values()})
        macs = _macs(connection, {item.record.rid for item in ready.values()})
        for at, item in ready.items():
            now_agreed = agreed.get(item.agreement.id)
            if now_agreed is None or not now_agreed.active:
                failed[at] = Refusal.TARGET
            elif macs.get(item.record.rid) != item.record.mac:
                failed[at] = Refusal.REFUSED
        failed |= _spend(names, connection, agreed, {at: i for at, i in ready.items() if at not in failed})
        done = [item for at, item in ready.items() if at not in failed]
        if done:
            handoffs.add(connection, [item.row for item in done])
            audit.write_all(connection, [item.audit for item in done])
    return failed


def _macs(connection: Connection, rids: Iterable[bytes]) -> dict[bytes, bytes]:
    table = store.record_key
    query = select(table.c.rid, table.c.mac).where(table.c.rid.in_(list(rids)))
    return {row.rid: row.mac for row in connection.execute(query)}


def _spend(
    names: Names, connection: Connection, agreed: Mapping[bytes, Agreement], ready: Mapping[int, _Ready]
) -> dict[int, Refusal]:
    """Spend the budgets of the hour, each at once for as many of its items as it holds; return who got nothing."""
    failed: dict[int, Refusal] = {}
    window = names.now() // _HOUR_SECONDS
    for agreement_id, wanted in Counter(item.agreement.id for item in ready.values()).items():
        agreement = agreed[agreement_id]
        granted = min(wanted, _left(connection, agreement, window))
        if granted:
            spend(connection, agreement.budget, agreement.per_hour, window, granted)
        mine = [at for at, item in ready.items() if item.agreement.id == agreement_id]
        failed |= dict.fromkeys(mine[granted:], Refusal.BUDGET)
    return failed


def _left(connection: Connection, agreement: Agreement, window: int) -> int:
    table = store.budget
    row = connection.execute(select(table).where(table.c.name == agreement.budget)).one_or_none()
    if row is None or row.window < window:
        return agreement.per_hour
    # A clock that was set back does not renew a budget.
    return max(0, agreement.per_hour - row.used) if row.window == window else 0
