"""Characters that look alike (Unicode UTS #39): from each to the one that stands for all of its kind.

The data of Unicode's confusables.txt come with the package `confusable-homoglyphs`, in a form without direction: each
character names what it is confused with. A source has one prototype and a prototype has all of its sources, so the
direction is read back from the numbers; where one character is confused with one other alone, it does not matter.
"""

from collections.abc import Mapping
from functools import cache  # noqa: TID251 - what it keeps is public data of Unicode
from typing import Final

_MARK: Final = "\u200e"
"""Stands around right-to-left characters in the data, and is no part of them."""


def _read(data: Mapping[str, list[dict[str, str]]]) -> dict[str, str]:
    """Return source → prototype."""
    related: dict[str, list[str]] = {}
    for key, entries in data.items():
        related.setdefault(key.replace(_MARK, ""), []).extend(entry["c"].replace(_MARK, "") for entry in entries)
    return {
        source: others[0]
        for source, others in related.items()
        if len(source) == 1 and len(others) == 1 and _is_source(source, others[0], len(related[others[0]]))
    }


def _is_source(source: str, other: str, sources_of_other: int) -> bool:
    return sources_of_other > 1 or len(other) > 1 or other < source


def _closed(prototypes: Mapping[str, str]) -> dict[str, str]:
    """Return the map with each prototype's own characters mapped too."""
    return {source: "".join(prototypes.get(char, char) for char in text) for source, text in prototypes.items()}


@cache
def prototypes() -> Mapping[str, str]:
    """Return the map, about nine thousand characters; read when it is first asked for, since it takes half a second."""
    from confusable_homoglyphs.confusables import confusables_data  # noqa: PLC0415 - it reads its data as it is imported

    return _closed(_read(confusables_data))


@cache
def _table() -> dict[int, str]:
    return str.maketrans(dict(prototypes()))


def prototype(text: str) -> str:
    """Return a text with each character replaced by its prototype."""
    return text.translate(_table())
