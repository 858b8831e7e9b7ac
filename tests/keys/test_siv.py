"""AES-SIV of many messages gives and takes what AES-SIV of one does, byte for byte."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.primitives import Secret, Siv
from keys.siv import SivOfMany

KEY = st.binary(min_size=64, max_size=64)
ASSOCIATED = st.lists(st.binary(max_size=40), max_size=3)


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    size = draw(st.integers(17, 31))
    return draw(st.lists(st.binary(min_size=size, max_size=size), min_size=1, max_size=5))


@given(KEY, alike(), ASSOCIATED)
@settings(deadline=None)
def test_messages_are_sealed_and_opened_as_each_is_alone(key: bytes, messages: list[bytes], said: list[bytes]) -> None:
    one = Siv(Secret(key))
    many = SivOfMany(*one.halves, len(messages[0]), said)
    sealed = many.seal(messages)
    assert sealed == [one.seal(message, *said) for message in messages]
    assert many.open(sealed) == messages


def test_thousands_at_once_are_sealed_and_opened_as_each_is_alone() -> None:
    one = Siv(Secret(bytes(range(64))))
    messages = [number.to_bytes(20, "big") for number in range(2_000)]
    many = SivOfMany(*one.halves, 20, [b"said"])
    sealed = many.seal(messages)
    assert sealed == [one.seal(message, b"said") for message in messages]
    assert many.open(sealed) == messages


@pytest.mark.parametrize("at", range(36))
def test_a_message_that_was_altered_does_not_open_and_those_beside_it_do(at: int) -> None:
    one = Siv(Secret(bytes(range(64))))
    many = SivOfMany(*one.halves, 20, [b"said"])
    messages = [bytes((number,)) * 20 for number in range(3)]
    first, second, third = many.seal(messages)
    altered = second[:at] + bytes((second[at] ^ 1,)) + second[at + 1 :]
    assert many.open([first, altered, third]) == [messages[0], None, messages[2]]


def test_other_associated_data_opens_nothing() -> None:
    one = Siv(Secret(bytes(range(64))))
    sealed = SivOfMany(*one.halves, 20, [b"one", b"two"]).seal([bytes(20)])
    for said in ([b"onetwo"], [b"two", b"one"], [b"one"], []):
        assert SivOfMany(*one.halves, 20, said).open(sealed) == [None]


def test_no_message_at_all_is_none() -> None:
    many = SivOfMany(*Siv(Secret(bytes(64))).halves, 20, [])
    assert (many.seal([]), many.open([])) == ([], [])
