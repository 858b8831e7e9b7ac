"""Approving imported registrations by one word, a vault reviewer's or the officers'.

Whoever matches somebody stays in the reviewers' queue. Those who plainly match nobody are approved together, some
hundred in one act of the agent; whoever is not that plain is decided alone, which says why he is left.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from keys.agent.client import AgentClient
from keys.errors import BudgetError, BusyError, ConflictError, MissingError
from vault.domain.ids import RegistrationId
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.drafting import Ids
from vault.services.enrolling import pending
from vault.services.importing import Importing
from vault.services.linking import APPROVE, Linking
from vault.services.reviewing import Reviewing, caps_of
from vault.stores import batches, clients, imports, reviews
from vault.stores.reviews import ReviewRow
from vault.stores.unit import Store

_LISTING: Final = "imports/decision"
TOGETHER: Final = 200
"""Registrations in one act: each store's one writer holds up others for a tenth of a second at most."""


class Approving:
    """The work of `POST /v1/imports/{id}/decision`, and of `idvault approve-import`."""

    def __init__(
        self,
        directory: Store,
        officer: AgentClient,
        importing: Importing,
        reviewing: Reviewing,
        linking: Linking,
        now: Callable[[], int],
        *,
        step_seconds: int,
    ) -> None:
        self._directory, self._officer, self._importing, self._reviewing = directory, officer, importing, reviewing
        self._linking, self._now, self._step_seconds = linking, now, step_seconds

    def approve_by_officers(self, import_id: str, method: str, progress: Callable[[int], None]) -> dict[str, Any]:
        """Approve an import as a whole by the officers' word; return {approved, left: how many match somebody}.

        Where there are officers, it returns {request, state: pending} until they approved just that; then say it again.

        Raises:
            VaultError: no such import, or there is nothing in it.
            KeysError: the agent refused, or what officers approved is used up.
        """
        row = self._importing.find(_officers(""), import_id)
        shown = self._importing.show(_officers(""), import_id)
        with self._directory.reading() as unit:
            owner = clients.find(unit, row.provider)
        count = shown["accepted"]
        if owner is None or count < 1 or row.dry_run or row.state != "in_review":
            raise VaultError(Kind.CONFLICT, "there are no registrations of this import to approve")
        args = {"subject": import_id, "client": owner.id, "sector": owner.sector, "count": count, "method": method}
        given = self._officer.call("bulk.approve", args)
        if "pending" in given:
            return pending(given)
        approved, left, cursor = 0, 0, None
        while True:
            told = self.approve(_officers(given["reviewer"]), import_id, method, cursor)
            approved, left, cursor = approved + told["approved"], left + len(told["left"]), told.get("next")
            progress(approved + left)
            if cursor is None:
                return {"approved": approved, "left": left}

    def approve(self, client: Client, import_id: str, method: str, cursor: str | None) -> dict[str, Any]:
        """Approve for some seconds; return {approved, left: [reg], next?}: `left` match somebody, or changed meanwhile.

        Raises:
            VaultError: no such import, not a vault reviewer, or the cursor is not one of this list.
        """
        if client.provider is not None:
            raise VaultError(Kind.FORBIDDEN, "only a vault reviewer approves an import as a whole")
        row = self._importing.find(client, import_id)
        number, place = self._importing.after(_LISTING, client, cursor)
        end, approved, left = time.monotonic() + self._step_seconds, 0, list[str]()
        while True:
            with self._directory.reading() as unit:
                found = imports.chunks(unit, row.id, number - 1, 1)
            if not found:
                return {"approved": approved, "left": left}
            (chunk,) = found
            for at in range(place if chunk.number == number else 0, chunk.rows, TOGETHER):
                if time.monotonic() > end:
                    following = self._importing.cursor(_LISTING, client, (chunk.number, at))
                    return {"approved": approved, "left": left, "next": following}
                regs = [Ids.of(chunk.ids, one).reg for one in range(at, min(at + TOGETHER, chunk.rows))]
                told, stopped = self._decided(client, regs, method, end)
                approved += sum(told.values())
                left += [str(RegistrationId(reg)) for reg in regs[:stopped] if told.get(reg) is False]
                if stopped is not None:  # who is after it is seen again, and told of then
                    following = self._importing.cursor(_LISTING, client, (chunk.number, at + stopped))
                    return {"approved": approved, "left": left, "next": following}
            number, place = chunk.number + 1, 0

    def _decided(
        self, client: Client, regs: Sequence[bytes], method: str, end: float
    ) -> tuple[dict[bytes, bool], int | None]:
        """Return, of those registrations that are in review, whether each was approved now; and where it stopped.

        One at least of those who are decided alone comes before the end.
        """
        rows = self._open(regs)
        told = self._approved_together(client, list(rows.values()), method) if rows else {}
        alone = [reg for reg in rows if reg not in told]
        if alone:
            self._linking.finish_due()  # what a crash left half-way is approved by this
        still_open = self._open(alone) if alone else {}
        for done, reg in enumerate(still_open):
            if done and time.monotonic() > end:
                return told, regs.index(reg)
            told[reg] = self._approved(client, reg, method)
        return told, None

    def _open(self, regs: Sequence[bytes]) -> dict[bytes, ReviewRow]:
        with self._directory.reading() as unit:
            found = reviews.find_all(unit, regs)
        return {reg: found[reg] for reg in regs if reg in found and found[reg].state == "in_review"}

    def _approved_together(self, client: Client, rows: Sequence[ReviewRow], method: str) -> dict[bytes, bool]:
        """Approve those who match nobody in one act; return whom it approved, and whom it found to match."""
        now = self._now()
        plain = [row for row in rows if _is_plain(row, client, now)]
        items = self._items(plain)
        if not items:
            return {}
        memo = {
            "state": "approved", "method": method, "reason": method, "fix": [], "reviewer": client.id, "at": now,
            "provider": plain[0].provider,
        }  # fmt: skip
        args = {"reviewer": client.id, "memo": memo, "items": items}
        try:
            told = self._linking.agent.call("review.approve", args, self._linking.answers)
        except (BudgetError, BusyError, ConflictError, MissingError):
            return {}  # nobody was approved: each alone tells whose doing it is
        if told["approved"]:
            self._linking.carry_out(APPROVE, told["intent"], told["plan"])
        by_place = [*((at, False) for at in told["matched"]), *((at, True) for at in told["approved"])]
        return {items[at]["memo"]["reg"]: is_approved for at, is_approved in by_place}

    def _items(self, rows: Sequence[ReviewRow]) -> list[dict[str, Any]]:
        """Return what the act is told of each: all of them of one provider."""
        pids = {row.pid for row in rows} | {row.representative for row in rows if row.representative is not None}
        with self._directory.reading() as unit:
            found, owned = batches.find(unit, pids), batches.accounts(unit, {row.pid for row in rows})
            owner = clients.find(unit, rows[0].provider) if rows else None
        policy: Mapping[str, Any] = owner.policy if owner is not None else {}
        there = [row for row in rows if {row.pid, row.representative or row.pid} <= found.keys()]
        standings = [found[pid] for row in there for pid in (row.pid, row.representative) if pid is not None]
        shown = dict(zip((one.pid for one in standings), self._linking.evidence_of(standings), strict=True))
        return [
            {
                "standing": shown[row.pid],
                "representative": shown.get(row.representative or b""),
                "caps": caps_of(policy, row, owned.get(row.pid, [])),
                "memo": {"reg": row.reg, "attempt": row.attempt, "pid": row.pid, "account": row.account},
            }
            for row in there
        ]

    def _approved(self, client: Client, reg: bytes, method: str) -> bool:
        try:
            self._reviewing.decide_unseen(client, str(RegistrationId(reg)), method)
        except VaultError as error:
            if error.kind in {Kind.CANDIDATES_CHANGED, Kind.LEASED, Kind.DECIDED, Kind.CONFLICT, Kind.CAP_REACHED}:
                return False
            raise
        return True


def _is_plain(row: ReviewRow, client: Client, now: int) -> bool:
    """Tell whether a case is a registration's, with no reviewer at work on it."""
    held = row.lease_by not in {None, client.id} and (row.lease_until or 0) > now
    return row.kind == "identity" and not held


def _officers(reviewer: str) -> Client:
    """Return whom the officers' word decides as: no client that could ever be authenticated."""
    return Client(reviewer, "reviewer", frozenset(), None, None, {})
