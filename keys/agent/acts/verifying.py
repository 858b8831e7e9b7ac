"""The act `verify`: rows in batches → good or bad, for `fsck`. It opens what it must and lets nothing out."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select

from keys import ended, handoffs, records, statements, store, uses
from keys.agent.acts import deepening
from keys.agent.acts.matching import ask_records, asked_tags, open_sealed, read_fingerprint
from keys.agent.arguments import Args, listed, mapping, octets, sealed_fields, text
from keys.agent.names import Names, check_accounts, check_standing, open_record
from keys.agent.wire import Dialogue
from keys.agreements import Agreement
from keys.disclosures import Made
from keys.engine import reading, snapshot
from keys.errors import ChainError, EndedError, KeysError, OpenError, ProtocolError
from keys.frame import Place, Purpose, open_frame
from keys.holds import Hold
from keys.primitives import Secret
from keys.records import Assurance, Record
from keys.rows import checked


def verify(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Check a batch of rows of one kind.

    Args:
        names: the holder.
        args: {what: standings|records|fingerprints|evidence, rows: at most 1,000}.
        dialogue: asks for the records that local tags are made from.

    Returns:
        {good: [bool, …]} in the order of the rows.
    """
    checks: dict[str, Callable[[Names, Connection, Any], None]] = {
        "standings": partial(_standing, dialogue),
        "records": _record,
        "fingerprints": _fingerprint,
        "evidence": _evidence,
    }
    check = checks.get(text(args, "what"))
    if check is None:
        raise ProtocolError("what: standings, records, fingerprints or evidence")
    with reading(names.engine) as connection:
        return {"good": [_holds(names, connection, check, row) for row in listed(args, "rows", most=1000)]}


def _holds(names: Names, connection: Connection, check: Callable[[Names, Connection, Any], None], row: object) -> bool:
    try:
        check(names, connection, row)
    except EndedError:
        return True  # of a sector whose keys were destroyed: it leads nowhere, and shows nothing any more
    except KeysError:
        return False
    return True


def _standing(dialogue: Dialogue, names: Names, connection: Connection, row: object) -> None:
    evidence = mapping(row, "standing")
    if not evidence.get("link"):
        # Nobody stands behind it: a legacy account, or what a ban keeps of an erased registrant.
        check_accounts(names, evidence)
        if listed(evidence, "tags"):
            raise OpenError
        return
    standing = check_standing(names, connection, evidence)
    given = set(listed(evidence, "local_tags"))
    if standing.record.assurance is Assurance.NONE or evidence.get("superseded"):
        if given:
            raise OpenError
        return
    sealed = ask_records(dialogue, standing.rids)
    known = {
        tag.value
        for rid in standing.rids
        for tag in asked_tags(
            names, standing.sector,
            open_sealed(names, records.load(connection, names.keyring, rid), sealed.get(rid)),
        )
    }  # fmt: skip
    # While two versions overlap the former is whole, and the next one is being made (`retag`).
    whole = min(key.version for key in names.keyring.active("fingerprint"))
    if not {tag for tag in known if tag[0] == whole} <= given <= known:
        raise OpenError


def _evidence(names: Names, connection: Connection, row: object) -> None:
    args = mapping(row, "evidence")
    rid, name = octets(args, "rid", records.RID_BYTES), text(args, "name")
    table = store.evidence_key
    key = connection.execute(select(table).where(table.c.rid == rid, table.c.name == name)).one_or_none()
    if key is None:
        raise OpenError
    place = Place(names.keyring.deployment, "identity.evidence", rid + name.encode(), "piece")
    open_frame(Secret(_own_evidence(names, key)), Purpose.EVIDENCE, place, octets(args, "sealed"))


def _record(names: Names, connection: Connection, row: object) -> None:
    args = mapping(row, "record")
    record = records.load(connection, names.keyring, octets(args, "rid", records.RID_BYTES))
    opened, sealed = open_record(names, record), sealed_fields(args.get("fields"))
    records.uid_of(names.keyring, record)
    try:
        opened.open_fields(names.keyring.deployment, sealed)
    except OpenError:
        # Between `revise` and `revise.done` the fields are already those of the next revision.
        if record.pending is None:
            raise
        opened.open_fields(names.keyring.deployment, sealed, record.pending)


def _fingerprint(names: Names, connection: Connection, row: object) -> None:
    args = mapping(row, "fingerprint")
    for uid, rids in read_fingerprint(names, octets(args, "tag"), octets(args, "sealed")).items():
        for rid in rids:
            if records.uid_of(names.keyring, records.load(connection, names.keyring, rid)) != uid:
                raise OpenError


def verify_own(names: Names, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Check every row of the agent's own store; return {table: {rows, bad}}, and the number of open intents.

    Of the chain of officers, `why` says which record does not hold.
    """
    with snapshot(names.engine) as connection:
        tables: dict[str, Callable[[Any], object]] = {
            "record_key": lambda row: _own_record(names, row),
            "reviewer": lambda row: checked(names.keyring, "keys.reviewer", row),
            "evidence_key": lambda row: _own_evidence(names, row),
            "agreement": lambda row: Agreement.from_row(names.keyring, row),
            "handoff": lambda row: handoffs.from_row(names.keyring, row),
            "statement_key": lambda row: statements.unwrap(names.keyring, row.address, row.wrapped),
            "request": _request,
            "disclosure": lambda row: Made.from_row(names.keyring, row),
            "deepening": lambda row: deepening.check(names.keyring, row),
            "hold": lambda row: Hold.from_row(names.keyring, row),
            "ended": lambda row: ended.check(names.keyring, row),
            "key_use": names.keyring.uses.check,
        }
        result = {name: _count(connection, name, check) for name, check in tables.items()}
        rows, bad = names.keyring.verify()
        result["key"] = {"rows": rows, "bad": bad}
        result["key_use"]["bad"] += uses.lacking(connection)
        result["officer_record"] = _officers(names, connection)
        waiting = len(connection.execute(select(store.intent.c.id)).all())
    return {"tables": result, "intents": waiting}


def _count(connection: Connection, name: str, check: Callable[[Any], object]) -> dict[str, int]:
    rows = bad = 0
    for row in connection.execution_options(yield_per=1000).execute(select(store.metadata.tables[name])):
        rows += 1
        try:
            check(row)
        except KeysError:
            bad += 1
    return {"rows": rows, "bad": bad}


def _request(row: Any) -> None:  # noqa: ANN401 - a SQL row
    if not isinstance(row.said, bytes) or hashlib.sha256(row.said).digest() != row.digest:
        raise OpenError


def _officers(names: Names, connection: Connection) -> dict[str, Any]:
    """Check the chain of officers up to its head; `why` names the first record that does not hold."""
    counted = select(func.count()).select_from(store.officer_record)
    told: dict[str, Any] = {"rows": int(connection.execute(counted).scalar_one()), "bad": 0}
    try:
        names.officers.state()
    except ChainError as error:
        told |= {"bad": 1, "why": str(error)}
    return told


def _own_record(names: Names, row: Any) -> None:  # noqa: ANN401 - a SQL row
    record = Record.from_row(names.keyring, row)
    open_record(names, record)
    records.uid_of(names.keyring, record)


def _own_evidence(names: Names, row: Any) -> bytes:  # noqa: ANN401 - a SQL row
    checked(names.keyring, "keys.evidence_key", row)
    place = Place(names.keyring.deployment, "keys.evidence_key", row.rid + row.name.encode(), "wrapped")
    return names.keyring.opener("kek", row.wrapped).open(Purpose.WRAP, place, row.wrapped)
