"""The acts `erase` and `erase.done`: a registration ends, its keys first; what is left of it elsewhere is carried out.

Keys go in the transaction that decides, so that nothing opens from then on, whatever the other stores still hold. The
plan, carried out by the service in this order, each step idempotent and never undone:

    ended         pids whose standing becomes a tombstone: the living one first, then its aliases (directory)
    elsewhere     pids that another provider knew by an exchange alone, when the person is no more (directory)
    legacy        {pid, accounts: [[id, mac, handle]]}: the fresh standing on which open accounts keep
                  reading (directory)
    records       rids whose sealed fields and evidence are deleted (identity)
    fingerprints  [tag, kind, sealed or nil] to write over what stands there, or to delete (identity)
"""

from typing import Any, Final

from sqlalchemy import Connection, delete

from keys import audit, disclosures, ended, holds, intents, leaves, records, statements, store
from keys.accounts import account_mac
from keys.agent.acts import deferring, draining
from keys.agent.acts.matching import (
    ask_fingerprints,
    ask_records,
    open_sealed,
    read_fingerprint,
    seal_fingerprint,
    vault_tags,
)
from keys.agent.arguments import Args, listed, mapping, octets, text
from keys.agent.names import Names, Standing, check_standing, open_record, reviewer_of
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import ConflictError, RefusedError
from keys.records import Assurance, Record, State
from keys.tokens import PID_BYTES

KIND: Final = "erase"
_REJECTED: Final = "rejected"


