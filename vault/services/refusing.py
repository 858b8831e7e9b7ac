"""Refused attempts become leaves too: one a client, kind and minute, with how many there were.

    credentials   somebody named a client that there is, and had not its secret
    scope         a client asked for what its role or its scopes do not allow
    agreement     an exchange with an audience, or for a purpose, that was not agreed
    budget        what was agreed, or one review may take, is used up
    hold          an erasure of what a case needs
    evidence      the agent refused: the rows of an act do not agree, or it is not what this act opens

Guarantees: none of these depends on whether a person is known to the vault; who names a client that there is not leaves
nothing. The refusal stands without its row: where that cannot be written, the answer is the same, and the service's log
says so. Of one client and kind a worker writes the first hundred of a minute each, and from then on by the hundred: a
flood costs one row, and its count is short by less than a hundred a worker.
"""

import threading
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from keys.primitives import random_bytes
from vault.logs import event
from vault.stores import refusals
from vault.stores.unit import Store

EACH: Final = 100
"""Attempts of a minute that are written one by one; as many go together afterwards."""
_ID_BYTES: Final = 16
_ID_CHARACTERS: Final = 64
"""More than any client's id has."""


class Refused(StrEnum):
    """What was tried in vain; the value is what the leaf says."""

    CREDENTIALS = "credentials"
    SCOPE = "scope"
    AGREEMENT = "agreement"
    BUDGET = "budget"
    EVIDENCE = "evidence"
    HOLD = "hold"


class Refusing:
    """Counts refused attempts of one worker."""

    def __init__(self, directory: Store, now: Callable[[], int]) -> None:
        self._directory, self._now = directory, now
        self._lock, self._minute = threading.Lock(), 0
        self._seen: Counter[tuple[str, Refused]] = Counter()

    def tell(self, client_id: str, kind: Refused, count: int = 1) -> None:
        """Count attempts of a client, or of somebody who named it."""
        minute = self._now() // 60
        try:
            # By a reading: who has no secret chooses what he calls himself, and as often as he likes.
            if not self._is_known(client_id, kind):
                return
            due = self._due(client_id, kind, minute, count)
            if not due:
                return
            with self._directory.writing() as unit:
                refusals.add(unit, client_id, kind.value, minute, random_bytes(_ID_BYTES), due)
        except Exception as error:  # noqa: BLE001 - the refusal is answered, whatever stands in the way of its row
            event("refusal_not_told", cause=type(error).__name__)

    def _is_known(self, client_id: str, kind: Refused) -> bool:
        """Tell whether there is such a client; one that was counted lately is."""
        if (client_id, kind) in self._seen:
            return True
        if len(client_id) > _ID_CHARACTERS or not client_id.isprintable():
            return False
        with self._directory.reading() as unit:
            return refusals.is_client(unit, client_id)

    def _due(self, client_id: str, kind: Refused, minute: int, count: int) -> int:
        """Return how many are to be written now: each of the first, then by the hundred."""
        with self._lock:
            if minute != self._minute:
                self._minute = minute
                self._seen.clear()
            before = self._seen[client_id, kind]
            self._seen[client_id, kind] = after = before + count
        return _written(after) - _written(before)


def _written(count: int) -> int:
    return count if count <= EACH else count - count % EACH
