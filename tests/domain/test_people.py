"""People: what is refused, with field and rule, and what is one person."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.people import ANNA, ANNA_BY_MRZ, WEI
from vault.domain.documents import Document, fold_number, is_expired, match_form
from vault.domain.errors import DomainError, InvalidFieldError
from vault.domain.people import MAX_NAMES, Identity, Name, fields, parse_identity

TODAY = date(2026, 11, 23)
CJK_NAME = "\u5f20\u4f1f"


def parsed(raw: dict[str, Any], *, specimen: bool = True) -> Identity:
    return parse_identity(raw, "/identity", today=TODAY, specimen=specimen)


def refused(raw: dict[str, Any], *, specimen: bool = True) -> str:
    with pytest.raises(InvalidFieldError) as caught:
        parsed(raw, specimen=specimen)
    return caught.value.pointer


def document(**changes: object) -> dict[str, Any]:
    return ANNA | {"document": ANNA["document"] | changes}


def national(country: str, number: str, kind: str = "national_id") -> dict[str, Any]:
    return {"legal_name": "A B", "document": {"type": kind, "country": country, "number": number}}


def test_mrz_and_fields_of_one_passport_are_one_person() -> None:
    by_mrz, by_fields = fields(parsed(ANNA_BY_MRZ)), fields(parsed(ANNA))
    for name in ("legal_name", "birth_date", "document"):
        assert by_mrz[name][1] == by_fields[name][1]


@pytest.mark.parametrize(
    ("country", "number", "birth"),
    [
        ("CHN", "11010519491231002X", date(1949, 12, 31)),
        ("ESP", "12345678Z", None),
        ("ESP", "X1234567L", None),
        ("KOR", "9710139019902", date(1897, 10, 13)),
        ("POL", "44051401359", date(1944, 5, 14)),
        ("BRA", "529.982.247-25", None),
    ],
)
def test_national_numbers_with_a_right_check_character_are_accepted(
    country: str, number: str, birth: date | None
) -> None:
    identity = parsed(national(country, number))
    assert identity.document is not None
    assert identity.document.birth.in_full() == birth
    assert identity.birth_date == birth


@pytest.mark.parametrize(
    ("country", "number"),
    [
        ("CHN", "110105194912310021"), ("CHN", "11010519490231002X"), ("CHN", "110105491231002"),
        ("ESP", "12345678A"), ("KOR", "9710139019903"), ("POL", "44051401358"), ("BRA", "52998224724"),
        ("DEU", "L01X00T472"),
    ],
)  # fmt: skip
def test_a_wrong_check_character_is_refused(country: str, number: str) -> None:
    assert refused(national(country, number)) == "/identity/document/number"


def test_a_german_card_matches_with_and_without_its_check_digit() -> None:
    forms = {match_form(parsed(national("DEU", number)).document or never()) for number in ("T220001293", "T22000129")}
    assert len(forms) == 1


def never() -> Document:
    raise AssertionError("a document was expected")


def test_a_spanish_foreigners_number_is_good_on_a_residence_permit() -> None:
    assert parsed(national("ESP", "X1234567L", "residence_permit")).document is not None
    assert refused(national("ESP", "12345678Z", "residence_permit")) == "/identity/document/number"


def test_a_birth_date_that_the_number_gainsays_is_refused() -> None:
    assert refused(WEI | {"birth_date": "1950-01-01"}) == "/identity/birth_date"
    assert refused(ANNA_BY_MRZ | {"birth_date": "1974-08-13"}) == "/identity/birth_date"


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        ({}, "/identity/legal_name"),
        ({"legal_name": 7}, "/identity/legal_name"),
        ({"legal_name": " \u200b "}, "/identity/legal_name"),
        ({"legal_name": "A" * 201}, "/identity/legal_name"),
        ({"legal_name": "A\u202eB"}, "/identity/legal_name"),
        ({"legal_name": "A\x07B"}, "/identity/legal_name"),
        ({"legal_name": "A\ud800"}, "/identity/legal_name"),
        (ANNA | {"birth_date": "1974-02-30"}, "/identity/birth_date"),
        (ANNA | {"birth_date": "12.08.1974"}, "/identity/birth_date"),
        (ANNA | {"birth_date": "2026-11-24"}, "/identity/birth_date"),
        (ANNA | {"birth_date": "1869-12-31"}, "/identity/birth_date"),
        (ANNA | {"birth_date": 19740812}, "/identity/birth_date"),
        (document(type="library_card"), "/identity/document/type"),
        (document(country="XXX1"), "/identity/document/country"),
        (document(country=None), "/identity/document/country"),
        (document(number="L8989!"), "/identity/document/number"),
        (document(number=""), "/identity/document/number"),
        (document(number="9" * 65), "/identity/document/number"),
        (document(expires="2031-13-01"), "/identity/document/expires"),
        (ANNA | {"document": "passport"}, "/identity/document"),
        (ANNA | {"document": {"type": "passport", "mrz": ["one"]}}, "/identity/document/mrz"),
        (ANNA | {"names": "x"}, "/identity/names"),
        (ANNA | {"names": [{"value": "A", "script": "Latn"}] * (MAX_NAMES + 1)}, "/identity/names"),
        (ANNA | {"names": ["x"]}, "/identity/names/0"),
        (ANNA | {"names": [{"value": "x", "script": "latin"}]}, "/identity/names/0/script"),
        (ANNA | {"names": [{"value": "\n", "script": "Latn"}]}, "/identity/names/0/value"),
        (ANNA | {"phone": "0700"}, "/identity/phone"),
        (ANNA | {"email": "anna at example"}, "/identity/email"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_field(raw: dict[str, Any], pointer: str) -> None:
    assert refused(raw) == pointer


def test_no_error_holds_the_value() -> None:
    for raw in (ANNA | {"phone": "MARKER"}, document(number="MARKER!!"), ANNA | {"birth_date": "MARKER"}):
        with pytest.raises(DomainError) as caught:
            parsed(raw)
        assert "MARKER" not in f"{caught.value}{caught.value!r}{caught.value.__cause__}{caught.value.__context__}"


def test_documents_of_the_specimen_state_are_for_development_vaults() -> None:
    assert refused(ANNA, specimen=False) == "/identity/document/country"
    assert refused(ANNA_BY_MRZ, specimen=False) == "/identity/document/mrz/0"


def test_values_in_memory_show_nothing_in_their_repr() -> None:
    identity = parsed(WEI)
    shown = f"{identity!r}{identity.document!r}{identity.names!r}{Name('MARKER', 'Latn', 'MARKER')!r}"
    assert CJK_NAME not in shown
    assert "MARKER" not in shown
    assert "1949" not in shown


def test_phone_and_email_are_normalised_and_give_no_match() -> None:
    found = fields(parsed(ANNA | {"phone": "+46 70-000 00 00", "email": "anna@Example.ORG"}))
    assert found["phone"] == (b'"+46700000000"', ())
    assert found["email"] == (b'"anna@example.org"', ())


def test_expiry_is_the_day_after() -> None:
    card = parsed(document(expires="2026-11-23")).document or never()
    assert not is_expired(card, TODAY)
    assert is_expired(card, date(2026, 11, 24))


_SPACERS = st.text(alphabet=" \u3000\u200b\u200d\u2060-.\u2009", max_size=2)


@given(st.lists(_SPACERS, min_size=19, max_size=19), st.booleans(), st.booleans())
def test_a25_one_number_however_it_is_written(spacers: list[str], wide: bool, lower: bool) -> None:  # noqa: FBT001
    written = "11010519491231002" + ("x" if lower else "X")
    if wide:
        written = "".join(chr(ord(char) + 0xFEE0) for char in written)
    spaced = "".join(f"{mark}{char}" for mark, char in zip(spacers, written, strict=False)) + spacers[-1]
    assert fold_number(spaced[:64], "/n") == fold_number(written[: len(fold_number(spaced[:64], "/n"))], "/n")


@given(st.integers(0, 999), st.integers(0, 999))
def test_a25_two_different_numbers_never_merge(one: int, other: int) -> None:
    from stdnum.cn import ric  # noqa: PLC0415

    def number(sequence: int) -> str:
        body = f"11010519491231{sequence:03d}"
        return body + str(ric.calc_check_digit(body + "0"))

    forms = {match_form(parsed(national("CHN", number(sequence))).document or never()) for sequence in (one, other)}
    assert len(forms) == len({one, other})


@given(st.permutations(["ANNA", "MARIA", "ERIKSSON"]), st.sampled_from([" ", "  ", "\u00a0", ", ", "-"]))
def test_a25_one_name_in_any_order_case_and_punctuation(words: list[str], joint: str) -> None:
    written = joint.join(word.title() for word in words)
    assert fields(parsed(ANNA | {"legal_name": written}))["legal_name"][1] == fields(parsed(ANNA))["legal_name"][1]
