"""Frames open whole, at their place, under their key; anything else is the one error (attacks A2 to A5)."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import frame
from keys.errors import OpenError
from keys.frame import Place, Purpose, Stencil, key_named_in, length_prefixed, open_frame, seal, split_length_prefixed
from keys.primitives import Secret

KEY = Secret(bytes(range(32)))
KEY_ID = bytes(range(0x20, 0x30))
PLACE = Place(bytes(16), "identity.record", bytes(range(16)), "legal_name", 1)
PLAIN = b"ANNA MARIA ERIKSSON"


def _seal(plaintext: bytes = PLAIN) -> bytes:
    return seal(KEY, Purpose.FIELD, PLACE, plaintext, key_id=KEY_ID, version=3)


def _open(sealed: bytes, place: Place = PLACE) -> bytes:
    return open_frame(KEY, Purpose.FIELD, place, sealed, key_id=KEY_ID, version=3)


def _refused(sealed: bytes) -> bool:
    try:
        _open(sealed)
    except OpenError as error:
        return str(error) == OpenError.default and error.__cause__ is None
    return False


@given(plaintext=st.binary(max_size=200), address=st.binary(max_size=40), field=st.text(max_size=20))
@settings(deadline=None)
def test_what_is_sealed_opens_at_its_place(plaintext: bytes, address: bytes, field: str) -> None:
    place = Place(bytes(16), "t", address, field)
    assert open_frame(KEY, Purpose.WRAP, place, seal(KEY, Purpose.WRAP, place, plaintext)) == plaintext


@given(plaintext=st.binary(max_size=200), address=st.binary(max_size=40), revision=st.none() | st.integers(0, 9))
@settings(deadline=None)
def test_a_frame_of_a_stencil_is_that_of_its_row_and_opens_nowhere_else(
    plaintext: bytes, address: bytes, revision: int | None
) -> None:
    stencil = Stencil(Purpose.FIELD, replace(PLACE, revision=revision), key_id=KEY_ID, version=3)
    place = replace(PLACE, address=address, revision=revision)
    assert _open(stencil.seal(KEY, address, plaintext), place) == plaintext
    assert _refused(stencil.seal(KEY, PLACE.address + b"x", plaintext))


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 32_768, 50_000])
def test_a5_every_length_about_a_chunk_boundary_round_trips(size: int) -> None:
    plaintext = bytes(at % 251 for at in range(size))
    sealed = _seal(plaintext)
    assert _open(sealed) == plaintext
    assert len(sealed) == 26 + 56 + size + 16 * (size // 16_384 + 1)


def test_a2_a_frame_moved_to_any_other_place_does_not_open() -> None:
    sealed = _seal()
    elsewhere = [
        replace(PLACE, table="keys.record_key"),
        replace(PLACE, field="names"),
        replace(PLACE, address=bytes(range(1, 17))),
        replace(PLACE, revision=2),
        replace(PLACE, revision=None),
        replace(PLACE, deployment=b"\x01" + bytes(15)),
        # What is cut differently at the seams is another place.
        replace(PLACE, table="identity.recor", address=b"d" + PLACE.address),
        replace(PLACE, address=PLACE.address + b"l", field="egal_name"),
    ]
    for place in elsewhere:
        with pytest.raises(OpenError):
            _open(sealed, place)
    assert _open(sealed) == PLAIN


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose is not Purpose.FIELD])
def test_a2_a_frame_of_one_purpose_is_not_taken_for_another(purpose: Purpose) -> None:
    sealed = _seal()
    with pytest.raises(OpenError):
        open_frame(KEY, purpose, PLACE, sealed, key_id=KEY_ID, version=3)
    relabelled = sealed[:5] + bytes((purpose,)) + sealed[6:]
    with pytest.raises(OpenError):
        open_frame(KEY, purpose, PLACE, relabelled, key_id=KEY_ID, version=3)


def test_a2_a_frame_does_not_open_under_another_key_key_id_or_version() -> None:
    sealed = _seal()
    for key, key_id, version in (
        (Secret(bytes(32)), KEY_ID, 3), (KEY, bytes(16), 3), (KEY, KEY_ID, 2), (KEY, KEY_ID, 0x0300),
    ):  # fmt: skip
        with pytest.raises(OpenError):
            open_frame(key, Purpose.FIELD, PLACE, sealed, key_id=key_id, version=version)


@pytest.mark.parametrize("at", range(frame.HEADER_BYTES))
def test_a3_every_header_byte_has_one_value_that_opens(at: int) -> None:
    sealed = _seal()
    for value in range(256):
        changed = sealed[:at] + bytes((value,)) + sealed[at + 1 :]
        assert (changed == sealed) != _refused(changed)


@pytest.mark.parametrize("at", range(frame.HEADER_BYTES))
def test_a3_a_header_byte_is_bound_even_for_a_reader_who_believes_the_header(at: int) -> None:
    """A reader that took purpose, key id and version from the frame itself would still be refused."""
    sealed = _seal()
    for value in set(range(256)) - {sealed[at]}:
        changed = sealed[:at] + bytes((value,)) + sealed[at + 1 :]
        with pytest.raises(OpenError):
            frame.decrypt(KEY, frame._context(changed[:26], PLACE), changed[26:])


def test_a4_every_flipped_bit_is_refused_with_one_message() -> None:
    sealed = _seal()
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        assert _refused(bytes(changed))


def test_a5_every_prefix_and_every_extension_is_refused() -> None:
    sealed = _seal()
    assert all(_refused(sealed[:length]) for length in range(len(sealed)))
    assert all(_refused(sealed + bytes(more)) for more in range(1, 33))
    assert all(_refused(sealed + b"\xff" * more) for more in range(1, 33))


@pytest.mark.parametrize("size", [16_384, 16_385, 32_768])
def test_a5_a_frame_cut_at_or_between_its_chunks_is_refused(size: int) -> None:
    sealed, start, step = _seal(bytes(size)), 26 + 56, 16_384 + 16
    ends = {start + count * step + more for count in range(3) for more in (-17, -16, -1, 0, 1, 15, 16, 17)}
    assert all(_refused(sealed[:end]) for end in ends if end < len(sealed))
    assert _refused(sealed[:start] + sealed[start + step :])


def test_chunks_cannot_change_places() -> None:
    sealed, start, step = _seal(bytes(40_000)), 26 + 56, 16_384 + 16
    one, two, rest = sealed[start : start + step], sealed[start + step : start + 2 * step], sealed[start + 2 * step :]
    assert _open(sealed[:start] + one + two + rest) == bytes(40_000)
    assert _refused(sealed[:start] + two + one + rest)
    assert _refused(sealed[:start] + one + one + rest)
    assert _refused(sealed[:start] + one + rest)


def test_a_message_shorter_than_the_shortest_or_without_a_last_chunk_is_refused() -> None:
    message = frame.encrypt(KEY, b"", b"", salt=bytes(24))
    assert frame.decrypt(KEY, b"", message) == b""
    for broken in (message[:-1], message[:56], message[:56] + bytes(16_400), b""):
        with pytest.raises(OpenError):
            frame.decrypt(KEY, b"", broken)


def test_salts_are_fresh_so_equal_plaintexts_share_nothing() -> None:
    sealed = {_seal()[26:] for _ in range(200)}
    assert len({message[:24] for message in sealed}) == 200
    assert len({message[56:] for message in sealed}) == 200


def test_what_is_longer_than_the_bound_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="32 MiB"):
        Stencil(Purpose.FIELD, PLACE).seal(KEY, PLACE.address, bytes(frame.MAX_PLAINTEXT_BYTES + 1))
    with pytest.raises(ValueError, match="at most 32 MiB"):
        seal(KEY, Purpose.EVIDENCE, PLACE, bytes(frame.MAX_PLAINTEXT_BYTES + 1))


def test_a_frame_names_its_key_and_a_stump_names_none() -> None:
    sealed = _seal()
    assert key_named_in(sealed) == (KEY_ID, 3)
    for broken in (b"", sealed[:97], b"IVR2" + sealed[4:], sealed[:4] + b"\x02" + sealed[5:]):
        with pytest.raises(OpenError):
            key_named_in(broken)


@given(st.lists(st.binary(max_size=20), max_size=6))
@settings(deadline=None)
def test_length_prefixed_parts_read_back(parts: list[bytes]) -> None:
    assert split_length_prefixed(length_prefixed(*parts)) == parts


@pytest.mark.parametrize("joined", [b"\x00", b"\x00\x00\x00", b"\x00\x00\x00\x01", b"\x00\x00\x00\x02a", b"\xff" * 8])
def test_a_length_that_runs_past_the_end_is_refused(joined: bytes) -> None:
    with pytest.raises(OpenError):
        split_length_prefixed(joined)
