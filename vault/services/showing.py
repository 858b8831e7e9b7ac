"""What a provider is shown of a registration and of an account: the same members for a known and an unknown person."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

from keys.tokens import Pseudonym
from vault.domain.ids import AccountId, RegistrationId
from vault.domain.scopes import Rung, intersect, running, scope_of, stricter, waiting_scope
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.held_keys import HeldKeys
from vault.stores import reviews, standings
from vault.stores.reviews import ReviewRow
from vault.stores.standings import AccountRow, StandingRow
from vault.stores.unit import Store


class Showing:
    """Builds answers from an allow-list of members."""

    def __init__(self, directory: Store, keys: HeldKeys, now: Callable[[], int]) -> None:
        self._directory, self._keys, self._now = directory, keys, now

    def token(self, row: StandingRow) -> str:
        """Return the pairwise token of a standing."""
        return self._keys.tokens(row.sector).encode(Pseudonym(row.pid, row.generation))

    def tokens(self, rows: Mapping[bytes, StandingRow]) -> dict[bytes, str]:
        """Return the tokens of standings, by the keys that these are given by."""
        of_sector: dict[str, list[bytes]] = {}
        for key, row in rows.items():
            of_sector.setdefault(row.sector, []).append(key)
        found: dict[bytes, str] = {}
        for sector, keys in of_sector.items():
            said = [Pseudonym(rows[key].pid, rows[key].generation) for key in keys]
            found.update(zip(keys, self._keys.tokens(sector).encode_all(said), strict=True))
        return found

    def registration(self, client: Client, registration: RegistrationId) -> dict[str, Any]:
        """Return a registration of this provider.

        Raises:
            VaultError: there is none.
        """
        with self._directory.reading() as unit:
            row = reviews.find(unit, registration.raw)
            standing = standings.living(unit, row.pid) if row is not None else None
            if row is None or standing is None or row.provider != client.id or row.kind == "match":
                raise VaultError(Kind.NOT_FOUND, "no such registration")
            alias = standings.find(unit, row.supersedes) if row.supersedes is not None else None
            accounts = standings.accounts_of(unit, standing.pid)
            beside = None if row.representative is None else standings.living(unit, row.representative)
        return self.of(client, row, standing, accounts, beside, alias)

    def of(
        self,
        client: Client,
        row: ReviewRow,
        standing: StandingRow,
        accounts: Sequence[AccountRow],
        representative: StandingRow | None = None,
        alias: StandingRow | None = None,
    ) -> dict[str, Any]:
        """Return a registration from its rows: an organisation's with its representative, a returner's with alias."""
        now = self._now()
        own = [account for account in accounts if account.id == row.account]
        answer: dict[str, Any] = {
            "id": str(RegistrationId(row.reg)),
            "token": self.token(standing),
            "account": str(AccountId(row.account)) if row.account is not None else None,
            "state": row.state,
            "scope": self._scope(client, standing, own, now),
        }
        if representative is not None:
            answer["representative_token"] = self.token(representative)
        if row.reason is not None:
            answer["reason"] = row.reason
        if row.fixes:
            answer["fix"] = row.fixes
        if alias is not None:
            answer["supersedes"] = self.token(alias)
        ladders = [standing.ladder, *(account.ladder for account in own)]
        runs = reduce(stricter, (running(ladder, now) for ladder in ladders))
        if runs.rung > Rung.free:
            answer["restriction"] = runs.shown()
        return answer

    def account(self, client: Client, account: AccountRow, standing: StandingRow) -> dict[str, Any]:
        """Return an account of this provider; a closed one has no handle any more, and keeps its restriction."""
        now = self._now()
        answer: dict[str, Any] = {
            "id": str(AccountId(account.id)),
            "token": self.token(standing),
            "handle": account.handle,
            "kind": account.kind,
            "state": account.state,
            "scope": self._scope(client, standing, [account], now),
        }
        if account.state == "closed":
            del answer["handle"]
        if account.external_id is not None:
            answer["external_id"] = account.external_id
        runs = stricter(running(standing.ladder, now), running(account.ladder, now))
        if runs.rung > Rung.free:
            answer["restriction"] = runs.shown()
        return answer

    @staticmethod
    def _scope(client: Client, standing: StandingRow, accounts: Sequence[AccountRow], now: int) -> str:
        runs = running(standing.ladder, now)
        scopes = [
            scope_of(
                account.state, stricter(runs, running(account.ladder, now)).rung,
                waiting_scope(client.policy, account.state, now),
            )
            for account in accounts
        ]  # fmt: skip
        return intersect(scopes, alone=True, rung=runs.rung).text
