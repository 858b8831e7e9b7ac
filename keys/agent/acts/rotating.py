"""The acts `rotate`, `rewrap` and `destroy`: the life of a key from its next version to its end (NIST SP 800-57).

A new version protects at once; those before it open what they sealed until nothing refers to them, and are destroyed
only then. A record's keys are sealed anew without being known to anybody: what they seal stays as it is.
"""

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, func, select

from keys import audit, rewrapping, store
from keys.agent.arguments import Args, octets, text, whole
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.entries import KEK, SIGN_ES256, SIGN_LOG, Key
from keys.errors import ConflictError, MissingError, ProtocolError, RefusedError
from keys.quorum import Kind
from keys.states import State

FINGERPRINT: Final = "fingerprint"
LINK: Final = "link"
PURPOSES: Final = {
    "kek": KEK, "token": "token", "link": LINK, "fingerprint": FINGERPRINT, "signing": SIGN_ES256, "log": SIGN_LOG,
}  # fmt: skip
"""By the names that officers use; of those that are a sector's own the request says which."""
MOST: Final = 5000
_OF_SECTOR: Final = frozenset({"token", LINK})
_UNTIL_DESTROYED: Final = frozenset({"log"})
"""Both versions protect until the former is destroyed: who knows the log by one of them goes on verifying."""
BY_RETAG: Final = frozenset({FINGERPRINT, LINK})
"""Of these both versions protect until all tags and links are made anew (`retag`)."""
_OVERLAPPING: Final = _UNTIL_DESTROYED | BY_RETAG
_BANS: Final = (
    "who was erased under a ban may be known by this version alone: idvault retag says how many; --lose-bans ends those"
)
_RETIRED: Final = frozenset({State.DEACTIVATED, State.COMPROMISED})


def _named(args: Args) -> tuple[str, str, str]:
    """Return (name, purpose, scope) of the key that is asked about."""
    name, sector = text(args, "purpose"), args.get("sector") or ""
    if name not in PURPOSES:
        raise ProtocolError(f"purpose: one of {', '.join(PURPOSES)}")
    if not isinstance(sector, str) or bool(sector) != (name in _OF_SECTOR):
        raise ProtocolError("sector: of the provider whose token key it is; other keys are no sector's")
    return name, PURPOSES[name], sector


