"""Text that people write: what is refused, how it is shown, and how it is folded for comparing."""

import unicodedata
from collections.abc import Callable
from typing import Final

from vault.domain.errors import InvalidFieldError

_DIRECTION: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Direction controls (UAX #9 section 2): they make a name read as another."""
_ACUTE: Final = "\u00b4"
_JOINING: Final = frozenset("'\u2018\u2019\u02bb\u02bc\u2032\u05f3`.\u00b7\u2022\u2027\u30fb\u0640")
"""Apostrophes and dots within a name, by whatever character, and the Arabic stretching mark: O'Neil is ONEIL."""
_IGNORABLE: Final = frozenset(
    map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)))
) | frozenset(map(chr, range(0xE0100, 0xE01F0)))
"""Characters without a shape that are not Cf (Source: Unicode Default_Ignorable_Code_Point, as in NFKC_Casefold)."""
_REFUSED: Final = frozenset(("Cc", "Cs", "Co", "Cn", "Zl", "Zp"))


class Characters(dict[int, str]):
    """What each character becomes, for `str.translate`: found once a character, at C's speed from then on."""

    def __init__(self, becomes: Callable[[str], str]) -> None:
        super().__init__()
        self._becomes = becomes

    def __missing__(self, code: int) -> str:
        found = self[code] = self._becomes(chr(code))
        return found


def clean(text: object, pointer: str, max_chars: int) -> str:
    """Return a text as it will be shown: NFC, white space collapsed; ZWNJ and ZWJ stay.

    Raises:
        InvalidFieldError: no text, empty, too long, or with control, direction, unassigned or surrogate characters.
    """
    shown = _tidied(text, pointer, max_chars)
    if not fold(shown):
        raise InvalidFieldError(pointer, "not empty")
    return shown


def clean_name(text: object, pointer: str, max_chars: int) -> tuple[str, str]:
    """Return a name as it will be shown, and its match form.

    Raises:
        InvalidFieldError: as `clean` says, or marks alone, which would give nothing to compare by.
    """
    shown = _tidied(text, pointer, max_chars)
    match = fold_name(shown)
    if not match:
        raise InvalidFieldError(pointer, "a name has letters" if fold(shown) else "not empty")
    return shown, match


def _tidied(text: object, pointer: str, max_chars: int) -> str:
    if not isinstance(text, str):
        raise InvalidFieldError(pointer, "a text")
    if len(text) > max_chars:
        raise InvalidFieldError(pointer, f"at most {max_chars} characters")
    if text.isascii() and text.isprintable():  # none of what follows is among them, and NFC leaves them alone
        return " ".join(text.split())
    if not (_DIRECTION.isdisjoint(text) and _REFUSED.isdisjoint(map(unicodedata.category, text))):
        raise InvalidFieldError(pointer, "no control, direction or unassigned characters")
    shown = " ".join(unicodedata.normalize("NFC", text).split())
    if len(shown) > max_chars:  # some characters come apart in NFC
        raise InvalidFieldError(pointer, f"at most {max_chars} characters")
    return shown


def fold(text: str) -> str:
    """Return the form by which texts are compared: NFKC, nothing invisible, case folded, to a fixed point."""
    if text.isascii():  # nothing of it is decomposed or invisible: the same result, in a tenth of the time
        return " ".join(text.lower().split())
    while True:
        folded = unicodedata.normalize("NFKC", text).casefold()
        folded = " ".join(folded.translate(_VISIBLE).split())
        if folded == text:
            return folded
        text = folded


def fold_name(name: str) -> str:
    """Return the match form of a name: letters and digits of every script, words in one order.

    "O'NEIL, Anna" and "ANNA ONEIL" are equal: apostrophes join, other marks part words.
    """
    # NFKC would turn a spacing acute into a space and a mark.
    folded = fold(name.replace(_ACUTE, "'"))
    kept = folded.translate(_NAME_CHARS)
    if kept != folded:  # what stands side by side once marks have gone may compose
        kept = fold(kept)
    return " ".join(sorted(kept.split()))


def _visible(char: str) -> str:
    return "" if unicodedata.category(char) == "Cf" or char in _IGNORABLE else char


def _name_char(char: str) -> str:
    if char in _JOINING:
        return ""
    return char if unicodedata.category(char)[0] in "LMN" else " "


_VISIBLE: Final = Characters(_visible)
_NAME_CHARS: Final = Characters(_name_char)
