"""Everybody's links and tags under the next versions of their keys, beside the traffic; then those of before go.

Guarantees: the former version is written and asked until nobody lacks the next one. What a ban keeps of the erased
stays, for nobody can make it anew. Killed anywhere, it goes on where it was.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vault.services.linking import Linking
from vault.stores import batches, standings, tags
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
        """Make all links and tags under the newest versions; `progress` is told how many registrants were looked at.

        Raises:
            KeysError, VaultError: the agent or a store is away, or an act of before is not finished: say it again.
        """
        made, left = 0, 0
        found = self._linking.agent.call("retag.versions", {})
        for _ in range(_PASSES):
            self._linking.finish_due()
            lacking = 0
            for row in self._lacking(found, progress):
                made += self._retag(row)
                lacking += 1
            left = sum(1 for _ in self._lacking(found, progress)) if lacking else 0
            if not left:
                break
        if not left:
            found = self._linking.agent.call("retag.done", {})
            self._forget_person_tags(found["link"])
            bans = self._forget_tags(found["fingerprint"])
        else:
            bans = 0
        return Retagged(found["fingerprint"]["active"][-1], made, left, bans)

    def _lacking(self, found: Mapping[str, Any], progress: Progress) -> Iterator[StandingRow]:
        """Yield those whose link or tags are not all of the newest versions."""
        if not _overlapping(found):
            return
        fingerprint, links = found["fingerprint"]["active"], found["link"]
        looked = 0
        for rows, local, person in self._pages():
            for row in rows:
                if row.link is None or row.sector not in links:
                    continue
                own, newest = links[row.sector]["active"], links[row.sector]["active"][-1]
                of_key = [sum(tag[0] == version for tag in local.get(row.pid, ())) for version in fingerprint]
                of_link = [sum(tag[-1] == version for tag in person.get(row.pid, ())) for version in own]
                if row.link[-1] != newest or of_key[-1] < of_key[0] or of_link[-1] < of_link[0]:
                    yield row
            looked += len(rows)
            progress(looked)

    def _pages(self) -> Iterator[tuple[list[StandingRow], dict[bytes, list[bytes]], Mapping[bytes, list[bytes]]]]:
        """Yield all standings, each page with their local tags and their person tags."""
        after = b""
        while True:
            with self._directory.reading() as unit:
                rows = standings.page(unit, after, _PAGE)
                pids = {row.pid for row in rows}
                local, person = tags.tags_by_pid(unit, pids), batches.tags(unit, pids)
            if not rows:
                return
            after = rows[-1].pid
            yield rows, local, person

    def _retag(self, row: StandingRow) -> int:
        planned = self._linking.act(KIND, row, {})
        if planned is None:
            return 0
        self._linking.carry_out(KIND, planned["intent"], planned["plan"])
        return 1

    def _forget_person_tags(self, links: Mapping[str, Any]) -> None:
        """Delete person tags of versions that are not written any more."""
        if all(len(one["known"]) == 1 for one in links.values()):
            return
        for rows, _, person in self._pages():
            stale = [
                row
                for row in rows
                if row.sector in links
                and any(tag[-1] not in links[row.sector]["active"] for tag in person.get(row.pid, ()))
            ]
            if stale:
                with self._directory.writing() as unit:
                    for row in stale:
                        tags.forget_person_tags(unit, row.pid, links[row.sector]["active"])

    def _forget_tags(self, found: Mapping[str, Any]) -> int:
        """Delete tags of versions that are not written any more; return how many bans keep under them."""
        bans = 0
        for version in range(1, found["active"][-1]):
            with self._directory.writing() as unit:
                tags.forget_version(unit, version, kept=version not in found["known"])
                bans += tags.kept_under(unit, version)
            self._linking.forget_fingerprints(version)
        return bans


def _overlapping(found: Mapping[str, Any]) -> bool:
    """Tell whether a key has a former version that may be under something."""
    return any(len(one["known"]) > 1 for one in (found["fingerprint"], *found["link"].values()))
