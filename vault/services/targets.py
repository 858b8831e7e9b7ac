"""Whom a provider means by a token or an account of its own; a foreign and an unknown one are answered alike."""

from dataclasses import dataclass
from typing import TypeVar

from keys.errors import OpenError
from vault.domain.errors import DomainError
from vault.domain.ids import AccountId, Identifier
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.held_keys import HeldKeys
from vault.stores import standings
from vault.stores.standings import AccountRow, StandingRow
from vault.stores.unit import Unit

_Id = TypeVar("_Id", bound=Identifier)


@dataclass(frozen=True, slots=True)
class Target:
    """A living standing, and one of its accounts where that was meant."""

    standing: StandingRow
    account: AccountRow | None = None

    @property
    def account_id(self) -> bytes | None:
        """The account's id, or None for the registrant."""
        return None if self.account is None else self.account.id


def by_token(unit: Unit, keys: HeldKeys, client: Client, token: str, now: int) -> StandingRow:
    """Return the living standing behind a token of this provider; a superseded one leads to what it has become.

    Raises:
        VaultError: there is none.
    """
    try:
        pseudonym = keys.tokens(client.sector or "").decode(token)
    except OpenError:
        raise _no_such("token") from None
    row = standings.find(unit, pseudonym.pid)
    if row is None or row.generation != pseudonym.generation:
        raise _no_such("token")
    living = standings.heir(unit, row)
    if living is None or living.provider != client.id or has_ended(living, now):
        raise _no_such("token")
    return living


def has_ended(standing: StandingRow, now: int) -> bool:
    """Tell whether a standing is over: its registration was withdrawn, or its person is gone."""
    return standing.state != "live" or (standing.inactive_from is not None and standing.inactive_from <= now)


def by_account(unit: Unit, client: Client, account: str) -> Target:
    """Return an account of this provider with its standing.

    Raises:
        VaultError: there is none.
    """
    _, row = own_account(unit, client, account)
    standing = standings.living(unit, row.pid)
    if standing is None:
        raise _no_such("account")
    return Target(standing, row)


def own_account(unit: Unit, client: Client, account: str) -> tuple[StandingRow, AccountRow]:
    """Return an account of this provider and the standing that it is bound to, living or not.

    Raises:
        VaultError: there is none.
    """
    row = standings.account_by_id(unit, client.id, named(AccountId, account, "account").raw)
    standing = standings.find(unit, row.pid) if row is not None else None
    if row is None or standing is None:
        raise _no_such("account")
    return standing, row


def named(kind: type[_Id], text: str, what: str) -> _Id:
    """Return the id that a text is; one that is none is answered as one that leads nowhere.

    Raises:
        VaultError: it is no id of this kind.
    """
    try:
        return kind.parse(text)
    except DomainError:
        raise _no_such(what) from None


def _no_such(what: str) -> VaultError:
    return VaultError(Kind.NOT_FOUND, f"no such {what}")
