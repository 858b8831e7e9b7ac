"""Tiles and entry bundles of a log: c2sp.org/tlog-tiles v0.1.0.

    tile/<level>/<number>[.p/<width>]      hashes of 32 bytes, 256 in a full one
    tile/entries/<number>[.p/<width>]      u16be length ‖ entry, 256 in a full one

A hash of level L + 1 is the root of a full tile of level L; a partial tile is never hashed upwards.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from keys.errors import NoteError
from keys.merkle import HASH_BYTES, MAX_SIZE, folded

WIDTH: Final = 256
WIDTH_BITS: Final = 8
MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 65_535
_LENGTH: Final = struct.Struct(">H")
_GROUP: Final = 1000
_PATH: Final = re.compile(
    r"tile/(?P<level>0|[1-9][0-9]?|entries)/(?P<number>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)
_MAX_PATH: Final = 64


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile, or bundle of entries where `level` is None; a full one has the width 256."""

    level: int | None
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it lies, without a slash in front."""
        groups, rest = [f"{self.number % _GROUP:03}"], self.number // _GROUP
        while rest:
            groups.append(f"x{rest % _GROUP:03}")
            rest //= _GROUP
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        level = "entries" if self.level is None else self.level
        return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"

    @property
    def first(self) -> int:
        """The number of its first hash, or entry, in its level."""
        return self.number * WIDTH

    @classmethod
    def parse(cls, path: str) -> Self:
        """Return the tile that lies at a path.

        Raises:
            NoteError: it is not the one spelling of a tile's path.
        """
        match = _PATH.fullmatch(path) if len(path) <= _MAX_PATH else None
        if match is None:
            raise NoteError("no path of a tile")
        level = None if match["level"] == "entries" else int(match["level"])
        tile = cls(level, int(match["number"].replace("x", "").replace("/", "")), int(match["width"] or WIDTH))
        if tile.path != path or (level or 0) > MAX_LEVEL or tile.first >= MAX_SIZE or tile.width > WIDTH:
            raise NoteError("no path of a tile")
        return tile

    def is_in(self, size: int) -> bool:
        """Tell whether the tree of a size has this tile whole, so that it may be served."""
        return self.first + self.width <= size >> (WIDTH_BITS * (self.level or 0))


def of_size(size: int) -> Iterator[Tile]:
    """Return the tiles of hashes of a tree: full ones, and of each level the partial one at its end."""
    for level in range(MAX_LEVEL + 1):
        count = size >> (WIDTH_BITS * level)
        if not count:
            return
        yield from of_level(level, count)


def of_level(level: int | None, count: int) -> Iterator[Tile]:
    """Return the tiles of one level that has so many hashes, or the bundles of so many entries."""
    for number in range(count // WIDTH):
        yield Tile(level, number)
    if count % WIDTH:
        yield Tile(level, count // WIDTH, count % WIDTH)


def bundle(entries: Sequence[bytes]) -> bytes:
    """Return an entry bundle.

    Raises:
        NoteError: an entry is too long.
    """
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise NoteError("an entry has at most 65535 bytes")
    return b"".join(_LENGTH.pack(len(entry)) + entry for entry in entries)


def entries_of(raw: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        NoteError: cut in the middle of one, or more than 256.
    """
    found, place = list[bytes](), 0
    while place < len(raw):
        if place + _LENGTH.size > len(raw) or len(found) == WIDTH:
            raise NoteError("an entry bundle is cut, or too long")
        (length,) = _LENGTH.unpack_from(raw, place)
        place += _LENGTH.size
        if place + length > len(raw):
            raise NoteError("an entry bundle is cut, or too long")
        found.append(raw[place : place + length])
        place += length
    return found


def hashes_of(raw: bytes) -> list[bytes]:
    """Return the hashes of a tile.

    Raises:
        NoteError: not a whole number of hashes from 1 to 256.
    """
    if not raw or len(raw) % HASH_BYTES or len(raw) > WIDTH * HASH_BYTES:
        raise NoteError("a tile has 1 to 256 hashes of 32 bytes")
    return [raw[place : place + HASH_BYTES] for place in range(0, len(raw), HASH_BYTES)]


def grown(edge: dict[int, bytes], size: int, leaves: Sequence[bytes]) -> dict[Tile, bytes]:
    """Return the tiles that new leaves change or make: full ones, and the partial ones at the end of each level.

    Args:
        edge: of each level the hashes of its last, partial tile; changed to those of the grown tree.
        size: of the tree before.
        leaves: hashes of the new leaves.
    """
    changed: dict[Tile, bytes] = {}
    level, count, new = 0, size, b"".join(leaves)
    while new:
        held, number = edge.get(level, b"") + new, count // WIDTH
        risen, whole = [], WIDTH * HASH_BYTES
        while len(held) >= whole:
            full, held = held[:whole], held[whole:]
            changed[Tile(level, number)] = full
            risen.append(folded(hashes_of(full)))
            number += 1
        if held:
            changed[Tile(level, number, len(held) // HASH_BYTES)] = held
        edge[level] = held
        level, count, new = level + 1, count >> WIDTH_BITS, b"".join(risen)
    return changed
