"""The acts of an import: `import.create`, `import.done` and `import.close`, for a chunk of rows each.

The records of a chunk are in review from the start; until the service says which of them stand in the directory, one
intent holds them all, so that a chunk costs two transactions here, and one audit row. What a crash left open is told
by the intent's plan {sector, fresh: [[rid, pid]]}, and whoever finishes it calls `import.done` as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete

from keys import audit, intents, records, store
from keys.agent.acts.registering import MOST, draw_all
from keys.agent.arguments import Args, listed, mapping, octets
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import OpenError
from keys.primitives import random_bytes
from keys.records import State
from keys.tokens import PID_BYTES

KIND: Final = "import"
_AUDIT: Final = "import.chunk"
_NO_RECORD: Final = delete(store.record_key).where(store.record_key.c.rid == bindparam("gone"))
_NO_PERSON: Final = delete(store.person).where(store.person.c.uid == bindparam("gone"))


def create(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Draw rid, uid and keys for a chunk of rows; return record links and the first field keys. Sees no plain text.

    Args:
        names: the holder.
        args: {sector, items: [{pid, fields}]}.

    Returns:
        {intent, items: [{rid, link, keys, revisions}]} in the same order.

    Raises:
        BudgetError: this sector's creations of the hour are used up.
        MissingError: no such sector.
    """
    drawn = draw_all(names, args, State.IN_REVIEW)
    intent, now = random_bytes(16), names.now()
    plan = {"sector": drawn.sector, "fresh": [[opened.record.rid, pid] for opened, pid in drawn.fresh]}
    with writing(names.engine) as connection:
        drawn.write(names, connection)
        intents.begin(connection, names.keyring, intent, KIND, plan, now, now + names.limits.import_lease_seconds)
    return {"intent": intent, "items": drawn.answers}


def done(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Keep the records of a chunk that stand in the directory, remove the others; return their rids. Idempotent.

    Args:
        names: the holder.
        args: {intent; standings: [{pid, link}] as the directory has them}.

    Returns:
        {gone: [rid]} whose sealed fields are to be deleted; while there are any the intent stays, and `import.close`
        ends it afterwards.

    Raises:
        OpenError: the plan was altered.
    """
    intent = octets(args, "intent", 16)
    with reading(names.engine) as connection:
        found = intents.load(connection, names.keyring, intent)
    if found is None:
        return {"gone": []}
    standing = _standing(names, found.plan["sector"], args)
    kept = [rid for rid, _ in found.plan["fresh"] if rid in standing]
    gone = [rid for rid, _ in found.plan["fresh"] if rid not in standing]
    with writing(names.engine) as connection:
        if intents.load(connection, names.keyring, intent) is None:
            return {"gone": []}  # another finished it meanwhile
        _remove(names, connection, gone)
        if kept:
            audit.write_all(connection, [audit.sealed_row(names.keyring, intent, _AUDIT, names.minute, {"rids": kept})])
        if gone:
            left = {"sector": found.plan["sector"], "fresh": [[rid, b""] for rid in gone]}
            intents.replan(connection, names.keyring, intent, left)
        else:
            intents.close(connection, intent)
    return {"gone": gone}


def close(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """The fields of the records that are gone are deleted. Idempotent."""
    with writing(names.engine) as connection:
        intents.close(connection, octets(args, "intent", 16))
    return {}


def _remove(names: Names, connection: Connection, rids: Sequence[bytes]) -> None:
    left = records.load_present(connection, names.keyring, rids)
    persons = [{"gone": records.uid_of(names.keyring, record)} for record in left]
    if left:
        connection.execute(_NO_RECORD, [{"gone": record.rid} for record in left])
        connection.execute(_NO_PERSON, persons)


def _standing(names: Names, sector: str, args: Args) -> set[bytes]:
    links, found = names.keyring.links(sector), set()
    for item in listed(args, "standings", most=MOST):
        row: Mapping[str, Any] = mapping(item, "standing")
        try:
            found.add(links.rid(octets(row, "link"), octets(row, "pid", PID_BYTES)))
        except OpenError:
            continue  # another's row: none of these records stands there
    return found
