"""Enrolling providers and reviewers: at the agent first (keys, and whom it opens for), then in the directory."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from keys.agent.client import AgentClient
from keys.primitives import random_bytes
from vault.domain.ids import ClientId
from vault.errors import Kind, VaultError
from vault.services import policies
from vault.services.access import hash_secret
from vault.services.credentials import end_of, new_secret
from vault.services.held_keys import HeldKeys
from vault.stores import answers, clients
from vault.stores.clients import ClientRow
from vault.stores.unit import Store, Unit

PROVIDER_SCOPES: Final = "introspect register sanction"
REVIEWER_SCOPES: Final = "review"
OPERATOR_SCOPES: Final = "metrics"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", re.ASCII)


class Enrolling:
    """The work of `idvault provider`, `idvault reviewer` and `idvault operator`."""

    def __init__(self, directory: Store, officer: AgentClient, keys: HeldKeys, now: Callable[[], int]) -> None:
        self._directory, self._officer, self._keys, self._now = directory, officer, keys, now

    def add_provider(
        self, name: str, sector: str, policy: Mapping[str, Any], scopes: object = None, expires: object = None
    ) -> dict[str, str]:
        """Enrol a provider with a sector of its own; return client_id and client_secret, the secret this once.

        Where there are officers, it returns {request, state: pending} until they approved just that; then say it again.

        Args:
            name: of the provider.
            sector: its own, for ever.
            policy: its members are those of `policies.POLICY`.
            scopes: a list of what it may do; None for all that a provider may.
            expires: the last day on which its credentials are good; None for no end.

        Raises:
            VaultError: name or sector is taken, or the policy, the scopes or the day are what they may not be.
        """
        stored, granted, name = policies.checked(policy), _scopes(scopes), _name(name)
        day = expires.isoformat() if type(expires) is date else expires
        ends = None if day is None else end_of(str(day), self._now(), "expires")
        with self._directory.reading() as unit:
            taken = any(_same(name, row.name) or sector == row.sector for row in clients.listed(unit, "provider"))
        if taken:
            raise VaultError(Kind.CONFLICT, "a provider of this name or sector exists already")
        client_id, secret = str(ClientId.new()), new_secret()
        terms = {"scopes": granted, "policy": stored} | ({} if day is None else {"expires": day})
        given = self._officer.call(
            "enrol", {"what": "provider", "sector": sector, "client": client_id, "name": name, "terms": terms}
        )
        if "pending" in given:
            return pending(given)
        client_id = str(given["client"])
        with self._directory.writing() as unit:
            self._add(unit, client_id, name, "provider", None, granted, secret)
            clients.add_provider(
                unit, client_id=client_id, name=name, sector=sector, policy=stored, expires=ends
            )  # fmt: skip
        return {"client_id": client_id, "client_secret": secret, "sector": sector}

    def change_policy(self, name: str, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Write another policy of a provider, in place of the one that it has.

        Where there are officers, it returns {request, state: pending} until they approved just that; then say it again.

        Raises:
            VaultError: no such provider, or the policy says what it may not.
        """
        stored, row = policies.checked(policy), self.find("provider", name)
        if stored != row.policy:
            detail = {"client": row.id, "policy": stored, "from": row.policy}
            given = self._officer.call("provider.widen", {"name": row.name, "detail": detail})
            if "pending" in given:
                return pending(given)
            with self._directory.writing() as unit:
                clients.set_policy(unit, row.id, stored)
                self._audit(unit, "provider.changed", row.id)
        return {"client_id": row.id, "policy": stored}

    def add_reviewer(self, name: str, provider: str | None) -> dict[str, str]:
        """Enrol a reviewer, bound to a provider or, without one, a vault reviewer.

        Where there are officers, it returns {request, state: pending} until they approved it; then say it again.

        Raises:
            VaultError: the name is taken, or there is no such provider.
        """
        name = _name(name)
        with self._directory.reading() as unit:
            if any(_same(name, row.name) for row in clients.listed(unit, "reviewer")):
                raise VaultError(Kind.CONFLICT, "a reviewer of this name exists already")
            owner = clients.find_named(unit, "provider", provider) if provider is not None else None
        if provider is not None and owner is None:
            raise VaultError(Kind.NOT_FOUND, "no provider of this name or client id; see idvault provider list")
        client_id, secret = str(ClientId.new()), new_secret()
        sector = owner.sector if owner is not None else None
        given = self._officer.call("enrol", {"what": "reviewer", "client": client_id, "sector": sector, "name": name})
        if "pending" in given:
            return pending(given)
        client_id = str(given["client"])
        with self._directory.writing() as unit:
            self._add(unit, client_id, name, "reviewer", owner.id if owner else None, REVIEWER_SCOPES, secret)
        return {"client_id": client_id, "client_secret": secret}

    def add_operator(self, name: str) -> dict[str, str]:
        """Enrol an operator, who may read the metrics; the agent opens nothing for him.

        Raises:
            VaultError: the name is taken.
        """
        name = _name(name)
        client_id, secret = str(ClientId.new()), new_secret()
        with self._directory.writing() as unit:
            if any(_same(name, row.name) for row in clients.listed(unit, "operator")):
                raise VaultError(Kind.CONFLICT, "an operator of this name exists already")
            self._add(unit, client_id, name, "operator", None, OPERATOR_SCOPES, secret)
        return {"client_id": client_id, "client_secret": secret}

    def disable_operator(self, name: str) -> None:
        """Disable an operator: his next scrape is refused.

        Raises:
            VaultError: no such operator.
        """
        row = self.find("operator", name)
        with self._directory.writing() as unit:
            clients.disable(unit, row.id)
            self._audit(unit, "operator.disabled", row.id)

    def disable_reviewer(self, name: str) -> None:
        """Disable a reviewer, at the agent first.

        Raises:
            VaultError: no such reviewer.
        """
        row = self.find("reviewer", name)
        self._officer.call("reviewer.disable", {"client": row.id})
        with self._directory.writing() as unit:
            clients.disable(unit, row.id)
            self._audit(unit, "reviewer.disabled", row.id)

    def find(self, role: str, name: str) -> ClientRow:
        """Return a client by name or id.

        Raises:
            VaultError: there is none.
        """
        with self._directory.reading() as unit:
            row = clients.find_named(unit, role, name)
        if row is None:
            raise VaultError(Kind.NOT_FOUND, f"no {role} of this name or client id; see idvault {role} list")
        return row

    def listed(self, role: str) -> list[ClientRow]:
        """Return all clients of a role."""
        with self._directory.reading() as unit:
            return clients.listed(unit, role)

    def _add(
        self, unit: Unit, client_id: str, name: str, role: str, bound_to: str | None, scopes: str, secret: str
    ) -> None:
        clients.add(
            unit, client_id=client_id, name=name, role=role, bound_to=bound_to, scopes=scopes,
            secret_hash=hash_secret(secret), now=self._now(),
        )  # fmt: skip
        self._audit(unit, f"{role}.enrolled", client_id)

    def _audit(self, unit: Unit, kind: str, client_id: str) -> None:
        audit_id = random_bytes(16)
        sealed = self._keys.seal_audit(audit_id, client_id.encode())
        answers.audit(unit, audit_id, kind, self._now() // 60, client_id, sealed)


def pending(given: Mapping[str, Any]) -> dict[str, str]:
    """Return how a command tells that officers must approve first."""
    return {"request": str(given["pending"]), "state": "pending"}


def _name(name: str) -> str:
    """Return a client's name, stripped; ASCII alone, so that no two look alike."""
    if not _NAME.fullmatch(name.strip()):
        raise VaultError(Kind.VALIDATION, "name: ASCII letters, digits, spaces and . _ -, at most 64 characters")
    return name.strip()


def _scopes(given: object) -> str:
    """Return what a provider may do, as it is stored: all that a provider may, or some of it."""
    if given is None:
        return PROVIDER_SCOPES
    known = PROVIDER_SCOPES.split()
    if not isinstance(given, list) or not given or not all(one in known for one in given):
        raise VaultError(Kind.VALIDATION, f"scopes: a list of one or more of {', '.join(known)}")
    return " ".join(one for one in known if one in given)


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()
