"""A Bloom filter over values that are random already, such as commitments: their own bytes are its hashes.

Source: B. H. Bloom, Space/time trade-offs in hash coding with allowable errors, CACM 13(7), 1970. Twenty bits a value
and eight places each let one absent value in 7,000 pass as present.
"""

from typing import Final

VALUE_BYTES: Final = 32
MAX_BYTES: Final = 64 * 1024 * 1024
"""Full size for 26 million values; more of them let more that are absent pass."""
_BITS_A_VALUE: Final = 20
_PLACES: Final = 8
_PLACE_BYTES: Final = VALUE_BYTES // _PLACES
_LEAST_BYTES: Final = 128


class Filter:
    """A set that may say of an absent value that it is there, and never of a present one that it is not."""

    __slots__ = ("_bits", "_count")

    def __init__(self, values: int) -> None:
        """Make an empty one, for about so many values."""
        self._bits = bytearray(min(MAX_BYTES, max(_LEAST_BYTES, values * _BITS_A_VALUE // 8)))
        self._count = len(self._bits) * 8

    def add(self, value: bytes) -> None:
        """Add a value of 32 random bytes."""
        for place in range(0, VALUE_BYTES, _PLACE_BYTES):
            bit = int.from_bytes(value[place : place + _PLACE_BYTES], "big") % self._count
            self._bits[bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, value: bytes) -> bool:
        """Tell whether a value of 32 random bytes is in it."""
        for place in range(0, VALUE_BYTES, _PLACE_BYTES):
            bit = int.from_bytes(value[place : place + _PLACE_BYTES], "big") % self._count
            if not self._bits[bit >> 3] & 1 << (bit & 7):
                return False
        return True
