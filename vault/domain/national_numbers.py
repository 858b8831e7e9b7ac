"""National identity numbers: one spelling for each number, its check characters, and the birth date inside it.

The check rules are python-stdnum's. Left to others: which document a number stands on, and passports.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from importlib import import_module
from types import ModuleType
from typing import Final

from stdnum.exceptions import ValidationError
from stdnum.util import clean

_SWEDISH_SHORT_CHARS: Final = 10
_FINNISH_SHORT_CHARS: Final = 10
_ARGENTINE_CHARS: Final = 8


@dataclass(frozen=True, slots=True)
class _Rule:
    """One kind of number: who checks it, its form where the library is wider, who reads its birth date."""

    checker: ModuleType
    form: re.Pattern[str]
    read_birth_date: Callable[[str], date | None]
    names_century: bool


def _states_none(_: str) -> date | None:
    return None


def _finnish_birth_date(number: str) -> date | None:
    century = 2000 if number[6] in "ABCDEF" else 1900
    return date(century + int(number[4:6]), int(number[2:4]), int(number[:2]))


def _clean(number: str, deletechars: str = "") -> str:
    """Do what the library's `clean` does, at once for the letters and digits that numbers here have been folded to."""
    if number.isascii() and number.isalnum() and not any(char in number for char in deletechars):
        return number
    return clean(number, deletechars)


def _module(name: str) -> ModuleType:
    """Return a module of the library with our `clean`: its own, character by character, costs most of a check."""
    module = import_module(f"stdnum.{name}")
    if "clean" in vars(module):
        vars(module)["clean"] = _clean
    return module


def _rule(checker: str, form: str = ".+", reader: str | None = None, *, names_century: bool = True) -> _Rule:
    read = _states_none if reader is None else _module(reader).get_birth_date
    return _Rule(_module(checker), re.compile(form, re.ASCII), read, names_century)


_NATIONAL: Final[Mapping[str, tuple[_Rule, ...]]] = {
    "ARG": (_rule("ar.dni"),),
    "BEL": (_rule("be.nn", reader="be.nn"),),
    "BGR": (_rule("bg.egn", reader="bg.egn"),),
    "BRA": (_rule("br.cpf"),),
    "CHL": (_rule("cl.rut"),),
    "CHN": (_rule("cn.ric", reader="cn.ric"),),
    "CZE": (_rule("cz.rc", reader="cz.rc"),),
    "DNK": (_rule("dk.cpr", reader="dk.cpr"),),
    "ESP": (_rule("es.dni"), _rule("es.nie")),
    "EST": (_rule("ee.ik", reader="ee.ik"),),
    "FIN": (replace(_rule("fi.hetu"), read_birth_date=_finnish_birth_date),),
    "FRA": (_rule("fr.nir"),),
    "HRV": (_rule("hr.oib"),),
    "IND": (_rule("in_.aadhaar"),),
    # Companies have kennitölur too, with 40 added to the day.
    "ISL": (_rule("is_.kennitala", "[0-3].*"),),
    "ISR": (_rule("il.idnr"),),
    # The library also takes companies' 11-digit numbers. The year has two digits.
    "ITA": (_rule("it.codicefiscale", ".{16}", "it.codicefiscale", names_century=False),),
    "KOR": (_rule("kr.rrn", reader="kr.rrn"),),
    "LTU": (_rule("lt.asmens", reader="lt.asmens"),),
    # Personal codes and companies' numbers share a module; those beginning with 32 hold no birth date.
    "LVA": (_rule("lv.pvn", "32.*"), _rule("lv.pvn", "[0-3].*", "lv.pvn")),
    "MEX": (_rule("mx.curp", reader="mx.curp"),),
    # Two-digit year, and it may be the day of registration: not read.
    "MYS": (_rule("my.nric"),),
    "NLD": (_rule("nl.bsn"),),
    "NOR": (_rule("no.fodselsnummer", reader="no.fodselsnummer"),),
    "POL": (_rule("pl.pesel", reader="pl.pesel"),),
    "PRT": (_rule("pt.cc"),),
    # 7, 8 and 9 are foreign residents, whose century the number does not tell.
    "ROU": (_rule("ro.cnp", "[1-6].*", "ro.cnp"), _rule("ro.cnp", "[789].*")),
    "SVK": (_rule("sk.rc", reader="cz.rc"),),
    "SWE": (_rule("se.personnummer", reader="se.personnummer"),),
    "THA": (_rule("th.pin"),),
    "TUR": (_rule("tr.tckimlik"),),
    "ZAF": (_rule("za.idnr", reader="za.idnr", names_century=False),),
}
"""By country (Source: python-stdnum 2.2, each module's own references)."""
_RULES: Final[Mapping[tuple[str, str], tuple[_Rule, ...]]] = {
    **{("national_id", country): rules for country, rules in _NATIONAL.items()},
    ("residence_permit", "ESP"): (_rule("es.nie"),),
}