def rotate(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Write the next version of a key, which protects from now on; the one before opens what it sealed.

    Args:
        names: the holder.
        args: {purpose: kek|token|link|fingerprint|signing|log, sector, from, compromised}; `from` is the version
            that is to be followed, so that a retry does nothing again, or 0 for the one that is current.
        _: unused.

    Returns:
        {purpose, sector, version, former}; or {pending: id} until officers approved it.

    Raises:
        ProtocolError: no such purpose, or a sector where there is none.
        MissingError: the sector has no keys.
        ConflictError: another version than `from` is current.
    """
    (name, purpose, sector), begun = _named(args), whole(args, "from")
    former = State.ACTIVE if name in _OVERLAPPING else State.DEACTIVATED
    if args.get("compromised") is True:
        if name in BY_RETAG:
            raise ProtocolError("compromised: the former version is asked and written until all tags are made anew")
        former = State.COMPROMISED
    with names.officers.lock, names.keyring.changing:
        current = names.keyring.current(purpose, sector).version
        begun = begun or current
        detail = {"sector": sector, "from": begun, "former": former.value}
        stands = current == begun + 1
        if not stands and current != begun:
            raise ConflictError(f"from: version {current} is current")
        with writing(names.engine) as connection:
            use = names.officers.used(connection, Kind.ROTATE, name, detail, stands=stands)
            if use.allowed and not stands:
                current = names.keyring.rotate(connection, purpose, sector, names.now(), former).version
                _note(names, connection, "keys.rotated")
        names.keyring.reload()
        if not use.allowed:
            return names.officers.pending(Kind.ROTATE, name, use)
        use.after()
    return {"purpose": name, "sector": sector, "version": current, "former": former.value}


def rewrap(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Seal what lies under former versions of the key encryption key under the current one, a batch at a time.

    Idempotent and safe to cut off: each batch is one transaction; what another act changed meanwhile
    waits for the next. The first batch is the holder's own work; those behind it go to processes of their own, as many
    as the act is called at a time.

    Args:
        names: the holder.
        args: {after, until: rids that the batch begins behind and ends with, or nothing; batch: how many records at
            most}.
        _: unused.

    Returns:
        {version, sealed: keys that were sealed anew, after: where the next batch begins, or nothing at the end; left:
        keys under former versions, stated with the first batch; altered: records and pieces of evidence that another
        hand altered, and that stay as they are}.
    """
    after, until, batch = octets(args, "after"), octets(args, "until"), whole(args, "batch")
    if not 0 < batch <= MOST:
        raise ProtocolError(f"batch: from 1 to {MOST}")
    wrapping, left = rewrapping.Wrapping.of(names.keyring), -1
    if after:
        sealed, last, altered = names.rewrappers.rewrap(names.engine, wrapping, after, until, batch)
    else:
        sealed, last, altered = rewrapping.rewrap_records(names.engine, wrapping, after, until, batch)
        if not last:
            pieces, bad = rewrapping.rewrap_evidence(names.engine, wrapping)
            sealed, altered = sealed + pieces, altered + bad
        with reading(names.engine) as connection:
            left = sum(rewrapping.references(connection, one) for one in _former(names, wrapping.current))
    return {"version": wrapping.current.version, "sealed": sealed, "after": last, "left": left, "altered": altered}


def _former(names: Names, kek: Key) -> list[Key]:
    return [one for one in names.keyring.versions(KEK).values() if one.version != kek.version]


def destroy(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Destroy a version of a key that nothing refers to any more. It is gone for good.

    Args:
        names: the holder.
        args: {purpose, sector, version, sure, lose_bans}; nothing is done where `sure` is not true. A version of the
            fingerprint key takes `lose_bans` too, for who was erased under a ban may be known by it alone.
        _: unused.

    Returns:
        {purpose, sector, version, state, references}; or {pending: id} until officers approved it.

    Raises:
        MissingError: no such version.
        ConflictError: it is in force.
        RefusedError: so many keys are sealed under it still.
    """
    (name, purpose, sector), version = _named(args), whole(args, "version")
    with names.officers.lock, names.keyring.changing:
        with writing(names.engine) as connection:
            state = _state(connection, purpose, sector, version)
            gone = state is State.DESTROYED
            if not gone and state not in _RETIRED and not _is_overlapped(names, name, purpose, version):
                how = "idvault retag" if name in BY_RETAG and state is State.ACTIVE else "rotate"
                raise ConflictError(f"version {version} is {state}: {how} first")
            key = None if gone else names.keyring.versions(purpose, sector)[version]
            references = 0 if key is None else rewrapping.references(connection, key)
            found = {"purpose": name, "sector": sector, "version": version, "state": str(state),
                     "references": references}  # fmt: skip
            if args.get("sure") is not True:
                return found
            if references:
                raise RefusedError(f"{references} keys are sealed under version {version}; idvault-keys rewrap first")
            detail: dict[str, Any] = {"sector": sector, "version": version}
            if name == FINGERPRINT:
                if args.get("lose_bans") is not True:
                    raise RefusedError(_BANS)
                detail["lose_bans"] = True
            use = names.officers.used(connection, Kind.DESTROY, name, detail, stands=gone)
            if use.allowed and key is not None:
                if key.state is State.ACTIVE:
                    names.keyring.move(connection, key, State.DEACTIVATED)
                    key = replace(key, state=State.DEACTIVATED)
                names.keyring.move(connection, key, State.DESTROYED)
                if purpose == KEK:
                    store.drop_partition(connection, version)
                _note(names, connection, "keys.destroyed")
        names.keyring.reload()
        if not use.allowed:
            return names.officers.pending(Kind.DESTROY, name, use)
        use.after()
    return found | {"state": str(State.DESTROYED)}


def _is_overlapped(names: Names, name: str, purpose: str, version: int) -> bool:
    """Tell whether a version protects beside a newer one, and may end."""
    return name in _UNTIL_DESTROYED and version < names.keyring.current(purpose).version


def _state(connection: Connection, purpose: str, sector: str, version: int) -> State:
    key = store.key.c
    found = connection.execute(
        select(key.state).where(key.purpose == purpose, key.scope == sector, key.version == version)
    ).scalar_one_or_none()
    if found is None:
        raise MissingError("no such version of this key")
    return State(found)


def _note(names: Names, connection: Connection, kind: str) -> None:
    audit.write_all(connection, [audit.sealed_row(names.keyring, b"", kind, names.minute, {})])


def keys_listed(names: Names, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return {keys: [{purpose, sector, version, state, created}]}.

    Of each kek also {records: how many lie under it, uses: how often it sealed at most, limit: how often it may};
    `uses` is None where its row is missing or was altered.
    """
    key = store.key.c
    with reading(names.engine) as connection:
        rows = connection.execute(select(key.purpose, key.scope, key.version, key.id, key.state, key.created)
                                  .order_by(key.purpose, key.scope, key.version)).all()  # fmt: skip
        count = select(store.record_key.c.kek_version, func.count()).group_by(store.record_key.c.kek_version)
        held: dict[int, int] = {row[0]: row[1] for row in connection.execute(count)}
        used, limit = names.keyring.uses.told(connection), names.keyring.uses.limit
    keys: list[dict[str, Any]] = []
    for row in rows:
        listed = {"purpose": row.purpose, "sector": row.scope, "version": row.version, "state": row.state}
        more = {"records": held.get(row.version, 0), "uses": used.get(row.id), "limit": limit}
        keys.append(listed | {"created": row.created} | (more if row.purpose == KEK else {}))
    return {"keys": keys}
