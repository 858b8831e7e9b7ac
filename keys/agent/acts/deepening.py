"""The acts `deep.begin`, `deep`, `deep.done` and `deep.end`: fields under other record keys, after a compromise.

Re-wrapping leaves a record's own key what it was, to whoever read it. Here each record gets another one, and its fields
are sealed anew under it, inside the agent. Fields and keys lie in two stores: while a record is between them its row
wraps both keys, the new one first, so that its fields open under whichever they were sealed; the former goes when all
of them were seen to open without it. Said again at any time, it goes on with those that are left.

    wrapped = frame of record key(32) ‖ commitment key(32) [‖ former record key(32)]
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Select, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import audit, record_keys, records, store
from keys.agent.acts.matching import ask_records
from keys.agent.arguments import Args, listed, octets, sealed_fields, whole
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import ConflictError, KeysError, MissingError, OpenError, ProtocolError
from keys.fields import field_key, seal_field
from keys.keyring import Keyring
from keys.primitives import Secret
from keys.quorum import Kind
from keys.record_keys import Opened
from keys.records import RID_BYTES, Record, State
from keys.rows import checked, with_mac

SUBJECT: Final = "records"
"""What the request of kind `rotate` is about."""
MOST: Final = 500
_TABLE: Final = "keys.deepening"
_JOB: Final = store.deepening.c
_RECORD: Final = store.record_key.c
_DONE: Final = store.resealed.c
_ROW: Final = "deep"


_Change = tuple[Record, Mapping[str, object]]
"""A record, and what changes of it."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One such work: its number, the minute in which it began, whether it is under way."""

    number: int
    began: int
    active: bool


