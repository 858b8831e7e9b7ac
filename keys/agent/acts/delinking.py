"""The act `destroy-sector`: a sector's token and link keys end, all versions; its tokens lead to nobody any more.

What providers of the sector hold stays with them; what the vault has of their people is sealed as before, and no row of
the directory leads there. Nobody can undo it, nor erase through that provider afterwards who was registered there.
"""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from keys import agreements, audit
from keys.agent.arguments import Args, text
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.engine import writing
from keys.entries import SECTOR_PURPOSES
from keys.errors import EndedError, MissingError
from keys.quorum import Kind


def destroy_sector(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Destroy all versions of a sector's keys, and revoke the agreements in which it gives or takes. Idempotent.

    Args:
        names: the holder.
        args: {sector, sure}; nothing is done where `sure` is not true.
        _: unused.

    Returns:
        {sector, state: active|destroyed, versions: {token, link}: how many, agreements: how many are in force}; or
        {pending: id} until officers approved it.

    Raises:
        MissingError: no such sector.
    """
    sector = text(args, "sector")
    with names.officers.lock, names.keyring.changing:
        with writing(names.engine) as connection:
            found = _found(names, connection, sector)
            if args.get("sure") is not True:
                return found
            gone = found["state"] == "destroyed"
            use = names.officers.used(connection, Kind.DESTROY_SECTOR, sector, {}, stands=gone)
            if use.allowed and not gone:
                _end(names, connection, sector)
        names.keyring.reload()
        if not use.allowed:
            return names.officers.pending(Kind.DESTROY_SECTOR, sector, use)
        use.after()
    return found | {"state": "destroyed"}


def _found(names: Names, connection: Connection, sector: str) -> dict[str, Any]:
    found: dict[str, Any] = {"sector": sector, "state": "active", "versions": {}, "agreements": 0}
    try:
        found["versions"] = {one: len(names.keyring.versions(one, sector)) for one in SECTOR_PURPOSES}
    except EndedError:
        return found | {"state": "destroyed"}
    except MissingError:
        raise MissingError("there is no such sector; idvault provider list has them") from None
    held = agreements.of_sector(connection, names.keyring, sector)
    return found | {"agreements": sum(one.active for one in held)}


def _end(names: Names, connection: Connection, sector: str) -> None:
    for purpose in SECTOR_PURPOSES:
        names.keyring.end(connection, purpose, sector)
    for agreement in agreements.of_sector(connection, names.keyring, sector):
        agreements.put(connection, names.keyring, replace(agreement, state=agreements.REVOKED))
    audit.write_all(connection, [audit.sealed_row(names.keyring, b"", "keys.destroyed", names.minute, {})])
