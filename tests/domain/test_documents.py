"""Documents: one number however it is written, two numbers never one, and only whole ones pass."""

import unicodedata
from dataclasses import dataclass
from datetime import date
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.cn import ric

from vault.domain.documents import Document, check_digit, fold_number, match_form, parse_document
from vault.domain.errors import InvalidFieldError

TODAY = date(2026, 11, 23)
CHINESE = "11010519491231002X"
_SPACERS = st.sampled_from(["", " ", "\u00a0", "\u3000", "-", "\u2010", "\u2212", ".", "\u200b", "\u2060", "\u200f"])


def document(number: object, country: str = "CHN", kind: str = "national_id") -> Document:
    raw = {"type": kind, "country": country, "number": number}
    return parse_document(raw, "/d", today=TODAY, specimen=False)


def chinese(day: date, sequence: int) -> str:
    body = f"110105{day:%Y%m%d}{sequence:03d}"
    return body + str(ric.calc_check_digit(body + "0"))


@dataclass(frozen=True)
class Spelling:
    """A way of writing a number."""

    spacers: list[str]
    wide: bool
    lower: bool
    form: Literal["NFC", "NFD", "NFKC", "NFKD"]

    def of(self, number: str) -> str:
        text = number.lower() if self.lower else number
        if self.wide:
            text = "".join(chr(ord(char) + 0xFEE0) for char in text)
        text = "".join(f"{char}{spacer}" for char, spacer in zip(text, self.spacers, strict=True))
        return unicodedata.normalize(self.form, text)


_SPELLINGS = st.builds(Spelling, spacers=st.lists(_SPACERS, min_size=18, max_size=18))


@given(_SPELLINGS)
def test_a25_one_person_whatever_the_spaces_width_case_and_form(spelling: Spelling) -> None:
    assert match_form(document(spelling.of(CHINESE))) == ("national_id", "CHN", CHINESE)


_DAYS = st.dates(date(1985, 1, 1), date(2026, 1, 1))


@given(st.tuples(_DAYS, st.integers(0, 999)), st.tuples(_DAYS, st.integers(0, 999)), _SPELLINGS)
def test_a25_two_persons_never_merge_however_they_are_written(
    one: tuple[date, int], other: tuple[date, int], spelling: Spelling
) -> None:
    first, second = chinese(*one), chinese(*other)
    written = spelling.of(second)
    assert (match_form(document(first)) == match_form(document(written))) == (first == second)


@given(st.integers(0, 17), st.integers(1, 9))
def test_a25_a_changed_digit_is_refused(at: int, step: int) -> None:
    number = chinese(date(1990, 5, 1), 123)
    changed = number[:at] + str((int(number[at].replace("X", "0")) + step) % 10) + number[at + 1 :]
    with pytest.raises(InvalidFieldError):
        document(changed)


def test_a25_german_cards_match_by_their_nine_characters_and_no_others_do() -> None:
    whole, bare = document("L01X00T471", "DEU"), document("l01x 00t 47", "D")
    assert match_form(whole) == match_form(bare)
    for number in ("L01X00T472", "L01X00T4", "L01X00T4711", "L01X00T47AB"):
        with pytest.raises(InvalidFieldError):
            document(number, "DEU")


def test_a_german_passport_is_no_card() -> None:
    assert document("C01X00T478", "DEU", "passport").number == "C01X00T478"


def test_a_number_is_told_apart_by_type_and_country() -> None:
    kinds = [("passport", "NOR"), ("passport", "FRA"), ("residence_permit", "NOR")]
    assert len({match_form(document("E12345678", country, kind)) for kind, country in kinds}) == 3


def test_a_finnish_number_passes_with_its_hyphen() -> None:
    found = document("131052-308T", "FIN")
    assert found.number == "131052308T"
    assert found.birth.in_full() == date(1952, 10, 13)
    assert found.birth.agrees(date(1952, 10, 13))
    assert not found.birth.agrees(date(1952, 10, 14))


@pytest.mark.parametrize(
    "number", ["", " ", "-", "1" * 33, "1" * 65, "AB\x00C", "AB\tC", "AB\nC", "A_B", "A!B", "\u00e9", "\u0661", 7, None]
)
def test_what_is_not_letters_and_digits_is_refused_without_being_repeated(number: object) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        fold_number(number, "/d/number")
    assert str(caught.value) == "/d/number: a document number of letters and digits, at most 32"
    assert caught.value.__context__ is None


@given(st.text("ABCXYZ0123456789", min_size=1, max_size=32))
def test_folding_a_folded_number_changes_nothing(number: str) -> None:
    assert fold_number(number, "/n") == number
    assert fold_number(number.lower(), "/n") == number


def test_the_check_digit_is_that_of_doc_9303() -> None:
    """Source: ICAO Doc 9303 part 3, appendix A: the date 520727 has 3, AB2134<<< has 5."""
    assert check_digit("520727") == "3"
    assert check_digit("AB2134<<<") == "5"
