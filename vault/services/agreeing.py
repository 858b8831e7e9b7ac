"""Agreements between providers: kept by the agent, which alone decides by them; made on the officers' socket."""

from collections.abc import Callable
from typing import Any

import orjson

from keys.agent.client import AgentClient
from keys.agreements import PURPOSE
from keys.primitives import random_bytes
from vault.errors import Kind, VaultError
from vault.services.enrolling import pending
from vault.services.held_keys import HeldKeys
from vault.stores import answers, clients
from vault.stores.clients import ClientRow
from vault.stores.unit import Store


class Agreeing:
    """The work of `idvault provider allow-exchange` and `revoke-exchange`."""

    def __init__(self, directory: Store, officer: AgentClient, keys: HeldKeys, now: Callable[[], int]) -> None:
        self._directory, self._officer, self._keys, self._now = directory, officer, keys, now

    def allow(self, giver: str, taker: str, purpose: str, basis: str, per_hour: int | None) -> dict[str, Any]:
        """Allow a provider to hand persons to another for a purpose; names or client ids.

        Where there are officers, it returns {request, state: pending} until they approved it; then say it again.

        Raises:
            VaultError: there is no such provider, both are one, or the purpose is not of the form.
            KeysError: the agent refused.
        """
        one, other = self._provider(giver), self._provider(taker)
        if one.id == other.id:
            raise VaultError(Kind.VALIDATION, "an agreement is between two providers")
        if not PURPOSE.fullmatch(purpose):
            raise VaultError(Kind.VALIDATION, "purpose: 1 to 32 of a to z and _")
        args = {
            "giver": one.id, "giver_sector": one.sector, "taker": other.id, "taker_sector": other.sector,
            "purpose": purpose, "basis": basis, "per_hour": per_hour,
        }  # fmt: skip
        given = self._officer.call("agreement.allow", args)
        return pending(given) if "pending" in given else self._done("exchange.allowed", given)

    def revoke(self, giver: str, taker: str, purpose: str) -> dict[str, Any]:
        """Revoke an agreement: from now on nothing is handed over or redeemed under it.

        Raises:
            VaultError: there is no such provider.
            KeysError: there is no such agreement.
        """
        args = {"giver": self._provider(giver).id, "taker": self._provider(taker).id, "purpose": purpose}
        return self._done("exchange.revoked", self._officer.call("agreement.revoke", args))

    def listed(self, client_id: str) -> list[dict[str, Any]]:
        """Return the agreements in which a provider gives or takes."""
        return [_shown(row) for row in self._officer.call("agreement.list", {"client": client_id})["agreements"]]

    def _provider(self, name: str) -> ClientRow:
        with self._directory.reading() as unit:
            row = clients.find_named(unit, "provider", name)
        if row is None:
            raise VaultError(Kind.NOT_FOUND, "no provider of this name or client id; see idvault provider list")
        return row

    def _done(self, kind: str, agreement: dict[str, Any]) -> dict[str, Any]:
        audit_id = random_bytes(16)
        shown = _shown(agreement)
        sealed = self._keys.seal_audit(audit_id, orjson.dumps(shown))
        with self._directory.writing() as unit:
            answers.audit(unit, audit_id, kind, self._now() // 60, agreement["giver"], sealed)
        return shown


def _shown(agreement: dict[str, Any]) -> dict[str, Any]:
    return {
        "from": agreement["giver"], "to": agreement["taker"], "purpose": agreement["purpose"],
        "basis": agreement["basis"], "per_hour": agreement["per_hour"], "state": agreement["state"],
    }  # fmt: skip
