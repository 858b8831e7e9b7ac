"""What the public log serves: its newest checkpoint, and the tiles and bundles of the tree that it signed."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson

from keys.agent.client import AgentClient
from keys.errors import NoteError
from keys.notes import ED25519, Note, VerifierKey
from vault.errors import Kind, VaultError
from vault.log import sources, tiles
from vault.log.proofs import LogProof
from vault.log.proving import Tree
from vault.log.tiles import Tile
from vault.log.verify import Head
from vault.stores import log
from vault.stores.unit import Store

_BLOCK: Final = 256
"""Entries by whose latest minute a place in the log is found: some of a round are told later than others."""
_HASH_BYTES = 32
_LAST_DAY = 2**31


@dataclass(frozen=True, slots=True)
class LogReader:
    """The log as anybody may read it. Nothing beyond the newest checkpoint is served: it is not signed yet."""

    store: Store
    signer: AgentClient
    origin: str
    """The name that the log is signed by at first."""

    def signed_last(self) -> tuple[str, Head]:
        """Return the log's public key, and what the agent signed last; size 0 if nothing was.

        Raises:
            KeysError: the agent is not there, or sealed.
        """
        last = self.signer.call("log.head", {})
        origin = last["origin"] or self.origin
        return str(VerifierKey(origin, ED25519, last["public"])), Head(origin, last["size"], last["root"])

    def size(self) -> int:
        """Return how many entries stand in the store, signed or not.

        Raises:
            VaultError: the store cannot be read now.
        """
        with self.store.reading() as unit:
            return log.size(unit)

    def counts(self, size: int) -> dict[tuple[int, str], tuple[int, int]]:
        """Return (day since 1970, type) → (leaves, how many attempts they say), of the leaves under a size.

        Raises:
            VaultError: the store cannot be read now.
        """
        with self.store.snapshot() as unit:
            return log.signed_counts(unit, size, range(_LAST_DAY))

    def checkpoint(self) -> bytes:
        """Return the newest checkpoint's note.

        Raises:
            VaultError: nothing was signed yet, or the store cannot be read now.
        """
        return self.newest()[1]

    def has_checkpoint(self) -> bool:
        """Tell whether a checkpoint was published.

        Raises:
            VaultError: the store cannot be read now.
        """
        return bool(self.store.rows(log.NEWEST))

    def newest(self) -> tuple[int, bytes]:
        """Return (size, note) of the newest checkpoint.

        Raises:
            VaultError: nothing was signed yet, or the store cannot be read now.
        """
        found = self.store.rows(log.NEWEST)
        if not found:
            raise VaultError(Kind.NOT_FOUND)
        size, note = found[0]
        return int(size), bytes(note)

    def entries(self, first: int, count: int) -> list[bytes]:
        """Return entries from a number on, in their order; fewer where there are fewer.

        Raises:
            VaultError: the store cannot be read now.
        """
        return [bytes(row[0]) for row in self.store.rows(log.ENTRIES, first=first, after=first + count)]

    def place_of(self, minute: int, size: int) -> int:
        """Return where, under a size, the first block of entries begins that tells of a minute, or of a later one.

        Raises:
            VaultError: the store cannot be read now.
        """
        low, high = 0, -(-size // _BLOCK)
        while low < high:
            middle = (low + high) // 2
            latest = max(orjson.loads(entry)["minute"] for entry in self.entries(middle * _BLOCK, _BLOCK))
            low, high = (low, middle) if latest >= minute else (middle + 1, high)
        return min(low * _BLOCK, size)

    def file(self, path: str) -> bytes:
        """Return a tile or a bundle by its path, such as tile/0/000 or tile/entries/000.p/7.

        Raises:
            VaultError: no such path, or nothing there that was signed; or the store cannot be read now.
        """
        try:
            tile = Tile.parse(path)
        except NoteError:
            raise VaultError(Kind.NOT_FOUND) from None
        if not tile.is_in(self.newest()[0]):
            raise VaultError(Kind.NOT_FOUND)
        if tile.level is None:
            return tiles.bundle(self.entries(tile.first, tile.width))
        held = log.read_tiles(self.store, [(tile.level, tile.number)])
        return held.get((tile.level, tile.number), b"")[: tile.width * _HASH_BYTES]

    def read(self, name: str) -> bytes:
        """Return what lies at a path, as a mirror or a verifier asks for it.

        Raises:
            FileNotFoundError: nothing.
        """
        try:
            return self.checkpoint() if name == sources.CHECKPOINT else self.file(name)
        except VaultError as error:
            if error.kind is Kind.NOT_FOUND:
                raise FileNotFoundError(name) from None
            raise

    def tree(self, size: int) -> Tree:
        """Return the tree of a size."""
        return Tree(size, partial(log.read_tiles, self.store))

    def proof(self, index: int) -> tuple[LogProof, bytes]:
        """Return the proof that an entry is in the newest checkpoint, and the entry.

        Raises:
            VaultError: there is no such entry there.
        """
        found = self.store.rows(log.PROVED, number=index)
        if not found or not 0 <= index < found[0].size:
            raise VaultError(Kind.NOT_FOUND)
        [(size, note, entry)] = found
        return LogProof(index, tuple(self.tree(size).inclusion(index)), Note.parse(bytes(note))), bytes(entry)
