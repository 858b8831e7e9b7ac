"""Identity for an account that stands already: which standing may get a record, so that its pid and token stay."""

from collections.abc import Callable
from typing import Final

from keys.errors import ConflictError
from vault.domain.ids import RegistrationId
from vault.errors import Kind, VaultError
from vault.services import targets
from vault.services.access import Client
from vault.stores import reviews, tags
from vault.stores.standings import AccountRow, StandingRow
from vault.stores.unit import Store, Unit

_POINTER: Final = "/account"
Forget = Callable[[StandingRow], None]


class Existing:
    """Finds the legacy standing behind an account of this provider."""

    def __init__(self, directory: Store, forget: Forget) -> None:
        self._directory, self._forget = directory, forget

    def legacy(self, client: Client, account: str) -> tuple[StandingRow, AccountRow]:
        """Return the standing and account that a registration is for; a rejected record behind it goes first.

        Raises:
            VaultError: no such account of this provider, or one that has an identity, or is about to.
        """
        standing, row, rejected = self._found(client, account)
        if rejected:
            try:
                self._forget(standing)
            except ConflictError:
                raise VaultError(Kind.CONFLICT, "another registration for this account was quicker") from None
            standing, row, _ = self._found(client, account)
        if standing.link is not None:
            raise VaultError(Kind.CONFLICT, "another registration for this account was quicker")
        return standing, row

    def _found(self, client: Client, account: str) -> tuple[StandingRow, AccountRow, bool]:
        """Return standing, account, and whether a rejected record stands behind them."""
        with self._directory.reading() as unit:
            standing, row = targets.own_account(unit, client, account)
            return standing, row, _rejected(unit, standing, row)


def _rejected(unit: Unit, standing: StandingRow, row: AccountRow) -> bool:
    if row.state == "closed" or standing.state != "live":
        raise VaultError(Kind.CONFLICT, "this account is closed")
    if standing.assurance != "none":
        raise VaultError(Kind.CONFLICT, "the registrant behind this account is verified already")
    if standing.link is None:
        if tags.tags_by_pid(unit, [standing.pid]):
            raise VaultError(Kind.CONFLICT, "a ban of an erased registrant runs on this account")
        return False
    waiting = reviews.open_of(unit, standing.pid)
    if waiting is not None:
        place = f"has the registration {RegistrationId(waiting.reg)}, which is not decided"
        raise VaultError(Kind.CONFLICT, "read that registration, or mend it", errors=((_POINTER, place),))
    return True
