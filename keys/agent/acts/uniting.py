"""What an approval writes: tags, persons united, standings that become one. Computes a plan; writes nothing.

A plan, carried out in this order by the service, each step idempotent:

    evidence      rids whose evidence pieces are deleted (identity)
    fingerprints  [tag, kind, sealed] to write over what stands there (identity)
    assurance     [pid, assurance] (directory)
    local         [tag, kind, pid] to add (directory)
    tags          [old tag or nil, new tag, pid] person tags (directory)
    bans          [pid, pid]: running sanctions of an erased registrant that go over to this one (directory)
    merges        {alias, survivor, accounts: [[id, mac, handle]]}: the alias becomes part of the survivor (directory)
    map           [rid, uid, assurance] (key store, by `unite`)
    gone          uids that are no person any more (key store, by `unite`)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from keys import intents, records
from keys.accounts import account_mac
from keys.agent.acts.matching import (
    Candidate,
    Entries,
    Matching,
    ask_fingerprints,
    ask_records,
    open_sealed,
    read_fingerprint,
    seal_fingerprint,
    vault_tags,
)
from keys.agent.arguments import listed, mapping, octets
from keys.agent.names import Names, Reviewer, Standing, check_standing
from keys.agent.wire import Dialogue
from keys.engine import writing
from keys.errors import CapError
from keys.records import Assurance
from keys.tags import Tag


def empty_plan() -> dict[str, Any]:
    """Return a plan that changes nothing."""
    return {
        key: [] for key in ("evidence", "fingerprints", "assurance", "local", "tags", "bans", "merges", "map", "gone")
    }


@dataclass(frozen=True, slots=True)
class Cap:
    """How many accounts of a kind one person may have at the subject's provider, and how many an approval adds."""

    kind: str
    limit: int
    adds: int


def plan_approval(
    names: Names,
    connection: Connection,
    subject: Standing,
    reviewer: Reviewer,
    matching: Matching,
    same: list[Candidate],
    caps: list[Cap],
    intent: bytes,
    dialogue: Dialogue,
) -> dict[str, Any]:
    """Return the plan of an approval by this reviewer.

    Raises:
        CapError: the standings that become one would have too many accounts.
        RefusedError: a row that was asked for does not hold.
        ConflictError: another act on one of these persons runs.
    """
    plan = empty_plan()
    provisional = subject.record.assurance is Assurance.NONE
    if provisional:
        plan["local"] = [[tag.value, tag.kind, subject.pid] for tag in matching.local]
    here = [candidate.standing for candidate in same if candidate.standing is not None]
    if not reviewer.vault:
        # His word unites standings here and touches no person elsewhere: each record keeps its own person.
        plan["assurance"] = [[subject.pid, Assurance.PROVIDER]]
        plan["map"] = [[subject.record.rid, subject.uid, Assurance.PROVIDER]]
        tags = names.keyring.links(subject.sector).tags(subject.uid)
        plan["tags"] = [[None, tag, subject.pid] for tag in tags]
        check_caps(caps, [*here, subject])
        _merge(names, plan, [*here, subject])
        return plan
    target, former = _person(subject, same)
    rids = {candidate.uid: {candidate.matched.rid} for candidate in same}
    rids.setdefault(subject.uid, set()).add(subject.record.rid)
    _fingerprints(names, connection, plan, matching, subject.record.rid, target, former, rids, intent, dialogue)
    for uid in former | {target}:
        for rid in sorted(rids[uid]):
            own = rid == subject.record.rid
            assurance = Assurance.VAULT if own else records.load(connection, names.keyring, rid).assurance
            plan["map"].append([rid, target, assurance])
    plan["assurance"] = [[subject.pid, Assurance.VAULT]]
    plan["gone"] = sorted(former)
    _retag(names, connection, plan, subject, here, target, former, caps, dialogue)
    return plan


def _person(subject: Standing, same: list[Candidate]) -> tuple[bytes, set[bytes]]:
    """Return the person who lives on, and those who become him: one known to the vault before one known here."""
    known = sorted(same, key=lambda candidate: candidate.matched.assurance is not Assurance.VAULT)
    target = known[0].uid if known else subject.uid
    return target, {subject.uid, *(candidate.uid for candidate in same)} - {target}


def _fingerprints(
    names: Names,
    connection: Connection,
    plan: dict[str, Any],
    matching: Matching,
    subject_rid: bytes,
    target: bytes,
    former: set[bytes],
    rids: dict[bytes, set[bytes]],
    intent: bytes,
    dialogue: Dialogue,
) -> None:
    """Plan the fingerprint rows of everyone involved, and complete `rids` with what those rows name."""
    tags = {tag.value: tag for tag in matching.fingerprints}
    rows = _everyones_rows(names, connection, tags, former | {target}, rids, intent, dialogue)
    own = {tag.value for tag in matching.fingerprints}
    for value, tag in tags.items():
        entries: Entries = {}
        for uid, known in rows[value].items():
            entries.setdefault(target if uid in former else uid, []).extend(known)
        if value in own:
            # Only what a vault reviewer approved gives a fingerprint: here, the subject's own record.
            entries.setdefault(target, []).append(subject_rid)
        if entries:
            plan["fingerprints"].append([value, tag.kind, seal_fingerprint(names, value, entries)])


