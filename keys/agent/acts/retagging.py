"""The acts `retag.versions`, `retag` and `retag.done`: links and tags of people under the next version of their keys.

Tags cannot be made from tags: each registrant's fields are opened, inside the agent, and his tags written beside those
of the former version. Until that is done for everybody both versions are written and asked, so that whoever is known
stays known. A ban of an erased person has no fields any more: its tags stay as they are, and are asked for under the
former version.
"""

from typing import Any, Final

from sqlalchemy import Connection, func, select

from keys import audit, intents, records, store
from keys.agent.acts.matching import (
    Entries,
    ask_fingerprints,
    ask_records,
    open_sealed,
    read_fingerprint,
    seal_fingerprint,
    sector_tags,
    vault_tags,
)
from keys.agent.acts.rotating import FINGERPRINT, LINK
from keys.agent.acts.uniting import empty_plan
from keys.agent.arguments import Args, listed, mapping, octets
from keys.agent.names import Names, Standing, check_standing
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.entries import Key
from keys.errors import ConflictError
from keys.records import Assurance, Record
from keys.states import State
from keys.tokens import PID_BYTES

KIND: Final = "retag"


def versions(names: Names, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return {fingerprint: {active, known}, link: {sector: {active, known}}}: versions that are written, and all asked.

    The newest stands last.
    """
    links = {sector: _versions(names, LINK, sector) for sector in names.keyring.sectors()}
    return {FINGERPRINT: _versions(names, FINGERPRINT, ""), LINK: links}


def _versions(names: Names, purpose: str, scope: str) -> dict[str, Any]:
    active = sorted(key.version for key in names.keyring.active(purpose, scope))
    return {"active": active, "known": sorted(names.keyring.versions(purpose, scope))}


def retag(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Plan links and tags of one registrant, whose standing is given, under all versions that are written. Idempotent.

    The plan is one of `uniting`, and has

        links   [pid, former link, link] of the standing and its aliases (directory)

    Returns:
        {intent, plan}: what to write into identity and directory before `unite` closes it.

    Raises:
        RefusedError: the evidence does not hold.
        BusyError: another act on the same person runs.
    """
    subject, found = _subject(names, args)
    uids = {records.uid_of(names.keyring, record) for record in found}
    locks = [subject.pid, *subject.alias_pids, *subject.rids, *uids]
    with intents.taken(names.engine, names.keyring, KIND, locks, names.now()) as intent:
        subject, found = _subject(names, args)
        plan = empty_plan() | {"links": _links(names, subject, args), "decision": {"answer": None}}
        known = [record for record in found if record.assurance is not Assurance.NONE]
        if known:  # a provisional registrant has no tags yet
            _tags(names, subject, known, plan, intent, dialogue)
        with writing(names.engine) as connection:
            intents.plan(connection, names.keyring, intent, plan, 0)
    return {"intent": intent, "plan": plan}


def _subject(names: Names, args: Args) -> tuple[Standing, list[Record]]:
    with reading(names.engine) as connection:
        subject = check_standing(names, connection, args.get("standing"))
        return subject, [records.load(connection, names.keyring, rid) for rid in subject.rids]


def _links(names: Names, subject: Standing, args: Args) -> list[list[bytes]]:
    links, evidence = names.keyring.links(subject.sector), mapping(args.get("standing"), "standing")
    rows = [evidence, *(mapping(alias, "alias") for alias in listed(evidence, "aliases"))]
    named = zip((octets(row, "pid", PID_BYTES) for row in rows), (octets(row, "link") for row in rows), strict=True)
    return [[pid, link, links.link(links.rid(link, pid), pid)] for pid, link in named]


def _tags(
    names: Names, subject: Standing, known: list[Record], plan: dict[str, Any], intent: bytes, dialogue: Dialogue
) -> None:
    links, sealed = names.keyring.links(subject.sector), ask_records(dialogue, [record.rid for record in known])
    fields = {record.rid: open_sealed(names, record, sealed.get(record.rid)) for record in known}
    local = {tag.value: tag for one in fields.values() for tag in sector_tags(names, subject.sector, one)}
    approved = [record for record in known if record.assurance is Assurance.VAULT]
    tags = {tag.value: tag for record in approved for tag in vault_tags(names, fields[record.rid])}
    with writing(names.engine) as locking:
        intents.lock(locking, names.keyring, intent, [*local, *tags])
    plan["local"] = [[value, tag.kind, subject.pid] for value, tag in local.items()]
    uids = {records.uid_of(names.keyring, record) for record in known}
    plan["tags"] = [[None, tag, subject.pid] for uid in uids for tag in links.tags(uid)]
    rows = ask_fingerprints(dialogue, tags.values())
    for value, tag in tags.items():
        entries: Entries = read_fingerprint(names, value, rows[value]) if value in rows else {}
        for record in approved:
            if value in {one.value for one in vault_tags(names, fields[record.rid])}:
                entries.setdefault(records.uid_of(names.keyring, record), []).append(record.rid)
        plan["fingerprints"].append([value, tag.kind, seal_fingerprint(names, value, entries)])


def done(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Write links and tags under the newest versions alone from now on: all were made, the caller says. Idempotent.

    Raises:
        ConflictError: an act that began before the newest version is not finished: its tags are of the former alone.
    """
    places = [(FINGERPRINT, ""), *((LINK, sector) for sector in names.keyring.sectors())]
    with names.officers.lock, names.keyring.changing:
        ended = False
        for purpose, scope in places:
            newest, *former = names.keyring.active(purpose, scope)
            if former:
                ended = True
                with writing(names.engine) as connection:
                    _check_finished(names, connection, newest)
                    for key in former:
                        names.keyring.move(connection, key, State.DEACTIVATED)
                    row = audit.sealed_row(names.keyring, b"", "keys.rotated", names.minute, {})
                    audit.write_all(connection, [row])
        if ended:
            names.keyring.reload()
    return versions(names, args, dialogue)


def _check_finished(names: Names, connection: Connection, newest: Key) -> None:
    begun = int(connection.execute(select(store.key.c.created).where(store.key.c.id == newest.id)).scalar_one())
    before = select(func.count()).select_from(store.intent).where(store.intent.c.created <= begun)
    if connection.execute(before).scalar_one() or records.creating(connection, names.keyring, begun // 60, 1):
        raise ConflictError("an act that began before the rotation is not finished; try again")
