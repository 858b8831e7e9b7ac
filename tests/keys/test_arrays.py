"""Lists are written as the driver itself writes them, only faster."""

from collections.abc import Sequence

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer

from keys.arrays import Numbers, Octets, Texts, array


def _element(values: Sequence[object]) -> bytes:
    return bytes(Transformer(psycopg.adapters).get_dumper(values, PyFormat.BINARY).dump(values) or b"")


@given(st.lists(st.binary(max_size=40), min_size=1))
def test_byte_strings_are_written_as_the_driver_writes_them(values: list[bytes]) -> None:
    assert array(values).sent() == _element(values)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20), min_size=1))
def test_texts_are_written_as_the_driver_writes_them(values: list[str]) -> None:
    written, theirs = array(values).sent(), _element(values)
    assert (written[:8], written[12:]) == (theirs[:8], theirs[12:])


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_numbers_are_written_eight_bytes_each(values: list[int]) -> None:
    wide = [2**62, *values]  # the driver takes the width of the greatest
    assert Numbers(wide).sent() == _element(wide)


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (Octets([b"a", None]), "00000001 00000001 00000011 00000002 00000001 00000001 61 ffffffff"),
        (Texts([None]), "00000001 00000001 00000019 00000001 00000001 ffffffff"),
        (Numbers([None, 1]), "00000001 00000001 00000014 00000002 00000001 ffffffff 00000008 0000000000000001"),
        (Octets([]), "00000000 00000000 00000011"),
    ],
)
def test_nulls_and_emptiness_are_written_as_the_server_reads(values: Octets | Texts | Numbers, written: str) -> None:
    assert values.sent() == bytes.fromhex(written)


def test_a_list_of_nothing_is_left_as_it_is_and_one_with_nulls_is_of_the_type_of_the_others() -> None:
    assert array([]) == []
    assert array([None]) == [None]
    assert array([None, b"a"]).sent() == Octets([None, b"a"]).sent()
