"""The acts `exchange.redeem` and `exchange.done`: a hand-off becomes the taker's own token, once.

Where the taker has the person, redeeming consumes the hand-off at once. Where it has not, a fresh record without any
field is drawn under a lock on the person; the service writes it and its standing (the commit point), and
`exchange.done` consumes the hand-off. A hand-off that is refused is never consumed.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import msgpack
from sqlalchemy import Connection

from keys import agreements, audit, handoffs, intents, record_keys, records
from keys.agent.acts.exchanging import MOST_ITEMS, Refusal, among, may_be_exchanged, refused
from keys.agent.acts.registering import MADE
from keys.agent.arguments import Args, listed, mapping, octets, text
from keys.agent.names import Names, Standing, check_shown, commitment_key, open_record, rids_of
from keys.agent.wire import Dialogue
from keys.agreements import Agreement
from keys.driver import once, run
from keys.engine import reading, writing
from keys.errors import BusyError, ConflictError, KeysError, MissingError, ProtocolError, RefusedError, UsesError
from keys.grouping import Group
from keys.handoffs import Handoff
from keys.primitives import random_bytes
from keys.records import Assurance, Record, State
from keys.tokens import PID_BYTES

EXCHANGE: Final = "exchange"
_REDEEMED: Final = "exchange.redeemed"
_HASH_BYTES: Final = 32
Answers = dict[int, dict[str, Any]]
"""The answers of items, by their place."""
_Living = dict[tuple[str, bytes], Standing | None]
"""(sector, uid) → the standing there; None where the rows do not agree just now"""
_Load = Callable[[bytes], Record]
"""Gives a record of those that were read."""
_Shown = Sequence[tuple[bytes, Any]]
"""(tag, the evidence of its standing) as the directory shows them"""
_Rows = Mapping[bytes, dict[str, Any]]
"""Audit rows by the hash of their hand-off."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A hand-off that may be redeemed, the person it is of, and the purpose it is asked for, if one was named."""

    digest: bytes
    handoff: Handoff
    uid: bytes
    purpose: object

    @property
    def person(self) -> tuple[str, bytes]:
        return self.handoff.taker_sector, self.uid


