"""Calendar dates as people's documents state them."""

import re
from datetime import date
from typing import Final

from vault.domain.errors import InvalidFieldError

EARLIEST_BIRTH: Final = date(1870, 1, 1)
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def parse_date(text: object, pointer: str) -> date:
    """Return a date of the form 1974-08-12.

    Raises:
        InvalidFieldError: another form, or no such day.
    """
    rule = "a calendar date such as 1974-08-12"
    if not isinstance(text, str) or not _ISO.fullmatch(text):
        raise InvalidFieldError(pointer, rule)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidFieldError(pointer, rule) from None


def parse_birth_date(text: object, pointer: str, today: date) -> date:
    """Return a birth date.

    Raises:
        InvalidFieldError: no date, in the future, or before 1870.
    """
    found = parse_date(text, pointer)
    if not EARLIEST_BIRTH <= found <= today:
        raise InvalidFieldError(pointer, "between 1870 and today")
    return found


def from_short(digits: str, pointer: str, latest: date) -> date:
    """Return the latest date with these six digits (YYMMDD) that is not after `latest`.

    Raises:
        InvalidFieldError: no such day in either century.
    """
    for century in (latest.year // 100, latest.year // 100 - 1):
        try:
            found = date(century * 100 + int(digits[:2]), int(digits[2:4]), int(digits[4:]))
        except ValueError:
            continue
        if found <= latest:
            return found
    raise InvalidFieldError(pointer, "a calendar date in the form YYMMDD")
