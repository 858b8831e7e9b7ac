"""The act `exchange.open`: a provider turns a person it knows into a hand-off for another provider.

Acts of the exchange socket take lists: a batch costs one call and few transactions. An item's answer or refusal stands
at its place; a refusal leaves nothing behind.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import msgpack

from keys import agreements, audit, budgets, handoffs, record_keys, records
from keys.agent.arguments import Args, listed, mapping, text, whole
from keys.agent.names import Names, check_shown, rids_of
from keys.agent.wire import Dialogue
from keys.agreements import Agreement, Basis
from keys.bulk import FEW, Rows, insert_all, insert_last
from keys.driver import Outcome, Step, begun, run
from keys.engine import reading
from keys.errors import BudgetError, KeysError, MissingError, OpenError, ProtocolError
from keys.grouping import Group
from keys.handoffs import Handoff
from keys.primitives import Secret
from keys.records import Assurance, Record, State

MOST_ITEMS: Final = 1000
_NONE: Final = object()


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
    USES = "uses"
    """It needs a record, whose keys the key encryption key may not seal any more; nothing of it was done."""
    REFUSED = "refused"
    """The rows shown do not agree: between two stores of another act, or because somebody changed them."""


def refused(why: Refusal) -> dict[str, Any]:
    """Return a refusal as the answer of one item."""
    return {"error": str(why)}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the act, its form checked: giver, the standings that are shown, and items that name them."""

    giver: str
    standings: Sequence[Any]
    items: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Person:
    """A standing that may be handed over, with the key of its record's audit rows."""

    sector: str
    pid: bytes
    uid: bytes
    record: Record
    commitment_key: Secret


@dataclass(frozen=True, slots=True)
class _Wish:
    """An item that may be opened."""

    agreement: Agreement
    person: _Person
    generation: int


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


class Openings:
    """The act `exchange.open` of one holder: small calls that come at the same time are carried out together.

    A large one gains nothing by it, and goes beside the others: one draws while another waits for its commit.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._group = Group[Call, dict[str, Any]](self._carry_out, (KeysError,))

    def __call__(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Draw hand-offs: rows, budget and audit rows in one transaction.

        Args:
            args: {giver, standings: [evidence], items: [{audience, purpose, generation, standing}]}: the generation of
                the token that was shown, and the standing's place among those that are shown; each is checked once.

        Returns:
            {items: [{handoff, expires_in} | {error}]} in the order of the items.

        Raises:
            ProtocolError: an item is not of that form.
        """
        call = _call(args)
        return self._group.do(call) if len(call.items) <= FEW else self._carry_out([call])[0]

    def _carry_out(self, calls: Sequence[Call]) -> list[dict[str, Any]]:
        return _opened(self._names, calls)


def _call(args: Args) -> Call:
    standings = listed(args, "standings", most=MOST_ITEMS)
    items = [mapping(item, "item") for item in listed(args, "items", most=MOST_ITEMS)]
    if not all(0 <= whole(item, "standing") < len(standings) for item in items):
        raise ProtocolError("standing: the place of one")
    return Call(text(args, "giver"), standings, items)


def _opened(names: Names, calls: Sequence[Call]) -> list[dict[str, Any]]:
    rids = {rid for call in calls for evidence in call.standings for rid in rids_of(names, evidence)}
    with reading(names.engine) as connection:
        agreed, rows = run(
            connection, agreements.reading_givers(connection, {call.giver for call in calls}),
            records.reading_rids(connection, rids),
        )  # fmt: skip
    known, load = agreements.by_giver(names.keyring, agreed.rows), among(records.intact(names.keyring, rows.rows))
    looked: list[_Wish | Refusal] = []
    for call in calls:
        persons = [_person(names, load, evidence) for evidence in call.standings]
        of_giver = known.get(call.giver, [])
        looked += [_wish(of_giver, persons[item["standing"]], item) for item in call.items]
    ready = _drawn(names, {at: wish for at, wish in enumerate(looked) if isinstance(wish, _Wish)})
    failed = _write(names, ready) if ready else {}
    seconds = names.limits.handoff_seconds
    results = iter([
        refused(wish) if isinstance(wish, Refusal)
        else refused(failed[at]) if at in failed
        else {"handoff": ready[at].text, "expires_in": seconds}
        for at, wish in enumerate(looked)
    ])  # fmt: skip
    return [{"items": list(islice(results, len(call.items)))} for call in calls]


def _person(names: Names, load: Callable[[bytes], Record], evidence: object) -> _Person | Refusal:
    try:
        standing = check_shown(names, evidence, load)
        commitment_key = record_keys.commitment_key(names.keyring, standing.record)
    except ProtocolError:
        raise
    except KeysError:
        return Refusal.REFUSED
    return _Person(standing.sector, standing.pid, standing.uid, standing.record, commitment_key)


def _wish(known: list[Agreement] | None, person: _Person | Refusal, item: Args) -> _Wish | Refusal:
    if known is None:
        return Refusal.REFUSED
    agreement = _agreed(known, text(item, "audience"), text(item, "purpose"))
    if isinstance(agreement, Refusal):
        return agreement
    if agreement.basis is not Basis.LEGAL:
        return Refusal.SUBJECT  # until people can sign in, nobody's consent can be shown to the agent
    if isinstance(person, Refusal):
        return person
    if person.sector != agreement.giver_sector:
        return Refusal.REFUSED
    if not may_be_exchanged(person.record):
        return Refusal.SUBJECT
    return _Wish(agreement, person, whole(item, "generation"))


