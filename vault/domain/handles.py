"""Public handles: what they may look like, and by what they are unique at their provider."""

import re
import unicodedata
from typing import Final

from vault.domain.confusables import prototype
from vault.domain.errors import InvalidFieldError
from vault.domain.text import fold

MIN_CHARS: Final = 2
MAX_CHARS: Final = 64
_MAX_RAW_CHARS: Final = 4 * MAX_CHARS
"""Before NFKC, which joins letters and their marks: a bound on the work."""
_PLAIN: Final = re.compile(rf"[0-9A-Za-z][!-.0-?A-~]{{{MIN_CHARS - 1},{MAX_CHARS - 1}}}")
"""ASCII without white space, @ and /."""
TAKEN: Final = "another account of this provider has this handle"
_RULE: Final = f"{MIN_CHARS} to {MAX_CHARS} visible characters, no white space, @ or /, starting with a letter or digit"


def parse_handle(text: object, pointer: str) -> str:
    """Return a handle in NFKC.

    Raises:
        InvalidFieldError: it breaks the rule.
    """
    if not isinstance(text, str) or len(text) > _MAX_RAW_CHARS:
        raise InvalidFieldError(pointer, _RULE)
    if _PLAIN.fullmatch(text):  # the rule below, for the handles that most have
        return text
    handle = unicodedata.normalize("NFKC", text)
    categories = [unicodedata.category(char)[0] for char in handle]
    plain = MIN_CHARS <= len(handle) <= MAX_CHARS and not {"C", "Z"} & set(categories)
    if not plain or categories[0] not in "LN" or set("@/") & set(handle) or len(handle_key(handle)) < MIN_CHARS:
        raise InvalidFieldError(pointer, _RULE)
    return handle


def handle_key(handle: str) -> str:
    """Return what a handle is unique by: its folded form."""
    return fold(handle)


def skeleton(handle: str) -> str:
    """Return what handles that look alike have in common (Unicode UTS #39 section 4), whatever the case.

    Looks are compared before case is folded: "PayPaI" is shown with what looks like an l, though it folds to an i.
    Folding may give a character that looks like another, so both are done until nothing changes.
    """
    seen: list[str] = []
    found = handle
    while found not in seen:
        seen.append(found)
        found = fold(prototype(unicodedata.normalize("NFD", found)))
    # Nothing is known to go round in a circle; if something did, all of the circle would still have one skeleton.
    return min(seen[seen.index(found) :])
