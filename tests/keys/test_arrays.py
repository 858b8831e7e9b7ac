"""Lists are written as the driver itself writes them, only faster."""

from collections.abc import Sequence

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer

from keys import dumpers  # noqa: F401 - what is tested, behind the driver
from keys.arrays import Numbers, Octets, Texts, array


def _dumped(value: object) -> tuple[int, bytes]:
    dumper = Transformer(psycopg.adapters).get_dumper(value, PyFormat.BINARY)
    return dumper.oid, bytes(dumper.dump(value) or b"")


def _element(values: Sequence[object]) -> bytes:
    return _dumped(values)[1]


@given(st.lists(st.binary(max_size=40), min_size=1))
def test_byte_strings_are_written_as_the_driver_writes_them(values: list[bytes]) -> None:
    assert _dumped(array(values)) == (1001, _element(values))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), min_size=1))
def test_texts_are_written_as_the_driver_writes_them(values: list[str]) -> None:
    oid, written = _dumped(array(values))
    assert (oid, written[:8], written[12:]) == (1009, _element(values)[:8], _element(values)[12:])


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_numbers_are_written_eight_bytes_each(values: list[int]) -> None:
    wide = [2**62, *values]  # the driver takes the width of the greatest
    assert _dumped(Numbers(wide)) == (1016, _element(wide))


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (Octets([b"a", None]), "00000001 00000001 00000011 00000002 00000001 00000001 61 ffffffff"),
        (Texts([None]), "00000001 00000001 00000019 00000001 00000001 ffffffff"),
        (Numbers([None, 1]), "00000001 00000001 00000014 00000002 00000001 ffffffff 00000008 0000000000000001"),
        (Octets([]), "00000000 00000000 00000011"),
    ],
)
def test_nulls_and_emptiness_are_written_as_the_server_reads_them(values: object, written: str) -> None:
    assert _dumped(values)[1] == bytes.fromhex(written)


def test_a_list_of_nothing_is_left_to_the_driver() -> None:
    assert array([]) == []
    assert array([None]) == [None]
