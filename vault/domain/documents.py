"""Identity documents: type, country, number and expiry after validation, and the form they match by."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from vault.domain import national_numbers
from vault.domain.countries import parse_country
from vault.domain.dates import parse_date
from vault.domain.errors import InvalidFieldError
from vault.domain.national_numbers import UNSTATED, Birth
from vault.domain.text import Characters, fold

TYPES: Final = ("passport", "national_id", "residence_permit")
_NUMBER: Final = re.compile(r"[A-Z0-9]{1,32}")
_MAX_WRITTEN_CHARS: Final = 64
"""Before folding: a bound on the work."""
_SEPARATORS: Final = frozenset(" ./<\u2212")
"""What may stand between digits, beside dashes."""
_GERMAN_CARD_CHARS: Final = 9


@dataclass(frozen=True, slots=True)
class Document:
    """A document; `number` is in its one spelling, its check characters hold."""

    type: str
    country: str
    number: str
    expires: date | None
    birth: Birth = UNSTATED
    """What its number states."""

    def __repr__(self) -> str:
        return "Document(…)"


def fold_number(number: object, pointer: str) -> str:
    """Return a number as it is compared: NFKC, nothing invisible, no white space, dashes, dots or strokes, upper case.

    Raises:
        InvalidFieldError: other characters, or too long.
    """
    rule = "a document number of letters and digits, at most 32"
    if not isinstance(number, str) or len(number) > _MAX_WRITTEN_CHARS:
        raise InvalidFieldError(pointer, rule)
    if "Cc" in map(unicodedata.category, number):  # some of them are white space to Python
        raise InvalidFieldError(pointer, rule)
    folded = fold(number).translate(_TOGETHER).upper()
    if not _NUMBER.fullmatch(folded):
        raise InvalidFieldError(pointer, rule)
    return folded


def _together(char: str) -> str:
    return "" if char in _SEPARATORS or unicodedata.category(char) == "Pd" else char


_TOGETHER: Final = Characters(_together)


def parse_document(raw: Mapping[str, object], pointer: str, *, today: date, specimen: bool) -> Document:
    """Return a document from type, country, number and expires.

    Args:
        raw: the four members.
        pointer: where `raw` stands.
        today: the day of the request.
        specimen: whether documents of ICAO's specimen state are accepted.

    Raises:
        InvalidFieldError: which member breaks which rule.
    """
    if raw.get("type") not in TYPES:
        raise InvalidFieldError(f"{pointer}/type", f"one of {', '.join(TYPES)}")
    country = parse_country(raw.get("country"), f"{pointer}/country", specimen=specimen)
    number = fold_number(raw.get("number"), f"{pointer}/number")
    expires = raw.get("expires")
    expiry = None if expires is None else parse_date(expires, f"{pointer}/expires")
    kind = str(raw["type"])
    canonical, birth = _checked(kind, country, number, f"{pointer}/number", today)
    return Document(kind, country, canonical, expiry, birth)


def _checked(kind: str, country: str, number: str, pointer: str, today: date) -> tuple[str, Birth]:
    if (kind, country) == ("national_id", "DEU"):
        return _german_card(number, pointer), UNSTATED
    if not national_numbers.has_rules(kind, country):
        return number, UNSTATED
    checked = national_numbers.check(kind, country, number, today)
    if checked is None:
        raise InvalidFieldError(pointer, "the check character does not match, or the form is not this country's")
    return checked


def _german_card(number: str, pointer: str) -> str:
    """Return the card's nine characters; its check digit may follow, as it does on the back of the card."""
    card, digit = number[:_GERMAN_CARD_CHARS], number[_GERMAN_CARD_CHARS:]
    if len(card) != _GERMAN_CARD_CHARS or digit not in {"", check_digit(card)}:
        raise InvalidFieldError(pointer, "nine characters, with or without a check digit that matches")
    return card


def check_digit(text: str) -> str:
    """Return the check digit of ICAO Doc 9303 part 3 section 4.9: weights 7 3 1 over 0-9, A-Z as 10-35, < as 0."""
    values = (0 if char == "<" else int(char, 36) for char in text)
    return str(sum(value * (7, 3, 1)[at % 3] for at, value in enumerate(values)) % 10)


def match_form(document: Document) -> tuple[str, str, str]:
    """Return what two documents are the same by: type, country, number."""
    return document.type, document.country, document.number


def is_expired(document: Document, today: date) -> bool:
    """Tell whether a document had expired before `today`."""
    return document.expires is not None and document.expires < today
