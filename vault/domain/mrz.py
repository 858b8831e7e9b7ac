"""The machine-readable zone of passports: two lines of 44 characters (ICAO Doc 9303 part 4 section 4.2)."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from vault.domain.countries import parse_country
from vault.domain.dates import from_short
from vault.domain.documents import Document, check_digit, fold_number
from vault.domain.errors import InvalidFieldError

LINE_CHARS: Final = 44
_LINE: Final = re.compile(r"[A-Z0-9<]{44}")
_DIGITS: Final = re.compile(r"[0-9]{6}")
_SEXES: Final = frozenset("MF<")
_MAX_VALIDITY_YEARS: Final = 50


@dataclass(frozen=True, slots=True)
class Mrz:
    """What a passport's MRZ states; `legal_name` is given names before surname, `sex` is M, F or empty."""

    document: Document
    legal_name: str
    surname: str
    given_names: str
    birth_date: date
    nationality: str
    sex: str

    def __repr__(self) -> str:
        return "Mrz(…)"


def parse_td3(line1: object, line2: object, pointer: str, *, today: date, specimen: bool) -> Mrz:
    """Return what two MRZ lines state.

    Raises:
        InvalidFieldError: form, country, date or one of the five check digits is wrong.
    """
    if not isinstance(line1, str) or not _LINE.fullmatch(line1):
        raise InvalidFieldError(f"{pointer}/0", "44 characters of A-Z, 0-9 and <")
    if not isinstance(line2, str) or not _LINE.fullmatch(line2):
        raise InvalidFieldError(f"{pointer}/1", "44 characters of A-Z, 0-9 and <")
    if line1[0] != "P":
        raise InvalidFieldError(f"{pointer}/0", "the first line of a passport begins with P")
    _check_digits(line2, f"{pointer}/1")
    country = parse_country(line1[2:5].rstrip("<"), f"{pointer}/0", specimen=specimen)
    nationality = parse_country(line2[10:13].rstrip("<"), f"{pointer}/1", specimen=specimen)
    if line2[20] not in _SEXES:
        raise InvalidFieldError(f"{pointer}/1", "the sex is M, F or <")
    birth_date = from_short(_six(line2[13:19], pointer), f"{pointer}/1", today)
    latest = today.replace(year=today.year + _MAX_VALIDITY_YEARS, day=min(today.day, 28))
    expires = from_short(_six(line2[21:27], pointer), f"{pointer}/1", latest)
    number = fold_number(line2[:9].rstrip("<"), f"{pointer}/1")
    surname, given_names = _names(line1[5:], f"{pointer}/0")
    return Mrz(
        document=Document("passport", country, number, expires), legal_name=f"{given_names} {surname}".strip(),
        surname=surname, given_names=given_names, birth_date=birth_date, nationality=nationality,
        sex=line2[20].strip("<"),
    )  # fmt: skip


def _six(text: str, pointer: str) -> str:
    if not _DIGITS.fullmatch(text):
        raise InvalidFieldError(f"{pointer}/1", "a calendar date in the form YYMMDD")
    return text


def _check_digits(line: str, pointer: str) -> None:
    personal, digit = line[28:42], line[42]
    # An empty personal number may have < for its digit.
    personal_holds = digit == check_digit(personal) or (digit == "<" and not personal.strip("<"))
    composite = line[0:10] + line[13:20] + line[21:43]
    holds = (
        line[9] == check_digit(line[0:9]),
        line[19] == check_digit(line[13:19]),
        line[27] == check_digit(line[21:27]),
        personal_holds,
        line[43] == check_digit(composite),
    )
    if not all(holds):
        raise InvalidFieldError(pointer, "a check digit does not match")


def _names(field: str, pointer: str) -> tuple[str, str]:
    surname, given = (" ".join(part.replace("<", " ").split()) for part in field.partition("<<")[::2])
    if not surname and not given:
        raise InvalidFieldError(pointer, "a name")
    return surname, given
