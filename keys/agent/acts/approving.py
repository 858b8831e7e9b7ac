"""The act `review.approve`: many registrations approved unseen, those that match nobody, in one transaction (ADR 30).

It does for each what `review.decide` does with `alone`, and opens nothing to anyone. Whatever is not plain (somebody
who matches, another act on the same person, a row that does not agree) it leaves as it is, for `review.decide` to say
why. An organisation is plain when its representative is too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete

from keys import audit, budgets, intents, records, store
from keys.agent.acts import uniting
from keys.agent.acts.matching import (
    ask_fingerprints,
    ask_records,
    asked_tags,
    open_sealed,
    read_fingerprint,
    seal_fingerprint,
    vault_tags,
)
from keys.agent.acts.reviewing import MANDATE, caps_of
from keys.agent.arguments import Args, listed, mapping, octets, text
from keys.agent.names import Names, Reviewer, Standing, check_shown, open_record, reviewer_of, rids_of
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import CapError, MissingError, RefusedError
from keys.records import Assurance, Record, State
from keys.tags import Tag

KIND: Final = "approve"
MOST: Final = 500
"""Registrations in one call: some hundred share its transactions, and none of them holds up others for long."""
_DETAIL: Final = {"kind": "review", "decision": "approved"}
"""As `review.decide` says it of one."""


Subjects = tuple[Standing, ...]
"""The registrant, and after an organisation its representative."""


@dataclass(frozen=True, slots=True)
class _Tagged:
    """A subject of a registration in review, his rows found to agree, with the tags of his sealed fields."""

    subject: Standing
    local: list[Tag]
    """as they are asked: under former versions too"""
    vault: list[Tag]

    @property
    def values(self) -> set[bytes]:
        """All tags."""
        return {tag.value for tag in (*self.local, *self.vault)}


_Cases = dict[int, tuple[_Tagged, ...]]
"""By their place in the call."""


def approve(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Approve registrations that match nobody: states, audit rows, budget and sealed plan in one transaction.

    Args:
        names: the holder.
        args: {reviewer; memo: what the caller carries out, of all; items: [{standing, representative?, caps, memo: of
            this one}]}.
        dialogue: asked for sealed records, local tags, fingerprints and person tags of all at once.

    Returns:
        {approved: [place], matched: [place]: whom the rows name who match them}, and where any is approved {intent,
        plan} to carry out before `unite` closes it; all other places are for `review.decide`.

    Raises:
        RefusedError: not a vault reviewer, nor officers' word.
        BudgetError: officers' word was for fewer; nobody is approved.
        ConflictError: another act changed one of the records meanwhile; nobody is approved.
    """
    reviewer = reviewer_of(names, text(args, "reviewer"), bulk=True)
    if not reviewer.vault:
        raise RefusedError
    items = {place: mapping(item, "item") for place, item in enumerate(listed(args, "items", most=MOST))}
    subjects = _open_subjects(names, reviewer, items)
    with intents.taken(names.engine, names.keyring, KIND, (), names.now()) as intent:
        wanted = {at: [lock for s in both for lock in (s.pid, s.record.rid, s.uid)] for at, both in subjects.items()}
        free = intents.lock_free(names.engine, names.keyring, intent, wanted)
        cases = _tagged(names, {at: one for at, one in subjects.items() if at in free}, dialogue)
        # Of two of this call who match, the first takes the locks, and the other is left.
        free = intents.lock_free(names.engine, names.keyring, intent, {at: _values(case) for at, case in cases.items()})
        cases = {at: case for at, case in cases.items() if at in free}
        matched, known = _matching(names, cases, dialogue)
        plain = {at: case for at, case in cases.items() if at not in matched | known and _within(items[at], case)}
        if not plain:
            return {"approved": [], "matched": sorted(matched)}
        plan = _plan(names, plain)
        plan["decision"] = mapping(args.get("memo"), "memo")
        plan["cases"] = [mapping(items[at].get("memo"), "memo") for at in plain]
        _decide(names, reviewer, [[one.subject for one in case] for case in plain.values()], intent, plan)
    return {"approved": list(plain), "matched": sorted(matched), "intent": intent, "plan": plan}


def _values(case: Iterable[_Tagged]) -> set[bytes]:
    return set[bytes]().union(*(one.values for one in case))


def _shown(item: Args) -> list[Any]:
    beside = item.get("representative")
    return [item.get("standing"), *([] if beside is None else [beside])]


def _open_subjects(names: Names, reviewer: Reviewer, items: Mapping[int, Args]) -> dict[int, Subjects]:
    """Return the standings whose rows agree and whose records the agent's own rows say to be in review."""
    rids = {rid for item in items.values() for shown in _shown(item) for rid in rids_of(names, shown)}
    with reading(names.engine) as connection:
        found = records.intact(names.keyring, records.rows_of(connection, rids))

    def load(rid: bytes) -> Record:
        record = found.get(rid)
        if record is None:
            raise MissingError
        return record

    subjects = {}
    for at, item in items.items():
        try:
            both = tuple(check_shown(names, shown, load) for shown in _shown(item))
        except (RefusedError, MissingError):
            continue
        whole = (MANDATE in both[0].record.revisions) == (len(both) > 1)
        if whole and all(s.record.state is State.IN_REVIEW and reviewer.may_review(s.sector) for s in both):
            subjects[at] = both
    return subjects


