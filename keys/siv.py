"""AES-256-SIV (RFC 5297) of many messages of one size at once: what `primitives.Siv` does, in a third of its time.

A message of 17 to 31 bytes is two blocks P1 ‖ P2, the second filled up with zeros. By sections 2.4 to 2.6, RFC 4493:

    tag     = E(mac key, E(mac key, P1 ^ M1) ^ P2 ^ M2)     M1 ‖ M2: what S2V and CMAC lay over a message
    counter = tag without bits 31 and 63                    so counter + 1 carries nothing beyond its block
    C1 ‖ C2 = P1 ^ E(counter key, counter) ‖ P2 ^ E(counter key, counter + 1)

M1 and M2 depend on size and associated data alone. The blocks of all messages stand in one number, so that each step is
one operation for all. Tags are compared in constant time. Leaves to its caller: that all messages have the size.
"""

from collections.abc import Sequence
from operator import add
from struct import Struct
from typing import Final

from keys.primitives import Blocks, equal

_BYTES: Final = 16
"""Of a block, and of a tag."""
_BITS: Final = 8 * _BYTES
_BLOCK: Final = (1 << _BITS) - 1
_REDUCTION: Final = 0x87
"""RFC 4493 section 2.3: what stands for a bit that was shifted out."""
_COUNTER: Final = _BLOCK ^ (1 << 31) ^ (1 << 63)
"""RFC 5297 section 2.6."""
_PADDING: Final = b"\x80"
_ONE: Final = (1).to_bytes(_BYTES, "big")


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _encrypted(key: Blocks, blocks: int, count: int) -> int:
    return _number(key.encrypt(blocks.to_bytes(count * _BYTES, "big")))


def _doubled(block: int) -> int:
    doubled = block << 1
    return doubled & _BLOCK ^ _REDUCTION if doubled > _BLOCK else doubled


def _mac(key: Blocks, message: bytes) -> int:
    """AES-CMAC (RFC 4493) of one message."""
    subkey = _doubled(_encrypted(key, 0, 1))
    if not message or len(message) % _BYTES:
        subkey, message = _doubled(subkey), message + _PADDING + bytes(-(len(message) + 1) % _BYTES)
    *blocks, last = (_number(message[at : at + _BYTES]) for at in range(0, len(message), _BYTES))
    chained = 0
    for block in blocks:
        chained = _encrypted(key, chained ^ block, 1)
    return _encrypted(key, chained ^ last ^ subkey, 1)


def _each(blocks: int, count: int) -> list[bytes]:
    octets = blocks.to_bytes(count * _BYTES, "big")
    return [octets[at : at + _BYTES] for at in range(0, len(octets), _BYTES)]


class SivOfMany:
    """One key and its associated data, for messages of one size."""

    __slots__ = ("_blocks", "_counter_key", "_filling", "_first", "_kept", "_mac_key", "_sealed", "_second", "_short")

    def __init__(self, mac_key: Blocks, counter_key: Blocks, size: int, associated: Sequence[bytes]) -> None:
        """Take the two halves of the key, the size of a message in bytes, and its associated data."""
        self._mac_key, self._counter_key = mac_key, counter_key
        woven = _mac(mac_key, bytes(_BYTES))
        for one in associated:
            woven = _doubled(woven) ^ _mac(mac_key, one)
        end, missing = size - _BYTES, 2 * _BYTES - size
        laid = (woven << 8 * missing) ^ _number(_PADDING.ljust(missing, b"\0"))
        self._first = laid >> _BITS
        self._second = laid & _BLOCK ^ _doubled(_doubled(_encrypted(mac_key, 0, 1)))
        self._filling, self._kept = bytes(missing), _BLOCK >> 8 * missing << 8 * missing
        self._blocks = Struct(f"{_BYTES}s{end}s").iter_unpack
        self._sealed = Struct(f"{_BYTES}s{_BYTES}s{end}s").iter_unpack
        self._short = Struct(f"{end}s{missing}x").iter_unpack

    def seal(self, messages: Sequence[bytes]) -> list[bytes]:
        """Return each message sealed, tag(16) ‖ ciphertext, as `Siv.seal` does."""
        if not messages:
            return []
        firsts, ends = zip(*self._blocks(b"".join(messages)), strict=True)
        count, plain = len(messages), (_number(b"".join(firsts)), self._filled(ends))
        tags = self._tags(count, *plain)
        return list(map(add, _each(tags, count), self._joined(count, *self._crypted(count, tags, *plain))))

    def open(self, sealed: Sequence[bytes]) -> list[bytes | None]:
        """Return each message, None for one that does not open: see `Siv.open`."""
        if not sealed:
            return []
        tags, firsts, ends = zip(*self._sealed(b"".join(sealed)), strict=True)
        count, shown = len(sealed), b"".join(tags)
        plain = self._crypted(count, _number(shown), _number(b"".join(firsts)), self._filled(ends))
        made, messages = self._tags(count, *plain), self._joined(count, *plain)
        if equal(shown, made.to_bytes(len(shown), "big")):
            return list(messages)
        right = map(equal, tags, _each(made, count))
        return [message if one else None for message, one in zip(messages, right, strict=True)]

    def _filled(self, ends: Sequence[bytes]) -> int:
        return _number(self._filling.join(ends) + self._filling)

    def _joined(self, count: int, firsts: int, ends: int) -> list[bytes]:
        short = self._short(ends.to_bytes(count * _BYTES, "big"))
        return [first + end for first, (end,) in zip(_each(firsts, count), short, strict=True)]

    def _tags(self, count: int, firsts: int, ends: int) -> int:
        ones = _number(_ONE * count)
        chained = _encrypted(self._mac_key, firsts ^ self._first * ones, count)
        return _encrypted(self._mac_key, chained ^ ends ^ self._second * ones, count)

    def _crypted(self, count: int, tags: int, firsts: int, ends: int) -> tuple[int, int]:
        """Return blocks, plain or sealed, as the other of the two."""
        ones = _number(_ONE * count)
        counters = tags & (_COUNTER * ones)
        first = firsts ^ _encrypted(self._counter_key, counters, count)
        return first, (ends ^ _encrypted(self._counter_key, counters + ones, count)) & (self._kept * ones)
