"""Everybody's tags under the next version of the fingerprint key, beside the traffic; then those of before go.

Guarantees: the former version is written and asked until nobody lacks the next one. What a ban keeps of the erased
stays, for nobody can make it anew. Killed anywhere, it goes on where it was.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vault.services.linking import Linking
from vault.stores import standings
from vault.stores.standings import StandingRow
from vault.stores.unit import Store

KIND: Final = "retag"
_PAGE: Final = 500
_PASSES: Final = 5
"""Who is changed by another act meanwhile waits for the next."""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Retagged:
    """How many registrants were given tags, how many lack them, and how many tags bans keep under former versions."""

    version: int
    retagged: int
    left: int
    bans: int


class Retagging:
    """Makes tags anew."""

    def __init__(self, directory: Store, linking: Linking) -> None:
        self._directory, self._linking = directory, linking

    def run(self, progress: Progress) -> Retagged:
        """Make all tags under the newest version; `progress` is told how many registrants were looked at.

        Raises:
            KeysError, VaultError: the agent or a store is away, or an act of before is not finished: say it again.
        """
        made, left = 0, 0
        active: list[int] = self._linking.agent.call("retag.versions", {})["active"]
        for _ in range(_PASSES if len(active) > 1 else 0):
            self._linking.finish_due()
            lacking = 0
            for row in self._lacking(active, progress):
                made += self._retag(row)
                lacking += 1
            left = sum(1 for _ in self._lacking(active, progress)) if lacking else 0
            if not left:
                break
        found = self._linking.agent.call("retag.done", {}) if not left else {"active": active, "known": active}
        return Retagged(found["active"][-1], made, left, self._pruned(found["active"], found["known"]))

    def _lacking(self, active: Sequence[int], progress: Progress) -> Iterator[StandingRow]:
        """Yield those whose tags under the newest version are fewer than under the oldest that is written."""
        after, looked = b"", 0
        while True:
            with self._directory.reading() as unit:
                rows = standings.page(unit, after, _PAGE)
                tags = standings.tags_by_pid(unit, [row.pid for row in rows])
            if not rows:
                return
            for row in rows:
                of_version = [sum(tag[0] == version for tag in tags.get(row.pid, ())) for version in active]
                if row.link is not None and of_version[-1] < of_version[0]:
                    yield row
            after, looked = rows[-1].pid, looked + len(rows)
            progress(looked)

    def _retag(self, row: StandingRow) -> int:
        planned = self._linking.act(KIND, row, {})
        if planned is None:
            return 0
        self._linking.carry_out(KIND, planned["intent"], planned["plan"])
        return 1

    def _pruned(self, active: Sequence[int], known: Sequence[int]) -> int:
        """Delete tags of versions that are not written any more; return how many bans keep under them."""
        bans = 0
        for version in range(1, active[-1]):
            if version in active:
                continue
            with self._directory.writing() as unit:
                standings.forget_version(unit, version, kept=version not in known)
                bans += standings.kept_under(unit, version)
            self._linking.forget_fingerprints(version)
        return bans
