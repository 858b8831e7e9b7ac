"""The acts of a review: `review.open`, `review.decide`, and `unite`, which closes what a decision began."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, select

from keys import audit, budgets, intents, records, store
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
from keys.records import Assurance, Record, State

REVIEW: Final = "review"
MATCH: Final = "match"
PURPOSES: Final = frozenset((REVIEW,))
_PERSONAL: Final = ("legal_name", "names", "birth_date", "document", "phone", "email")
REPRESENTATIVE: Final = "representative/"
"""What the fields of an organisation's representative begin with."""
MANDATE: Final = "mandate"
REVIEW_FIELDS: Final = frozenset((*_PERSONAL, "form", "registration", *(REPRESENTATIVE + name for name in _PERSONAL)))
OUTCOMES: Final = {"approved": State.VERIFIED, "returned": State.RETURNED, "rejected": State.REJECTED}


@dataclass(frozen=True, slots=True)
class _Case:
    kind: str
    reviewer: Reviewer
    subjects: tuple[Standing, ...]
    """the registrant, and after an organisation its representative"""

    @property
    def subject(self) -> Standing:
        """The registrant."""
        return self.subjects[0]


def _case(names: Names, connection: Connection, args: Args, *, bulk: bool = False) -> _Case:
    """Return the case if this reviewer may see it and the agent's own row says that it is open."""
    kind, reviewer = text(args, "kind"), reviewer_of(names, text(args, "reviewer"), bulk=bulk)
    shown = [args.get("standing"), *([args["representative"]] if args.get("representative") is not None else [])]
    subjects = tuple(check_standing(names, connection, evidence) for evidence in shown)
    if not all(reviewer.may_review(subject.sector) for subject in subjects):
        raise RefusedError
    if (MANDATE in subjects[0].record.revisions) != (len(subjects) > 1):
        raise RefusedError
    if kind == MATCH and not reviewer.vault:
        raise RefusedError
    if not all(_is_open(kind, subject) for subject in subjects):
        raise ConflictError
    return _Case(kind, reviewer, subjects)


def _is_open(kind: str, subject: Standing) -> bool:
    if kind == MATCH:
        return subject.record.state is State.VERIFIED and subject.record.assurance is Assurance.PROVIDER
    if kind == REVIEW:
        return subject.record.state is State.IN_REVIEW
    raise ProtocolError("kind: review or match")


def _fields(names: Names, case: _Case, dialogue: Dialogue) -> list[Mapping[str, FieldValue]]:
    """Open the fields of a case inside the agent.

    Raises:
        RefusedError: a field was altered, or the mandate is another's.
    """
    sealed = ask_records(dialogue, [subject.record.rid for subject in case.subjects])
    fields: list[Mapping[str, FieldValue]] = [
        open_sealed(names, subject.record, sealed.get(subject.record.rid)) for subject in case.subjects
    ]
    if MANDATE in fields[0] and fields[0][MANDATE].match != (case.subjects[1].record.rid,):
        raise RefusedError
    return fields


def _matched(
    names: Names, connection: Connection, case: _Case, fields: list[Mapping[str, FieldValue]], dialogue: Dialogue
) -> list[Matching]:
    return [
        match(names, connection, subject, case.reviewer, own, dialogue)
        for subject, own in zip(case.subjects, fields, strict=True)
    ]


def _doubtful(matchings: list[Matching]) -> list[Candidate | Ban]:
    return [one for matching in matchings for one in matching.doubtful]


def _shown(matchings: list[Matching]) -> list[dict[str, Any]]:
    return [shown for matching in matchings for shown in matching.shown()]


def _known_here(matchings: list[Matching]) -> list[Candidate | Ban]:
    """Return everyone whom this provider has by the very same document: no verdict is asked of them (ADR 7)."""
    known: list[Candidate | Ban] = [c for matching in matchings for c in matching.exact if c.standing is not None]
    return known + [ban for matching in matchings for ban in matching.bans if ban.kind == EXACT]


def _running(matchings: list[Matching]) -> list[dict[str, Any]]:
    return [dict(sanction) for one in _known_here(matchings) for sanction in one.sanctions]


def _seen(matchings: list[Matching]) -> bytes:
    """Return the digest of candidates and sanctions: what the case keeps of a reveal, for the decision."""
    return digest([*_shown(matchings), {"sanctions": _running(matchings)}])


