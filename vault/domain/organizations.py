"""An organisation as registered: validated, its number in one spelling, and laid out as fields to seal.

The check rules are python-stdnum's. One number under two schemes (a Spanish CIF, NIF and VAT number) is one number.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from stdnum import get_cc_module
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import ValidationError

from vault.domain.countries import parse_country
from vault.domain.documents import fold_number
from vault.domain.errors import InvalidFieldError
from vault.domain.people import MAX_NAME_CHARS, Field
from vault.domain.text import clean, fold_name

MAX_FORM_CHARS: Final = 100
MAX_SCHEME_CHARS: Final = 16
ROLE: Final = "representative"
_EU_VAT: Final = "eu.vat"
_VAT: Final = "vat"
_LEI: Final = "lei"
_EUROPEAN_UNION: Final = "EUE"
"""ICAO Doc 9303's code: of VAT numbers of the one-stop shop, which no state gave."""
_COUNTRIES: Final[Mapping[str, str]] = dict(
    pair.split(":")
    for pair in """
    ad:AND al:ALB ar:ARG at:AUT au:AUS az:AZE be:BEL bg:BGR br:BRA by:BLR ca:CAN ch:CHE cl:CHL cn:CHN co:COL cr:CRI
    cy:CYP cz:CZE de:DEU dk:DNK do:DOM dz:DZA ec:ECU ee:EST eg:EGY es:ESP fi:FIN fo:FRO fr:FRA gb:GBR gh:GHA gn:GIN
    gr:GRC gt:GTM hr:HRV hu:HUN id:IDN ie:IRL il:ISR in:IND is:ISL it:ITA jp:JPN ke:KEN kr:KOR lt:LTU lu:LUX lv:LVA
    ma:MAR mc:MCO me:MNE mk:MKD mt:MLT mx:MEX mz:MOZ nl:NLD no:NOR nz:NZL pe:PER pl:POL pt:PRT py:PRY ro:ROU rs:SRB
    ru:RUS se:SWE sg:SGP si:SVN sk:SVK sm:SMR sn:SEN sv:SLV th:THA tn:TUN tr:TUR tw:TWN uy:URY ve:VEN vn:VNM
    """.split()
)
"""ISO 3166-1 alpha-2 → alpha-3, of the countries whose VAT numbers can be checked (Source: python-stdnum 2.2)."""
_EU_PREFIXES: Final[Mapping[str, str]] = {"EL": "gr", "XI": "gb"}
"""What VAT numbers call Greece and Northern Ireland."""
_NATIONAL: Final = ("cn.uscc", "kr.brn", "br.cnpj", "pl.regon", "es.cif", "es.nif")
_SHORT: Final[Mapping[str, str]] = {scheme.partition(".")[2]: scheme for scheme in _NATIONAL}
_SWISS_UID_CHARS: Final = 12
_NORWEGIAN_SUFFIX: Final = "MVA"
_SCHEME_RULE: Final = f"one of lei, {', '.join(_NATIONAL)}, {_EU_VAT}, or a country's vat such as de.vat"
_NUMBER_RULE: Final = "the check character does not match, or the form is not this scheme's"


@dataclass(frozen=True, slots=True)
class Registration:
    """An organisation's number; `country` is that of its register, empty for one that counts in all countries."""

    scheme: str
    country: str
    number: str

    def __repr__(self) -> str:
        return "Registration(…)"


@dataclass(frozen=True, slots=True)
class Organization:
    """An organisation's statements after validation. Its repr shows nothing."""

    legal_name: str
    form: str | None
    country: str | None
    registration: Registration | None

    def __repr__(self) -> str:
        return "Organization(…)"


def parse_organization(raw: Mapping[str, object], pointer: str, *, specimen: bool) -> Organization:
    """Return an organisation from the members of a registration.

    Args:
        raw: legal_name, form, country, registration {scheme, number}.
        pointer: where `raw` stands.
        specimen: whether ICAO's specimen state is a country.

    Raises:
        InvalidFieldError: which member breaks which rule.
    """
    given, form, stated = raw.get("country"), raw.get("form"), raw.get("registration")
    country = None if given is None else parse_country(given, f"{pointer}/country", specimen=specimen)
    registration = None
    if stated is not None:
        if not isinstance(stated, Mapping):
            raise InvalidFieldError(f"{pointer}/registration", "an object with scheme and number")
        registration = parse_registration(stated, f"{pointer}/registration", country)
        if country is not None and registration.country not in {"", _EUROPEAN_UNION, country}:
            raise InvalidFieldError(f"{pointer}/country", "does not agree with the registration's scheme")
        country = country or registration.country or None
    return Organization(
        legal_name=_name(raw.get("legal_name"), f"{pointer}/legal_name"),
        form=None if form is None else clean(form, f"{pointer}/form", MAX_FORM_CHARS),
        country=country, registration=registration,
    )  # fmt: skip


