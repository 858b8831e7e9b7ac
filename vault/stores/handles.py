"""Handles of accounts: who has which at his provider, found by hashes that are shorter than what they stand for.

A row holds no handle: its account does. By its key a handle is unique at its provider, so a key is 16 bytes, as an id
is; of two handles that were made to have one key the second is refused. Other hashes are of 8 bytes: rows that are
found by them are compared whole, or nothing hangs on it.
"""

import hashlib
from typing import Any, Protocol

from sqlalchemy import ColumnElement, and_, delete, select

from vault.domain.handles import handle_key, skeleton
from vault.stores.directory import account, handle
from vault.stores.unit import Unit


def owned_as(owner: str, *found: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition of a provider's accounts that are found by something else: an id, or a standing's.

    The provider is joined to nothing: so no planner goes through all that he has in place of the few that are found.
    """
    return and_(*found, account.c.provider.concat("") == owner)


class Owned(Protocol):
    """An account, as far as its handle goes."""

    @property
    def id(self) -> bytes:
        """Its own."""

    @property
    def provider(self) -> str:
        """Whose it is."""

    @property
    def handle(self) -> str:
        """As it is shown."""


def _hashed(owner: str, text: str) -> bytes:
    return hashlib.sha256(f"{owner} {text}".encode()).digest()  # a client's id has no space


def key(owner: str, folded: str) -> bytes:
    """Return what a folded handle is unique by at all providers."""
    return _hashed(owner, folded)[:16]


def short_hash(owner: str, text: str) -> int:
    """Return by what a provider's text is looked for."""
    return int.from_bytes(_hashed(owner, text)[:8], "big", signed=True)


def row(owned: Owned, folded: str) -> tuple[Any, ...]:
    """Return the row of an account's handle."""
    return key(owned.provider, folded), owned.id, _look(owned)


def _look(owned: Owned) -> int:
    return short_hash(owned.provider, skeleton(owned.handle))


def free(unit: Unit, owner: str, account_id: bytes) -> None:
    """Delete the row of the handle that an account has, if it has one."""
    query = select(account.c.handle).where(owned_as(owner, account.c.id == account_id))
    for shown in unit.execute(query).scalars().all():
        mine = handle.c.key == key(owner, handle_key(shown))
        unit.execute(delete(handle).where(mine, handle.c.account == account_id))


def looks_alike(unit: Unit, owned: Owned) -> bool:
    """Tell whether another handle of that provider looks like this account's; never which."""
    query = select(handle.c.account).where(handle.c.look == _look(owned), handle.c.account != owned.id)
    return unit.execute(query.limit(1)).first() is not None


def stray(unit: Unit) -> list[bytes]:
    """Return the accounts whose handle row is missing, or is another's: for fsck."""
    query = select(account.c.id, account.c.provider, account.c.handle, handle.c.key)
    query = query.select_from(account.outerjoin(handle, handle.c.account == account.c.id))
    rows = unit.execution_options(yield_per=1000).execute(query.where(account.c.state != "closed"))
    return [found.id for found in rows if found.key != key(found.provider, handle_key(found.handle))]
