"""The machine-readable zone: the specimen reads right, and a wrong character anywhere is refused."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.people import MRZ
from vault.domain.errors import InvalidFieldError
from vault.domain.mrz import parse_td3

TODAY = date(2026, 11, 23)
LINE1, LINE2 = MRZ


def test_the_specimen_of_doc_9303_reads_right() -> None:
    mrz = parse_td3(LINE1, LINE2, "/mrz", today=TODAY, specimen=True)
    assert mrz.legal_name == "ANNA MARIA ERIKSSON"
    assert mrz.birth_date == date(1974, 8, 12)
    assert (mrz.document.number, mrz.document.expires) == ("L898902C3", date(2012, 4, 15))
    assert "ERIKSSON" not in repr(mrz)


def test_a_digit_changed_anywhere_that_is_checked_is_refused() -> None:
    for at in [*range(10), *range(13, 20), *range(21, 44)]:
        for other in "0123456789":
            if other == LINE2[at] or not LINE2[at].isdigit():
                continue
            with pytest.raises(InvalidFieldError):
                parse_td3(LINE1, LINE2[:at] + other + LINE2[at + 1 :], "/mrz", today=TODAY, specimen=True)


@pytest.mark.parametrize(
    ("line1", "line2", "pointer"),
    [
        (None, LINE2, "/mrz/0"),
        (LINE1[:-1], LINE2, "/mrz/0"),
        (LINE1.lower(), LINE2, "/mrz/0"),
        ("V" + LINE1[1:], LINE2, "/mrz/0"),
        ("P<QQQ" + LINE1[5:], LINE2, "/mrz/0"),
        ("P<UTO" + "<" * 39, LINE2, "/mrz/0"),
        (LINE1, LINE2 + "<", "/mrz/1"),
        (LINE1, None, "/mrz/1"),
    ],
)
def test_lines_of_another_form_are_refused(line1: object, line2: object, pointer: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        parse_td3(line1, line2, "/mrz", today=TODAY, specimen=True)
    assert caught.value.pointer == pointer


def with_digits(line: str) -> str:
    """Return the line with its check digits made right again."""
    from vault.domain.documents import check_digit  # noqa: PLC0415

    line = line[:9] + check_digit(line[:9]) + line[10:19] + check_digit(line[13:19]) + line[20:27]
    line += check_digit(line[21:27]) + LINE2[28:42] + check_digit(LINE2[28:42])
    return line + check_digit(line[0:10] + line[13:20] + line[21:43])


@given(st.sampled_from(["741399", "740230", "74081<", "ABCDEF"]))
def test_an_impossible_date_with_right_check_digits_is_refused(digits: str) -> None:
    line = with_digits(LINE2[:13] + digits + LINE2[19:])
    with pytest.raises(InvalidFieldError):
        parse_td3(LINE1, line, "/mrz", today=TODAY, specimen=True)


def test_a_birth_date_is_in_the_latest_century_that_is_not_the_future() -> None:
    for digits, year in (("260101", 2026), ("270101", 1927)):
        line = with_digits(LINE2[:13] + digits + LINE2[19:])
        assert parse_td3(LINE1, line, "/mrz", today=TODAY, specimen=True).birth_date.year == year


def test_an_empty_personal_number_may_have_a_filler_for_its_digit() -> None:
    from vault.domain.documents import check_digit  # noqa: PLC0415

    line = LINE2[:28] + "<" * 15
    line += check_digit(line[0:10] + line[13:20] + line[21:43])
    assert parse_td3(LINE1, line, "/mrz", today=TODAY, specimen=True).document.number == "L898902C3"
