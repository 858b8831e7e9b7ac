"""Roots and proofs, made from the tiles of a tree: RFC 6962 sections 2.1, 2.1.1 and 2.1.2."""

from collections.abc import Callable

from keys.merkle import EMPTY_ROOT, HASH_BYTES, folded, node_hash
from vault.log.tiles import WIDTH, WIDTH_BITS, hashes_of

Read = Callable[[int, int], bytes]
"""Returns the hashes of the tile with a level and a number: as many of them as the tree has, or more."""


class Tree:
    """One tree of a size, whose tiles are read when they are needed, each once."""

    def __init__(self, size: int, read: Read) -> None:
        self.size, self._read = size, read
        self._tiles: dict[tuple[int, int], bytes] = {}

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the tree, or of what it was at an earlier size."""
        size = self.size if size is None else size
        return self._over(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int) -> list[bytes]:
        """Return the proof that a leaf is in the tree: its sibling first."""
        low, high, path = 0, self.size, list[bytes]()
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._over(middle, high))
                high = middle
            else:
                path.append(self._over(low, middle))
                low = middle
        return path[::-1]

    def consistency(self, old: int) -> list[bytes]:
        """Return the proof that the tree begins with what it was at an earlier size; empty for 0 and its own size."""
        if old in {0, self.size}:
            return []
        low, high, path = 0, self.size, list[bytes]()
        while old != high:
            middle = low + _split(high - low)
            if old <= middle:
                path.append(self._over(middle, high))
                high = middle
            else:
                path.append(self._over(low, middle))
                low = middle
        return ([self._over(low, high)] if low else []) + path[::-1]

    def _over(self, low: int, high: int) -> bytes:
        """Return the hash over the leaves from `low` to `high`; `low` is a multiple of their greatest power of two."""
        count = high - low
        if count & (count - 1) == 0:
            return self._node(count.bit_length() - 1, low)
        middle = low + _split(count)
        return node_hash(self._over(low, middle), self._over(middle, high))

    def _node(self, level: int, low: int) -> bytes:
        tile_level, within = divmod(level, WIDTH_BITS)
        number, place = divmod(low >> (WIDTH_BITS * tile_level), WIDTH)
        held = self._tiles.get((tile_level, number))
        if held is None:
            held = self._tiles[tile_level, number] = self._read(tile_level, number)
        return folded(hashes_of(held[place * HASH_BYTES : (place + (1 << within)) * HASH_BYTES]))


def _split(count: int) -> int:
    """Return the greatest power of two below a number of leaves (RFC 6962 section 2.1)."""
    return 1 << ((count - 1).bit_length() - 1)
