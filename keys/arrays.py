"""Lists and rows as PostgreSQL takes them in binary form: the driver's own way costs many times as much for each value.

    array = i32 dimensions ‖ i32 has nulls ‖ u32 element type ‖ i32 length ‖ i32 lower bound ‖ (i32 size ‖ value)…
    size  = -1 for a null                          (src/backend/utils/adt/arrayfuncs.c, array_send)
    rows  = signature(11) ‖ i32 flags ‖ i32 extension ‖ (i16 columns ‖ (i32 size ‖ value)…)… ‖ i16 -1
                                                   (PostgreSQL, COPY, "Binary Format")

Leaves to its caller: that the values of one list, or of one column, are of one type, or None.
"""

import struct
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Any, Final

_HEAD: Final = struct.Struct("!iiIii").pack
_EMPTY: Final = struct.Struct("!iiI").pack
_SIZE: Final = struct.Struct("!i").pack
_INT8: Final = struct.Struct("!iq").pack
_NULL: Final = _SIZE(-1)
_COLUMN_COUNT: Final = struct.Struct("!h").pack
_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = _COLUMN_COUNT(-1)


def _octets(values: Sequence[bytes | None]) -> list[bytes]:
    return [_NULL if value is None else _SIZE(len(value)) + value for value in values]


def _texts(values: Sequence[str | None]) -> list[bytes]:
    return _octets([None if value is None else value.encode() for value in values])


def _numbers(values: Sequence[int | None]) -> list[bytes]:
    return [_NULL if value is None else _INT8(8, value) for value in values]


def _sent(element: int, values: Sequence[Any], written: Callable[[Sequence[Any]], list[bytes]]) -> bytes:
    if not values:
        return _EMPTY(0, 0, element)
    return _HEAD(1, None in values, element, len(values), 1) + b"".join(written(values))


class Octets:
    """A list of byte strings."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[bytes | None]) -> None:
        self.values = values

    def sent(self) -> bytes:
        """Return it as it is sent."""
        return _sent(17, self.values, _octets)


class Texts:
    """A list of texts."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[str | None]) -> None:
        self.values = values

    def sent(self) -> bytes:
        """Return it as it is sent."""
        return _sent(25, self.values, _texts)


class Numbers:
    """A list of whole numbers."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[int | None]) -> None:
        self.values = values

    def sent(self) -> bytes:
        """Return it as it is sent."""
        return _sent(20, self.values, _numbers)


_COLUMNS: Final[dict[str, Callable[[Sequence[Any]], list[bytes]]]] = {
    "bytea": _octets,
    "text": _texts,
    "int8": _numbers,
}


def copied(rows: Sequence[Sequence[Any]], types: Sequence[str]) -> bytes:
    """Return rows as COPY takes them in binary form.

    Args:
        rows: at least one; each has a value for each type.
        types: of the columns: bytea, text or int8.
    """
    columns = [_COLUMNS[kind](column) for kind, column in zip(types, zip(*rows, strict=True), strict=True)]
    begin = repeat(_COLUMN_COUNT(len(types)))
    return _SIGNATURE + b"".join(chain.from_iterable(zip(begin, *columns, strict=False))) + _TRAILER


_KINDS: Final[dict[type, type[Octets] | type[Texts] | type[Numbers]]] = {bytes: Octets, str: Texts, int: Numbers}


def array(values: Sequence[Any]) -> Any:  # noqa: ANN401 - one of the three, or the list where nothing tells which
    """Return a list as it is sent, by the type of its first value that is not None; one of the three as it is."""
    if isinstance(values, Octets | Texts | Numbers):
        return values
    kind = next((_KINDS.get(type(value)) for value in values if value is not None), None)
    return values if kind is None else kind(values)
