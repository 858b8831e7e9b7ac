"""The transparency report of this vault, from the counts that its log store keeps; a mirror gives the same bytes."""

from dataclasses import dataclass
from typing import Any

import orjson

from keys.checkpoints import Checkpoint
from keys.notes import Note
from vault.domain.transparency import Period, report
from vault.errors import Kind, VaultError
from vault.stores import log
from vault.stores.unit import Store


@dataclass(frozen=True, slots=True)
class Reporting:
    """Reads the log store alone."""

    store: Store

    def transparency(self, period: Period) -> dict[str, Any]:
        """Return the report of a period, from the newest checkpoint.

        Raises:
            VaultError: nothing was signed yet, or the store cannot be read now.
        """
        with self.store.snapshot() as unit:
            newest = log.newest(unit)
            if newest is None:
                raise VaultError(Kind.NOT_FOUND)
            head = Checkpoint.parse(Note.parse(newest[1]).text)
            numbers = log.tallies(unit, head.size)
            tallies = {
                month: (number, orjson.loads(log.entries(unit, number, 1)[0])["tally"])
                for month, number in numbers.items()
                if month in period.months()
            }
            counts = log.signed_counts(unit, head.size, period.days)
        return report(period, head.origin, head.size, head.root, counts, tallies, max(numbers, default=""))
