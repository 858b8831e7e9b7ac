"""Approving imported registrations by a vault reviewer's one word; whoever matches somebody stays in his queue."""

import time
from typing import Any, Final

from vault.domain.ids import RegistrationId
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.drafting import Ids
from vault.services.importing import Importing
from vault.services.reviewing import Reviewing
from vault.stores import imports, reviews
from vault.stores.unit import Store

_LISTING: Final = "imports/decision"


class Approving:
    """The work of `POST /v1/imports/{id}/decision`."""

    def __init__(self, directory: Store, importing: Importing, reviewing: Reviewing, *, step_seconds: int) -> None:
        self._directory, self._importing, self._reviewing = directory, importing, reviewing
        self._step_seconds = step_seconds

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