class Redemptions:
    """The act `exchange.redeem` of one holder: what calls consume at the same time is consumed together."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._group = Group[_Rows, set[bytes]](self._carry_out, (KeysError,))

    def __call__(self, args: Args, dialogue: Dialogue) -> dict[str, Any]:
        """Redeem hand-offs: see `redeem`."""
        return redeem(self._names, args, dialogue, self._group.do)

    def _carry_out(self, calls: Sequence[_Rows]) -> list[set[bytes]]:
        """Give each hand-off to the first call that has it."""
        first = {digest: row for rows in reversed(calls) for digest, row in rows.items()}
        won = _consumed(self._names, first)
        mine = []
        for rows in calls:
            mine.append(won & set(rows))
            won = won - set(rows)
        return mine


def redeem(
    names: Names, args: Args, dialogue: Dialogue, consume: Callable[[_Rows], set[bytes]] | None = None
) -> dict[str, Any]:
    """Redeem hand-offs.

    Args:
        names: the holder.
        args: {taker, items: [{hash, purpose?}]}; a purpose that is given must be the hand-off's.
        dialogue: asks which of the givers' tokens are still good, and for the standings with the persons' tags.
        consume: consumes hand-offs with their audit rows, and returns which were still there.

    Returns:
        {items: [{pid, purpose} | {pid, link, rid, tag, sector, purpose} | {error}], intent?}; what has a link is to be
        written, and then the intent to be closed by `exchange.done`.

    Raises:
        ProtocolError: an item or an answer is not of the form.
    """
    taker, wishes = text(args, "taker"), [mapping(item, "item") for item in listed(args, "items", most=MOST_ITEMS)]
    answers: Answers = {}
    items, living = _asked(names, _found(names, taker, wishes, answers), dialogue, answers)
    unclear = {uid for (_, uid), standing in living.items() if standing is None}
    here = {at: item for at, item in items.items() if item.person in living}
    _consume(names, here, living, _held(names, unclear), answers, consume or partial(_consumed, names))
    others = {at: item for at, item in items.items() if at not in here}
    try:
        intent = _draw(names, others, dialogue, answers)
    except UsesError:  # what was consumed by now is answered
        answers, intent = answers | {at: refused(Refusal.USES) for at in others}, None
    return {"items": [answers[at] for at in range(len(wishes))]} | ({} if intent is None else {"intent": intent})


def _held(names: Names, uids: set[bytes]) -> set[bytes]:
    if not uids:
        return uids
    with reading(names.engine) as connection:
        return intents.held(connection, names.keyring, uids)


def _found(names: Names, taker: str, wishes: list[dict[str, Any]], answers: Answers) -> dict[int, _Item]:
    """Return the hand-offs that are there for the taker, each with the person that it was opened for."""
    digests = [octets(wish, "hash", _HASH_BYTES) for wish in wishes]
    with reading(names.engine) as connection:
        found = handoffs.find(connection, names.keyring, set(digests))
    items: dict[int, _Item] = {}
    for at, (wish, digest) in enumerate(zip(wishes, digests, strict=True)):
        handoff = found.pop(digest, None)  # the second of two that are equal finds nothing
        if handoff is None or handoff.taker != taker or handoff.expires <= names.now():
            answers[at] = refused(Refusal.SUBJECT)
        else:
            items[at] = _Item(digest, handoff, handoff.uid, wish.get("purpose"))
    return items


def _asked(
    names: Names, items: dict[int, _Item], dialogue: Dialogue, answers: Answers
) -> tuple[dict[int, _Item], _Living]:
    """Drop the hand-offs that are good no more; find who the taker has.

    What was opened for somebody who is another person by now, since two were united, is asked for once more.
    """
    settled: dict[int, _Item] = {}
    living: _Living = {}
    while items:
        pids = sorted({item.handoff.pid for item in items.values()})
        tags = _tags(names, {item.person for item in items.values()})
        asked = {sector: sorted(of_sector) for sector, of_sector in tags.items()}
        answer = mapping(dialogue.ask("exchange", tokens=pids, tags=asked), "exchange")
        rows = (mapping(row, "token") for row in listed(answer, "tokens"))
        good = {(octets(row, "pid"), row.get("generation")) for row in rows}
        given = mapping(answer.get("tags"), "tags")
        shown = {sector: _rows_of(given, sector) for sector in tags}
        agreed, load = _read(names, [item.handoff for item in items.values()], shown.values())
        others: dict[int, _Item] = {}
        for at, item in items.items():
            outcome = _still(names, item, agreed, load, good)
            if isinstance(outcome, Refusal):
                answers[at] = refused(outcome)
            else:
                (settled if outcome.person == item.person else others)[at] = outcome
        for sector, of_sector in tags.items():
            living |= _standings(names, load, sector, of_sector, shown[sector])
        items = others
    return settled, living


def _still(
    names: Names, item: _Item, agreed: Mapping[bytes, Agreement], load: _Load, good: Collection[tuple[bytes, Any]]
) -> _Item | Refusal:
    """Return a hand-off with the person that it is of now, if what it was opened from is still good."""
    handoff = item.handoff
    agreement = agreed.get(handoff.agreement)
    if agreement is None or not agreement.active:
        return Refusal.SUBJECT
    try:
        record = load(handoff.rid)
        uid = records.uid_of(names.keyring, record)
    except MissingError:
        return Refusal.SUBJECT  # erased meanwhile
    except KeysError:
        return Refusal.REFUSED
    if not may_be_exchanged(record):
        return Refusal.SUBJECT
    if item.purpose not in {None, handoff.purpose}:
        return Refusal.SCOPE
    # The giver's token was given up, or is not active any more, unless it is among the good.
    return replace(item, uid=uid) if (handoff.pid, handoff.generation) in good else Refusal.SUBJECT


def _read(names: Names, known: Collection[Handoff], shown: Iterable[_Shown]) -> tuple[Mapping[bytes, Agreement], _Load]:
    """Return the agreements of hand-offs, and what gives their records and those that standings lead to."""
    rids = {rid for rows in shown for _, evidence in rows if evidence for rid in rids_of(names, evidence)}
    with reading(names.engine) as connection:
        agreed, rows = run(
            connection, agreements.reading_ids(connection, {handoff.agreement for handoff in known}),
            records.reading_rids(connection, rids | {handoff.rid for handoff in known}),
        )  # fmt: skip
    try:
        return agreements.by_id(names.keyring, agreed.rows), among(records.intact(names.keyring, rows.rows))
    except KeysError:
        raise RefusedError from None


def _tags(names: Names, persons: Iterable[tuple[str, bytes]]) -> dict[str, dict[bytes, bytes]]:
    """Return, by sector, the persons by their tags there."""
    tags: dict[str, dict[bytes, bytes]] = {}
    for sector, uid in persons:
        tags.setdefault(sector, {}).update(dict.fromkeys(names.keyring.links(sector).tags(uid), uid))
    return tags


def _rows_of(answer: Args, name: str) -> _Shown:
    rows = [mapping(row, "tag") for row in listed(answer, name)]
    return [(octets(row, "tag"), row.get("standing")) for row in rows]


def _standings(names: Names, load: _Load, sector: str, tags: Mapping[bytes, bytes], shown: _Shown) -> _Living:
    """Return the standings that rows of the directory show of persons."""
    found: _Living = {}
    for tag, evidence in shown:
        person = tags.get(tag)
        if person is None:
            raise ProtocolError("tags: a row that was not asked for")
        found[sector, person] = evidence and _checked(names, load, sector, person, evidence)
    return found


def _living(names: Names, persons: Iterable[tuple[str, bytes]], dialogue: Dialogue) -> _Living:
    """Return the standings of persons in their takers' sectors."""
    found: _Living = {}
    for sector, tags in _tags(names, persons).items():
        shown = _rows_of({"tags": dialogue.ask("tags", sector=sector, values=sorted(tags))}, "tags")
        _, load = _read(names, (), [shown])
        found |= _standings(names, load, sector, tags, shown)
    return found


