"""Approving imported registrations by one word, a vault reviewer's or the officers'.

Whoever matches somebody stays in the reviewers' queue.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from keys.agent.client import AgentClient
from vault.domain.ids import RegistrationId
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.drafting import Ids
from vault.services.enrolling import pending
from vault.services.importing import Importing
from vault.services.reviewing import Reviewing
from vault.stores import clients, imports, reviews
from vault.stores.unit import Store

_LISTING: Final = "imports/decision"


class Approving:
    """The work of `POST /v1/imports/{id}/decision`, and of `idvault approve-import`."""

    def __init__(
        self, directory: Store, officer: AgentClient, importing: Importing, reviewing: Reviewing, *, step_seconds: int
    ) -> None:
        self._directory, self._officer, self._importing, self._reviewing = directory, officer, importing, reviewing
        self._step_seconds = step_seconds

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
            for at in range(place if chunk.number == number else 0, chunk.rows):
                if time.monotonic() > end:
                    following = self._importing.cursor(_LISTING, client, (chunk.number, at))
                    return {"approved": approved, "left": left, "next": following}
                reg = Ids.of(chunk.ids, at).reg
                if self._is_open(reg):
                    if self._approved(client, reg, method):
                        approved += 1
                    else:
                        left.append(str(RegistrationId(reg)))
            number, place = chunk.number + 1, 0

    def _is_open(self, reg: bytes) -> bool:
        with self._directory.reading() as unit:
            row = reviews.find(unit, reg)
        return row is not None and row.state == "in_review"

    def _approved(self, client: Client, reg: bytes, method: str) -> bool:
        try:
            self._reviewing.decide_unseen(client, str(RegistrationId(reg)), method)
        except VaultError as error:
            if error.kind in {Kind.CANDIDATES_CHANGED, Kind.LEASED, Kind.DECIDED, Kind.CONFLICT, Kind.CAP_REACHED}:
                return False
            raise
        return True


def _officers(reviewer: str) -> Client:
    """Return whom the officers' word decides as: no client that could ever be authenticated."""
    return Client(reviewer, "reviewer", frozenset(), None, None, {})
