"""The acts on agreements: `agreement.allow`, `agreement.revoke`, `agreement.list`. On the officers' socket only."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from keys import agreements
from keys.agent.arguments import Args, text, whole
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.agreements import ACTIVE, PURPOSE, REVOKED, Agreement, Basis
from keys.engine import reading, writing
from keys.errors import MissingError, ProtocolError
from keys.primitives import random_bytes
from keys.quorum import Kind


def _find(names: Names, connection: Any, args: Args) -> Agreement | None:  # noqa: ANN401 - a SQLAlchemy connection
    giver, taker, purpose = (text(args, name) for name in ("giver", "taker", "purpose"))
    found = agreements.of_giver(connection, names.keyring, giver)
    return next((known for known in found if (known.taker, known.purpose) == (taker, purpose)), None)


def allow(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Allow one provider to hand persons to another for a purpose; `per_hour` is optional. Idempotent.

    An agreement that was revoked comes back as a new one: what was handed over under the old one stays dead. Where
    there are officers, it returns {pending: id} until they approved it.

    Raises:
        ProtocolError: purpose, basis or budget is not of the form, or giver and taker are one.
        MissingError: a sector is not enrolled.
        OpenError: the row was altered.
    """
    purpose, basis, per_hour = text(args, "purpose"), text(args, "basis"), names.limits.exchanges_per_hour
    sectors = text(args, "giver_sector"), text(args, "taker_sector")
    if args.get("per_hour") is not None:
        per_hour = whole(args, "per_hour")
    if not PURPOSE.fullmatch(purpose) or basis not in list(Basis) or per_hour < 1:
        raise ProtocolError("purpose, basis or per_hour is not of the form")
    if args.get("giver") == args.get("taker") or sectors[0] == sectors[1]:
        raise ProtocolError("giver and taker are two providers")
    for sector in sectors:
        names.keyring.links(sector)
    giver, taker = text(args, "giver"), text(args, "taker")
    subject = f"{giver} {taker}"
    detail = {
        "giver_sector": sectors[0], "taker_sector": sectors[1], "purpose": purpose, "basis": basis,
        "per_hour": per_hour,
    }  # fmt: skip
    with names.officers.lock:
        with writing(names.engine) as connection:
            known = _find(names, connection, args)
            same = known is not None and known.active and (known.giver_sector, known.taker_sector) == sectors
            use = names.officers.used(connection, Kind.ALLOW_EXCHANGE, subject, detail, stands=same)
            if use.allowed:
                agreement = _put(names, connection, args, known if same else None, per_hour)
        if not use.allowed:
            return names.officers.pending(Kind.ALLOW_EXCHANGE, subject, use)
        use.after()
    return agreement.shown()


def _put(names: Names, connection: Connection, args: Args, known: Agreement | None, per_hour: int) -> Agreement:
    agreement = Agreement(
        known.id if known is not None else random_bytes(16), text(args, "giver"), text(args, "giver_sector"),
        text(args, "taker"), text(args, "taker_sector"), text(args, "purpose"), Basis(text(args, "basis")), per_hour,
        ACTIVE, known.created if known is not None else names.now(),
    )  # fmt: skip
    agreements.put(connection, names.keyring, agreement)
    return agreement


def revoke(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Revoke an agreement: nothing is handed over or redeemed under it any more. Idempotent.

    Raises:
        MissingError: there is none.
        OpenError: the row was altered.
    """
    with writing(names.engine) as connection:
        known = _find(names, connection, args)
        if known is None:
            raise MissingError("there is no such agreement; see idvault provider show")
        agreement = replace(known, state=REVOKED)
        agreements.put(connection, names.keyring, agreement)
    return agreement.shown()


def listed(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return the agreements in which a client gives or takes.

    Raises:
        OpenError: a row was altered.
    """
    with reading(names.engine) as connection:
        found = agreements.with_client(connection, names.keyring, text(args, "client"))
    return {"agreements": [agreement.shown() for agreement in found]}