def parse_registration(raw: Mapping[str, object], pointer: str, country: str | None) -> Registration:
    """Return a number with its scheme, both in their one spelling.

    Raises:
        InvalidFieldError: an unknown scheme, or a number that breaks its rules.
    """
    scheme = _scheme(raw.get("scheme"), f"{pointer}/scheme", country)
    where = f"{pointer}/number"
    try:
        number = fold_number(raw.get("number"), where)
    except InvalidFieldError:
        raise InvalidFieldError(where, "letters and digits, at most 32") from None
    try:
        return _checked(scheme, number)
    except (ValidationError, ValueError, LookupError):  # fuzzing found modules that index past what they checked
        raise InvalidFieldError(where, _NUMBER_RULE) from None


def _scheme(raw: object, pointer: str, country: str | None) -> str:
    if not isinstance(raw, str) or len(raw) > MAX_SCHEME_CHARS:
        raise InvalidFieldError(pointer, _SCHEME_RULE)
    scheme = raw.casefold()
    if scheme == _VAT:
        # By its own prefix, unless the country's numbers are none of the European Union's.
        code = next((alpha2 for alpha2, alpha3 in _COUNTRIES.items() if alpha3 == country), None)
        return f"{code}.{_VAT}" if code is not None and code not in eu_vat.MEMBER_STATES else _EU_VAT
    scheme = _SHORT.get(scheme, scheme)
    code, _, kind = scheme.partition(".")
    if scheme in {_LEI, _EU_VAT, *_NATIONAL} or (kind == _VAT and code in _COUNTRIES):
        return scheme
    raise InvalidFieldError(pointer, _SCHEME_RULE)


def _checked(scheme: str, number: str) -> Registration:
    code, _, kind = scheme.partition(".")
    if scheme == _LEI:
        return Registration(scheme, "", _valid(import_module("stdnum.lei"), number))
    if scheme != _EU_VAT:
        return Registration(scheme, _COUNTRIES[code], _national(code, kind, number))
    valid = _valid(eu_vat, number)
    prefix = valid[:2]
    code = _EU_PREFIXES.get(prefix, prefix.lower())
    if code not in _COUNTRIES:
        return Registration(scheme, _EUROPEAN_UNION, valid)
    return Registration(scheme, _COUNTRIES[code], _national(code, _VAT, valid[2:]))


def _national(code: str, kind: str, number: str) -> str:
    checker = get_cc_module(code, kind) if kind == _VAT else import_module(f"stdnum.{code}.{kind}")
    valid = _valid(checker, number)
    if (code, kind) == ("ch", _VAT):
        return valid[:_SWISS_UID_CHARS]  # what follows says VAT in one of four languages
    return valid.removesuffix(_NORWEGIAN_SUFFIX) if (code, kind) == ("no", _VAT) else valid


def _valid(checker: Any, number: str) -> str:  # noqa: ANN401 - a module of the library
    return "".join(char for char in str(checker.validate(number)) if char.isalnum())


def _name(raw: object, pointer: str) -> str:
    if raw is None:
        raise InvalidFieldError(pointer, "required")
    name = clean(raw, pointer, MAX_NAME_CHARS)
    if not fold_name(name):
        raise InvalidFieldError(pointer, "a name has letters")
    return name


def fields(organization: Organization) -> dict[str, Field]:
    """Return the fields to seal, but for the mandate: what is shown, as canonical JSON, and what tags are made of."""
    found: dict[str, Field] = {
        "legal_name": (_json(organization.legal_name), (fold_name(organization.legal_name).encode(),))
    }
    if organization.form is not None:
        found["form"] = _json(organization.form), ()
    country = {} if organization.country is None else {"country": organization.country}
    registration = organization.registration
    if registration is not None:
        shown = {"scheme": registration.scheme, "number": registration.number, **country}
        found["registration"] = _json(shown), (match_form(registration),)
    elif country:
        found["registration"] = _json(country), ()
    return found


def match_form(registration: Registration) -> bytes:
    """Return what two numbers are the same by: country and number, whatever the scheme."""
    parts = (registration.country.encode(), registration.number.encode())
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def mandate(representative: bytes) -> Field:
    """Return the field that joins an organisation to its representative's record, by what is never shown."""
    return _json({"role": ROLE}), (representative,)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
