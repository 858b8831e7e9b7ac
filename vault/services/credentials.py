"""Client secrets with an overlap, and whether a provider's credentials are valid at all."""

import base64
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, Final

from keys.agent.client import AgentClient
from keys.primitives import random_bytes
from vault.config import Settings
from vault.domain.clock import from_epoch, to_text
from vault.domain.dates import parse_date
from vault.domain.errors import DomainError
from vault.domain.sanctions import years_after
from vault.errors import Kind, VaultError
from vault.services.access import Client, hash_secret
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.stores import answers, clients
from vault.stores.clients import ClientRow
from vault.stores.unit import Store, Unit

_HOUR_SECONDS: Final = 3600
_EXPIRY_YEARS_MAX: Final = 3
"""German identity card act, section 21(2): an entitlement runs three years at most."""


def new_secret() -> str:
    """Return a client secret of 256 random bits."""
    return "ivs_" + base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()


def end_of(day_text: str, now: int, member: str) -> int:
    """Return when credentials end that are good up to and with a day: seconds since 1970.

    Args:
        day_text: the last day, such as 2029-12-31.
        now: seconds since 1970.
        member: what the day is called where it was given.

    Raises:
        VaultError: the day is none, or not in the next three years.
    """
    today = from_epoch(now)
    try:
        day: date = parse_date(day_text, "")
    except DomainError:
        raise VaultError(Kind.VALIDATION, f"{member}: a date such as 2031-01-01") from None
    if not today.date() <= day <= years_after(today, _EXPIRY_YEARS_MAX).date():
        raise VaultError(Kind.VALIDATION, f"{member}: from today on, at most {_EXPIRY_YEARS_MAX} years ahead")
    midnight = today.replace(hour=0, minute=0, second=0)
    return int((midnight + (day - today.date()) + timedelta(days=1)).timestamp())


class Credentials:
    """The work of `/v1/provider/secrets` and of `idvault provider rotate-secret`, `suspend` and `renew`."""

    def __init__(
        self, settings: Settings, directory: Store, officer: AgentClient, keys: HeldKeys, idempotent: Idempotent,
        now: Callable[[], int],
    ) -> None:  # fmt: skip
        self._settings, self._directory, self._officer, self._keys = settings, directory, officer, keys
        self._idempotent, self._now = idempotent, now

    def rotate(self, client: Client, idempotency: Idempotency | None) -> Answer:
        """Make a new secret; return (201, {client_secret, former_until}), the secret this once.

        Raises:
            VaultError: the access token has fewer scopes than the client: a part must not become the whole.
        """

        def effect(attempt: Attempt) -> Answer:
            with self._directory.writing() as unit:
                row = self._whole(unit, client)
                answer = 201, self._rotated(unit, row.id)
                attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def drop_former(self, client: Client, idempotency: Idempotency | None) -> Answer:
        """End the former secret at once; return (204, nothing). Idempotent.

        Raises:
            VaultError: the access token has fewer scopes than the client.
        """

        def effect(attempt: Attempt) -> Answer:
            answer: Answer = (204, {})
            with self._directory.writing() as unit:
                row = self._whole(unit, client)
                clients.drop_former(unit, row.id)
                self._audit(unit, "client.secret_dropped", row.id)
                attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def rotate_named(self, name: str) -> dict[str, Any]:
        """Make a new secret of the provider of this name.

        Raises:
            VaultError: there is none.
        """
        with self._directory.writing() as unit:
            row = _provider(unit, name)
            return {"client_id": row.id, **self._rotated(unit, row.id)}

    def suspend(self, name: str) -> dict[str, Any]:
        """Make a provider's credentials, and those of its reviewers, invalid until it is renewed.

        Raises:
            VaultError: no such provider.
        """
        with self._directory.writing() as unit:
            row = _provider(unit, name)
            clients.set_provider(unit, row.id, "suspended", row.expires)
            self._audit(unit, "provider.suspended", row.id)
        return {"client_id": row.id, "state": "suspended"}

    def renew(self, name: str, until: str | None) -> dict[str, Any]:
        """Make a provider's credentials valid again, up to and with a day, or without an end.

        Where there are officers, what makes it valid longer than it is returns {request, state: pending} until they
        approved it; then say it again.

        Raises:
            VaultError: no such provider, or the day is not in the next three years.
            KeysError: the agent refused.
        """
        expires = None if until is None else end_of(until, self._now(), "--until")
        with self._directory.reading() as unit:
            row = _provider(unit, name)
        if not row.enabled or (row.expires is not None and (expires is None or expires > row.expires)):
            now = {"enabled": row.enabled, "expires": row.expires}
            detail = {"client": row.id, "expires": expires, "from": now}
            given = self._officer.call("provider.widen", {"name": row.name, "detail": detail})
            if "pending" in given:
                return {"request": given["pending"], "state": "pending"}
        with self._directory.writing() as unit:
            clients.set_provider(unit, row.id, "active", expires)
            self._audit(unit, "provider.renewed", row.id)
        shown = {} if expires is None else {"expires": to_text(from_epoch(expires))}
        return {"client_id": row.id, "state": "active", **shown}

    def _whole(self, unit: Unit, client: Client) -> ClientRow:
        row = clients.find(unit, client.id)
        if row is None or not row.scopes <= client.scopes:
            raise VaultError(Kind.FORBIDDEN, "this needs an access token with all scopes that the client has")
        return row

    def _rotated(self, unit: Unit, client_id: str) -> dict[str, Any]:
        secret, until = new_secret(), self._now() + self._settings.secret_overlap_hours * _HOUR_SECONDS
        clients.rotate_secret(unit, client_id, hash_secret(secret), until)
        self._audit(unit, "client.secret_rotated", client_id)
        return {"client_secret": secret, "former_until": to_text(from_epoch(until))}

    def _audit(self, unit: Unit, kind: str, client_id: str) -> None:
        audit_id = random_bytes(16)
        sealed = self._keys.seal_audit(audit_id, client_id.encode())
        answers.audit(unit, audit_id, kind, self._now() // 60, client_id, sealed)


def _provider(unit: Unit, name: str) -> ClientRow:
    row = clients.find_named(unit, "provider", name)
    if row is None:
        raise VaultError(Kind.NOT_FOUND, "no provider of this name or client id; see idvault provider list")
    return row