def _everyones_rows(
    names: Names,
    connection: Connection,
    tags: dict[bytes, Tag],
    everyone: set[bytes],
    rids: dict[bytes, set[bytes]],
    intent: bytes,
    dialogue: Dialogue,
) -> dict[bytes, Entries]:
    """Return the fingerprint rows by tag, completing `tags` and `rids`.

    A person who becomes another may have more documents than the one that matched: their rows are found from the
    records that the rows found so far name, until nothing new comes.
    """
    rows: dict[bytes, Entries] = {}
    seen: set[bytes] = set()
    while True:
        fresh = {rid for uid in everyone for rid in rids.setdefault(uid, set())} - seen
        for rid, fields in ask_records(dialogue, sorted(fresh)).items():
            for tag in vault_tags(names, open_sealed(names, records.load(connection, names.keyring, rid), fields)):
                tags.setdefault(tag.value, tag)
        missing = [tag for value, tag in tags.items() if value not in rows]
        if not fresh and not missing:
            return rows
        with writing(names.engine) as locking:
            intents.lock(locking, names.keyring, intent, [tag.value for tag in missing])
        rows |= {tag.value: {} for tag in missing}
        for value, sealed in ask_fingerprints(dialogue, missing).items():
            rows[value] = read_fingerprint(names, value, sealed)
            for uid in everyone & set(rows[value]):
                rids[uid].update(rows[value][uid])
        seen |= fresh


def _retag(
    names: Names,
    connection: Connection,
    plan: dict[str, Any],
    subject: Standing,
    here: list[Standing],
    target: bytes,
    former: set[bytes],
    caps: list[Cap],
    dialogue: Dialogue,
) -> None:
    """Rewrite the person tags of those who became one, in each sector that has one of them."""
    provisional = subject.record.assurance is Assurance.NONE
    for sector in names.keyring.sectors():
        links = names.keyring.links(sector)
        new = links.tags(target)
        becomes = {old: tag for uid in former for old, tag in zip(links.tags(uid), new, strict=True)}
        answer = listed({"tags": dialogue.ask("tags", sector=sector, values=[*new, *sorted(becomes)])}, "tags")
        rows = [mapping(row, "tag") for row in answer]
        standings = {octets(row, "tag"): check_standing(names, connection, row.get("standing")) for row in rows}
        plan["tags"] += [[tag, becomes[tag], standing.pid] for tag, standing in standings.items() if tag in becomes]
        group = list({standing.pid: standing for standing in standings.values()}.values())
        plan["map"] += _tagged_alone(names, connection, plan, group, target, former)
        if sector == subject.sector:
            group += here
            if provisional:
                plan["tags"] += [[None, tag, subject.pid] for tag in new]
                group.append(subject)
            check_caps(caps, group)
        _merge(names, plan, group)


def _tagged_alone(
    names: Names,
    connection: Connection,
    plan: dict[str, Any],
    standings: Iterable[Standing],
    target: bytes,
    former: set[bytes],
) -> list[list[Any]]:
    """Return the map of records that no fingerprint names: those of persons known by an exchange, or to a provider."""
    mapped = {rid for rid, _, _ in plan["map"]}
    found = [records.load(connection, names.keyring, rid) for s in standings for rid in s.rids if rid not in mapped]
    return [[r.rid, target, str(r.assurance)] for r in found if records.uid_of(names.keyring, r) in former]


def check_caps(caps: list[Cap], group: Iterable[Standing]) -> None:
    """Check that standings which become one stay within the caps of their provider.

    Raises:
        CapError: they do not.
    """
    distinct = {standing.pid: standing for standing in group}.values()
    for cap in caps:
        if cap.adds and cap.adds + sum(standing.counted.get(cap.kind, 0) for standing in distinct) > cap.limit:
            raise CapError


def _seniority(standing: Standing) -> tuple[object, ...]:
    assurance = standing.record.assurance
    return assurance is Assurance.NONE, standing.created, assurance is not Assurance.VAULT, standing.pid


def _merge(names: Names, plan: dict[str, Any], group: Iterable[Standing]) -> None:
    """Make the standings of one person in one sector one: approved before provisional, then the older lives on.

    Of two that are equally old it is the one whose token another approval or an exchange gave its meaning already.
    """
    distinct = {standing.pid: standing for standing in group}
    if len(distinct) < 2:  # noqa: PLR2004 - two make a merge
        return
    survivor, *aliases = sorted(distinct.values(), key=_seniority)
    key, deployment = names.keyring.current("account-mac").secret, names.keyring.deployment
    for alias in aliases:
        accounts = [
            [account, account_mac(key, deployment, provider, handle, survivor.pid, account), handle]
            for account, provider, handle in alias.accounts
        ]
        plan["merges"].append({"alias": alias.pid, "survivor": survivor.pid, "accounts": accounts})