def _checked(names: Names, load: _Load, sector: str, uid: bytes, evidence: object) -> Standing | None:
    try:
        standing = check_shown(names, evidence, load)
    except (RefusedError, MissingError):
        return None
    agrees = (standing.sector, standing.uid) == (sector, uid) and standing.record.state is not State.CREATING
    return standing if agrees else None


def _consume(
    names: Names, here: Mapping[int, _Item], living: _Living, held: Collection[bytes], answers: Answers,
    consume: Callable[[_Rows], set[bytes]],
) -> None:  # fmt: skip
    """Consume hand-offs of persons whom the taker has: of parallel calls one wins.

    Rows that do not agree are somebody's doing, unless an act on the person (`held`) is between two stores.
    """
    taken: dict[bytes, tuple[Record, Handoff]] = {}
    for at, item in here.items():
        standing = living[item.person]
        if standing is None:
            answers[at] = refused(Refusal.BUSY if item.uid in held else Refusal.REFUSED)
            continue
        taken[item.digest] = standing.record, item.handoff
        answers[at] = {"pid": standing.pid, "purpose": item.handoff.purpose}
    if not taken:
        return
    won = consume(dict(zip(taken, _audit_all(names, list(taken.values())), strict=True)))
    answers |= {at: refused(Refusal.SUBJECT) for at, item in here.items() if item.digest in set(taken) - won}


def _consumed(names: Names, rows: _Rows) -> set[bytes]:
    """Delete hand-offs, and write the audit rows of those that were still there: each is deleted once."""
    _, gone = once(names.engine, handoffs.noting(names.engine, rows), handoffs.consuming(names.engine, rows))
    return handoffs.consumed(gone)


def _audit_all(names: Names, taken: Sequence[tuple[Record, Handoff]]) -> list[dict[str, Any]]:
    """Return the audit rows of hand-offs that are consumed; a person's keys are opened once for all of his."""
    persons = {record.rid: record for record, _ in taken}
    keys = {rid: commitment_key(names, record) for rid, record in persons.items()}
    said = [(record.rid, keys[record.rid], msgpack.packb(handoff.told)) for record, handoff in taken]
    return audit.rows_of(names.keyring.deployment, _REDEEMED, names.minute, said)


def _draw(names: Names, items: Mapping[int, _Item], dialogue: Dialogue, answers: Answers) -> bytes | None:
    """Draw records for persons whom the taker has not; return the intent that holds them until `exchange.done`."""
    if not items:
        return None
    answers |= {at: refused(Refusal.BUSY) for at in items}
    first = {item.person: at for at, item in reversed(list(items.items()))}
    with reading(names.engine) as connection:
        busy = intents.held(connection, names.keyring, {uid for _, uid in first})
    fresh = {at: items[at] for (_, uid), at in first.items() if uid not in busy}
    if not fresh:
        return None
    locks = {lock for item in fresh.values() for lock in (item.uid, _tag(names, item))}
    try:
        with intents.taken(names.engine, names.keyring, EXCHANGE, locks, names.now()) as intent:
            return _drawn(names, intent, fresh, dialogue, answers)
    except BusyError:
        return None