def has_rules(kind: str, country: str) -> bool:
    """Tell whether numbers of this kind of document and country can be checked."""
    return (kind, country) in _RULES


@dataclass(frozen=True, slots=True)
class Birth:
    """The birth date that a number states, if it does; `names_century` is false where its year has two digits."""

    names_century: bool = False
    day: date | None = None

    def in_full(self) -> date | None:
        """Return the date where its century is stated."""
        return self.day if self.names_century else None

    def agrees(self, stated: date) -> bool:
        """Tell whether this does not speak against a birth date; a two-digit year is compared as such."""
        found = self.day
        if found is None:
            return True
        if self.names_century:
            return found == stated
        return (found.year % 100, found.month, found.day) == (stated.year % 100, stated.month, stated.day)


UNSTATED: Final = Birth()
"""Of a number that states no birth date, or that no rule reads."""


def check(kind: str, country: str, number: str, today: date) -> tuple[str, Birth] | None:
    """Return the one spelling of a number, letters and digits only, and the birth date in it.

    None where it breaks every rule.

    Args:
        kind: the document's type.
        country: its country.
        number: letters and digits, upper case.
        today: the day by which a Swedish number without century is read.
    """
    spelled = _SPELLINGS.get(country, _as_it_is)(number, today)
    for rule in _RULES.get((kind, country), ()):
        try:
            valid = str(rule.checker.validate(spelled))
        except (ValidationError, ValueError, LookupError):  # fuzzing found modules that index past what they checked
            continue
        bare = valid if valid.isalnum() else "".join(char for char in valid if char.isalnum())
        if rule.form.fullmatch(bare):
            return bare, _read(rule, country, bare)
    return None


def _read(rule: _Rule, country: str, canonical: str) -> Birth:
    if rule.read_birth_date is _states_none:
        return UNSTATED
    try:
        # A canonical number has its century already, so the day does not matter here.
        found = rule.read_birth_date(_SPELLINGS.get(country, _as_it_is)(canonical, date.max))
    except ValidationError:  # some numbers of a country state no date, such as Lithuanian ones beginning with 9
        return UNSTATED
    return Birth(rule.names_century, found)


def _as_it_is(number: str, _: date) -> str:
    return number


def _swedish(number: str, today: date) -> str:
    """Add the century: without one a person is under 100, else the sign would be a plus (Folkbokföringslag 18 §)."""
    if len(number) != _SWEDISH_SHORT_CHARS or not number.isdecimal():
        return number
    century = today.year // 100 - (int(number[:2]) > today.year % 100)
    return f"{century}{number}"


def _finnish(number: str, _: date) -> str:
    """Put back the hyphen, the only century sign that folding takes away; nobody born under the plus sign lives."""
    return f"{number[:6]}-{number[6:]}" if len(number) == _FINNISH_SHORT_CHARS else number


def _argentine(number: str, _: date) -> str:
    return number.zfill(_ARGENTINE_CHARS)


_SPELLINGS: Final[Mapping[str, Callable[[str, date], str]]] = {
    "ARG": _argentine,
    "FIN": _finnish,
    "SWE": _swedish,
}
"""What brings the spellings of one number together before it is checked."""
