"""An organisation's number has one spelling, whatever scheme it was given by; its check character must match."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.domain.errors import InvalidFieldError
from vault.domain.organizations import fields, mandate, match_form, parse_organization

# The numbers are those of python-stdnum's own documentation.
NUMBERS = [
    ("cn.uscc", "91110000600037341L", "CHN", "91110000600037341L"),
    ("uscc", "9 1110000 600037341L", "CHN", "91110000600037341L"),
    ("lei", "213800KUD8LAJWSQ9D15", "", "213800KUD8LAJWSQ9D15"),
    ("kr.brn", "116-82-00276", "KOR", "1168200276"),
    ("br.cnpj", "16.727.230/0001-97", "BRA", "16727230000197"),
    ("pl.regon", "192-598-184", "POL", "192598184"),
    ("es.cif", "J99216582", "ESP", "J99216582"),
    ("es.nif", "54362315-K", "ESP", "54362315K"),
    ("eu.vat", "DE 136,695 976", "DEU", "136695976"),
    ("vat", "DE136695976", "DEU", "136695976"),
    ("de.vat", "136695976", "DEU", "136695976"),
]


def parse(scheme: str, number: str, **more: Any) -> Any:
    raw = {"legal_name": "Specimen AG", "registration": {"scheme": scheme, "number": number}, **more}
    return parse_organization(raw, "/organization", specimen=True)


@pytest.mark.parametrize(("scheme", "number", "country", "folded"), NUMBERS)
def test_a_valid_number_has_one_spelling_and_its_registers_country(
    scheme: str, number: str, country: str, folded: str
) -> None:
    found = parse(scheme, number.replace(",", " ")).registration
    assert (found.country, found.number) == (country, folded)


# python-stdnum checks length and parts of a Korean number, not its check digit.
@pytest.mark.parametrize(("scheme", "number", "_country", "folded"), [row for row in NUMBERS if row[0] != "kr.brn"])
def test_a_number_with_one_digit_changed_is_refused_without_being_shown(
    scheme: str, number: str, _country: str, folded: str
) -> None:
    at = max(place for place, char in enumerate(number) if char.isdigit())
    wrong = number[:at] + str((int(number[at]) + 1) % 10) + number[at + 1 :]
    with pytest.raises(InvalidFieldError) as refusal:
        parse(scheme, wrong.replace(",", " "))
    assert refusal.value.pointer == "/organization/registration/number"
    assert wrong not in str(refusal.value)
    assert folded not in repr(refusal.value)


def test_a_number_under_two_schemes_is_one_number() -> None:
    forms = {match_form(parse(scheme, "J99216582").registration) for scheme in ("es.cif", "es.nif", "es.vat")}
    assert len(forms | {match_form(parse("eu.vat", "ESJ99216582").registration)}) == 1
    assert match_form(parse("de.vat", "136695976").registration) not in forms


@pytest.mark.parametrize("scheme", ["", "x", "cn", "zz.vat", "cn.uscc ", "os.path", "a" * 17, "cn..uscc"])
def test_a_scheme_that_is_not_listed_is_refused(scheme: str) -> None:
    with pytest.raises(InvalidFieldError) as refusal:
        parse(scheme, "1")
    assert refusal.value.pointer == "/organization/registration/scheme"


def test_the_country_agrees_with_the_scheme_and_follows_from_it() -> None:
    assert parse("cn.uscc", "91110000600037341L").country == "CHN"
    assert parse("lei", "213800KUD8LAJWSQ9D15", country="DEU").country == "DEU"
    with pytest.raises(InvalidFieldError):
        parse("cn.uscc", "91110000600037341L", country="DEU")


@given(st.sampled_from([scheme for scheme, *_ in NUMBERS]), st.text(max_size=40))
def test_any_text_is_a_number_or_a_refusal(scheme: str, number: str) -> None:
    try:
        parse(scheme, number)
    except InvalidFieldError as refusal:
        named = refusal.pointer
    else:
        named = "/organization/registration/"
    assert named.startswith("/organization/registration/")


def test_what_is_sealed_shows_scheme_number_and_country_and_matches_by_the_number() -> None:
    organization = parse("cn.uscc", "91110000600037341L", form="有限公司")
    sealed = fields(organization)
    assert json.loads(sealed["registration"][0]) == {
        "scheme": "cn.uscc", "number": "91110000600037341L", "country": "CHN",
    }  # fmt: skip
    assert sealed["registration"][1] == (match_form(organization.registration),)
    assert sealed["form"] == ('"有限公司"'.encode(), ())
    assert "Specimen" not in repr(organization) + repr(organization.registration)
    assert mandate(b"r" * 16) == (b'{"role":"representative"}', (b"r" * 16,))
