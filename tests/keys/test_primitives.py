"""Secrets stay out of sight, and the primitives give what their specifications say."""

import copy
import pickle

import pytest

from keys.errors import OpenError
from keys.primitives import Aead, Expander, Secret, Siv, equal, expand_sha256, expand_sha512, hmac_sha256, random_bytes
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


def test_hmac_gives_the_second_case_of_rfc_4231() -> None:
    mac = hmac_sha256(Secret(b"Jefe"), b"what do ya want for nothing?")
    assert mac.hex() == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


@pytest.mark.parametrize("size", [1, 32, 64, 65, 76])
def test_expansion_agrees_with_a_second_computation(size: int) -> None:
    key, info = bytes(range(32)), b"info"
    assert expand_sha512(Secret(key), info, size) == reference.hkdf_expand("sha512", key, info, size)
    assert expand_sha512(Expander(Secret(key)), info, size) == reference.hkdf_expand("sha512", key, info, size)
    assert expand_sha256(Secret(key), info, size) == Secret(reference.hkdf_expand("sha256", key, info, size))


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