def _drawn(names: Names, wishes: Mapping[int, _Wish]) -> dict[int, _Ready]:
    """Draw a hand-off and seal an audit row for each."""
    expires = names.now() + names.limits.handoff_seconds
    said = [
        Handoff(
            wish.person.record.rid, wish.person.uid, wish.person.pid, wish.generation, wish.agreement.giver,
            wish.agreement.taker, wish.agreement.taker_sector, wish.agreement.purpose, wish.agreement.id, expires,
        )
        for wish in wishes.values()
    ]  # fmt: skip
    told = {wish.agreement.id: msgpack.packb(handoff.told) for wish, handoff in zip(wishes.values(), said, strict=True)}
    lines = audit.rows_of(
        names.keyring.deployment, "exchange.opened", names.minute,
        [(one.person.record.rid, one.person.commitment_key, told[one.agreement.id]) for one in wishes.values()],
    )  # fmt: skip
    drawn = handoffs.draw_all(names.keyring, said)
    return {
        at: _Ready(wish.agreement, wish.person.record, text, row, line)
        for (at, wish), (text, row), line in zip(wishes.items(), drawn, lines, strict=True)
    }


def among(found: Mapping[bytes, Record | None]) -> Callable[[bytes], Record]:
    """Return what gives a record of those that were read, as `records.load` does."""

    def load(rid: bytes) -> Record:
        record = found.get(rid, _NONE)
        if record is _NONE:
            raise MissingError("no such record")
        if not isinstance(record, Record):
            raise OpenError
        return record

    return load


def _agreed(known: Iterable[Agreement], audience: str, purpose: str) -> Agreement | Refusal:
    active = [agreement for agreement in known if agreement.active and agreement.taker == audience]
    found = [agreement for agreement in active if agreement.purpose == purpose]
    if not found:
        return Refusal.SCOPE if active else Refusal.TARGET
    return found[0]


class _ChangedError(Exception):
    """What some rest on is not as it was read, so that not all may be written."""


def _write(names: Names, ready: Mapping[int, _Ready]) -> dict[int, Refusal]:
    """Write what may be written; return who may not, since what it rests on changed or its budget is used up."""
    try:
        _write_all(names, ready)
    except (BudgetError, _ChangedError):
        return _write_some(names, ready)
    return {}


def _write_all(names: Names, ready: Mapping[int, _Ready]) -> None:
    """Count the budgets in the round trip that reads again, and write everything in that which commits.

    Raises:
        BudgetError, _ChangedError: some may not be written, and nothing was.
    """
    of = {item.agreement.id: item.agreement for item in ready.values()}
    counts = Counter(item.agreement.id for item in ready.values())
    spending = [
        budgets.spending(names.engine, of[key].budget, of[key].per_hour, _window(names), count)
        for key, count in counts.items()
    ]
    with begun(names.engine, *_resting_on(names, ready, of), *spending) as (connection, outcomes):
        agreed, rows, _, *spent = outcomes
        if agreements.by_id(names.keyring, agreed.rows) != of or _failed(ready, of, rows):
            raise _ChangedError
        for outcome in spent:
            budgets.check(outcome.rows)
        insert_last(connection, *_entries(ready.values()))


def _write_some(names: Names, ready: Mapping[int, _Ready]) -> dict[int, Refusal]:
    of = {item.agreement.id: item.agreement for item in ready.values()}
    reading = budgets.reading(names.engine, [agreement.budget for agreement in of.values()])
    with begun(names.engine, *_resting_on(names, ready, of), reading) as (connection, (agreed_now, rows, _, used)):
        agreed = agreements.by_id(names.keyring, agreed_now.rows)
        failed, window = _failed(ready, agreed, rows), _window(names)
        left = {key: budgets.left(used.rows, one.budget, one.per_hour, window) for key, one in agreed.items()}
        counts: Counter[bytes] = Counter()
        for at, item in ready.items():
            if at not in failed and counts[item.agreement.id] < left[item.agreement.id]:
                counts[item.agreement.id] += 1
            else:
                failed.setdefault(at, Refusal.BUDGET)
        done = [item for at, item in ready.items() if at not in failed]
        if done:
            spending = [
                budgets.spending(connection, agreed[key].budget, agreed[key].per_hour, window, count)
                for key, count in counts.items()
            ]
            for outcome in insert_all(connection, spending, *_entries(done)):
                budgets.check(outcome.rows)  # or nothing of the transaction stands
    return failed


def _resting_on(names: Names, ready: Mapping[int, _Ready], of: Mapping[bytes, Agreement]) -> list[Step]:
    """Return the statements that read, under the write lock, what everything rests on, and delete what expired."""
    return [
        agreements.reading_ids(names.engine, of),
        records.reading_rids(names.engine, {item.record.rid for item in ready.values()}),
        handoffs.expiring(names.engine, names.now()),
    ]


def _failed(ready: Mapping[int, _Ready], agreed: Mapping[bytes, Agreement], rows: Outcome) -> dict[int, Refusal]:
    """Return who fails, since his agreement or his record is not as it was."""
    macs = {row.rid: row.mac for row in rows.rows}
    failed: dict[int, Refusal] = {}
    for at, item in ready.items():
        if item.agreement.id not in agreed or not agreed[item.agreement.id].active:
            failed[at] = Refusal.TARGET
        elif macs.get(item.record.rid) != item.record.mac:
            failed[at] = Refusal.REFUSED
    return failed


def _window(names: Names) -> int:
    return names.now() // budgets.HOUR_SECONDS


def _entries(done: Collection[_Ready]) -> tuple[Rows, Rows]:
    return handoffs.adding([item.row for item in done]), audit.adding([item.audit for item in done])
