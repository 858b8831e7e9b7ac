"""Reviews of an account alone: the person is verified already, so no field is opened and the directory decides."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import rfc8785

from keys.primitives import random_bytes
from vault.domain.errors import InvalidFieldError
from vault.domain.ids import AccountId
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.accounts import CAP_REACHED, cap_of
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt
from vault.stores import answers, clients, events, handles, reviews, standings
from vault.stores.reviews import ReviewRow
from vault.stores.standings import AccountRow
from vault.stores.unit import Store, Unit

KIND: Final = "account"
NOBODY_SHOWN: Final = hashlib.sha256(rfc8785.dumps([])).digest()
"""The digest of no candidates: an account has none."""
_FIX: Final = "handle"
_STATES: Final = {"approved": "approved", "returned": "returned", "rejected": "legacy"}


class AccountReviews:
    """What a review of kind `account` shows and decides; who may see it, and the lease, are the caller's to check."""

    def __init__(self, directory: Store, keys: HeldKeys, now: Callable[[], int]) -> None:
        self._directory, self._keys, self._now = directory, keys, now

    def reveal(self, client: Client, row: ReviewRow) -> dict[str, Any]:
        """Return the account under review; no field of a record is opened, whatever was asked for."""
        now = self._now()
        with self._directory.writing() as unit:
            account = _account(unit, row)
            reviews.remember_shown(unit, row.reg, NOBODY_SHOWN)
            self._audit(unit, client, "account.revealed", account.id, now)
            alike = handles.looks_alike(unit, account)
        return {
            "fields": {}, "evidence": [], "candidates": [], "shown": NOBODY_SHOWN.hex(), "returner": False,
            "sanctions": [], "expired_document": False, "look_alike": alike,
            "account": {"handle": account.handle, "kind": account.kind, "look_alike": alike},
        }  # fmt: skip

    def decide(
        self, client: Client, row: ReviewRow, decision: Mapping[str, Any], attempt: Attempt, answer: Answer
    ) -> None:
        """Write a decision, its audit row and its answer in one transaction.

        Raises:
            InvalidFieldError: something other than the handle is to be mended.
            VaultError: decided meanwhile, candidates where there are none, or the person's cap is reached.
        """
        if set(decision["fix"]) - {_FIX}:
            raise InvalidFieldError("/fix", "of an account the handle alone is mended")
        if decision["verdicts"] or decision["shown"] not in {None, NOBODY_SHOWN}:
            raise VaultError(Kind.CANDIDATES_CHANGED, "an account has no candidates; reveal the case again")
        now = self._now()
        with self._directory.writing() as unit:
            account = _account(unit, row)
            if decision["state"] == "approved":
                _check_cap(unit, account)
            if not reviews.decide(unit, row.reg, row.attempt, {**decision, "reviewer": client.id, "at": now}, None):
                raise VaultError(Kind.DECIDED, "this case was decided meanwhile")
            standings.set_account_state(unit, account.id, account.provider, _STATES[decision["state"]])
            self._audit(unit, client, "account.reviewed", account.id, now)
            attempt.finish(unit, answer)
            events.add(unit, row.provider, events.DECIDED, row.reg, now)

    def _audit(self, unit: Unit, client: Client, kind: str, account_id: bytes, now: int) -> None:
        audit_id = random_bytes(16)
        answers.audit(unit, audit_id, kind, now // 60, client.id, self._keys.seal_audit(audit_id, account_id))


def _account(unit: Unit, row: ReviewRow) -> AccountRow:
    account = standings.account_by_id(unit, row.provider, AccountId(row.account or b"").raw)
    if account is None or account.state == "closed":
        raise VaultError(Kind.DECIDED, "this account was closed meanwhile")
    return account


def _check_cap(unit: Unit, account: AccountRow) -> None:
    """Check the person's approved accounts of the kind against the provider's cap, with this one."""
    owner = clients.find(unit, account.provider)
    cap = None if owner is None else cap_of(owner.policy, account.kind)
    if cap is not None and standings.count_accounts(unit, account.pid, account.kind, ("approved",)) >= cap:
        raise VaultError(Kind.CAP_REACHED, CAP_REACHED)
