"""The acts of a review: `review.open`, `review.decide`, and `unite`, which closes what a decision began."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, select

from keys import audit, intents, records, store
from keys.agent.acts import uniting
from keys.agent.acts.matching import (
    EXACT,
    Ban,
    Candidate,
    Matching,
    ask_records,
    digest,
    match,
    open_sealed,
    sector_tags,
    vault_tags,
)
from keys.agent.arguments import Args, listed, mapping, octets, text, whole
from keys.agent.names import Names, Reviewer, Standing, check_standing, open_record, reviewer_of
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import CandidatesError, ConflictError, ProtocolError, RefusedError
from keys.fields import FieldValue
from keys.records import Assurance, State

REVIEW: Final = "review"
MATCH: Final = "match"
PURPOSES: Final = frozenset((REVIEW,))
REVIEW_FIELDS: Final = frozenset(("legal_name", "names", "birth_date", "document", "phone", "email"))
OUTCOMES: Final = {"approved": State.VERIFIED, "returned": State.RETURNED, "rejected": State.REJECTED}


@dataclass(frozen=True, slots=True)
class _Case:
    kind: str
    reviewer: Reviewer
    subject: Standing


def _case(names: Names, connection: Connection, args: Args) -> _Case:
    """Return the case if this reviewer may see it and the agent's own row says that it is open."""
    kind, reviewer = text(args, "kind"), reviewer_of(names, text(args, "reviewer"))
    subject = check_standing(names, connection, args.get("standing"))
    if not reviewer.may_review(subject.sector):
        raise RefusedError
    if kind == MATCH:
        is_open = subject.record.state is State.VERIFIED and subject.record.assurance is Assurance.PROVIDER
        if not reviewer.vault:
            raise RefusedError
    elif kind == REVIEW:
        is_open = subject.record.state is State.IN_REVIEW
    else:
        raise ProtocolError("kind: review or match")
    if not is_open:
        raise ConflictError
    return _Case(kind, reviewer, subject)


