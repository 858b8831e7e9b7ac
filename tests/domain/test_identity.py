"""Identities: what an MRZ, a number and a statement must agree on, and what is sealed and matched."""

import json
from datetime import date
from typing import Any

import pytest

from tests.people import ANNA, ANNA_BY_MRZ, MRZ, WEI
from vault.domain.documents import check_digit
from vault.domain.errors import InvalidFieldError
from vault.domain.handles import handle_key, parse_handle
from vault.domain.mrz import Mrz, parse_td3
from vault.domain.people import Field, fields, parse_identity

TODAY = date(2026, 11, 23)


def sealed(raw: dict[str, Any]) -> dict[str, Field]:
    return fields(parse_identity(raw, "/i", today=TODAY, specimen=True))


def refused(raw: dict[str, Any]) -> str:
    with pytest.raises(InvalidFieldError) as caught:
        sealed(raw)
    return str(caught.value)


def zone(line1: str = MRZ[0], *, sex: str = "F") -> Mrz:
    return parse_td3(line1, MRZ[1][:20] + sex + MRZ[1][21:], "/m", today=TODAY, specimen=True)


def test_the_zone_tells_names_nationality_and_sex_apart() -> None:
    found = zone()
    assert (found.surname, found.given_names) == ("ERIKSSON", "ANNA MARIA")
    assert (found.nationality, found.sex) == ("UTO", "F")
    assert zone(sex="<").sex == ""


def test_the_zone_of_a_person_with_one_name_gives_that_name() -> None:
    found = zone("P<UTO" + "ARKFREITH".ljust(39, "<"))
    assert (found.legal_name, found.surname, found.given_names) == ("ARKFREITH", "ARKFREITH", "")


def test_the_sex_is_m_f_or_a_filler() -> None:
    with pytest.raises(InvalidFieldError, match=r"^/m/1: the sex is M, F or <$"):
        zone(sex="Z")


@pytest.mark.parametrize(("digits", "year"), [("760101", 2076), ("770101", 1977), ("120415", 2012)])
def test_an_expiry_date_is_within_fifty_years(digits: str, year: int) -> None:
    line = MRZ[1][:21] + digits + check_digit(digits) + MRZ[1][28:43]
    line += check_digit(line[0:10] + line[13:20] + line[21:43])
    found = parse_td3(MRZ[0], line, "/m", today=TODAY, specimen=True).document.expires
    assert found is not None
    assert found.year == year


def test_a_zone_is_a_passports() -> None:
    rule = "/i/document/type: passport, where mrz is given"
    assert refused({"document": {"type": "national_id", "mrz": MRZ}}) == rule


def test_a_stated_name_stands_before_the_zones_and_a_stated_birth_date_must_agree() -> None:
    shown = sealed(ANNA_BY_MRZ | {"legal_name": "Anna M. Eriksson", "birth_date": "1974-08-12"})
    assert json.loads(shown["legal_name"][0]) == "Anna M. Eriksson"
    rule = "does not agree with the machine-readable zone"
    assert refused(ANNA_BY_MRZ | {"birth_date": "1974-08-13"}) == f"/i/birth_date: {rule}"


def test_a_stated_birth_date_must_agree_with_the_number() -> None:
    assert refused(WEI | {"birth_date": "1949-12-30"}) == "/i/birth_date: does not agree with the document number"
    italian = {"type": "national_id", "country": "ITA", "number": "RCCMNL83S18D969H"}
    assert "birth_date" not in sealed({"legal_name": "A", "document": italian})
    assert refused({"legal_name": "A", "document": italian, "birth_date": "1983-11-19"}).startswith("/i/birth_date")


def test_a_number_that_states_an_impossible_age_is_refused() -> None:
    unborn = {"type": "national_id", "country": "FIN", "number": "131052A308T"}
    assert refused({"legal_name": "A", "document": unborn}).startswith("/i/document/number")


@pytest.mark.parametrize("name", ["...", "'", "-", "\u2753", "<<"])
def test_a_name_without_letters_is_refused(name: str) -> None:
    assert refused(ANNA | {"legal_name": name}) == "/i/legal_name: a name has letters"
    names = [{"value": name, "script": "Latn"}]
    assert refused(ANNA | {"names": names}) == "/i/names/0/value: a name has letters"


def test_what_is_sealed_is_canonical_json_and_what_is_matched_is_length_prefixed() -> None:
    found = sealed(WEI | {"phone": "+46700000000", "email": "a@EXAMPLE.org"})
    assert set(found) == {"legal_name", "names", "birth_date", "document", "phone", "email"}
    assert found["names"] == (b'[{"script":"Latn","value":"ZHANG WEI"}]', (b"wei zhang",))
    assert found["birth_date"] == (b'"1949-12-31"', (b"1949-12-31",))
    shown, (match,) = found["document"]
    assert shown == b'{"country":"CHN","number":"11010519491231002X","type":"national_id"}'
    assert match == b"\0\0\0\x0bnational_id\0\0\0\x03CHN\0\0\0\x1211010519491231002X"
    assert (found["phone"][1], found["email"][1]) == ((), ())


def test_a_name_alone_is_an_identity() -> None:
    assert set(sealed({"legal_name": "A"})) == {"legal_name"}


@pytest.mark.parametrize(
    "email", ["a@b@example.org", "a\u200bb@example.org", "@example.org", "a@org", "a b@example.org"]
)
def test_addresses_of_another_form_are_refused(email: str) -> None:
    assert refused(ANNA | {"email": email}) == "/i/email: an e-mail address"


def test_handles_are_measured_after_nfkc_and_by_what_can_be_seen() -> None:
    assert parse_handle("e\u0301" * 64, "/h") == "\u00e9" * 64
    for handle in ("e\u0301" * 65, "\uff20anna", "an\uff0fna", "\u3164\u3164", "a\u034f", "a" * 257):
        with pytest.raises(InvalidFieldError):
            parse_handle(handle, "/h")
    assert handle_key("an\u034fna") == handle_key("ANNA")
