"""Fills up a log store that lost its end, from anybody's copy of the log: after an older store was put back.

The copy is believed as far as the agent signed: it is verified from its first entry, must reach what was signed last,
and must begin with what the store still has. What lies sealed beside the leaves is not in a copy, and stays lost for
those that were filled in. Rows that wait in an outbox though their leaf was signed, as after a kill, are told no second
time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keys.agent.client import AgentClient
from keys.leaves import read as read_leaf
from keys.merkle import leaf_hash
from vault.log import tiles
from vault.log.sources import CHECKPOINT, Read
from vault.log.tiles import Tile
from vault.log.verify import BadLogError, Head, Verified, continues, verify
from vault.services.reading_log import LogReader
from vault.services.sequencing import MOST_IDS, edge_of, settle, waiting
from vault.stores import log
from vault.stores.unit import Store

Told = tuple[str, int, bytes]
"""A leaf by what is the same whenever it is made: type, minute, its first subject."""


@dataclass(frozen=True, slots=True)
class Refilled:
    """Entries before and after, and how many rows that waited had their leaves already."""

    before: int
    after: int
    settled: int


class Refilling:
    """Writes the log store; the sequencer must not run meanwhile."""

    def __init__(
        self, directory: Store, log_store: Store, outbox: AgentClient, signer: AgentClient, *, origin: str
    ) -> None:
        """Take the stores, the agent's sockets `outbox` and `log`, and the name that the log is signed by at first."""
        self._directory, self._log, self._outbox, self._signer = directory, log_store, outbox, signer
        self._reader = LogReader(log_store, signer, origin)

    def refill(self, read: Read, now_minute: int, progress: Callable[[int], None]) -> Refilled:
        """Fill the store up to what a copy has.

        Args:
            read: of the copy.
            now_minute: since 1970.
            progress: is told how many entries of the copy were verified.

        Raises:
            BadLogError: the copy is not this log, ends before what was signed last, or is not what it says.
            KeysError: the agent is sealed or not there.
            VaultError: a store cannot be read or written now; what was filled in stays, a retry goes on.
        """
        note = read(CHECKPOINT)
        key, last = self._reader.signed_last()
        found = verify(lambda name: note if name == CHECKPOINT else read(name), key, now_minute, progress)
        continues(found, last)
        with self._log.reading() as unit:
            before = log.size(unit)
        if before > found.head.size:
            raise BadLogError("the copy is shorter than the log store")
        if before:
            continues(found, Head(last.origin, before, self._reader.tree(before).root()))
        told = self._fill(read, before, found)
        with self._log.writing() as unit:
            log.publish(unit, found.head.size, note)
        return Refilled(before, found.head.size, self._settle(told, now_minute))

    def _fill(self, read: Read, first: int, found: Verified) -> set[Told]:
        told = set[Told]()
        edge = edge_of(self._log, first)
        for tile in tiles.of_level(None, found.head.size):
            if tile.first + tile.width <= first:
                continue
            entries = tiles.entries_of(read(tile.path))[max(0, first - tile.first) :]
            if [leaf_hash(entry) for entry in entries] != found.hashes[first : first + len(entries)]:
                raise BadLogError("it is not the one that was verified", first)
            grown = tiles.grown(edge, first, [leaf_hash(entry) for entry in entries])
            with self._log.writing() as unit:
                log.put_back(unit, first, entries, _hashes(grown))
            told.update(_told(read_leaf(entry)) for entry in entries)
            first += len(entries)
        return told

    def _settle(self, told: set[Told], now_minute: int) -> int:
        """Have rows go whose leaves were filled in: those were taken first, and stand before all others."""
        settled, last = 0, -1
        while settled > last:
            last = settled
            settled += self._settle_some(told, now_minute)
        return settled

    def _settle_some(self, told: set[Told], now_minute: int) -> int:
        taken = self._outbox.call("outbox.take", {"limit": MOST_IDS})["rows"]
        ids = [row["id"] for row in taken if _told(read_leaf(row["entry"])) in told]
        rows = waiting(self._directory, MOST_IDS, now_minute * 60)
        entries = self._signer.call("log.commit", {"rows": rows})["entries"]
        own = [row.id for row, entry in zip(rows, entries, strict=True) if _told(read_leaf(entry)) in told]
        settle(self._directory, own)
        self._outbox.call("outbox.settle", {"ids": ids})
        return len(ids) + len(own)


def _hashes(grown: dict[Tile, bytes]) -> dict[tuple[int, int], bytes]:
    return {(tile.level or 0, tile.number): hashes for tile, hashes in grown.items()}


def _told(leaf: dict[str, Any]) -> Told:
    return leaf["type"], leaf["minute"], next(iter(leaf["subjects"]), b"")
