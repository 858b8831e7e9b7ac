"""What is quicker for plain ASCII, or read from a table of characters, gives what the rule gives for each."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.domain import text
from vault.domain.documents import fold_number
from vault.domain.errors import InvalidFieldError
from vault.domain.handles import parse_handle
from vault.domain.text import fold, fold_name

MIXED = st.text(st.one_of(st.characters(codec="ascii"), st.characters(exclude_categories=["Cs"])), max_size=40)
HANDLES = st.text(st.characters(codec="ascii"), max_size=70)


def slow_fold(given_text: str) -> str:
    while True:
        folded = unicodedata.normalize("NFKC", given_text).casefold()
        kept = "".join(c for c in folded if unicodedata.category(c) != "Cf" and c not in text._IGNORABLE)
        folded = " ".join(kept.split())
        if folded == given_text:
            return folded
        given_text = folded


@settings(deadline=None)
@given(MIXED | HANDLES)
def test_folding_gives_what_the_rule_gives(written: str) -> None:
    assert fold(written) == slow_fold(written)


@settings(deadline=None)
@given(MIXED | HANDLES)
def test_names_fold_as_the_rule_says(name: str) -> None:
    kept = "".join(text._name_char(char) for char in slow_fold(name.replace(text._ACUTE, "'")))
    assert fold_name(name) == " ".join(sorted(slow_fold(kept).split()))


@settings(deadline=None)
@given(MIXED)
def test_numbers_fold_as_the_rule_says(number: str) -> None:
    separators = " ./<\u2212"
    kept = "".join(c for c in slow_fold(number) if c not in separators and unicodedata.category(c) != "Pd").upper()
    refused = any(unicodedata.category(c) == "Cc" for c in number)
    if refused or not (1 <= len(kept) <= 32 and all(c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" for c in kept)):
        with pytest.raises(InvalidFieldError):
            fold_number(number, "")
    else:
        assert fold_number(number, "") == kept


@settings(deadline=None)
@given(HANDLES | st.from_regex(r"[ -~]{2,6}", fullmatch=True))
def test_plain_handles_are_judged_as_the_rule_judges(handle: str) -> None:
    categories = [unicodedata.category(char)[0] for char in handle]
    good = 2 <= len(handle) <= 64 and not {"C", "Z"} & set(categories) and categories[0] in "LN"
    if good and not set("@/") & set(handle):
        assert parse_handle(handle, "") == handle
    else:
        with pytest.raises(InvalidFieldError):
            parse_handle(handle, "")