def _tagged(names: Names, subjects: Mapping[int, Subjects], dialogue: Dialogue) -> _Cases:
    """Open the fields of registrations inside the agent, and make their tags; not where a mandate is another's."""
    sealed = ask_records(dialogue, [subject.record.rid for both in subjects.values() for subject in both])
    cases = {}
    for at, both in subjects.items():
        try:
            fields = [open_sealed(names, subject.record, sealed.get(subject.record.rid)) for subject in both]
        except RefusedError:
            continue
        if MANDATE in fields[0] and fields[0][MANDATE].match != (both[1].record.rid,):
            continue
        cases[at] = tuple(
            _Tagged(subject, asked_tags(names, subject.sector, own), vault_tags(names, own))
            for subject, own in zip(both, fields, strict=True)
        )
    return cases


def _matching(names: Names, cases: _Cases, dialogue: Dialogue) -> tuple[set[int], set[int]]:
    """Return the places of those who match somebody, and of those whose own person stands somewhere already."""
    everyone = [(at, one) for at, case in cases.items() for one in case]
    rows = _asked(dialogue, "local", {tag.value: (at, one.subject) for at, one in everyone for tag in one.local})
    matched = {at for (at, subject), row in rows if _pid_of(row) != subject.pid}
    by_tag = {tag.value: (at, one.subject) for at, one in everyone for tag in one.vault}
    known = set[int]()
    for value, sealed in ask_fingerprints(dialogue, [tag for _, one in everyone for tag in one.vault]).items():
        if value in by_tag:
            at, subject = by_tag[value]
            (matched if _names_another(names, value, sealed, subject.uid) else known).add(at)
    for sector in names.keyring.sectors():
        links = names.keyring.links(sector)
        tags = {tag: (at, one.subject) for at, one in everyone for tag in links.tags(one.subject.uid)}
        known |= {at for (at, _), _ in _asked(dialogue, "tags", tags, sector=sector)}
    return matched, known


def _asked(
    dialogue: Dialogue, what: str, tags: Mapping[bytes, tuple[int, Standing]], **more: str
) -> list[tuple[tuple[int, Standing], dict[str, Any]]]:
    """Return, of the rows that have one of these tags, (whose it is, row)."""
    if not tags:
        return []
    answer = listed({what: dialogue.ask(what, values=list(tags), **more)}, what)
    rows = [mapping(row, what) for row in answer]
    return [(tags[value], row) for row in rows if (value := octets(row, "tag")) in tags]


def _names_another(names: Names, tag: bytes, sealed: bytes, uid: bytes) -> bool:
    try:
        return bool(set(read_fingerprint(names, tag, sealed)) - {uid})
    except RefusedError:
        return False  # it was altered: `review.decide` says so


def _pid_of(row: Args) -> bytes:
    return octets(mapping(row["ban" if "ban" in row else "standing"], "standing"), "pid")


def _within(item: Args, case: tuple[_Tagged, ...]) -> bool:
    try:
        uniting.check_caps(caps_of(item), [case[0].subject])  # a representative has no account of this registration
    except CapError:
        return False
    return True


def _plan(names: Names, cases: _Cases) -> dict[str, Any]:
    """Return what `uniting.plan_approval` plans for each of them who is nobody else."""
    active = {key.version for key in names.keyring.active("fingerprint")}
    plan = uniting.empty_plan()
    for one in (one for case in cases.values() for one in case):
        pid, rid, uid = one.subject.pid, one.subject.record.rid, one.subject.uid
        plan["evidence"].append([rid, None])
        plan["fingerprints"] += [[t.value, t.kind, seal_fingerprint(names, t.value, {uid: [rid]})] for t in one.vault]
        plan["assurance"].append([pid, Assurance.VAULT])
        plan["local"] += [[tag.value, tag.kind, pid] for tag in one.local if tag.value[0] in active]
        plan["tags"] += [[None, tag, pid] for tag in names.keyring.links(one.subject.sector).tags(uid)]
        plan["map"].append([rid, uid, Assurance.VAULT])
    return plan


def _decide(
    names: Names, reviewer: Reviewer, decided: Sequence[Sequence[Standing]], intent: bytes, plan: Mapping[str, Any]
) -> None:
    found = [[subject.record for subject in both] for both in decided]
    every = [record for both in found for record in both]
    detail = {"reviewer": reviewer.client, **_DETAIL}
    rows = [
        audit.row_of_group(
            names.keyring.deployment, [open_record(names, one) for one in both], "registration.decided", names.minute,
            detail,
        )
        for both in found
    ]  # fmt: skip
    with writing(names.engine) as connection:
        reviewer_of(names, reviewer.client, bulk=True)  # again under the lock: he may have been disabled meanwhile
        if reviewer.most is not None:
            budgets.spend(connection, reviewer.client, reviewer.most, 0, len(found))
        records.change_many(connection, names.keyring, [(record, {"state": State.VERIFIED}) for record in every])
        rids = [record.rid for record in every]
        connection.execute(delete(store.evidence_key).where(store.evidence_key.c.rid.in_(rids)))
        audit.write_all(connection, rows)
        intents.plan(connection, names.keyring, intent, plan, 0)