def review_open(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Open the listed fields of one registration in review, and what is needed to compare its candidates.

    The audit rows (one for the registration, one for each candidate's record) are durable before any field leaves.

    Raises:
        RefusedError: evidence, reviewer, purpose or field list does not hold.
        ConflictError: the registration is not in review.
    """
    purpose, wanted = text(args, "purpose"), listed(args, "fields", most=len(REVIEW_FIELDS))
    if purpose not in PURPOSES or not REVIEW_FIELDS.issuperset(wanted):
        raise RefusedError("this purpose does not open these fields")
    with reading(names.engine) as connection:
        case = _case(names, connection, args)
        sealed = ask_records(dialogue, [case.subject.record.rid])
        fields = open_sealed(names, case.subject.record, sealed.get(case.subject.record.rid))
        matching = match(names, connection, case.subject, case.reviewer, fields, dialogue)
    detail = {"reviewer": case.reviewer.client, "purpose": purpose, "kind": case.kind, "fields": sorted(wanted)}
    with writing(names.engine) as connection:
        # Read again under the write lock: a decision that came meanwhile closes the case.
        case = _case(names, connection, args)
        for record in (case.subject.record, *(c.matched for c in matching.conflicts)):
            opened = open_record(names, record)
            audit.write(connection, names.keyring.deployment, opened, "review.opened", names.minute, detail)
    shown = matching.shown()
    known: list[Candidate | Ban] = [c for c in matching.exact if c.standing is not None]
    known += [ban for ban in matching.bans if ban.kind == EXACT]
    return {
        "fields": {name: fields[name].shown for name in wanted if name in fields},
        "candidates": shown,
        "shown": digest(shown),
        "returner": [dict(s) for one in known for s in one.sanctions],
        "known_here": bool(known),
    }


def _verdicts(args: Args) -> dict[str, str]:
    verdicts = {}
    for entry in listed(args, "verdicts"):
        given = mapping(entry, "verdict")
        verdicts[text(given, "id")] = text(given, "verdict")
    if not {"same_person", "other_person"}.issuperset(verdicts.values()):
        raise ProtocolError("verdict: same_person or other_person")
    return verdicts


def _same(matching: Matching, args: Args) -> tuple[list[Candidate], list[Ban]]:
    """Return everyone whom this decision says the registrant to be, and the bans that are his.

    Raises:
        CandidatesError: the conflicts are not those that were shown, or not each has a verdict.
    """
    verdicts = _verdicts(args)
    shown = args.get("shown")
    if (matching.doubtful or shown is not None) and shown != digest(matching.shown()):
        raise CandidatesError
    if set(verdicts) != {candidate.id for candidate in matching.doubtful}:
        raise CandidatesError
    same = matching.exact + [c for c in matching.conflicts if verdicts[c.id] == "same_person"]
    return same, [ban for ban in matching.bans if ban.kind == EXACT or verdicts[ban.id] == "same_person"]


def _caps(args: Args) -> list[uniting.Cap]:
    """Return the caps that the provider's policy sets: none for a match, which adds no account."""
    given = (mapping(cap, "cap") for cap in listed({"caps": args.get("caps", [])}, "caps", most=8))
    return [uniting.Cap(text(cap, "kind"), whole(cap, "limit"), whole(cap, "adds")) for cap in given]


def review_decide(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Decide a registration: state, audit row and sealed plan in one transaction; the caller carries the plan out.

    Returns:
        {intent, plan, not_before}: what to write into identity and directory before `unite` closes it.

    Raises:
        RefusedError: evidence or reviewer does not hold.
        CapError: more accounts of the person than the provider allows.
        ConflictError: not in review; CandidatesError, BusyError: see there.
    """
    outcome = text(args, "decision")
    if outcome not in OUTCOMES:
        raise ProtocolError("decision: approved, returned or rejected")
    faulted = [name for name in listed(args, "faulted", most=16) if isinstance(name, str)]
    with reading(names.engine) as connection:
        case = _case(names, connection, args)
    locks = [case.subject.pid, case.subject.record.rid, case.subject.uid]
    with intents.taken(names.engine, names.keyring, "review", locks, names.now()) as intent:
        with reading(names.engine) as connection:
            case = _case(names, connection, args)
            plan = uniting.empty_plan()
            if outcome == "approved":
                sealed = ask_records(dialogue, [case.subject.record.rid])
                fields = open_sealed(names, case.subject.record, sealed.get(case.subject.record.rid))
                plan = _approve(names, connection, case, fields, intent, args, dialogue)
        plan["decision"] = mapping(args.get("memo"), "memo")
        tick = names.limits.match_tick_seconds if case.kind == MATCH else 0
        not_before = -(-names.now() // tick) * tick if tick else 0
        with writing(names.engine) as connection:
            _record_decision(names, connection, args, outcome)
            if outcome != "returned":
                rid = case.subject.record.rid
                connection.execute(delete(store.evidence_key).where(store.evidence_key.c.rid == rid))
                plan["evidence"] = [[rid, None]]
            elif faulted:
                keys = store.evidence_key
                rid = case.subject.record.rid
                connection.execute(delete(keys).where(keys.c.rid == rid, keys.c.name.in_(faulted)))
                plan["evidence"] = [[rid, faulted]]
            intents.plan(connection, names.keyring, intent, plan, not_before)
    return {"intent": intent, "plan": plan, "not_before": not_before}


def _approve(
    names: Names,
    connection: Connection,
    case: _Case,
    fields: Mapping[str, FieldValue],
    intent: bytes,
    args: Args,
    dialogue: Dialogue,
) -> dict[str, Any]:
    tags = (*sector_tags(names, case.subject.sector, fields), *vault_tags(names, fields))
    with writing(names.engine) as locking:
        intents.lock(locking, names.keyring, intent, [tag.value for tag in tags])
    matching = match(names, connection, case.subject, case.reviewer, fields, dialogue)
    same, bans = _same(matching, args)
    others = [lock for c in same for lock in (c.uid, *c.rids, *([c.standing.pid] if c.standing else []))]
    with writing(names.engine) as locking:
        intents.lock(locking, names.keyring, intent, others)
    plan = uniting.plan_approval(
        names, connection, case.subject, case.reviewer, matching, same, _caps(args), intent, dialogue
    )
    plan["bans"] = [[ban.pid, case.subject.pid] for ban in bans]
    return plan


def _record_decision(names: Names, connection: Connection, args: Args, outcome: str) -> None:
    case = _case(names, connection, args)
    record = case.subject.record
    opened = open_record(names, record)
    detail = {"reviewer": case.reviewer.client, "kind": case.kind, "decision": outcome}
    audit.write(connection, names.keyring.deployment, opened, "review.decided", names.minute, detail)
    if case.kind == REVIEW:
        records.change(connection, names.keyring, record, state=OUTCOMES[outcome])


def unite(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Close a decision: write map and assurance, when identity and directory hold their part. Idempotent.

    Raises:
        ConflictError: before its common tick.
    """
    intent_id = octets(args, "intent", 16)
    with writing(names.engine) as connection:
        intent = intents.load(connection, names.keyring, intent_id)
        if intent is None:
            return {}
        if intent.not_before > names.now():
            raise ConflictError("this outcome takes effect at the next common tick")
        for rid, uid, assurance in intent.plan["map"]:
            record = records.load(connection, names.keyring, rid)
            changes: dict[str, Any] = {"assurance": Assurance(assurance)}
            former = records.uid_of(names.keyring, record)
            if former != uid:
                changes["uid"] = records.seal_uid(names.keyring, rid, uid)
            records.change(connection, names.keyring, record, **changes)
        for uid in intent.plan["gone"]:
            connection.execute(delete(store.person).where(store.person.c.uid == uid))
        intents.close(connection, intent_id)
    return {}


def intents_due(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return planned intents that are due, for the service or `fsck` to carry out."""
    limit = args.get("limit", 100)
    with reading(names.engine) as connection:
        found = intents.due(connection, names.keyring, names.now(), min(int(limit), 1000))
        waiting = connection.execute(
            select(store.intent.c.id).where(store.intent.c.sealed.is_not(None), store.intent.c.not_before > names.now())
        ).all()
    due = [{"intent": intent.id, "kind": intent.kind, "plan": intent.plan} for intent in found]
    return {"due": due, "waiting": len(waiting)}