def _tag(names: Names, item: _Item) -> bytes:
    return names.keyring.links(item.handoff.taker_sector).tag(item.uid)


def _drawn(
    names: Names, intent: bytes, items: Mapping[int, _Item], dialogue: Dialogue, answers: Answers
) -> bytes | None:
    # Again under the lock: what stands now stands until the intent is closed.
    living = _living(names, {item.person for item in items.values()}, dialogue)
    with reading(names.engine) as connection:
        fresh = {at: item for at, item in items.items() if item.person not in living and _same(names, connection, item)}
    made = {at: _record(names, item) for at, item in fresh.items()}
    if not made:
        return None
    plan = {
        "map": [], "gone": [],
        "fresh": [[record.rid, pid, fresh[at].digest, fresh[at].handoff.told] for at, (record, pid) in made.items()],
    }  # fmt: skip
    with writing(names.engine) as connection:
        for record, _ in made.values():
            records.add(connection, names.keyring, record)
        due = names.now() + names.limits.exchange_lease_seconds
        intents.plan(connection, names.keyring, intent, plan, due)
    for at, (record, pid) in made.items():
        handoff = fresh[at].handoff
        answers[at] = {
            "pid": pid, "rid": record.rid, "link": names.keyring.links(handoff.taker_sector).link(record.rid, pid),
            "tags": names.keyring.links(handoff.taker_sector).tags(fresh[at].uid), "sector": handoff.taker_sector,
            "purpose": handoff.purpose,
        }  # fmt: skip
    return intent


def _same(names: Names, connection: Connection, item: _Item) -> bool:
    try:
        record = records.load(connection, names.keyring, item.handoff.rid)
        return may_be_exchanged(record) and records.uid_of(names.keyring, record) == item.uid
    except KeysError:
        return False


def _record(names: Names, item: _Item) -> tuple[Record, bytes]:
    """Return a fresh record of the person, without any field, and the pid of its standing."""
    pid, sector, ring = random_bytes(PID_BYTES), item.handoff.taker_sector, names.keyring
    opened, _ = record_keys.draw(ring, sector, pid, {}, names.minute)
    rid = opened.record.rid
    record = replace(
        opened.record, uid=records.seal_uid(ring, rid, item.uid), assurance=Assurance.VAULT,
        origin=records.seal_origin(ring, rid, sector, pid, item.handoff.told),
    )  # fmt: skip
    return record, pid


def done(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """The standings stand in the directory: their records are verified, their hand-offs consumed.

    Returns:
        {consumed: [hash]}: whose hand-offs were still there.

    Raises:
        ConflictError: others finished or undid this exchange meanwhile; redeem again.
    """
    intent = octets(args, "intent", 16)
    with reading(names.engine) as connection:
        made = _made(names, connection, intent)
        rows = {kind: _rows(names, made, kind) for kind in (_REDEEMED, MADE)}
    with writing(names.engine) as connection:
        if intents.load(connection, names.keyring, intent) is None:
            raise ConflictError
        consumed = handoffs.consume(connection, made)
        for digest, (record, _told) in made.items():
            if record.state is State.CREATING:
                records.change(connection, names.keyring, record, state=State.VERIFIED, origin=None)
            audit.write_all(connection, [rows[_REDEEMED if digest in consumed else MADE][digest]])
        intents.close(connection, intent)
    return {"consumed": sorted(consumed)}


def _made(names: Names, connection: Connection, intent_id: bytes) -> dict[bytes, tuple[Record, dict[str, str]]]:
    intent = intents.load(connection, names.keyring, intent_id)
    if intent is None or intent.kind != EXCHANGE:
        raise ConflictError
    try:
        return {
            digest: (records.load(connection, names.keyring, rid), told)
            for rid, _pid, digest, told in intent.plan["fresh"]
        }
    except MissingError:
        raise ConflictError from None


def _rows(names: Names, made: Mapping[bytes, tuple[Record, dict[str, str]]], kind: str) -> dict[bytes, dict[str, Any]]:
    return {
        digest: audit.row(names.keyring.deployment, open_record(names, record), kind, names.minute, told)
        for digest, (record, told) in made.items()
    }
