"""Operators: verified persons who act for an organisation's account. Owner, token and rungs stay the organisation's."""

from collections.abc import Callable
from typing import Any, Final

from keys.primitives import random_bytes
from vault.config import Settings
from vault.domain.clock import from_epoch, to_text
from vault.errors import Kind, VaultError
from vault.services import targets
from vault.services.access import Client
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.showing import Showing
from vault.services.submissions import ORGANIZATION
from vault.stores import answers, operators
from vault.stores.operators import OperatorRow
from vault.stores.standings import AccountRow, StandingRow
from vault.stores.unit import Store, Unit

_ID_BYTES: Final = 16
_CREATED: Final = 201
_NO_CONTENT: Final = 204


class Operating:
    """Lists, adds and removes the operators of one account."""

    def __init__(
        self,
        settings: Settings,
        directory: Store,
        keys: HeldKeys,
        idempotent: Idempotent,
        showing: Showing,
        now: Callable[[], int],
    ) -> None:
        self._settings, self._directory, self._keys = settings, directory, keys
        self._idempotent, self._showing, self._now = idempotent, showing, now

    def operators(self, client: Client, account: str) -> dict[str, Any]:
        """Return {items} of an account of this provider.

        Raises:
            VaultError: no such account.
        """
        with self._directory.reading() as unit:
            found = _organization(unit, client, account)
            rows = operators.of_account(unit, found.id)
        return {"items": [self._shown(row, living) for row, living in rows]}

    def add(self, client: Client, account: str, token: str, idempotency: Idempotency | None) -> Answer:
        """Let a verified person act for an account; return (201, operator). Idempotent.

        Raises:
            VaultError: no such account or token, no organisation's account, closed, not verified, or too many.
        """

        def effect(attempt: Attempt) -> Answer:
            with self._directory.writing() as unit:
                found = _organization(unit, client, account)
                person = targets.by_token(unit, self._keys, client, token, self._now())
                rows = operators.of_account(unit, found.id)
                self._check_may_operate(found, person, len(rows))
                known = next((row for row, living in rows if living.pid == person.pid), None)
                row = known or OperatorRow(found.id, random_bytes(_ID_BYTES), client.id, person.pid, self._now())
                if known is None:
                    operators.add(unit, row)
                    self._audit(unit, client, "operator.added", found.id)
                answer = _CREATED, self._shown(row, person)
                attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def _check_may_operate(self, account: AccountRow, person: StandingRow, operating: int) -> None:
        if account.state == "closed":
            raise VaultError(Kind.CONFLICT, "this account is closed")
        if person.kind == ORGANIZATION or person.assurance == "none":
            raise VaultError(Kind.CONFLICT, "an operator is a verified person; wait for the approval")
        if operating >= self._settings.operators_max:
            raise VaultError(Kind.CAP_REACHED, "this account has as many operators as it may; remove one first")

    def remove(self, client: Client, account: str, token: str, idempotency: Idempotency | None) -> Answer:
        """Let a person act for an account no more; return (204, nothing).

        Raises:
            VaultError: no such account, or no such operator of it.
        """

        def effect(attempt: Attempt) -> Answer:
            answer: Answer = (_NO_CONTENT, {})
            with self._directory.writing() as unit:
                found = _organization(unit, client, account)
                person = targets.by_token(unit, self._keys, client, token, self._now())
                ids = [row.id for row, living in operators.of_account(unit, found.id) if living.pid == person.pid]
                if not ids:
                    raise VaultError(Kind.NOT_FOUND, "no such operator")
                for operator_id in ids:
                    operators.remove(unit, found.id, operator_id)
                self._audit(unit, client, "operator.removed", found.id)
                attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def _shown(self, row: OperatorRow, person: StandingRow) -> dict[str, Any]:
        return {"token": self._showing.token(person), "since": to_text(from_epoch(row.created))}

    def _audit(self, unit: Unit, client: Client, kind: str, account_id: bytes) -> None:
        audit_id = random_bytes(_ID_BYTES)
        sealed = self._keys.seal_audit(audit_id, account_id)
        answers.audit(unit, audit_id, kind, self._now() // 60, client.id, sealed)


def _organization(unit: Unit, client: Client, account: str) -> AccountRow:
    target = targets.by_account(unit, client, account)
    if target.account is None or target.standing.kind != ORGANIZATION:
        raise VaultError(Kind.CONFLICT, "only an organisation's account has operators")
    return target.account
