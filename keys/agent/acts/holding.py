"""The acts `hold.put`, `hold.lift`, `hold.list`, `hold.check`, `hold.expire`: what a case needs is not erased."""

from typing import Any, Final

from keys import audit, holds
from keys.agent.arguments import Args, mapping, text
from keys.agent.names import Names, check_named, check_standing, open_record
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.errors import MissingError
from keys.orders import Hold, case_of
from keys.quorum import Kind

_ORDERED: Final = ("case", "legal_basis", "authority", "ordered_by", "until")
_UNTOLD: Final = frozenset({"client", "link"})


def put(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Hold the record behind an account for a case, until a time. Idempotent.

    Args:
        names: the holder.
        args: {id: the account's, client, standing, account, order: {case, legal_basis, authority, ordered_by, until}}.
        _: unused.

    Returns:
        {case, until, held: True}; or {pending: id} until officers approved it.

    Raises:
        RefusedError: the rows do not agree.
        QuorumError: the order breaks a rule; it says which.
    """
    return _ordered(names, args, Kind.HOLD)


def lift(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """End the hold of the record behind an account by a case.

    Args:
        names: the holder.
        args: as of `put`, without `until`.
        _: unused.

    Returns:
        {case, until, held: False}; or {pending: id} until officers approved it.

    Raises:
        MissingError: the case does not hold it.
        RefusedError, QuorumError: see `put`.
    """
    return _ordered(names, args, Kind.LIFT_HOLD)


def _ordered(names: Names, args: Args, kind: Kind) -> dict[str, Any]:
    order, now, setting = mapping(args.get("order"), "order"), names.now(), kind is Kind.HOLD
    subject = text(args, "id")
    with names.officers.lock:
        with writing(names.engine) as connection:
            standing, named = check_named(names, connection, args)
            detail: dict[str, Any] = {"client": text(args, "client"), **named}
            detail |= {name: order[name] for name in _ORDERED if name in order}
            rid, case = standing.record.rid, case_of(detail)
            known = {one.case: one for one in holds.of_record(connection, names.keyring, rid, now)}
            if not setting:
                if case not in known:
                    raise MissingError("no such case holds this record; idvault hold list says which do")
                detail["until"] = known[case].until
            until = Hold.of(detail, now).until
            stands = case in known and known[case].until == until
            use = names.officers.used(connection, kind, subject, detail, stands=setting and stands)
            if use.allowed and not (setting and stands):
                if setting:
                    since = known[case].since if case in known else now
                    holds.put(connection, names.keyring, holds.Hold(rid, case, since, until))
                else:
                    holds.lift(connection, rid, case)
                told = {name: value for name, value in detail.items() if name not in _UNTOLD}
                opened, leaf = open_record(names, standing.record), "hold.set" if setting else "hold.lifted"
                audit.write(connection, names.keyring.deployment, opened, leaf, names.minute, told)
        if not use.allowed:
            return names.officers.pending(kind, subject, use)
        use.after()
    return {"case": case, "until": until, "held": setting}


def listed(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return {holds: [{case, since, until}]} of the record behind an account {client, standing, account}."""
    with reading(names.engine) as connection:
        standing, _named = check_named(names, connection, args)
        held = holds.of_record(connection, names.keyring, standing.record.rid, names.now())
    return {"holds": [{"case": one.case, "since": one.since, "until": one.until} for one in held]}


def check(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Check that no case holds the records of a {standing}: where more than one is about to be erased.

    Raises:
        HeldError: one does.
    """
    with reading(names.engine) as connection:
        holds.check(connection, check_standing(names, connection, args.get("standing")).rids, names.now())
    return {}


def expire(names: Names, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Delete holds that are over; return how many. Idempotent."""
    with writing(names.engine) as connection:
        return {"gone": holds.expire(connection, names.now())}