def review_open(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Open the listed fields of one registration in review, and what is needed to compare its candidates.

    The audit row (of the registration and of each candidate's record) is durable before any field leaves.

    Args:
        names: the holder.
        args: {kind, reviewer, standing, representative?, purpose, fields; needed: see `told_as`}.
        dialogue: asks for records, local tags, fingerprints and person tags.

    Raises:
        RefusedError: evidence, reviewer, purpose or field list does not hold.
        ConflictError: the registration is not in review.
    """
    purpose, wanted = text(args, "purpose"), listed(args, "fields", most=len(REVIEW_FIELDS))
    if purpose not in PURPOSES or not REVIEW_FIELDS.issuperset(wanted):
        raise RefusedError("this purpose does not open these fields")
    with reading(names.engine) as connection:
        case = _case(names, connection, args)
        fields = _fields(names, case, dialogue)
        matchings = _matched(names, connection, case, fields, dialogue)
    detail = {"reviewer": case.reviewer.client, "purpose": purpose, "kind": case.kind, "fields": sorted(wanted)}
    with writing(names.engine) as connection:
        # Read again under the write lock: a decision that came meanwhile closes the case.
        case = _case(names, connection, args)
        conflicts = [c.matched for matching in matchings for c in matching.conflicts]
        shown_records = (*(subject.record for subject in case.subjects), *conflicts)
        opened = [open_record(names, record) for record in shown_records]
        kind = told_as("registration.opened", "review.opened", case.reviewer, case.kind, args)
        audit.write_group(connection, names.keyring.deployment, opened, kind, names.minute, detail)
    shown = _shown(matchings)
    named = [{name: value.shown for name, value in own.items()} for own in fields]
    beside = {REPRESENTATIVE + name: value for own in named[1:] for name, value in own.items()}
    return {
        "fields": {name: value for name, value in (named[0] | beside).items() if name in wanted},
        "candidates": shown,
        "shown": digest(shown),
        "seen": _seen(matchings),
        "returner": _running(matchings),
        "known_here": bool(_known_here(matchings)),
    }


def told_as(told: str, untold: str, reviewer: Reviewer, kind: str, args: Args) -> str:
    """Return the name under which it is written that a reviewer looked: whether the provider may be told of it.

    Where cases are decided unseen (`needed` is not true), that a vault reviewer looked says that somebody is known.
    """
    return told if kind == REVIEW and (not reviewer.vault or args.get("needed") is True) else untold


def _verdicts(args: Args) -> dict[str, str]:
    verdicts = {}
    for entry in listed(args, "verdicts"):
        given = mapping(entry, "verdict")
        verdicts[text(given, "id")] = text(given, "verdict")
    if not {"same_person", "other_person"}.issuperset(verdicts.values()):
        raise ProtocolError("verdict: same_person or other_person")
    return verdicts


def _same(matchings: list[Matching], args: Args) -> list[tuple[list[Candidate], list[Ban]]]:
    """Return everyone whom this decision says each subject to be, and the bans that are his.

    Raises:
        CandidatesError: the conflicts are not those that were shown, or not each has a verdict; sanctions run that
            were not shown; or anybody at all matches where the decision was made unseen, for whoever is `alone`.
    """
    if args.get("alone") and any(matching.exact or matching.conflicts or matching.bans for matching in matchings):
        raise CandidatesError
    if _running(matchings) and args.get("seen") != _seen(matchings):
        raise CandidatesError
    verdicts, doubtful = _verdicts(args), _doubtful(matchings)
    shown = args.get("shown")
    if (doubtful or shown is not None) and shown != digest(_shown(matchings)):
        raise CandidatesError
    if set(verdicts) != {candidate.id for candidate in doubtful}:
        raise CandidatesError
    return [
        (
            matching.exact + [c for c in matching.conflicts if verdicts[c.id] == "same_person"],
            [ban for ban in matching.bans if ban.kind == EXACT or verdicts[ban.id] == "same_person"],
        )
        for matching in matchings
    ]


def caps_of(args: Args) -> list[uniting.Cap]:
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
        BudgetError: officers' word was for fewer.
        ConflictError: not in review; CandidatesError, BusyError: see there.
    """
    outcome = text(args, "decision")
    if outcome not in OUTCOMES:
        raise ProtocolError("decision: approved, returned or rejected")
    faulted = [name for name in listed(args, "faulted", most=16) if isinstance(name, str)]
    with reading(names.engine) as connection:
        case = _case(names, connection, args, bulk=True)
    if case.reviewer.most is not None and not (outcome == "approved" and args.get("alone") and case.kind == REVIEW):
        raise RefusedError("officers' word for many approves whom nobody matches, and does nothing else")
    locks = [lock for subject in case.subjects for lock in (subject.pid, subject.record.rid, subject.uid)]
    with intents.taken(names.engine, names.keyring, "review", locks, names.now()) as intent:
        with reading(names.engine) as connection:
            case = _case(names, connection, args, bulk=True)
            plan = uniting.empty_plan()
            if outcome == "approved":
                fields = _fields(names, case, dialogue)
                plan = _approve(names, connection, case, fields, intent, args, dialogue)
        plan["decision"] = mapping(args.get("memo"), "memo")
        tick = names.limits.match_tick_seconds if case.kind == MATCH else 0
        not_before = -(-names.now() // tick) * tick if tick else 0
        with writing(names.engine) as connection:
            _record_decision(names, connection, args, outcome)
            if outcome != "returned":
                rids = [subject.record.rid for subject in case.subjects]
                connection.execute(delete(store.evidence_key).where(store.evidence_key.c.rid.in_(rids)))
                plan["evidence"] = [[rid, None] for rid in rids]
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
    fields: list[Mapping[str, FieldValue]],
    intent: bytes,
    args: Args,
    dialogue: Dialogue,
) -> dict[str, Any]:
    tags = [
        tag.value
        for subject, own in zip(case.subjects, fields, strict=True)
        for tag in (*sector_tags(names, subject.sector, own), *vault_tags(names, own))
    ]
    with writing(names.engine) as locking:
        intents.lock(locking, names.keyring, intent, tags)
    matchings = _matched(names, connection, case, fields, dialogue)
    said = _same(matchings, args)
    everyone = [candidate for same, _ in said for candidate in same]
    others = [lock for c in everyone for lock in (c.uid, *c.rids, *([c.standing.pid] if c.standing else []))]
    with writing(names.engine) as locking:
        intents.lock(locking, names.keyring, intent, others)
    plan = uniting.empty_plan()
    # An approval adds accounts to the registrant alone; his representative has none of this registration.
    caps = [caps_of(args), *([] for _ in case.subjects[1:])]
    for subject, matching, (same, bans), limits in zip(case.subjects, matchings, said, caps, strict=True):
        own = uniting.plan_approval(
            names, connection, subject, case.reviewer, matching, same, limits, intent, dialogue
        )  # fmt: skip
        own["bans"] = [[ban.pid, subject.pid] for ban in bans]
        plan = {part: rows + own[part] for part, rows in plan.items()}
    return plan


def _record_decision(names: Names, connection: Connection, args: Args, outcome: str) -> None:
    case = _case(names, connection, args, bulk=True)
    if case.reviewer.most is not None:
        budgets.spend(connection, case.reviewer.client, case.reviewer.most, 0)
    detail = {"reviewer": case.reviewer.client, "kind": case.kind, "decision": outcome}
    opened = [open_record(names, subject.record) for subject in case.subjects]
    kind = "registration.decided" if case.kind == REVIEW else "review.decided"
    audit.write_group(connection, names.keyring.deployment, opened, kind, names.minute, detail)
    for subject in case.subjects:
        if case.kind == REVIEW:
            records.change(connection, names.keyring, subject.record, state=OUTCOMES[outcome])


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
        becomes = {rid: (uid, Assurance(assurance)) for rid, uid, assurance in intent.plan["map"]}
        found = records.load_all(connection, names.keyring, becomes)
        changes = [(found[rid], _mapped(names, found[rid], *said)) for rid, said in becomes.items()]
        records.change_many(connection, names.keyring, changes)
        for uid in intent.plan["gone"]:
            connection.execute(delete(store.person).where(store.person.c.uid == uid))
        intents.close(connection, intent_id)
    return {}


def _mapped(names: Names, record: Record, uid: bytes, assurance: Assurance) -> dict[str, Any]:
    if records.uid_of(names.keyring, record) == uid:
        return {"assurance": assurance}
    return {"assurance": assurance, "uid": records.seal_uid(names.keyring, record.rid, uid)}


def intents_due(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return planned intents that are due, for the service or `fsck` to carry out; drop those that nobody works on."""
    limit = args.get("limit", 100)
    intents.drop_abandoned(names.engine)
    with reading(names.engine) as connection:
        found = intents.due(connection, names.keyring, names.now(), min(int(limit), 1000))
        waiting = connection.execute(
            select(store.intent.c.id).where(store.intent.c.sealed.is_not(None), store.intent.c.not_before > names.now())
        ).all()
    due = [{"intent": intent.id, "kind": intent.kind, "plan": intent.plan} for intent in found]
    return {"due": due, "waiting": len(waiting)}
