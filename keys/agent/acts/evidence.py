"""The acts `evidence` and `evidence.drop`.

Each piece has a random key of its own, which goes to a worker once to seal and once a view.
"""

from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from keys import audit, store
from keys.agent.acts.reviewing import REVIEW, told_as
from keys.agent.arguments import Args, text
from keys.agent.names import Names, check_standing, open_record, reviewer_of
from keys.agent.wire import Dialogue
from keys.engine import writing
from keys.errors import BudgetError, ConflictError, KeysError, MissingError, ProtocolError, RefusedError
from keys.frame import Place, Purpose
from keys.primitives import Secret
from keys.records import Record, State
from keys.rows import checked, with_mac

_TABLE = "keys.evidence_key"
_MAX_PIECES = 8


def evidence(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return a piece's key and record: to seal it (`use` seal, while in review or returned) or to view it (`use` view).

    Raises:
        RefusedError: evidence or reviewer does not hold.
        ConflictError: the registration is not open.
        BudgetError: viewed as often as a review may.
        MissingError: no such piece.
        UsesError: the key encryption key may seal no more.
    """
    use, name = text(args, "use"), text(args, "name", max_chars=32)
    if use == "seal":
        names.keyring.uses.prepare(names.keyring.current("kek").id)
    with writing(names.engine) as connection:
        standing = check_standing(names, connection, args.get("standing"))
        record = standing.record
        if use == "seal":
            if record.state not in (State.IN_REVIEW, State.RETURNED):
                raise ConflictError
            key = _fresh(names, connection, record, name)
            kind, detail = "evidence.sealed", {"name": name}
        elif use == "view":
            reviewer = reviewer_of(names, text(args, "reviewer"))
            if not reviewer.may_review(standing.sector):
                raise RefusedError
            if record.state is not State.IN_REVIEW:
                raise ConflictError
            key = _viewed(names, connection, record, name)
            kind = told_as("registration.viewed", "evidence.viewed", reviewer, REVIEW, args)
            detail = {"name": name, "reviewer": reviewer.client, "purpose": REVIEW}
        else:
            raise ProtocolError("use: seal or view")
        audit.write(connection, names.keyring.deployment, open_record(names, record), kind, names.minute, detail)
    return {"rid": record.rid, "key": key.expose_cleartext()}


def drop(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Destroy the keys of what is left of a returned registration's evidence; return its record. Idempotent.

    Raises:
        RefusedError: evidence does not hold.
        ConflictError: the registration is not `returned`.
    """
    with writing(names.engine) as connection:
        record = check_standing(names, connection, args.get("standing")).record
        if record.state is not State.RETURNED:
            raise ConflictError
        gone = connection.execute(delete(store.evidence_key).where(store.evidence_key.c.rid == record.rid)).rowcount
        if gone:
            opened, detail = open_record(names, record), {"pieces": gone}
            audit.write(connection, names.keyring.deployment, opened, "evidence.dropped", names.minute, detail)
    return {"rid": record.rid}


def _place(names: Names, record: Record, name: str) -> Place:
    return Place(names.keyring.deployment, _TABLE, record.rid + name.encode(), "wrapped")


def _values(names: Names, record: Record, name: str, wrapped: bytes, views: int) -> dict[str, Any]:
    columns = {"rid": record.rid, "name": name, "wrapped": wrapped, "views": views}
    return with_mac(names.keyring, _TABLE, columns)


def _fresh(names: Names, connection: Connection, record: Record, name: str) -> Secret:
    key, table = Secret.random(), store.evidence_key
    connection.execute(delete(table).where(table.c.rid == record.rid, table.c.name == name))
    if len(connection.execute(select(table.c.name).where(table.c.rid == record.rid)).all()) >= _MAX_PIECES:
        raise BudgetError("a registration takes at most 8 pieces of evidence")
    wrapped = names.keyring.current("kek").seal(Purpose.WRAP, _place(names, record, name), key.expose_cleartext())
    connection.execute(insert(table).values(**_values(names, record, name, wrapped, 0)))
    return key


def _viewed(names: Names, connection: Connection, record: Record, name: str) -> Secret:
    table = store.evidence_key
    where = (table.c.rid == record.rid) & (table.c.name == name)
    row = connection.execute(select(table).where(where)).one_or_none()
    if row is None:
        raise MissingError("no such piece of evidence")
    try:
        checked(names.keyring, _TABLE, row)
        kek = names.keyring.opener("kek", row.wrapped)
        key = Secret(kek.open(Purpose.WRAP, _place(names, record, name), row.wrapped))
    except KeysError:
        raise RefusedError from None
    if row.views >= names.limits.evidence_views:
        raise BudgetError("this piece was viewed as often as one review may")
    connection.execute(update(table).where(where).values(**_values(names, record, name, row.wrapped, row.views + 1)))
    return key
