"""Roots and proofs, made from the tiles of a tree: RFC 6962 sections 2.1, 2.1.1 and 2.1.2."""

from collections.abc import Callable, Collection, Iterator, Mapping

from keys.merkle import EMPTY_ROOT, HASH_BYTES, folded, node_hash
from vault.log.tiles import WIDTH, WIDTH_BITS, hashes_of

Read = Callable[[Collection[tuple[int, int]]], Mapping[tuple[int, int], bytes]]
"""Returns the hashes of tiles by level and number: of each as many as the tree has, or more."""


class Tree:
    """One tree of a size, whose tiles are read when they are needed, each once, and those of one question together."""

    def __init__(self, size: int, read: Read) -> None:
        self.size, self._read = size, read
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._nodes: dict[tuple[int, int], bytes] = {}

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the tree, or of what it was at an earlier size."""
        size = self.size if size is None else size
        return self._hashes([(0, size)])[0] if size else EMPTY_ROOT

    def inclusion(self, index: int) -> list[bytes]:
        """Return the proof that a leaf is in the tree: its sibling first."""
        low, high, path = 0, self.size, list[tuple[int, int]]()
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append((middle, high))
                high = middle
            else:
                path.append((low, middle))
                low = middle
        return self._hashes(path[::-1])

    def consistency(self, old: int) -> list[bytes]:
        """Return the proof that the tree begins with what it was at an earlier size; empty for 0 and its own size."""
        if old in {0, self.size}:
            return []
        low, high, path = 0, self.size, list[tuple[int, int]]()
        while old != high:
            middle = low + _split(high - low)
            if old <= middle:
                path.append((middle, high))
                high = middle
            else:
                path.append((low, middle))
                low = middle
        return self._hashes(([(low, high)] if low else []) + path[::-1])

    def _hashes(self, ranges: Collection[tuple[int, int]]) -> list[bytes]:
        """Return the hash over the leaves of each range, the tiles beneath all of them read at once."""
        needed = {_tile_of(level, low) for one in ranges for level, low in _perfect(*one)}
        if missing := needed - self._tiles.keys():
            self._tiles |= self._read(sorted(missing))
        return [self._over(low, high) for low, high in ranges]

    def _over(self, low: int, high: int) -> bytes:
        """Return the hash over the leaves from `low` to `high`; `low` is a multiple of their greatest power of two."""
        found = self._nodes.get((low, high))
        if found is None:
            count = high - low
            if count & (count - 1) == 0:
                found = self._node(count.bit_length() - 1, low)
            else:
                middle = low + _split(count)
                found = node_hash(self._over(low, middle), self._over(middle, high))
            self._nodes[low, high] = found  # proofs of neighbours have most in common
        return found

    def _node(self, level: int, low: int) -> bytes:
        held, within = self._tiles.get(_tile_of(level, low), b""), level % WIDTH_BITS
        place = (low >> (level - within)) % WIDTH
        return folded(hashes_of(held[place * HASH_BYTES : (place + (1 << within)) * HASH_BYTES]))


def _tile_of(level: int, low: int) -> tuple[int, int]:
    """Return level and number of the tile over whose hashes the root of 2^level leaves from `low` on is made."""
    tile_level = level // WIDTH_BITS
    return tile_level, low >> (WIDTH_BITS * (tile_level + 1))


def _perfect(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Return (level, first leaf) of the perfect subtrees that a range splits into."""
    while low < high:
        level = (high - low).bit_length() - 1
        yield level, low
        low += 1 << level


def _split(count: int) -> int:
    """Return the greatest power of two below a number of leaves (RFC 6962 section 2.1)."""
    return 1 << ((count - 1).bit_length() - 1)
