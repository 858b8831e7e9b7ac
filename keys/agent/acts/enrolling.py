"""The act `enrol` and `reviewer.disable`: who the agent itself knows. Reached through the officers' socket only."""

import re
from typing import Any, Final

from sqlalchemy import insert, select, update

from keys import store
from keys.agent.arguments import Args, text
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.engine import writing
from keys.errors import ConflictError, MissingError, ProtocolError
from keys.rows import row_mac

_SECTOR: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_TABLE: Final = "keys.reviewer"


def enrol(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Enrol a provider (`what` provider: random token and link keys for its sector) or a reviewer. Idempotent.

    Raises:
        ProtocolError: what, sector or client is not of the form.
        MissingError: a reviewer's sector is not enrolled.
        ConflictError: the reviewer exists with another sector.
    """
    what = text(args, "what")
    if what == "provider":
        return _sector(names, text(args, "sector"))
    if what == "reviewer":
        return _reviewer(names, text(args, "client"), args.get("sector"))
    raise ProtocolError("what: provider or reviewer")


def _sector(names: Names, sector: str) -> dict[str, Any]:
    if not _SECTOR.fullmatch(sector):
        raise ProtocolError("sector: lower-case letters, digits, dots and hyphens, at most 63")
    with writing(names.engine) as connection:
        key = store.key
        if not connection.execute(select(key.c.id).where(key.c.purpose == "token", key.c.scope == sector)).first():
            names.keyring.add_sector(connection, sector, names.now())
    names.keyring.reload()
    return {"sector": sector}


def _values(names: Names, client: str, sector: str | None, state: str) -> dict[str, Any]:
    mac = row_mac(names.keyring, _TABLE, (client, sector, state))
    return {"client": client, "sector": sector, "state": state, "mac": mac}


def _reviewer(names: Names, client: str, sector: object) -> dict[str, Any]:
    if sector is not None and not isinstance(sector, str):
        raise ProtocolError("sector: a text, or nothing for a vault reviewer")
    if sector is not None:
        names.keyring.links(sector)
    with writing(names.engine) as connection:
        table = store.reviewer
        row = connection.execute(select(table).where(table.c.client == client)).one_or_none()
        if row is None:
            connection.execute(insert(table).values(**_values(names, client, sector, "active")))
        elif row.sector != sector:
            raise ConflictError("this reviewer is enrolled for another sector")
    return {"client": client}


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
