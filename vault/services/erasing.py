"""Going and parting: a registration ends with its keys, a union that was wrong is taken back.

What one provider, or a vault reviewer, ends here is one registrant at one provider; another provider's record of the
same person is not touched. Only with a person's last registration the person is gone, and with him the tokens that
others have of him by an exchange alone, each at a time of its own.
"""

import secrets
from collections.abc import Callable
from typing import Final

from keys.errors import ConflictError, HeldError
from keys.primitives import random_bytes
from keys.tokens import PID_BYTES
from vault.domain.ids import RegistrationId
from vault.errors import Kind, VaultError
from vault.logs import event
from vault.services import targets
from vault.services.access import Client
from vault.services.accounts import Accounts
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.linking import ERASE, SPLIT, Linking
from vault.stores import operators, reviews, standings
from vault.stores.reviews import ReviewRow
from vault.stores.standings import StandingRow
from vault.stores.unit import Store

WITHDRAWN: Final = "withdrawn"
REJECTED: Final = "rejected"
_DAY_SECONDS: Final = 86_400


class Erasing:
    """The flow of section 6.8 of the design, for one registration; and splits."""

    def __init__(
        self,
        directory: Store,
        linking: Linking,
        accounts: Accounts,
        idempotent: Idempotent,
        now: Callable[[], int],
        *,
        spread_seconds: Callable[[], int],
    ) -> None:
        self._directory, self._linking, self._accounts, self._idempotent = directory, linking, accounts, idempotent
        self._now, self._spread_seconds = now, spread_seconds

    def withdraw(self, client: Client, reg: str, idempotency: Idempotency | None) -> Answer:
        """End a registration as a client asks for it; return (204, nothing). Idempotent.

        Raises:
            VaultError, HeldError: see `erase`.
        """

        def effect(attempt: Attempt) -> Answer:
            answer: Answer = (204, {})
            self.erase(client, reg)
            with self._directory.writing() as unit:  # who dies before this is answered alike at the next try
                attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def erase(self, client: Client, reg: str) -> None:
        """End a registration: keys, standing and token at once; open accounts keep reading. Idempotent.

        Raises:
            VaultError: there is none of this id that is this client's to end.
            HeldError: a case needs it.
        """
        row, standing = self._registration(client, reg)
        if row.state == WITHDRAWN:
            return
        if row.kind == "account":
            self._withdraw_account(client, row)
            return
        reviewer = client.role == "reviewer"
        with self._directory.reading() as unit:
            followed = row.state == REJECTED and reviews.followed(unit, row)
        if followed:
            # Its record went when its account was registered anew: what stands there now is another registration's.
            with self._directory.writing() as unit:
                reviews.withdraw_one(unit, row.reg)
            return
        if row.representative is not None:
            self._linking.act("hold.check", standing, {})  # before the representative goes, and his organisation stays
        self._end_representative(row, WITHDRAWN, client.id, reviewer=reviewer)
        self._end(standing, WITHDRAWN, client.id, reviewer=reviewer)

    def _registration(self, client: Client, reg: str) -> tuple[ReviewRow, StandingRow]:
        raw = targets.named(RegistrationId, reg, "registration").raw
        with self._directory.reading() as unit:
            row = reviews.find(unit, raw)
            standing = standings.living(unit, row.pid) if row is not None else None
        owner = row is not None and row.provider == client.id
        vault_reviewer = client.role == "reviewer" and client.provider is None
        if row is None or standing is None or row.kind == "match" or not (owner or vault_reviewer):
            raise VaultError(Kind.NOT_FOUND, "no such registration")
        return row, standing

    def _withdraw_account(self, client: Client, row: ReviewRow) -> None:
        with self._directory.writing() as unit:
            reviews.withdraw_one(unit, row.reg)
            if row.account is not None:
                self._accounts.end(unit, client, row.provider, row.account)

    def _end(self, standing: StandingRow, why: str, by: str, *, reviewer: bool) -> None:
        spread = secrets.randbelow(self._spread_seconds() + 1)
        args = {
            "by": by, "reviewer": reviewer, "why": why, "legacy": random_bytes(PID_BYTES),
            "memo": {"elsewhere": self._now() + spread, "answer": None},
        }  # fmt: skip
        ended = self._linking.act("erase", standing, args)
        if ended is not None:
            self._linking.carry_out(ERASE, ended["intent"], ended["plan"])

    def _end_representative(self, row: ReviewRow, why: str, by: str, *, reviewer: bool) -> None:
        """End the representative's standing with his organisation's, unless he is a registrant of his own here."""
        if row.representative is None:
            return
        with self._directory.reading() as unit:
            own = standings.find(unit, row.representative)
            others = bool(
                standings.accounts_of(unit, row.representative)
                or standings.aliases_of(unit, row.representative)
                or operators.operates(unit, row.representative)
            )
        if own is not None and own.link is not None and own.superseded_by is None and not others:
            self._end(own, why, by, reviewer=reviewer)

    def make_room(self, standing: StandingRow) -> None:
        """Erase the rejected record behind a standing at once: its account is being registered anew.

        Raises:
            ConflictError: the record there is not a rejected one.
        """
        with self._directory.reading() as unit:
            rows = reviews.rejected_of(unit, standing.pid)
        for row in rows:
            self._end_representative(row, REJECTED, standing.provider, reviewer=False)
        self._end(standing, REJECTED, standing.provider, reviewer=False)

    def forget_rejected(self, days: int, limit: int) -> int:
        """Erase the records of registrations that were rejected so long ago; their accounts keep standing and scope."""
        with self._directory.reading() as unit:
            rows = reviews.rejected_before(unit, self._now() - days * _DAY_SECONDS, limit)
        for row in rows:
            with self._directory.reading() as unit:
                standing = standings.find(unit, row.pid)
            if standing is not None and standing.link is not None:
                try:
                    self._linking.act("hold.check", standing, {})
                    self._end_representative(row, REJECTED, "policy", reviewer=False)
                    self._end(standing, REJECTED, "policy", reviewer=False)
                except HeldError as error:
                    event("record_kept", cause=error.kind)
        return len(rows)

    def split(self, client: Client, reg: str, reason: str, idempotency: Idempotency | None) -> Answer:
        """Part a registration from the person it was united with; return (200, {id, state}).

        Raises:
            VaultError: not his to see, not united with anyone, or both have the very same document and birth date.
        """
        row, living = self._registration(client, reg)

        def effect(attempt: Attempt) -> Answer:
            with self._directory.reading() as unit:
                own = standings.find(unit, row.pid)
                taken_in = standings.aliases_of(unit, row.pid) if row.pid != living.pid else []
                group = [row.pid, *(alias.pid for alias in taken_in)]
                back = [account.id for account in standings.accounts_of(unit, living.pid)
                        if account.merged_from in group]  # fmt: skip
            if own is None or own.assurance == "none":
                raise VaultError(Kind.CONFLICT, "only an approved registration was united with a person")
            answer = 200, {"id": reg, "state": row.state}
            memo = {"reason": reason, "answer": self._idempotent.sealed(client.id, idempotency, answer)}
            args = {"reviewer": client.id, "group": group, "accounts": back, "memo": memo}
            try:
                parted = self._linking.act("split", living, args)
            except ConflictError as error:
                raise VaultError(Kind.CONFLICT, str(error)) from None
            if parted is None:
                raise VaultError(Kind.NOT_FOUND, "no such registration")
            self._linking.carry_out(SPLIT, parted["intent"], parted["plan"], lambda unit: attempt.finish(unit, answer))
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)
