"""Taking an import back: every account and registration that it made ends as if each were ended by itself.

What has become part of another person since is kept, and named: that person has a life of his own.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from keys.errors import HeldError
from keys.primitives import random_bytes
from vault.domain.ids import RegistrationId
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.accounts import Accounts
from vault.services.drafting import Ids
from vault.services.erasing import Erasing
from vault.services.idempotency import Answer
from vault.services.importing import LEGACY, Importing
from vault.stores import imports, standings
from vault.stores.imports import ChunkRow, ImportRow
from vault.stores.unit import Store, Unit

_DIGEST_BYTES: Final = 32
_CHUNKS_AT_ONCE: Final = 1


class Undoing:
    """The work of `POST /v1/imports/{id}/undo`."""

    def __init__(
        self,
        directory: Store,
        importing: Importing,
        accounts: Accounts,
        erasing: Erasing,
        now: Callable[[], int],
        *,
        step_seconds: int,
    ) -> None:
        self._directory, self._importing, self._accounts, self._erasing = directory, importing, accounts, erasing
        self._now, self._step_seconds = now, step_seconds

    def undo(self, client: Client, import_id: str) -> Answer:
        """Undo for some seconds; return (202, import) while there is more, (200, import) when all is undone.

        The answer's `kept` lists the rows of this step that became part of another person, or that a case holds: they
        stay.

        Raises:
            VaultError: no such import, or its time has run out.
        """
        row, now = self._importing.find(client, import_id), self._now()
        if row.undone is None and now > self._importing.undo_until(row):
            raise VaultError(Kind.CONFLICT, "the time in which this import could be undone is over")
        with self._directory.writing() as unit:
            # Another file digest: the file may be imported anew at once.
            imports.forget_file(unit, row.id, random_bytes(_DIGEST_BYTES), now)
        kept = self._proceed(client, row)
        answer: dict[str, Any] = self._importing.show(client, import_id) | {"kept": kept}
        return (200 if answer["undone"] else 202), answer

    def _proceed(self, client: Client, row: ImportRow) -> list[int]:
        kept: list[int] = []
        end = time.monotonic() + self._step_seconds
        while time.monotonic() < end:
            with self._directory.reading() as unit:
                found = imports.chunks(unit, row.id, 0, _CHUNKS_AT_ONCE, left=True)
            if not found:
                break
            (chunk,) = found
            refused = {at - chunk.first for at, _ in chunk.refusals}
            for place in range(chunk.rows):
                if place in refused or row.dry_run:
                    continue
                if not self._end(client, row, Ids.of(chunk.ids, place)):
                    kept.append(chunk.first + place)
                if time.monotonic() > end:
                    return kept
            self._mark(row, chunk)
        return kept

    def _mark(self, row: ImportRow, chunk: ChunkRow) -> None:
        with self._directory.writing() as unit:
            imports.mark_undone(unit, row.id, chunk.number)

    def _end(self, client: Client, row: ImportRow, ids: Ids) -> bool:
        """End what one row became; False if it is part of another person now, or a case holds it. Idempotent."""
        with self._directory.reading() as unit:
            if _is_joined(unit, ids.pid):
                return False
            account = standings.account_by_id(unit, client.id, ids.account)
            if account is None or account.state == "closed":
                return True
        if row.state != LEGACY:
            try:
                self._erasing.erase(client, str(RegistrationId(ids.reg)))
            except HeldError:
                return False
        with self._directory.writing() as unit:
            self._accounts.end(unit, client, client.id, ids.account)
        return True


def _is_joined(unit: Unit, pid: bytes) -> bool:
    standing = standings.find(unit, pid)
    return standing is not None and (standing.superseded_by is not None or bool(standings.aliases_of(unit, pid)))
