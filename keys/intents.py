"""Intents: what keeps an act over several stores whole.

An intent is taken before the act (with locks on what it touches), gets its plan in the transaction that decides, and is
closed after the last store was written. Without a plan it is nothing and is dropped; with one it is carried out, by the
service or by `fsck`, as often as needed: every step is idempotent.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from keys import store
from keys.bulk import Bulk
from keys.driver import Prepared, run
from keys.engine import reading, writing
from keys.errors import BusyError, MissingError
from keys.frame import Place, Purpose
from keys.keyring import Keyring
from keys.primitives import hmac_sha256, random_bytes

_LOCKS: Final = Bulk(store.intent_lock)
_TAKEN: Final = Prepared(
    select(store.intent_lock.c.key).where(store.intent_lock.c.key.in_(bindparam("keys", expanding=True)))
)
_under_way: set[bytes] = set()
"""Intents without a plan that an act of this process works on; no other process takes any."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A planned act that is not closed; `not_before` in seconds since 1970."""

    id: bytes
    kind: str
    plan: Mapping[str, Any]
    not_before: int


def _place(keyring: Keyring, intent: bytes) -> Place:
    return Place(keyring.deployment, "keys.intent", intent, "plan")


def _lock_keys(keyring: Keyring, names: Iterable[bytes]) -> list[bytes]:
    # Keyed, so that no tag or pid stands in the key store.
    key = keyring.current("index").secret
    return sorted({hmac_sha256(key, b"idvault/v1/lock" + name) for name in names})


def held(connection: Connection, keyring: Keyring, names: Iterable[bytes]) -> set[bytes]:
    """Return those names which open intents hold a lock on."""
    by_key = {_lock_keys(keyring, [name])[0]: name for name in names}
    query = select(store.intent_lock.c.key).where(store.intent_lock.c.key.in_(list(by_key)))
    return {by_key[key] for key in connection.execute(query).scalars()}


def lock(connection: Connection, keyring: Keyring, intent: bytes, names: Iterable[bytes]) -> None:
    """Take locks for an intent.

    Raises:
        BusyError: another open intent holds one of them.
    """
    mine = set(
        connection.execute(select(store.intent_lock.c.key).where(store.intent_lock.c.intent == intent)).scalars()
    )
    rows = [{"key": key, "intent": intent} for key in _lock_keys(keyring, names) if key not in mine]
    try:
        if rows:
            connection.execute(insert(store.intent_lock), rows)
    except IntegrityError:
        raise BusyError from None


def lock_free(engine: Engine, keyring: Keyring, intent: bytes, wanted: Mapping[int, Iterable[bytes]]) -> set[int]:
    """Take the locks of those parts of an act of which nobody holds one; return which: the others go on without."""
    keys = {part: set(_lock_keys(keyring, names)) for part, names in wanted.items()}
    free = set[int]()
    with writing(engine) as connection:
        step = _TAKEN.on(connection, keys=list(set().union(*keys.values())))
        taken = {row.key for row in run(connection, step)[0].rows}
        for part, mine in keys.items():
            if taken.isdisjoint(mine):
                free.add(part)
                taken |= mine
        _LOCKS.insert(connection, [(key, intent) for part in sorted(free) for key in sorted(keys[part])])
    return free


@contextmanager
def taken(engine: Engine, keyring: Keyring, kind: str, names: Iterable[bytes], now: int) -> Iterator[bytes]:
    """Take an intent and its locks for the span of an act; dropped again unless it got a plan.

    Raises:
        BusyError: another open intent holds one of the locks.
    """
    intent = random_bytes(16)
    _under_way.add(intent)
    try:
        with writing(engine) as connection:
            row = insert(store.intent).values(id=intent, kind=kind, sealed=None, not_before=now, created=now)
            connection.execute(row)
            lock(connection, keyring, intent, names)
        try:
            yield intent
        finally:
            with writing(engine) as connection:
                _drop(connection, (store.intent.c.id == intent) & store.intent.c.sealed.is_(None))
    finally:
        _under_way.discard(intent)


