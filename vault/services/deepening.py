"""All records' fields under other record keys, beside the traffic: what `idvault-keys rewrap --deep` has carried out.

Guarantees: a record whose fields another act changes meanwhile is left to it, and comes again in the next pass. Killed
anywhere, every record opens, and it goes on where it was.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from vault.services.linking import Linking

_BATCH: Final = 250
_PASSES: Final = 24
_WAIT_SECONDS, _MOST_SECONDS = 0.05, 5.0
"""After the first pass, and twice as long after each other one up to so long: over a minute in all.

What is being registered is not sealed anew before that ends; and whoever came in the minute in which it began counts.
"""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Deepened:
    """How many records were sealed anew, how many are left, and how many another hand altered."""

    sealed: int
    left: int
    altered: int


class Deepening:
    """Drives the agent's acts, and writes what they seal."""

    def __init__(self, linking: Linking) -> None:
        self._linking = linking

    def run(self, progress: Progress) -> Deepened:
        """Go on until nothing is left; `progress` is told how many records were sealed so far.

        Raises:
            ConflictError: officers did not begin it.
            KeysError, VaultError: the agent or a store is away: say it again.
        """
        made, found = 0, dict[str, Any]()
        for tried in range(_PASSES):
            after, altered = b"", 0
            while True:
                batch = self._linking.agent.call("deep", {"after": after, "limit": _BATCH}, self._linking.answers)
                made, altered = made + self._written(batch["items"]), altered + batch["altered"]
                progress(made)
                after = batch["last"]
                if not after:
                    break
            found = self._linking.agent.call("deep.end", {"altered": altered})
            if not found["left"]:
                break
            time.sleep(min(_WAIT_SECONDS * 2**tried, _MOST_SECONDS))
        return Deepened(found["sealed"], found["left"], found["altered"])

    def _written(self, items: list[dict[str, Any]]) -> int:
        if not items:
            return 0
        self._linking.replace_sealed([(item["rid"], item["was"], item["fields"]) for item in items])
        rids = [item["rid"] for item in items]
        return int(self._linking.agent.call("deep.done", {"rids": rids}, self._linking.answers)["sealed"])
