"""Text: what is refused, what is shown, and what two spellings have in common."""

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.domain.errors import InvalidFieldError
from vault.domain.text import clean, clean_name, fold, fold_name

_TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn")), max_size=30)


@pytest.mark.parametrize("code", ["\ud800", "\x00", "\x1f", "\x7f", "\x85", "\ue000", "\u0378", "\u2028"])
def test_surrogates_controls_private_and_unassigned_characters_are_refused(code: str) -> None:
    with pytest.raises(InvalidFieldError, match=r"^/t: no control, direction or unassigned characters$"):
        clean(f"A{code}B", "/t", 10)


@pytest.mark.parametrize("code", "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
def test_every_direction_control_is_refused(code: str) -> None:
    with pytest.raises(InvalidFieldError):
        clean(f"A{code}B", "/t", 10)


@pytest.mark.parametrize("text", ["", " ", "\u3000", "\u200d", "\u200b \ufeff", "\u3164", "\u115f"])
def test_what_shows_nothing_is_empty(text: str) -> None:
    with pytest.raises(InvalidFieldError, match="not empty"):
        clean(text, "/t", 10)


def test_the_shown_form_is_nfc_and_not_nfkc() -> None:
    assert clean(" e\u0301  \u00a0\uff21 ", "/t", 10) == "\u00e9 \uff21"


def test_length_is_counted_before_and_after_nfc() -> None:
    """U+0958 comes apart in NFC, since it is excluded from composition."""
    assert clean("\u0958" * 5, "/t", 10) == "\u0915\u093c" * 5
    for text in ("a" * 11, "\u0958" * 6):
        with pytest.raises(InvalidFieldError, match="at most 10 characters"):
            clean(text, "/t", 10)


@given(_TEXTS | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_a_name_is_shown_as_any_text_and_has_the_match_form_of_what_is_shown(text: str) -> None:
    try:
        shown = clean(text, "/t", 60)
    except InvalidFieldError:
        shown = ""
    if shown and fold_name(shown):
        assert clean_name(text, "/t", 60) == (shown, fold_name(shown))
        assert shown == " ".join(unicodedata.normalize("NFC", text).split())
    else:
        with pytest.raises(InvalidFieldError, match="a name has letters" if shown else "not empty|direction|most"):
            clean_name(text, "/t", 60)


@given(_TEXTS)
def test_the_shown_form_has_the_same_match_form(text: str) -> None:
    try:
        shown = clean(text, "/t", 60)
    except InvalidFieldError:
        return
    assert clean(shown, "/t", 60) == shown
    assert fold(shown) == fold(text)
    assert fold_name(shown) == fold_name(text)


@given(_TEXTS, st.sampled_from(("NFC", "NFD", "NFKC", "NFKD")))
def test_a25_every_unicode_form_folds_alike(text: str, form: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> None:
    assert fold(unicodedata.normalize(form, text)) == fold(text)


@given(st.lists(st.sampled_from("ANNA"), min_size=4, max_size=9), st.data())
def test_a25_invisible_characters_change_nothing(letters: list[str], data: st.DataObject) -> None:
    hidden = st.sampled_from("\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u200f\ufe0f\u180b\u3164\uffa0\U000e0100")
    written = "".join(letter + data.draw(hidden) for letter in letters)
    assert fold(written) == fold("".join(letters))


@pytest.mark.parametrize("apostrophe", "'\u2018\u2019\u02bc\u02bb\u2032\u00b4`\uff07")
def test_a25_every_apostrophe_folds_like_none(apostrophe: str) -> None:
    assert fold_name(f"O{apostrophe}Neil") == fold_name("ONEIL")


@pytest.mark.parametrize("dot", "\u00b7\u2022\u2027\u30fb\uff65")
def test_a25_every_dot_within_a_name_folds_like_none(dot: str) -> None:
    assert fold_name(f"\u963f\u91cc{dot}\u4e70") == fold_name("\u963f\u91cc\u4e70")


def test_a25_a_stretched_arabic_name_is_the_same() -> None:
    assert fold_name("\u0645\u062d\u0640\u0645\u062f") == fold_name("\u0645\u062d\u0645\u062f")


def test_what_a_mark_kept_apart_composes() -> None:
    assert fold_name("e'\u0301") == fold_name("\u00e9")


def test_fillers_and_hyphens_part_words_whose_order_does_not_count() -> None:
    assert fold_name("ERIKSSON<<ANNA<MARIA") == fold_name("Anna-Maria Eriksson") == "anna eriksson maria"


def test_letters_of_every_script_stay_and_other_names_stay_other() -> None:
    names = ["\u5f20\u4f1f", "\u0410\u043d\u043d\u0430", "ANNA", "HANNA", "\u00c5NNA", "\u0639\u0644\u06cc"]
    assert len({fold_name(name) for name in names}) == len(names)
