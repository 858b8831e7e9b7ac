"""The act `split`: two registrants who were taken for one person become two again; nothing is opened for anyone.

The plan, carried out by the service, each step idempotent; `unite` closes it:

    apart         {alias, survivor, group, accounts: [[id, mac, handle]]}: the alias lives again, with what
                  came with it; nil where the registration was one with persons elsewhere alone (directory)
    local         [tag, kind, pid]: local tags that go back (directory)
    tags          [old tag or nil, new tag, pid] person tags (directory)
    fingerprints  [tag, kind, sealed] to write over what stands there (identity)
    map           [rid, uid, assurance] (key store, by `unite`)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, insert

from keys import audit, intents, records, store
from keys.accounts import account_mac
from keys.agent.acts.matching import (
    ask_fingerprints,
    ask_records,
    open_sealed,
    read_fingerprint,
    seal_fingerprint,
    sector_tags,
    vault_tags,
)
from keys.agent.arguments import Args, listed, mapping, octets, text
from keys.agent.names import Names, Standing, check_standing, open_record, reviewer_of
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import ConflictError, RefusedError
from keys.fields import FieldValue
from keys.primitives import random_bytes
from keys.records import UID_BYTES, Assurance, Record
from keys.tags import EXACT_KINDS
from keys.tokens import PID_BYTES

KIND: Final = "split"


@dataclass(frozen=True, slots=True)
class _Case:
    living: Standing
    group: tuple[bytes, ...]
    """pids that leave: the alias and what it had taken in, or the standing itself"""
    leaving: tuple[Record, ...]
    staying: tuple[Record, ...]


def split(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Part one registration from the person it was united with.

    Args:
        names: the holder.
        args: {reviewer: a vault reviewer; standing: the living one; group: pids of the alias and of its own aliases, or
            of the living standing alone; accounts: ids that came with the alias; memo}.
        dialogue: asks for records and fingerprints.

    Raises:
        RefusedError: the evidence does not hold, or he is no vault reviewer.
        ConflictError: it is united with no other, or both have the very same document and birth date.
    """
    with reading(names.engine) as connection:
        case = _case(names, connection, args)
    uid = records.uid_of(names.keyring, case.leaving[0])
    locks = [case.living.pid, *case.group, *case.living.rids, uid, case.living.uid]
    with intents.taken(names.engine, names.keyring, KIND, locks, names.now()) as intent:
        with reading(names.engine) as connection:
            case = _case(names, connection, args)
            if not case.staying and not _known_elsewhere(names, case.living, dialogue):
                raise ConflictError("this registration is united with no other")
            fields = _fields(names, case, dialogue)
            fresh = random_bytes(UID_BYTES)
            plan = {
                "apart": _apart(names, case, args), "local": _local(names, case, fields),
                "tags": _tags(names, case, fresh), "map": _map(names, case, fresh), "gone": [],
                "fingerprints": _fingerprints(names, case, fields, fresh, intent, dialogue),
                "decision": mapping(args.get("memo"), "memo"),
            }  # fmt: skip
        with writing(names.engine) as connection:
            opened = open_record(names, _case(names, connection, args).leaving[0])
            detail = {"reviewer": text(args, "reviewer")}
            # Apart from one here, the provider sees what becomes of it; from one elsewhere, it must not know of him.
            kind = "registration.parted" if plan["apart"] else "person.split"
            audit.write(connection, names.keyring.deployment, opened, kind, names.minute, detail)
            connection.execute(insert(store.person), {"uid": fresh, "state": "provisional"})
            intents.plan(connection, names.keyring, intent, plan, 0)
    return {"intent": intent, "plan": plan}


def _case(names: Names, connection: Connection, args: Args) -> _Case:
    if not reviewer_of(names, text(args, "reviewer")).vault:
        raise RefusedError
    living = check_standing(names, connection, args.get("standing"))
    rids = {living.pid: living.record.rid, **dict(zip(living.alias_pids, living.aliases, strict=True))}
    group = tuple(octets({"pid": pid}, "pid", PID_BYTES) for pid in listed(args, "group"))
    alone = group == (living.pid,)
    if not group or not set(group) <= set(rids) or (living.pid in group and not alone):
        raise RefusedError
    if alone and living.aliases:
        raise ConflictError("part those that became part of it first")
    found = {pid: records.load(connection, names.keyring, rid) for pid, rid in rids.items()}
    if any(found[pid].assurance is Assurance.NONE for pid in group):
        raise ConflictError
    staying = tuple(record for pid, record in found.items() if pid not in group)
    return _Case(living, group, tuple(found[pid] for pid in group), staying)


