"""The acts `enrol`, `provider.widen`, `bulk.approve`, `reviewer.disable`: who is known, and what officers allow.

Reached through the officers' socket only.
"""

import re
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from keys import store
from keys.agent.arguments import Args, mapping, text, whole
from keys.agent.names import BULK, Names
from keys.agent.wire import Dialogue
from keys.engine import writing
from keys.errors import ConflictError, MissingError, ProtocolError
from keys.primitives import random_bytes
from keys.quorum import Kind
from keys.rows import with_mac

_SECTOR: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_TABLE: Final = "keys.reviewer"


def enrol(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Enrol a provider (`what` provider: random token and link keys for its sector) or a reviewer. Idempotent.

    Args:
        names: the holder.
        args: {what, client, sector, name, terms}; the terms are what officers sign beside these, as plain values.

    Returns:
        {client}, which is that of the first try; or {pending: id} until officers approved it.

    Raises:
        ProtocolError: what, sector or client is not of the form.
        MissingError: a reviewer's sector is not enrolled.
        ConflictError: the reviewer exists with another sector.
    """
    what, client = text(args, "what"), text(args, "client")
    if what == "provider":
        return _sector(names, text(args, "sector"), client, args)
    if what == "reviewer":
        return _reviewer(names, client, args.get("sector"), args)
    raise ProtocolError("what: provider or reviewer")


def _sector(names: Names, sector: str, client: str, args: Args) -> dict[str, Any]:
    if not _SECTOR.fullmatch(sector):
        raise ProtocolError("sector: lower-case letters, digits, dots and hyphens, at most 63")
    name, terms = text(args, "name"), mapping(args.get("terms", {}), "terms")
    detail = {"sector": sector, "terms": terms, "made": {"client": client}}
    with names.officers.lock, names.keyring.changing:
        with writing(names.engine) as connection:
            key = store.key
            found = select(key.c.id).where(key.c.purpose == "token", key.c.scope == sector)
            stands = connection.execute(found).first() is not None
            use = names.officers.used(connection, Kind.PROVIDER_ADD, name, detail, stands=stands)
            if use.allowed and not stands:
                names.keyring.add_sector(connection, sector, names.now())
        names.keyring.reload()
        if not use.allowed:
            return names.officers.pending(Kind.PROVIDER_ADD, name, use)
        use.after()
    return {"client": use.detail["made"]["client"]}


def _values(names: Names, client: str, sector: str | None, state: str) -> dict[str, Any]:
    return with_mac(names.keyring, _TABLE, {"client": client, "sector": sector, "state": state})


def _reviewer(names: Names, client: str, sector: object, args: Args) -> dict[str, Any]:
    if sector is not None and not isinstance(sector, str):
        raise ProtocolError("sector: a text, or nothing for a vault reviewer")
    if sector is not None:
        names.keyring.links(sector)
    name, detail = text(args, "name"), {"sector": sector, "made": {"client": client}}
    with names.officers.lock:
        with writing(names.engine) as connection:
            use = names.officers.used(connection, Kind.REVIEWER_ADD, name, detail, stands=True)
            client = use.detail["made"]["client"]
            if use.allowed:
                _put_reviewer(names, connection, client, sector)
        if not use.allowed:
            return names.officers.pending(Kind.REVIEWER_ADD, name, use)
        use.after()
    return {"client": client}


def _put_reviewer(names: Names, connection: Connection, client: str, sector: str | None) -> None:
    table = store.reviewer
    row = connection.execute(select(table).where(table.c.client == client)).one_or_none()
    if row is None:
        connection.execute(insert(table).values(**_values(names, client, sector, "active")))
    elif row.sector != sector:
        raise ConflictError("this reviewer is enrolled for another sector")


def widen(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Use the officers' approval of what a provider may from now on; the directory, which holds it, is told after.

    Used once: where the directory was not told, it is asked for anew.

    Args:
        names: the holder.
        args: {name, detail}; the detail says what it is now and what it becomes, as plain values.
        _: unused.

    Returns:
        {}; or {pending: id} until officers approved exactly that.
    """
    name, detail = text(args, "name"), mapping(args.get("detail"), "detail")
    with names.officers.lock:
        with writing(names.engine) as connection:
            use = names.officers.used(connection, Kind.PROVIDER_WIDEN, name, detail, stands=False)
        if not use.allowed:
            return names.officers.pending(Kind.PROVIDER_WIDEN, name, use)
        use.after()
    return {}


def bulk(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Have officers' word stand in a vault reviewer's place for so many registrations of one provider. Idempotent.

    It approves unseen, and nobody who matches somebody; it opens nothing.

    Args:
        names: the holder.
        args: {subject: the import's id, client: its provider's, sector, count, method}.
        _: unused.

    Returns:
        {reviewer: the id to decide by}; or {pending: id} until officers approved exactly that.

    Raises:
        MissingError: the sector is not enrolled.
    """
    subject, sector, count = text(args, "subject"), text(args, "sector"), whole(args, "count")
    names.keyring.links(sector)
    if count < 1:
        raise ProtocolError("count: at least 1")
    detail = {"client": text(args, "client"), "sector": sector, "count": count, "method": text(args, "method"),
              "made": {"reviewer": f"bulk/{random_bytes(8).hex()}"}}  # fmt: skip
    with names.officers.lock:
        with writing(names.engine) as connection:
            use = names.officers.used(connection, Kind.BULK_APPROVAL, subject, detail, stands=True)
            reviewer = use.detail["made"]["reviewer"]
            known = select(store.reviewer.c.client).where(store.reviewer.c.client == reviewer)
            if use.allowed and connection.execute(known).first() is None:
                values = _values(names, reviewer, sector, f"{BULK}{count}")
                connection.execute(insert(store.reviewer).values(**values))
        if not use.allowed:
            return names.officers.pending(Kind.BULK_APPROVAL, subject, use)
        use.after()
    return {"reviewer": reviewer}


def disable_reviewer(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Disable a reviewer: from now on the agent opens nothing for him.

    Raises:
        MissingError: no such reviewer.
    """
    client = text(args, "client")
    with writing(names.engine) as connection:
        table = store.reviewer
        row = connection.execute(select(table).where(table.c.client == client)).one_or_none()
        if row is None:
            raise MissingError("no such reviewer is enrolled")
        values = _values(names, client, row.sector, "disabled")
        connection.execute(update(table).where(table.c.client == client).values(**values))
    return {"client": client}
