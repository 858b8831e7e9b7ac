"""The transparency report of this vault, from the counts that its log store keeps; a mirror gives the same bytes."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from keys.checkpoints import Checkpoint
from keys.notes import Note
from vault.domain.transparency import Counts, Period, report
from vault.errors import Kind, VaultError
from vault.stores import log
from vault.stores.unit import Store, Unit

_AT_ONCE: Final = 1000


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
            counts = _signed(unit, head.size, log.counts(unit, period.days))
        return report(period, head.origin, head.size, head.root, counts, tallies, max(numbers, default=""))


def _signed(unit: Unit, size: int, counts: Counts) -> Counts:
    """Return the counts without what stands beyond the checkpoint: it is not signed yet."""
    left = dict(counts)
    while beyond := log.entries(unit, size, _AT_ONCE):
        for key, (leaves, times) in log.counted([orjson.loads(entry) for entry in beyond]).items():
            if key in left:
                left[key] = left[key][0] - leaves, left[key][1] - times
        size += len(beyond)
    return {key: found for key, found in left.items() if found[0]}