def erase(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Destroy the keys of a registrant's records at one provider; return the plan of what follows.

    Args:
        names: the holder.
        args: {standing: the living one; by: client id; reviewer: whether that client must be a vault reviewer;
            legacy: the pid that a fresh legacy standing will have; why: withdrawn, or rejected for a record whose time
            has run out and whose standing stays; memo}.
        dialogue: asks for records, fingerprints and person tags.

    Raises:
        RefusedError: the evidence does not hold, or he may not.
        HeldError: a case holds one of the records.
        BusyError: another act on the same person runs.
    """
    legacy, why = octets(args, "legacy", PID_BYTES), text(args, "why")
    with reading(names.engine) as connection:
        subject = _subject(names, connection, args)
    with intents.taken(names.engine, names.keyring, KIND, _locks(names, subject), names.now()) as intent:
        with reading(names.engine) as connection:
            subject = _subject(names, connection, args)
            found = [records.load(connection, names.keyring, rid) for rid in subject.rids]
            uids = {records.uid_of(names.keyring, record) for record in found}
            plan = {
                "ended": [subject.pid, *subject.alias_pids],
                "legacy": {"pid": legacy, "accounts": _rebound(names, subject, legacy)},
                "records": list(subject.rids),
                "fingerprints": _fingerprints(names, found, intent, dialogue),
                "decision": mapping(args.get("memo"), "memo"),
            }
            gone, bare = _no_more(names, connection, subject, uids, dialogue)
        plan["elsewhere"] = [standing.pid for standing in bare]
        with writing(names.engine) as connection:
            _destroy(names, connection, args, plan, bare, gone)
            intents.plan(connection, names.keyring, intent, plan | {"why": why}, 0)
    return {"intent": intent, "plan": plan | {"why": why}}


def _subject(names: Names, connection: Connection, args: Args) -> Standing:
    subject = check_standing(names, connection, args.get("standing"))
    if args.get("reviewer") and not reviewer_of(names, text(args, "by")).vault:
        raise RefusedError
    if text(args, "why") == _REJECTED and subject.record.state is not State.REJECTED:
        raise ConflictError
    holds.check(connection, subject.rids, names.now())
    return subject


def _locks(names: Names, subject: Standing) -> list[bytes]:
    with reading(names.engine) as connection:
        found = [records.load(connection, names.keyring, rid) for rid in subject.rids]
    uids = [records.uid_of(names.keyring, record) for record in found]
    return [subject.pid, *subject.alias_pids, *subject.rids, *uids]


def _rebound(names: Names, subject: Standing, pid: bytes) -> list[list[Any]]:
    key, deployment = names.keyring.current("account-mac").secret, names.keyring.deployment
    return [
        [account, account_mac(key, deployment, provider, handle, pid, account), handle]
        for account, provider, handle in subject.accounts
    ]


def _fingerprints(names: Names, found: list[Record], intent: bytes, dialogue: Dialogue) -> list[list[Any]]:
    """Plan the fingerprint rows without these records: only those that a vault reviewer approved are in any."""
    approved = {record.rid: record for record in found if record.assurance is Assurance.VAULT}
    sealed = ask_records(dialogue, approved)
    tags = {
        tag.value: tag
        for rid, record in approved.items()
        if rid in sealed
        for tag in vault_tags(names, open_sealed(names, record, sealed[rid]))
    }
    with writing(names.engine) as locking:
        intents.lock(locking, names.keyring, intent, tags)
    rows = []
    for value, row in ask_fingerprints(dialogue, tags.values()).items():
        entries = {
            uid: kept
            for uid, rids in read_fingerprint(names, value, row).items()
            if (kept := [rid for rid in rids if rid not in approved])
        }
        rows.append([value, tags[value].kind, seal_fingerprint(names, value, entries) if entries else None])
    return rows


def _no_more(
    names: Names, connection: Connection, subject: Standing, uids: set[bytes], dialogue: Dialogue
) -> tuple[set[bytes], list[Standing]]:
    """Return the persons who have no registration left, and the standings they have by an exchange alone."""
    gone, bare = set(uids), list[Standing]()
    for sector in names.keyring.sectors():
        if sector == subject.sector:
            continue
        links = names.keyring.links(sector)
        wanted = {tag: uid for uid in uids for tag in links.tags(uid)}
        for answer in listed({"tags": dialogue.ask("tags", sector=sector, values=sorted(wanted))}, "tags"):
            row = mapping(answer, "tag")
            uid = wanted.get(octets(row, "tag"))
            standing = check_standing(names, connection, row.get("standing"))
            if uid is None or standing.sector != sector:
                raise RefusedError
            if standing.record.revisions or standing.aliases:
                gone.discard(uid)
            elif standing.pid not in {one.pid for one in bare}:
                bare.append(standing)
    return gone, [standing for standing in bare if standing.uid in gone]


def _destroy(
    names: Names, connection: Connection, args: Args, plan: dict[str, Any], bare: list[Standing], gone: set[bytes]
) -> None:
    """Write the audit row under the record's commitment key, then delete every key of these records."""
    subject = _subject(names, connection, args)
    for made in disclosures.of_records(connection, names.keyring, subject.rids):
        # Nobody will be there to be told: strangers see that nothing is left open, and no package outlives the record.
        told = made if made.notified is not None else deferring.tell(connection, names.keyring, made, names.minute)
        disclosures.change(connection, names.keyring, told, package=None)
    detail = {"by": text(args, "by"), "why": text(args, "why")}
    opened = open_record(names, subject.record)
    row = audit.row(names.keyring.deployment, opened, "registration.erased", names.minute, detail)
    named = leaves.erased_subject(opened.commitment_key)
    audit.write_all(connection, [row | {"address": named}])
    accounts = [(provider, account) for account, provider, _handle in subject.accounts]
    ended.add(connection, names.keyring, accounts, named, names.minute)
    for rid in (*subject.rids, *(standing.record.rid for standing in bare)):
        records.remove(connection, records.load(connection, names.keyring, rid))
        connection.execute(delete(store.evidence_key).where(store.evidence_key.c.rid == rid))
        connection.execute(delete(store.resealed).where(store.resealed.c.rid == rid))
        draining.forget(connection, [rid])
    pids = [subject.pid, *subject.alias_pids, *(standing.pid for standing in bare)]
    statements.destroy(connection, names.keyring, pids)
    for uid in gone:
        connection.execute(delete(store.person).where(store.person.c.uid == uid))
    plan["records"] += [standing.record.rid for standing in bare]


def erase_done(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Close an erasure: directory and identity hold nothing of it any more. Idempotent."""
    with writing(names.engine) as connection:
        intents.close(connection, octets(args, "intent", 16))
    return {}
