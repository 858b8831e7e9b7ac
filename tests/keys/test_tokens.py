"""Tokens carry their own proof, have one spelling, and say nothing about each other."""

import base64
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.errors import EndedError, OpenError
from keys.primitives import Secret
from keys.tokens import Access, DirectoryTokens, PairwiseTokens, Pseudonym

ONE, TWO = Secret(bytes(range(64))), Secret(bytes(range(64, 128)))
SHOP = PairwiseTokens("shop.example", {1: ONE})
DIRECTORY = DirectoryTokens({1: ONE})
PID = bytes(range(16))
ACCESS = Access("cli_reader", frozenset(("a", "b")), 1_767_225_600, bytes(range(16)))
ALPHABET = string.ascii_letters + string.digits + "-_"


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_pseudonym_reads_back(pid: bytes, generation: int) -> None:
    text = SHOP.encode(Pseudonym(pid, generation))
    assert len(text) == 54
    assert SHOP.decode(text) == Pseudonym(pid, generation)


@given(
    client=st.text(st.characters(codec="utf-8"), max_size=30),
    scopes=st.frozensets(st.text(string.ascii_lowercase, min_size=1, max_size=8), max_size=5),
    expires=st.integers(0, 2**64 - 1),
)
@settings(deadline=None)
def test_an_access_token_reads_back(client: str, scopes: frozenset[str], expires: int) -> None:
    access = Access(client, scopes, expires, PID)
    assert DIRECTORY.decode_access(DIRECTORY.encode_access(access)) == access


@given(st.binary(max_size=40))
@settings(deadline=None)
def test_a_cursor_reads_back(key: bytes) -> None:
    assert DIRECTORY.decode_cursor("accounts", "c", DIRECTORY.encode_cursor("accounts", "c", key)) == key


def test_a_cursor_is_good_for_one_list_of_one_client() -> None:
    text = DIRECTORY.encode_cursor("accounts", "one", b"k")
    for listing, client in (("accounts", "two"), ("reviews", "one"), ("accountso", "ne")):
        with pytest.raises(OpenError):
            DIRECTORY.decode_cursor(listing, client, text)


def test_a_token_of_one_kind_or_sector_is_none_of_another() -> None:
    nym = SHOP.encode(Pseudonym(PID, 0))
    access, cursor = DIRECTORY.encode_access(ACCESS), DIRECTORY.encode_cursor("accounts", "c", PID)
    with pytest.raises(OpenError):
        PairwiseTokens("bank.example", {1: ONE}).decode(nym)
    for wrong in (nym, cursor, "vat_" + cursor[4:], "vat_" + nym[4:], access.upper()):
        with pytest.raises(OpenError):
            DIRECTORY.decode_access(wrong)
    for wrong in (access, "cur_" + access[4:]):
        with pytest.raises(OpenError):
            DIRECTORY.decode_cursor("accounts", "c", wrong)


@pytest.mark.parametrize("at", range(54))
def test_a_pseudonym_with_any_one_character_changed_is_refused(at: int) -> None:
    text = SHOP.encode(Pseudonym(PID, 7))
    for other in ALPHABET + "=+/ \n":
        if other != text[at]:
            with pytest.raises(OpenError):
                SHOP.decode(text[:at] + other + text[at + 1 :])


def test_an_access_token_with_any_bit_flipped_or_any_length_is_refused() -> None:
    text = DIRECTORY.encode_access(ACCESS)
    raw = base64.urlsafe_b64decode(text[4:] + "=" * (-len(text[4:]) % 4))
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(OpenError):
            DIRECTORY.decode_access("vat_" + base64.urlsafe_b64encode(changed).rstrip(b"=").decode())
    for length in range(len(text)):
        with pytest.raises(OpenError):
            DIRECTORY.decode_access(text[:length])


@pytest.mark.parametrize("text", ["", "vat_", "vat_A", "vat_AA", "vat_====", "vat_é", "vat_A===", "vat_" + "A" * 3000])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(OpenError):
        DIRECTORY.decode_access(text)


def test_a_pseudonym_has_one_length() -> None:
    text = SHOP.encode(Pseudonym(PID, 0))
    for wrong in ("", "nym_", text[:-1], text + "A", text + "="):
        with pytest.raises(OpenError):
            SHOP.decode(wrong)


