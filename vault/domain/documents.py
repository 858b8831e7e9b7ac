"""Identity documents: their numbers by each country's own check rules (python-stdnum), and the form they match by."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from types import ModuleType
from typing import Final

from stdnum.exceptions import ValidationError

from vault.domain.countries import parse_country
from vault.domain.dates import parse_date
from vault.domain.errors import InvalidFieldError
from vault.domain.text import fold

TYPES: Final = ("passport", "national_id", "residence_permit")
_NUMBER: Final = re.compile(r"[A-Z0-9]{1,32}")
_NATIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "ARG": ("ar.dni",), "BEL": ("be.nn",), "BGR": ("bg.egn",), "BRA": ("br.cpf",), "CHL": ("cl.rut",),
    "CHN": ("cn.ric",), "CZE": ("cz.rc",), "DNK": ("dk.cpr",), "ESP": ("es.dni", "es.nie"), "EST": ("ee.ik",),
    "FIN": ("fi.hetu",), "FRA": ("fr.nir",), "HRV": ("hr.oib",), "IND": ("in_.aadhaar",), "ISR": ("il.idnr",),
    "ITA": ("it.codicefiscale",), "KOR": ("kr.rrn",), "LTU": ("lt.asmens",), "MEX": ("mx.curp",),
    "MYS": ("my.nric",), "NLD": ("nl.bsn",), "NOR": ("no.fodselsnummer",), "POL": ("pl.pesel",), "PRT": ("pt.cc",),
    "ROU": ("ro.cnp",), "SVK": ("sk.rc",), "SWE": ("se.personnummer",), "THA": ("th.pin",), "TUR": ("tr.tckimlik",),
    "ZAF": ("za.idnr",),
}  # fmt: skip
"""National identity numbers with check characters, by the module of python-stdnum that knows them."""
_RESIDENCE: Final = {"ESP": ("es.nie",)}
_GERMAN_CARD_CHARS: Final = 10


@dataclass(frozen=True, slots=True)
class Document:
    """A document; `number` is folded, its check characters hold."""

    type: str
    country: str
    number: str
    expires: date | None

    def __repr__(self) -> str:
        return "Document(…)"


def fold_number(number: object, pointer: str) -> str:
    """Return a number as it is compared: NFKC, no format characters, white space or marks, upper case.

    Raises:
        InvalidFieldError: other characters, or too long.
    """
    if not isinstance(number, str) or len(number) > 64:  # noqa: PLR2004 - before folding
        raise InvalidFieldError(pointer, "a document number of letters and digits, at most 32")
    folded = "".join(char for char in fold(number).upper() if char not in " ./<" and unicodedata.category(char) != "Pd")
    if not _NUMBER.fullmatch(folded):
        raise InvalidFieldError(pointer, "a document number of letters and digits, at most 32")
    return folded


def parse_document(raw: Mapping[str, object], pointer: str, *, specimen: bool) -> Document:
    """Return a document from type, country, number and expires.

    Raises:
        InvalidFieldError: which member breaks which rule.
    """
    if raw.get("type") not in TYPES:
        raise InvalidFieldError(f"{pointer}/type", f"one of {', '.join(TYPES)}")
    country = parse_country(raw.get("country"), f"{pointer}/country", specimen=specimen)
    number = fold_number(raw.get("number"), f"{pointer}/number")
    expires = raw.get("expires")
    expiry = None if expires is None else parse_date(expires, f"{pointer}/expires")
    document = Document(str(raw["type"]), country, number, expiry)
    _check_number(document, f"{pointer}/number")
    return document


def _modules(document: Document) -> list[ModuleType]:
    table = {"national_id": _NATIONAL, "residence_permit": _RESIDENCE}.get(document.type, {})
    return [import_module(f"stdnum.{name}") for name in table.get(document.country, ())]


def _valid(module: ModuleType, number: str) -> bool:
    try:
        module.validate(number)
    except ValidationError:
        return False
    return True


def _check_number(document: Document, pointer: str) -> None:
    modules = _modules(document)
    if modules and not any(_valid(module, document.number) for module in modules):
        raise InvalidFieldError(pointer, "the check character does not match, or the form is not this country's")
    german_card = document.country == "DEU" and document.type == "national_id"
    if german_card and len(document.number) == _GERMAN_CARD_CHARS:
        number, digit = document.number[:-1], document.number[-1]
        if digit != check_digit(number):
            raise InvalidFieldError(pointer, "the check digit does not match")


def check_digit(text: str) -> str:
    """Return the check digit of ICAO Doc 9303 part 3 section 4.9: weights 7 3 1 over 0-9, A-Z as 10-35, < as 0."""
    values = (0 if char == "<" else int(char, 36) for char in text)
    return str(sum(value * (7, 3, 1)[at % 3] for at, value in enumerate(values)) % 10)


def birth_date_in(document: Document) -> date | None:
    """Return the birth date that a number encodes, if its country's numbers do."""
    for module in _modules(document):
        read = getattr(module, "get_birth_date", None)
        if read is None or not _valid(module, document.number):
            continue
        try:
            found = read(document.number)
        except (ValidationError, ValueError, TypeError):
            continue
        if isinstance(found, date):
            return found
    return None


def match_form(document: Document) -> tuple[str, str, str]:
    """Return what two documents are the same by: type, country, number."""
    return document.type, document.country, _without_optional_parts(document)


def _without_optional_parts(document: Document) -> str:
    """Swedish numbers are written with and without their century: one form for both."""
    if document.country == "SWE" and document.type == "national_id":
        return document.number[-10:]
    if document.country == "DEU" and document.type == "national_id":
        return document.number[: _GERMAN_CARD_CHARS - 1]
    return document.number


def is_expired(document: Document, today: date) -> bool:
    """Tell whether a document had expired before `today`."""
    return document.expires is not None and document.expires < today
