"""Text that people write: what is refused, how it is shown, and how it is folded for comparing."""

import unicodedata
from typing import Final

from vault.domain.errors import InvalidFieldError

_DIRECTION: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Direction controls (UAX #9 section 2): they make a name read as another."""
_JOINING: Final = frozenset("'\u2019\u02bc`\u00b4.\u00b7")
"""Apostrophes and dots within a name: O'Neil is ONEIL."""
_REFUSED: Final = frozenset(("Cc", "Cs", "Co", "Cn", "Zl", "Zp"))


def clean(text: object, pointer: str, max_chars: int) -> str:
    """Return a text as it will be shown: NFC, white space collapsed; ZWNJ and ZWJ stay.

    Raises:
        InvalidFieldError: no text, empty, too long, or with control, direction, unassigned or surrogate characters.
    """
    if not isinstance(text, str):
        raise InvalidFieldError(pointer, "a text")
    if len(text) > max_chars:
        raise InvalidFieldError(pointer, f"at most {max_chars} characters")
    if any(char in _DIRECTION or unicodedata.category(char) in _REFUSED for char in text):
        raise InvalidFieldError(pointer, "no control, direction or unassigned characters")
    shown = " ".join(unicodedata.normalize("NFC", text).split())
    if not fold(shown):
        raise InvalidFieldError(pointer, "not empty")
    return shown


def fold(text: str) -> str:
    """Return the form by which texts are compared: NFKC, no format characters, case folded, to a fixed point."""
    while True:
        folded = unicodedata.normalize("NFKC", text).casefold()
        folded = " ".join("".join(char for char in folded if unicodedata.category(char) != "Cf").split())
        if folded == text:
            return folded
        text = folded


def fold_name(name: str) -> str:
    """Return the match form of a name: letters and digits of every script, words in one order.

    "O'NEIL, Anna" and "ANNA ONEIL" are equal: apostrophes join, other marks part words.
    """
    kept = "".join(_name_char(char) for char in fold(name))
    return " ".join(sorted(kept.split()))


def _name_char(char: str) -> str:
    category = unicodedata.category(char)[0]
    if category in "LMN":
        return char
    return "" if char in _JOINING else " "