def _drop(connection: Connection, where: Any) -> None:  # noqa: ANN401 - a SQL clause
    ids = list(connection.execute(select(store.intent.c.id).where(where)).scalars())
    for intent in ids:
        connection.execute(delete(store.intent_lock).where(store.intent_lock.c.intent == intent))
        connection.execute(delete(store.intent).where(store.intent.c.id == intent))


def begin(
    connection: Connection, keyring: Keyring, intent: bytes, kind: str, content: Mapping[str, Any], now: int,
    not_before: int,
) -> None:  # fmt: skip
    """Write an intent that has its plan from the start and needs no locks: nobody else knows what it touches."""
    sealed = _sealed(keyring, intent, content)
    connection.execute(
        insert(store.intent).values(id=intent, kind=kind, sealed=sealed, not_before=not_before, created=now)
    )


def replan(connection: Connection, keyring: Keyring, intent: bytes, content: Mapping[str, Any]) -> None:
    """Write what is left of a plan over it."""
    sealed = _sealed(keyring, intent, content)
    connection.execute(update(store.intent).where(store.intent.c.id == intent).values(sealed=sealed))


def plan(connection: Connection, keyring: Keyring, intent: bytes, content: Mapping[str, Any], not_before: int) -> None:
    """Give a taken intent its plan, in the transaction that decides.

    Raises:
        MissingError: the intent was dropped meanwhile.
    """
    sealed = _sealed(keyring, intent, content)
    where = (store.intent.c.id == intent) & store.intent.c.sealed.is_(None)
    if connection.execute(update(store.intent).where(where).values(sealed=sealed, not_before=not_before)).rowcount != 1:
        raise MissingError("the intent was dropped meanwhile")


def load(connection: Connection, keyring: Keyring, intent: bytes) -> Intent | None:
    """Return a planned intent, or None once it is closed.

    Raises:
        OpenError: the plan was altered or moved.
    """
    row = connection.execute(select(store.intent).where(store.intent.c.id == intent)).one_or_none()
    if row is None or row.sealed is None:
        return None
    return _opened(keyring, row.id, row.kind, row.sealed, row.not_before)


def due(connection: Connection, keyring: Keyring, now: int, limit: int) -> list[Intent]:
    """Return planned intents whose time has come, longest due first.

    Raises:
        OpenError: a plan was altered or moved.
    """
    table = store.intent
    query = select(table).where(table.c.sealed.is_not(None), table.c.not_before <= now)
    rows = connection.execute(query.order_by(table.c.not_before, table.c.created).limit(limit)).all()
    return [_opened(keyring, row.id, row.kind, row.sealed, row.not_before) for row in rows]


def close(connection: Connection, intent: bytes) -> None:
    """Close an intent: its act is whole in every store."""
    _drop(connection, store.intent.c.id == intent)


def drop_unplanned(engine: Engine) -> None:
    """Drop what a former holder process left without a plan: nothing of it happened."""
    with writing(engine) as connection:
        _drop(connection, store.intent.c.sealed.is_(None))


def drop_abandoned(engine: Engine) -> None:
    """Drop what this process took and could neither plan nor drop, since the store went away just then."""
    with reading(engine) as connection:
        found = connection.execute(select(store.intent.c.id).where(store.intent.c.sealed.is_(None))).scalars()
        abandoned = set(found) - _under_way
    if abandoned:
        with writing(engine) as connection:
            _drop(connection, store.intent.c.id.in_(abandoned) & store.intent.c.sealed.is_(None))


def _sealed(keyring: Keyring, intent: bytes, content: Mapping[str, Any]) -> bytes:
    return keyring.current("map").seal(Purpose.INTENT, _place(keyring, intent), msgpack.packb(dict(content)))


def _opened(keyring: Keyring, intent: bytes, kind: str, sealed: bytes, not_before: int) -> Intent:
    plain = keyring.opener("map", sealed).open(Purpose.INTENT, _place(keyring, intent), sealed)
    return Intent(intent, kind, msgpack.unpackb(plain), not_before)
