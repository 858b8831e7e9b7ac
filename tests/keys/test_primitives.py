"""Secrets stay out of sight, and the primitives give what their specifications say."""

import copy
import hmac
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import OpenError
from keys.primitives import (
    Aead,
    Expander,
    Mac,
    Secret,
    Siv,
    equal,
    expand_each,
    expand_sha256,
    expand_sha512,
    hmac_sha256,
    random_bytes,
)
from tests.keys import reference

MATERIAL = b"correct horse battery staple...."


def test_a_secret_shows_nothing_of_itself() -> None:
    secret = Secret(MATERIAL)
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]}"):
        assert "horse" not in text
        assert "Secret(…)" in text
    assert secret.expose_cleartext() == MATERIAL
    assert len(secret) == 32


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_neither_pickled_nor_copied(take: object) -> None:
    assert callable(take)
    with pytest.raises(TypeError, match="a secret is not pickled or copied"):
        take(Secret(MATERIAL))


def test_a_secret_has_no_order_no_hash_and_no_attributes() -> None:
    one, other = Secret(MATERIAL), Secret(MATERIAL)
    with pytest.raises(TypeError):
        one < other  # type: ignore[operator]  # noqa: B015
    with pytest.raises(TypeError):
        hash(one)
    with pytest.raises(AttributeError):
        one.note = "x"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        bytes(one)  # type: ignore[call-overload]


def test_secrets_are_equal_by_their_bytes_and_to_nothing_else() -> None:
    assert Secret(MATERIAL) == Secret(MATERIAL)
    assert Secret(MATERIAL) != Secret(MATERIAL[:-1] + b"!")
    assert Secret(MATERIAL) != Secret(MATERIAL[:-1])
    assert Secret(MATERIAL) != MATERIAL


def test_a_closed_secret_is_overwritten_and_empty() -> None:
    secret = Secret(MATERIAL)
    buffer = secret._bytes
    secret.close()
    assert bytes(buffer) == bytes(32)
    assert secret.expose_cleartext() == b""
    with pytest.raises(ValueError, match="key"):
        Siv(secret)


def test_random_secrets_and_bytes_do_not_repeat() -> None:
    assert len({Secret.random().expose_cleartext() for _ in range(100)}) == 100
    assert len(Secret.random(64)) == 64
    assert len(random_bytes(24)) == 24
    assert equal(b"a", b"a")
    assert not equal(b"a", b"b")


@pytest.mark.parametrize(
    ("key", "message", "mac"),
    [
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)  # fmt: skip
def test_hmac_gives_the_second_and_the_sixth_case_of_rfc_4231(key: bytes, message: bytes, mac: str) -> None:
    assert hmac_sha256(Secret(key), message).hex() == mac
    assert Mac(Secret(key)).of(message).hex() == mac


@given(key=st.binary(min_size=1, max_size=200), message=st.binary(max_size=300))
def test_hmac_is_that_of_the_standard_library_for_keys_of_any_length(key: bytes, message: bytes) -> None:
    expected = hmac.digest(key, message, "sha256")
    assert hmac_sha256(Secret(key), message) == Mac(Secret(key)).of(message) == expected
    assert Expander(Secret(key)).expand(message, 64) == hmac.digest(key, message + b"\x01", "sha512")


@pytest.mark.parametrize("size", [1, 32, 64, 65, 76])
def test_expansion_agrees_with_a_second_computation(size: int) -> None:
    key, info = bytes(range(32)), b"info"
    assert expand_sha512(Secret(key), info, size) == reference.hkdf_expand("sha512", key, info, size)
    assert expand_sha512(Expander(Secret(key)), info, size) == reference.hkdf_expand("sha512", key, info, size)
    assert expand_sha256(Secret(key), info, size) == Secret(reference.hkdf_expand("sha256", key, info, size))


def test_many_expansions_of_one_key_are_each_what_one_is() -> None:
    key, infos = Secret(bytes(range(32))), [b"", b"info", bytes(100)]
    assert expand_each(key, infos) == [expand_sha256(key, info).expose_cleartext() for info in infos]


def test_gcm_opens_only_what_it_sealed() -> None:
    aead, nonce = Aead(bytes(32)), bytes(12)
    sealed = aead.seal(nonce, b"text")
    assert aead.open(nonce, sealed) == b"text"
    for broken in (sealed[:-1], sealed + b"\x00", bytes((sealed[0] ^ 1,)) + sealed[1:]):
        with pytest.raises(OpenError):
            aead.open(nonce, broken)


def test_siv_opens_only_what_it_sealed_with_the_same_parts_in_the_same_order() -> None:
    siv = Siv(Secret(bytes(range(64))))
    sealed = siv.seal(b"text", b"ab", b"c")
    assert siv.open(sealed, b"ab", b"c") == b"text"
    assert siv.seal(b"text", b"ab", b"c") == sealed
    for parts in ((b"a", b"bc"), (b"c", b"ab"), (b"ab",), (), (b"ab", b"c", b"")):
        with pytest.raises(OpenError):
            siv.open(sealed, *parts)
    for broken in (b"", sealed[:16], sealed[:-1], sealed + b"\x00"):
        with pytest.raises(OpenError):
            siv.open(broken, b"ab", b"c")