def begin(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Begin to seal all records anew that there are now, or say which such work is under way.

    Args:
        names: the holder.
        args: {sure}; nothing is done where `sure` is not true.
        _: unused.

    Returns:
        {number, state: idle|active, left: records}; or {pending: id} until officers approved it.
    """
    with names.officers.lock:
        with writing(names.engine) as connection:
            job = _job(names, connection)
            if job.active or args.get("sure") is not True:
                state = "active" if job.active else "idle"
                return {"number": job.number, "state": state, "left": _count(connection, job)}
            use = names.officers.used(connection, Kind.ROTATE, SUBJECT, {"number": job.number + 1}, stands=False)
            if use.allowed:
                job = _Job(job.number + 1, names.minute, active=True)
                _put_job(names, connection, job)
                left = _count(connection, job)
        if not use.allowed:
            return names.officers.pending(Kind.ROTATE, SUBJECT, use)
        use.after()
    return {"number": job.number, "state": "active", "left": left}


def deep(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Give the next records another key, and return their fields sealed under it.

    Args:
        names: the holder.
        args: {after: rid, or nothing; limit}.
        dialogue: asks for the records' sealed fields.

    Returns:
        {items: [{rid, was: {name: frame}, fields: {name: frame}}], last: rid, or nothing at the end; altered: how many
        another hand altered, which stay as they are}. What is written over must be what it was.

    Raises:
        ConflictError: officers did not begin it.
    """
    after, limit = octets(args, "after"), whole(args, "limit")
    if not 0 < limit <= MOST:
        raise ProtocolError(f"limit: from 1 to {MOST}")
    with reading(names.engine) as connection:
        job = _active(names, connection)
        rows = connection.execute(_left(job).where(_RECORD.rid > after).order_by(_RECORD.rid).limit(limit)).all()
    known = records.intact(names.keyring, rows)
    found = [record for record in known.values() if record is not None and _may(names, record)]
    sealed = ask_records(dialogue, [record.rid for record in found if record.revisions])
    items, changes, altered = [], [], sum(record is None for record in known.values())
    for record in found:
        try:
            item, change = _given_key(names, record, sealed.get(record.rid))
        except (OpenError, MissingError):
            altered += 1
            continue
        items.append(item)
        changes += change
    written = _change_all(names, changes)
    items = [item for item in items if written.get(item["rid"], True)]
    return {"items": items, "last": bytes(rows[-1].rid) if len(rows) == limit else b"", "altered": altered}


def _change_all(names: Names, changes: Sequence[_Change]) -> dict[bytes, bool]:
    """Write changes in one transaction; where another act changed one of them meanwhile, each by itself.

    Returns:
        rid → whether it was written.
    """
    if not changes:
        return {}
    try:
        records.change_all(names.engine, names.keyring, changes)
    except ConflictError:
        return {change[0].rid: _changed_alone(names, change) for change in changes}
    return {record.rid: True for record, _ in changes}


def _changed_alone(names: Names, change: _Change) -> bool:
    try:
        records.change_all(names.engine, names.keyring, [change])
    except ConflictError:
        return False  # the next pass has it
    return True


def _may(names: Names, record: Record) -> bool:
    """Tell whether nobody is about to write fields under a key that was handed out before."""
    current = record.kek_version == names.keyring.current("kek").version
    return current and record.state is not State.CREATING and record.pending is None


def _given_key(names: Names, record: Record, given: Any) -> tuple[dict[str, Any], list[_Change]]:  # noqa: ANN401
    """Return an item of `deep`, and how the record changes where it has not another key yet."""
    was, opened, changes = sealed_fields(given or {}), record_keys.unwrap(names.keyring, record), list[_Change]()
    fields = opened.open_fields(names.keyring.deployment, was)
    if opened.former is None:
        former, opened = opened.record_key, Opened(record, Secret.random(), opened.commitment_key, opened.record_key)
        wrapped = record_keys.wrap(names.keyring, record.rid, opened.record_key, opened.commitment_key, former)
        changes = [(record, {"wrapped": wrapped})]
    anew = {
        name: seal_field(
            field_key(opened.record_key, name, record.revisions[name]), names.keyring.deployment, record.rid, name,
            record.revisions[name], value,
        )
        for name, value in fields.items()
    }  # fmt: skip
    return {"rid": record.rid, "was": was, "fields": anew}, changes


def done(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Let the former keys go of records whose fields all open without; return {sealed}. Idempotent.

    Args:
        names: the holder.
        args: {rids}.
        dialogue: asks for the records' sealed fields, as they are now.
    """
    rids = [one for one in listed(args, "rids", most=MOST) if isinstance(one, bytes) and len(one) == RID_BYTES]
    sealed, changes = ask_records(dialogue, rids), list[_Change]()
    with reading(names.engine) as connection:
        number = _active(names, connection).number
        found = records.load_present(connection, names.keyring, rids)
    for record in found:
        try:
            opened = record_keys.unwrap(names.keyring, record)
            if opened.former is None or not _may(names, record):
                continue
            alone = Opened(record, opened.record_key, opened.commitment_key)
            alone.open_fields(names.keyring.deployment, sealed_fields(sealed.get(record.rid) or {}))
        except KeysError:
            continue  # not written yet, or by another act: the next pass has it
        wrapped = record_keys.wrap(names.keyring, record.rid, alone.record_key, alone.commitment_key)
        changes.append((record, {"wrapped": wrapped}))
    written = [rid for rid, done in _change_all(names, changes).items() if done]
    if written:
        # After the change: who is cut off between the two gets another key once more.
        lines = upsert(store.resealed).values(
            [{"rid": rid, "number": number, "minute": names.minute} for rid in written]
        )  # fmt: skip
        anew = {"number": lines.excluded.number, "minute": lines.excluded.minute}
        with writing(names.engine) as connection:
            connection.execute(lines.on_conflict_do_update(index_elements=["rid"], set_=anew))
    return {"sealed": len(written)}


def end(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """End the work once nothing is left but what another hand altered, with one leaf that says how many it were.

    Args:
        names: the holder.
        args: {altered: how many the last pass was told}.
        _: unused.

    Returns:
        {left, altered, sealed}; it has ended where `left` is 0.
    """
    told = whole(args, "altered")
    with names.officers.lock, writing(names.engine) as connection:
        job = _active(names, connection)
        left = _count(connection, job)
        sealed = int(connection.execute(select(func.count()).where(_DONE.number == job.number)).scalar_one())
        if left <= told:
            _put_job(names, connection, replace(job, active=False))
            row = audit.sealed_row(names.keyring, audit.count_address(sealed), "keys.resealed", names.minute, {})
            audit.write_all(connection, [row])
            return {"left": 0, "altered": left, "sealed": sealed}
    return {"left": left - told, "altered": told, "sealed": sealed}


def _left(job: _Job) -> Select[Any]:
    """Return the statement of all records that there were when it began, and that were not sealed anew since."""
    sealed = select(_DONE.rid).where(_DONE.number >= job.number)
    return select(store.record_key).where(_RECORD.created <= job.began, _RECORD.rid.not_in(sealed))


def _count(connection: Connection, job: _Job) -> int:
    return int(connection.execute(select(func.count()).select_from(_left(job).subquery())).scalar_one())


def check(keyring: Keyring, row: Any) -> None:  # noqa: ANN401 - a SQL row
    """Check the row that says what is under way.

    Raises:
        OpenError: it was altered.
    """
    checked(keyring, _TABLE, row)


def _job(names: Names, connection: Connection) -> _Job:
    """Return the last such work; nothing was done before the first.

    Raises:
        OpenError: the row was altered.
    """
    row = connection.execute(select(store.deepening)).one_or_none()
    if row is None:
        return _Job(0, 0, active=False)
    check(names.keyring, row)
    return _Job(row.number, row.began, active=bool(row.active))


def _active(names: Names, connection: Connection) -> _Job:
    job = _job(names, connection)
    if not job.active:
        raise ConflictError("no records are being sealed anew: idvault-keys rewrap --deep")
    return job


def _put_job(names: Names, connection: Connection, job: _Job) -> None:
    columns = {"id": _ROW, "number": job.number, "began": job.began, "active": int(job.active)}
    values = with_mac(names.keyring, _TABLE, columns)
    if not connection.execute(update(store.deepening).where(_JOB.id == _ROW).values(values)).rowcount:
        connection.execute(insert(store.deepening).values(values))