def test_a_token_has_one_spelling() -> None:
    text = DIRECTORY.encode_access(ACCESS)
    tail = len(text[4:]) % 4
    others = [text + "=", text + "==", " " + text, text + "\n", text[:4] + "\n" + text[4:], text + "A"]
    others += [text.replace("-", "+"), text.replace("_", "/")]
    if tail:
        last = ALPHABET.index(text[-1])
        others += [text[:-1] + ALPHABET[last ^ 1]]
    for other in others:
        if other != text:
            with pytest.raises(OpenError):
                DIRECTORY.decode_access(other)


def test_with_two_versions_the_old_token_opens_and_the_new_key_seals() -> None:
    old, both = SHOP.encode(Pseudonym(PID, 0)), PairwiseTokens("shop.example", {1: ONE, 2: TWO})
    new = both.encode(Pseudonym(PID, 0))
    assert old != new
    assert both.decode(old) == both.decode(new) == Pseudonym(PID, 0)
    assert PairwiseTokens("shop.example", {2: TWO}).decode(new) == Pseudonym(PID, 0)
    for codec, text in ((SHOP, new), (PairwiseTokens("shop.example", {2: TWO}), old)):
        with pytest.raises(OpenError):
            codec.decode(text)


def _alone(codec: PairwiseTokens, text: str) -> Pseudonym | None:
    try:
        return codec.decode(text)
    except OpenError:
        return None


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1)), max_size=8))
@settings(deadline=None)
def test_many_pseudonyms_are_spelled_and_read_as_each_is_alone(said: list[tuple[bytes, int]]) -> None:
    pseudonyms = [Pseudonym(*one) for one in said] * 5
    texts = SHOP.encode_all(pseudonyms)
    assert texts == [SHOP.encode(one) for one in pseudonyms]
    assert SHOP.decode_all(texts) == pseudonyms


def test_among_many_each_is_refused_that_is_refused_alone_and_no_other() -> None:
    text, both = SHOP.encode(Pseudonym(PID, 7)), PairwiseTokens("shop.example", {1: ONE, 2: TWO})
    others = [
        text[:at] + other + text[at + 1 :] for at in range(54) for other in ALPHABET + "=+/ \né" if other != text[at]
    ]
    others += ["", "nym_", text[:-1], text + "A", "é" * 54, "nym_" + "A" * 50, both.encode(Pseudonym(PID, 7))]
    # Each beside one that is good: a character that is none of a token's makes the reading of all fail.
    for other in others:
        good = [Pseudonym(PID, 7)] * 20
        assert both.decode_all([*[text] * 20, other, *[text] * 20]) == [*good, _alone(both, other), *good]
    assert both.decode_all([text, *others]) == [Pseudonym(PID, 7), *(_alone(both, other) for other in others)]


def test_many_of_an_unknown_version_ask_for_the_keys_once() -> None:
    asked: list[int] = []

    def renewed() -> dict[int, Secret]:
        asked.append(len(asked))
        return {1: ONE, 2: TWO}

    both = PairwiseTokens("shop.example", {1: ONE, 2: TWO})
    held = PairwiseTokens("shop.example", {1: ONE}, renewed)
    texts = both.encode_all([Pseudonym(PID, generation) for generation in range(90)])
    assert held.decode_all(texts) == [Pseudonym(PID, generation) for generation in range(90)]
    assert held.decode_all(texts)[0] == Pseudonym(PID, 0)
    assert asked == [0]


def test_without_any_key_none_of_many_is_spelled_or_read() -> None:
    ended = PairwiseTokens("shop.example", {})
    for count in (1, 90):
        with pytest.raises(EndedError):
            ended.encode_all([Pseudonym(PID, 0)] * count)
        assert ended.decode_all([SHOP.encode(Pseudonym(PID, 0))] * count) == [None] * count
    assert ended.encode_all([]) == []


def test_generations_and_sectors_share_no_prefix() -> None:
    texts = {SHOP.encode(Pseudonym(PID, generation)) for generation in range(200)}
    texts |= {PairwiseTokens(f"s{n}.example", {1: ONE}).encode(Pseudonym(PID, 0)) for n in range(200)}
    assert len({text[4:10] for text in texts}) == 400
