"""Sealed fields hide their length up to the step and open at their record, field and revision alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import fields
from keys.errors import OpenError
from keys.fields import FieldValue, Sealer, decode, encode, field_key, open_field, pad, seal_field, unpad
from keys.frame import length_prefixed
from keys.primitives import Secret
from tests.keys import reference

RECORD_KEY = Secret(bytes(range(32)))
DEPLOYMENT, RID = bytes(16), bytes(range(16))
VALUE = FieldValue(b'"ANNA MARIA ERIKSSON"', (b"ANNA MARIA ERIKSSON", b"ERIKSSON"))


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_padding_reads_back_and_ends_on_the_step(payload: bytes) -> None:
    padded = pad(payload)
    assert unpad(padded) == payload
    assert len(padded) % 64 == 0
    assert 1 <= len(padded) - len(payload) <= 64


@pytest.mark.parametrize(
    "padded",
    [
        b"", b"\x80", bytes(64), b"a" * 64, b"\x80" + bytes(127), b"a" * 63 + b"\x81", b"a\x80" + bytes(63),
        b"a" * 62 + b"\x80\x01", pad(b"a") + bytes(64),
    ],
)  # fmt: skip
def test_what_is_not_padded_as_we_do_is_refused(padded: bytes) -> None:
    with pytest.raises(OpenError):
        unpad(padded)


def test_lengths_within_one_step_cannot_be_told_apart() -> None:
    assert {len(pad(bytes(size))) for size in range(64)} == {64}
    assert len(pad(bytes(64))) == 128


@given(st.binary(max_size=100), st.lists(st.binary(max_size=30), max_size=4))
@settings(deadline=None)
def test_a_field_reads_back(shown: bytes, match: list[bytes]) -> None:
    value = FieldValue(shown, tuple(match))
    assert decode(encode(value)) == value
    key = field_key(RECORD_KEY, "names", 1)
    assert open_field(key, DEPLOYMENT, RID, "names", 1, seal_field(key, DEPLOYMENT, RID, "names", 1, value)) == value


def test_a_plaintext_without_any_part_is_refused() -> None:
    with pytest.raises(OpenError):
        decode(pad(b""))
    with pytest.raises(OpenError):
        decode(pad(b"\x00\x00\x00\x05a"))


def test_a_field_value_shows_nothing_of_itself() -> None:
    assert repr(VALUE) == "FieldValue(…)"
    assert "ANNA" not in f"{VALUE} {[VALUE]}"


def test_a_field_key_is_that_of_the_specification_and_differs_by_field_and_revision() -> None:
    info = b"idvault/v1/field" + reference.lp(b"names", (2).to_bytes(4, "big"))
    wanted = reference.hkdf_expand("sha256", bytes(range(32)), info, 32)
    assert field_key(RECORD_KEY, "names", 2) == Secret(wanted)
    keys = {field_key(RECORD_KEY, name, n).expose_cleartext() for name in ("names", "phone") for n in range(1, 50)}
    assert len(keys) == 98


def test_a_field_does_not_open_as_another_of_its_record_or_as_another_revision() -> None:
    key = field_key(RECORD_KEY, "names", 1)
    sealed = seal_field(key, DEPLOYMENT, RID, "names", 1, VALUE)
    for deployment, rid, name, revision in (
        (b"\x01" * 16, RID, "names", 1), (DEPLOYMENT, bytes(16), "names", 1),
        (DEPLOYMENT, RID, "legal_name", 1), (DEPLOYMENT, RID, "names", 2),
    ):  # fmt: skip
        # Neither with the right key at the wrong place, nor with the wrong place's own key.
        for tried in (key, field_key(RECORD_KEY, name, revision)):
            with pytest.raises(OpenError):
                open_field(tried, deployment, rid, name, revision, sealed)


def test_fields_that_are_sealed_together_open_each_at_its_own_place() -> None:
    sealer = Sealer(DEPLOYMENT)
    for rid, name, revision in ((RID, "names", 1), (bytes(16), "names", 1), (RID, "phone", 1), (RID, "names", 2)):
        key = field_key(RECORD_KEY, name, revision)
        sealed = sealer.seal(key, rid, name, revision, VALUE)
        assert open_field(key, DEPLOYMENT, rid, name, revision, sealed) == VALUE
        with pytest.raises(OpenError):
            open_field(key, DEPLOYMENT, rid, name, revision + 1, sealed)


def test_the_place_of_a_field_is_its_column_and_revision() -> None:
    place = fields.place_of(DEPLOYMENT, RID, "phone", 3)
    assert (place.table, place.address, place.field, place.revision) == ("identity.record", RID, "phone", 3)
    assert encode(FieldValue(b"x")).startswith(length_prefixed(b"x") + b"\x80")
