"""The acts `retag.versions`, `retag` and `retag.done`: all tags of people under the next version of their key.

Tags cannot be made from tags: each registrant's fields are opened, inside the agent, and his tags written beside those
of the former version. Until that is done for everybody both versions are written and asked, so that whoever is known
stays known. A ban of an erased person has no fields any more: its tags stay as they are, and are asked for under the
former version.
"""

from typing import Any, Final

from sqlalchemy import func, select

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
from keys.agent.acts.rotating import FINGERPRINT
from keys.agent.acts.uniting import empty_plan
from keys.agent.arguments import Args
from keys.agent.names import Names, check_standing
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import ConflictError
from keys.records import Assurance
from keys.states import State

KIND: Final = "retag"


def versions(names: Names, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return {active, known}: the versions that are written, the newest last, and those that are asked."""
    active = sorted(key.version for key in names.keyring.active(FINGERPRINT))
    return {"active": active, "known": sorted(names.keyring.versions(FINGERPRINT))}


def retag(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Plan the tags of one registrant, whose standing is given, under all versions that are written. Idempotent.

    Returns:
        {intent, plan}: what to write into identity and directory before `unite` closes it.

    Raises:
        RefusedError: the evidence does not hold.
        BusyError: another act on the same person runs.
    """
    with reading(names.engine) as connection:
        subject = check_standing(names, connection, args.get("standing"))
        found = [records.load(connection, names.keyring, rid) for rid in subject.rids]
    uids = {records.uid_of(names.keyring, record) for record in found}
    locks = [subject.pid, *subject.alias_pids, *subject.rids, *uids]
    with intents.taken(names.engine, names.keyring, KIND, locks, names.now()) as intent:
        with reading(names.engine) as connection:
            subject = check_standing(names, connection, args.get("standing"))
            found = [records.load(connection, names.keyring, rid) for rid in subject.rids]
        sealed, plan = ask_records(dialogue, subject.rids), empty_plan()
        fields = {record.rid: open_sealed(names, record, sealed.get(record.rid)) for record in found}
        local = {tag.value: tag for one in fields.values() for tag in sector_tags(names, subject.sector, one)}
        plan["local"] = [[value, tag.kind, subject.pid] for value, tag in local.items()]
        approved = [record for record in found if record.assurance is Assurance.VAULT]
        tags = {tag.value: tag for record in approved for tag in vault_tags(names, fields[record.rid])}
        with writing(names.engine) as locking:
            intents.lock(locking, names.keyring, intent, [*local, *tags])
        rows = ask_fingerprints(dialogue, tags.values())
        for value, tag in tags.items():
            entries: Entries = read_fingerprint(names, value, rows[value]) if value in rows else {}
            for record in approved:
                if value in {one.value for one in vault_tags(names, fields[record.rid])}:
                    entries.setdefault(records.uid_of(names.keyring, record), []).append(record.rid)
            plan["fingerprints"].append([value, tag.kind, seal_fingerprint(names, value, entries)])
        plan["decision"] = {"answer": None}
        with writing(names.engine) as connection:
            intents.plan(connection, names.keyring, intent, plan, 0)
    return {"intent": intent, "plan": plan}


def done(names: Names, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Write tags under the newest version alone from now on: all were made, the caller says. Idempotent.

    Raises:
        ConflictError: an act that began before the newest version is not finished: its tags are of the former alone.
    """
    with names.officers.lock, names.keyring.changing:
        newest, *former = names.keyring.active(FINGERPRINT)
        if former:
            with writing(names.engine) as connection:
                begun = select(store.key.c.created).where(store.key.c.id == newest.id).scalar_subquery()
                before = select(func.count()).select_from(store.intent).where(store.intent.c.created <= begun)
                if connection.execute(before).scalar_one():
                    raise ConflictError("an act that began before the rotation is not finished; try again")
                for key in former:
                    names.keyring.move(connection, key, State.DEACTIVATED)
                audit.write_all(connection, [audit.sealed_row(names.keyring, b"", "keys.rotated", names.minute, {})])
            names.keyring.reload()
    return versions(names, _args, _)
