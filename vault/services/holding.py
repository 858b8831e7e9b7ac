"""Legal holds: commands on the host that keep the record behind an account from being erased."""

from typing import Any

from keys.agent.client import AgentClient
from vault.domain.errors import DomainError
from vault.domain.ids import AccountId
from vault.errors import Kind, VaultError
from vault.services.enrolling import pending
from vault.services.linking import Linking
from vault.stores import standings
from vault.stores.unit import Store


class Holding:
    """The work of `idvault hold`."""

    def __init__(self, directory: Store, officer: AgentClient, linking: Linking) -> None:
        self._directory, self._officer, self._linking = directory, officer, linking

    def put(self, account: str, order: dict[str, Any]) -> dict[str, Any]:
        """Hold the record behind an account for a case {case, legal_basis, authority, ordered_by, until}.

        Where there are officers, it returns {request, state: pending} until they approved it; then say it again.

        Raises:
            VaultError: there is no such account, or nobody is registered behind it.
            KeysError: the agent refused.
        """
        return self._asked("hold.put", account, {"order": order})

    def lift(self, account: str, order: dict[str, Any]) -> dict[str, Any]:
        """End the hold by a case {case, legal_basis, authority, ordered_by}; see `put`."""
        return self._asked("hold.lift", account, {"order": order})

    def holds(self, account: str) -> list[dict[str, Any]]:
        """Return {case, since, until} of all that hold the record behind an account.

        Raises:
            VaultError: there is no such account, or nobody is registered behind it.
        """
        return list(self._asked("hold.list", account, {})["holds"])

    def _asked(self, verb: str, account: str, args: dict[str, Any]) -> dict[str, Any]:
        with self._directory.reading() as unit:
            try:
                row = standings.any_account(unit, AccountId.parse(account).raw)
            except DomainError:
                row = None
            standing = None if row is None or row.state == "closed" else standings.living(unit, row.pid)
        if row is None or standing is None or standing.link is None:
            raise VaultError(Kind.NOT_FOUND, "no such account, or nobody is registered behind it")
        evidence = {"standing": self._linking.evidence(standing), "client": row.provider, "account": row.id}
        given = self._officer.call(verb, {"id": account, **evidence, **args})
        return pending(given) if "pending" in given else given