def _known_elsewhere(names: Names, living: Standing, dialogue: Dialogue) -> bool:
    others = (sector for sector in names.keyring.sectors() if sector != living.sector)
    return any(dialogue.ask("tags", sector=s, values=names.keyring.links(s).tags(living.uid)) for s in others)


def _fields(names: Names, case: _Case, dialogue: Dialogue) -> dict[bytes, Mapping[str, FieldValue]]:
    everyone = {record.rid: record for record in (*case.leaving, *case.staying)}
    sealed = ask_records(dialogue, everyone)
    return {rid: open_sealed(names, record, sealed.get(rid)) for rid, record in everyone.items()}


def _leaves_person(names: Names, case: _Case, record: Record) -> bool:
    """Tell whether a record of the group is of the person it is parted from; a bound merge left it its own."""
    return records.uid_of(names.keyring, record) == records.uid_of(names.keyring, case.leaving[0])


def _map(names: Names, case: _Case, fresh: bytes) -> list[list[Any]]:
    return [[r.rid, fresh, str(r.assurance)] for r in case.leaving if _leaves_person(names, case, r)]


def _apart(names: Names, case: _Case, args: Args) -> dict[str, Any] | None:
    if case.living.pid in case.group:
        return None
    back = set(listed(args, "accounts"))
    key, deployment = names.keyring.current("account-mac").secret, names.keyring.deployment
    accounts = [
        [account, account_mac(key, deployment, provider, handle, case.group[0], account), handle]
        for account, provider, handle in case.living.accounts
        if account in back
    ]
    return {"alias": case.group[0], "survivor": case.living.pid, "group": list(case.group), "accounts": accounts}


def _local(names: Names, case: _Case, fields: Mapping[bytes, Mapping[str, FieldValue]]) -> list[list[Any]]:
    def tags(found: tuple[Record, ...]) -> dict[bytes, str]:
        made = (tag for record in found for tag in sector_tags(names, case.living.sector, fields[record.rid]))
        return {tag.value: tag.kind for tag in made}

    leaving, staying = tags(case.leaving), tags(case.staying)
    if any(kind in EXACT_KINDS for value, kind in leaving.items() if value in staying):
        raise ConflictError("both have the same document and birth date: an exact match is one person")
    keeps = [[value, kind, case.living.pid] for value, kind in staying.items()]
    return [[value, kind, case.group[0]] for value, kind in leaving.items()] + keeps


def _tags(names: Names, case: _Case, fresh: bytes) -> list[list[Any]]:
    links, shared = names.keyring.links(case.living.sector), {records.uid_of(names.keyring, r) for r in case.staying}
    former = records.uid_of(names.keyring, case.leaving[0])
    keeps = former in shared
    moved: list[list[Any]] = [
        [None if keeps else old, new, case.group[0]]
        for old, new in zip(links.tags(former), links.tags(fresh), strict=True)
    ]
    for record in case.leaving[1:]:
        if not _leaves_person(names, case, record):
            own = links.tags(records.uid_of(names.keyring, record))
            moved += [[None, tag, case.group[0]] for tag in own]
    return moved


def _fingerprints(
    names: Names,
    case: _Case,
    fields: Mapping[bytes, Mapping[str, FieldValue]],
    fresh: bytes,
    intent: bytes,
    dialogue: Dialogue,
) -> list[list[Any]]:
    moved = {r.rid for r in case.leaving if r.assurance is Assurance.VAULT and _leaves_person(names, case, r)}
    tags = {tag.value: tag for rid in moved for tag in vault_tags(names, fields[rid])}
    with writing(names.engine) as locking:
        intents.lock(locking, names.keyring, intent, tags)
    rows = []
    for value, row in ask_fingerprints(dialogue, tags.values()).items():
        entries = read_fingerprint(names, value, row)
        kept = {uid: left for uid, rids in entries.items() if (left := [rid for rid in rids if rid not in moved])}
        gone = [rid for rids in entries.values() for rid in rids if rid in moved]
        if not gone:
            continue  # while two versions overlap, a row of the next one may not have them yet
        kept[fresh] = gone
        rows.append([value, tags[value].kind, seal_fingerprint(names, value, kept)])
    return rows
