"""Accounts beside registrations: legacy ones, further ones of a verified person, renaming, closing.

Handles are the directory's; the MAC that binds one to its row comes from the act `account.bind`. A row that moved to
another standing meanwhile is bound again, so that no MAC is ever written for another row.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from keys.primitives import random_bytes
from vault.domain import handles
from vault.domain.errors import InvalidFieldError
from vault.domain.ids import RegistrationId
from vault.errors import Kind, VaultError
from vault.services import targets
from vault.services.access import Client
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.receipts import BOUND
from vault.services.showing import Showing
from vault.services.targets import Target
from vault.stores import answers, reviews, standings
from vault.stores.reviews import ReviewRow
from vault.stores.standings import AccountRow, Newcomer, StandingRow
from vault.stores.unit import Store, Unit

CAP_REACHED: Final = "cap reached"
_ID_BYTES: Final = 16
_TRIES: Final = 3
_COUNTED: Final = ("approved", "in_review", "returned")
_REVIEWED: Final = "account"


class Accounts:
    """What a provider does with its own accounts; nobody's name is needed for it."""

    def __init__(
        self, directory: Store, keys: HeldKeys, idempotent: Idempotent, showing: Showing, now: Callable[[], int]
    ) -> None:
        self._directory, self._keys, self._idempotent = directory, keys, idempotent
        self._showing, self._now = showing, now

    def add(self, client: Client, body: Mapping[str, Any], idempotency: Idempotency | None) -> Answer:
        """Add a legacy account, or with a token a further one of a verified person: (201, account).

        A public account of a verified person gets a review of its own instead: (202, registration).

        Raises:
            InvalidFieldError, VaultError: the handle is taken, no such token, not verified, or the cap is reached.
        """
        handle = handles.parse_handle(body["handle"], "/handle")
        add = self._add_legacy if "token" not in body else self._add_further

        def effect(attempt: Attempt) -> Answer:
            return add(client, body, handle, attempt)

        return self._idempotent.run(client.id, idempotency, random_bytes(3 * _ID_BYTES), effect)

    def _add_legacy(self, client: Client, body: Mapping[str, Any], handle: str, attempt: Attempt) -> Answer:
        pid, account_id, _ = _split(attempt.ids)
        now = self._now()
        standing = StandingRow(
            pid, client.id, client.sector or "", None, "none", 0, None, None, None, "live", "natural", now
        )
        account = self._bound(_account(client, pid, account_id, body, handle, "legacy", now))
        answer = 201, self._showing.account(client, account, standing)
        with self._directory.writing() as unit:
            standings.add_all(unit, [Newcomer(standing, account, handles.handle_key(handle))])
            self._audit(unit, client, BOUND, account_id, now)
            attempt.finish(unit, answer)
        return answer

    def _add_further(self, client: Client, body: Mapping[str, Any], handle: str, attempt: Attempt) -> Answer:
        _, account_id, reg = _split(attempt.ids)
        public = body["kind"] == "public"
        now = self._now()
        for _ in range(_TRIES):
            with self._directory.reading() as unit:
                standing = targets.by_token(unit, self._keys, client, body["token"], now)
            state = "in_review" if public else "approved"
            account = self._bound(_account(client, standing.pid, account_id, body, handle, state, now))
            with self._directory.writing() as unit:
                if targets.by_token(unit, self._keys, client, body["token"], now).pid != standing.pid:
                    continue
                _check_may_have(unit, client, standing, body["kind"])
                standings.add_account(unit, account)
                self._audit(unit, client, BOUND, account_id, now)
                if public:
                    review = _review(reg, account, now)
                    reviews.add(unit, review)
                    answer = 202, self._showing.of(client, review, standing, [account])
                else:
                    answer = 201, self._showing.account(client, account, standing)
                attempt.finish(unit, answer)
            return answer
        raise _moving()

    def change(self, client: Client, account: str, body: Mapping[str, Any], idempotency: Idempotency | None) -> Answer:
        """Rename an account, or change the provider's own id of it; return (200, account).

        A public account whose review was returned goes back in review with its new handle.

        Raises:
            InvalidFieldError, VaultError: nothing to change, no such account, closed, or the handle is taken.
        """
        if not body:
            raise InvalidFieldError("", "handle, external_id, or both")
        handle = handles.parse_handle(body["handle"], "/handle") if "handle" in body else None

        def effect(attempt: Attempt) -> Answer:
            for _ in range(_TRIES):
                with self._directory.reading() as unit:
                    found = self._open(unit, client, account)
                renamed = None if handle is None else self._bound(replace(found, handle=handle))
                with self._directory.writing() as unit:
                    if self._open(unit, client, account).pid != found.pid:
                        continue
                    answer = self._changed(unit, client, found, renamed, body.get("external_id"))
                    attempt.finish(unit, answer)
                return answer
            raise _moving()

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def _changed(
        self, unit: Unit, client: Client, found: AccountRow, renamed: AccountRow | None, external_id: str | None
    ) -> Answer:
        now = self._now()
        if external_id is not None:
            standings.set_external_id(unit, found, external_id)
        if renamed is not None:
            standings.rename(unit, renamed)
            self._audit(unit, client, "account.renamed", found.id, now)
            if reviews.resubmit_account(unit, client.id, found.id, now):
                standings.set_account_state(unit, found.id, client.id, "in_review")
        row = standings.account_by_id(unit, client.id, found.id)
        standing = standings.find(unit, found.pid)
        if row is None or standing is None:
            raise VaultError(Kind.NOT_FOUND, "no such account")
        return 200, self._showing.account(client, row, standing)

    def close(self, client: Client, account: str, idempotency: Idempotency | None) -> Answer:
        """Close an account for ever and free its handle; return (204, nothing). Idempotent.

        Raises:
            VaultError: no such account.
        """

        def effect(attempt: Attempt) -> Answer:
            answer: Answer = (204, {})
            with self._directory.writing() as unit:
                found = self._target(unit, client, account).account
                if found is not None and found.state != "closed":
                    self.end(unit, client, found.provider, found.id)
                attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def end(self, unit: Unit, client: Client, owner: str, account_id: bytes) -> None:
        """Close an account of a provider, its open review too, in a transaction of the caller. Idempotent."""
        standings.close_account(unit, owner, account_id)
        reviews.withdraw_account(unit, owner, account_id)
        self._audit(unit, client, "account.closed", account_id, self._now())

    @staticmethod
    def _target(unit: Unit, client: Client, account: str) -> Target:
        return targets.by_account(unit, client, account)

    def _open(self, unit: Unit, client: Client, account: str) -> AccountRow:
        found = self._target(unit, client, account).account
        if found is None or found.state == "closed":
            raise VaultError(Kind.CONFLICT, "this account is closed")
        return found

    def _bound(self, account: AccountRow) -> AccountRow:
        bind = {"provider": account.provider, "handle": account.handle, "pid": account.pid, "account": account.id}
        return replace(account, mac=self._keys.bind_account(bind))

    def _audit(self, unit: Unit, client: Client, kind: str, account_id: bytes, now: int) -> None:
        # An account is bound once, and renamed as often as its provider likes.
        audit_id = self._keys.audit_ids(kind, account_id)[0] if kind == BOUND else random_bytes(_ID_BYTES)
        answers.audit(unit, audit_id, kind, now // 60, client.id, self._keys.seal_audit(audit_id, account_id))


def cap_of(policy: Mapping[str, Any], kind: str) -> int | None:
    """Return how many accounts of a kind one person may have at a provider; None: as many as he likes."""
    cap: int | None = policy.get("caps", {}).get(kind)
    return cap


def _check_may_have(unit: Unit, client: Client, standing: StandingRow, kind: str) -> None:
    if standing.assurance == "none":
        raise VaultError(Kind.CONFLICT, "this person is not verified yet; accounts are added after the approval")
    cap = cap_of(client.policy, kind)
    if cap is not None and standings.count_accounts(unit, standing.pid, kind, _COUNTED) >= cap:
        raise VaultError(Kind.CAP_REACHED, CAP_REACHED)


def _split(ids: bytes) -> tuple[bytes, bytes, bytes]:
    return ids[:_ID_BYTES], ids[_ID_BYTES : 2 * _ID_BYTES], ids[2 * _ID_BYTES :]


def _account(
    client: Client, pid: bytes, account_id: bytes, body: Mapping[str, Any], handle: str, state: str, now: int
) -> AccountRow:
    return AccountRow(
        pid, account_id, client.id, body.get("external_id"), body["kind"], state, handle, b"", None, None, now
    )


def _review(reg: bytes, account: AccountRow, now: int) -> ReviewRow:
    return ReviewRow(
        RegistrationId(reg).raw, account.provider, account.pid, account.id, _REVIEWED, 1, "in_review", None, None,
        None, None, None, None, None, 0, None, None, now, None,
    )  # fmt: skip


def _moving() -> VaultError:
    return VaultError(Kind.CONFLICT, "another act on the same person is under way; try again", retry_after_seconds=1)
