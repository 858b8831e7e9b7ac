"""National numbers: every spelling of one number is one, no two numbers are, and stated birth dates are read right."""

from datetime import date
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.util import clean

from vault.domain import national_numbers
from vault.domain.national_numbers import UNSTATED, Birth, check, has_rules

TODAY = date(2026, 11, 23)
KIND = "national_id"


def canonical(kind: str, country: str, number: str, today: date) -> str | None:
    found = check(kind, country, number, today)
    return None if found is None else found[0]


def birth_of(country: str, number: str) -> Birth:
    found = check(KIND, country, number, TODAY)
    return UNSTATED if found is None else found[1]


SPECIMENS = [
    ("BEL", "85073003328", date(1985, 7, 30)),
    ("BGR", "7523169263", date(1875, 3, 16)),
    ("CHN", "11010519491231002X", date(1949, 12, 31)),
    ("CZE", "7103192745", date(1971, 3, 19)),
    ("SVK", "7103192745", date(1971, 3, 19)),
    ("DNK", "2110625629", date(1862, 10, 21)),
    ("EST", "36805280109", date(1968, 5, 28)),
    ("FIN", "131052308T", date(1952, 10, 13)),
    ("FIN", "131052A308T", date(2052, 10, 13)),
    ("LTU", "33309240064", date(1933, 9, 24)),
    ("LVA", "16117519997", date(1975, 11, 16)),
    ("MEX", "BOXW310820HNERXN09", date(1931, 8, 20)),
    ("NOR", "15108695088", date(1986, 10, 15)),
    ("POL", "44051401359", date(1944, 5, 14)),
    ("ROU", "1630615123457", date(1963, 6, 15)),
    ("SWE", "198803200016", date(1988, 3, 20)),
    ("ESP", "54362315K", None),
    ("ISL", "1201743399", None),
    ("ISR", "039337423", None),
    ("ITA", "RCCMNL83S18D969H", None),
    ("NLD", "111222333", None),
    ("ZAF", "7503305044089", None),
]


@pytest.mark.parametrize(("country", "number", "birth"), SPECIMENS)
def test_a_good_number_is_its_own_canonical_form_and_states_its_birth_date(
    country: str, number: str, birth: date | None
) -> None:
    assert canonical(KIND, country, number, TODAY) == number
    assert birth_of(country, number).in_full() == birth


@pytest.mark.parametrize(
    ("country", "number", "form"),
    [
        ("SWE", "8803200016", "198803200016"),
        ("FIN", "131052308T", "131052308T"),
        ("ISR", "39337423", "039337423"),
        ("ARG", "1234567", "01234567"),
        ("ARG", "01234567", "01234567"),
        ("CHL", "CL125319092", "125319092"),
        ("HRV", "HR33392005961", "33392005961"),
    ],
)
def test_a25_optional_parts_do_not_make_another_person(country: str, number: str, form: str) -> None:
    assert canonical(KIND, country, number, TODAY) == form


def test_a25_two_swedes_a_century_apart_never_merge() -> None:
    forms = {canonical(KIND, "SWE", number, TODAY) for number in ("191203200017", "201203200017", "1203200017")}
    assert forms == {"191203200017", "201203200017"}


def test_a_short_swedish_number_is_of_a_person_under_100() -> None:
    assert canonical(KIND, "SWE", "1203200017", date(2011, 1, 1)) == "191203200017"
    assert canonical(KIND, "SWE", "1203200017", date(2026, 1, 1)) == "201203200017"


def test_a25_a_finnish_century_sign_tells_two_persons_apart() -> None:
    forms = {canonical(KIND, "FIN", f"131052{sign}308T", TODAY) for sign in ("", "A", "B", "Y", "X")}
    assert None not in forms
    assert len(forms) == 5


@pytest.mark.parametrize(
    ("country", "number"),
    [
        ("CHN", "110105194912310021"),
        ("CHN", "110105491231002"),
        ("ITA", "00743110157"),  # a company's
        ("ISL", "4504013150"),  # a company's
        ("LVA", "40003521600"),  # a company's
        ("SWE", "8803200018"),
        ("SWE", "88032000X6"),
        ("FIN", "131052308U"),
        ("NLD", "111252333"),
    ],
)
def test_numbers_that_break_a_rule_have_no_form(country: str, number: str) -> None:
    assert canonical(KIND, country, number, TODAY) is None
    assert birth_of(country, number).in_full() is None


@given(st.text(max_size=20) | st.text("0123456789ABCxyz -./", max_size=20), st.sampled_from(["", " -", "-./", "A1"]))
def test_numbers_are_cleaned_as_the_library_does_it(text: str, without: str) -> None:
    assert national_numbers._clean(text, without) == clean(text, without)


def test_countries_and_kinds_without_rules_are_told_apart() -> None:
    assert has_rules(KIND, "CHN")
    assert has_rules("residence_permit", "ESP")
    assert not has_rules("passport", "CHN")
    assert not has_rules(KIND, "UTO")
    assert check("passport", "CHN", "E12345678", TODAY) is None


def test_a_number_without_a_birth_date_agrees_with_any() -> None:
    """Lithuania's numbers beginning with 9 and Romania's beginning with 7 to 9 do not tell the date."""
    body = "9000000001"
    checks = import_module("stdnum.ee.ik")
    number = body + checks.calc_check_digit(body + "0")
    assert canonical(KIND, "LTU", number, TODAY) == number
    assert birth_of("LTU", number).in_full() is None
    assert birth_of("LTU", number).agrees(TODAY)
    resident = "763061512345" + import_module("stdnum.ro.cnp").calc_check_digit("763061512345")
    assert canonical(KIND, "ROU", resident, TODAY) == resident
    assert birth_of("ROU", resident).agrees(TODAY)


def test_a_two_digit_year_is_compared_as_such() -> None:
    assert birth_of("ITA", "RCCMNL83S18D969H").agrees(date(1983, 11, 18))
    assert birth_of("ITA", "RCCMNL83S18D969H").agrees(date(1883, 11, 18))
    assert not birth_of("ITA", "RCCMNL83S18D969H").agrees(date(1983, 11, 19))
    assert birth_of("POL", "44051401359").agrees(date(1944, 5, 14))
    assert not birth_of("POL", "44051401359").agrees(date(2044, 5, 14))


@given(st.sampled_from(sorted(national_numbers._NATIONAL)), st.text("0123456789ABCXYZ", min_size=1, max_size=32))
def test_any_letters_and_digits_give_a_canonical_form_or_none(country: str, number: str) -> None:
    found = canonical(KIND, country, number, TODAY)
    if found is not None:
        assert canonical(KIND, country, found, TODAY) == found
        birth_of(country, found).in_full()


@given(
    st.sampled_from([(country, number) for country, number, _ in SPECIMENS if country != "DNK"]),
    st.integers(0, 31),
    st.integers(1, 9),
)
def test_a25_one_digit_changed_is_refused_or_another_person(specimen: tuple[str, str], at: int, step: int) -> None:
    country, number = specimen
    at %= len(number)
    if not number[at].isdigit():
        return
    changed = number[:at] + str((int(number[at]) + step) % 10) + number[at + 1 :]
    assert canonical(KIND, country, changed, TODAY) != canonical(KIND, country, number, TODAY)
