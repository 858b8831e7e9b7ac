"""Invented people of six countries with valid numbers, and what is to become of each: for tests, tours and figures.

`python -m bench.people 10000 FOLDER` writes chat.jsonl, blog.jsonl and told.json. Names are Faker's, in their own
scripts; check characters are python-stdnum's. The same count and seed give the same people.
"""

import json
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import click
from faker import Faker
from stdnum.br import cnpj, cpf
from stdnum.cn import ric, uscc
from stdnum.es import cif, dni
from stdnum.iso7064 import mod_11_10
from stdnum.kr import rrn
from stdnum.pl import pesel, regon

ORGANIZATIONS, BROKEN, TWICE, ELSEWHERE = 0.05, 0.01, 0.02, 0.05
"""Shares: organisations; rows that break a rule; people twice at one provider; people at both providers."""
LOCALES: Final = ("zh_CN", "ko_KR", "de_DE", "es_ES", "pl_PL", "pt_BR")
POOL: Final = 500
"""Names drawn for each country; people take theirs from it."""
_FIRST_BIRTH: Final = date(1940, 1, 1)
_BIRTH_DAYS: Final = 25_000
_STEP: Final = 7_919
"""Prime to the days: two people of one birth date are that many people apart, and the count in a number differs."""
_ACCEPTS: Final = {"terms": "2026-01", "truthful": True}


@dataclass(slots=True)
class Told:
    """What a generated file must become."""

    rows: dict[str, int] = field(default_factory=lambda: {"chat": 0, "blog": 0})
    persons: int = 0
    organizations: int = 0
    broken: int = 0
    returners: int = 0
    """people with a second row at the same provider: two standings become one"""
    unions: int = 0
    """people with a row at the other provider too"""


class People:
    """Draws people; every number is drawn once."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311 - invented people, the same each time
        self._names: dict[str, list[str]] = {}
        self._companies: dict[str, list[str]] = {}
        for locale in LOCALES:
            faker = Faker(locale)
            faker.seed_instance(seed)
            self._names[locale] = [faker.name() for _ in range(POOL)]
            self._companies[locale] = [faker.company()[:180] for _ in range(POOL // 10)]
        self._serial = 0

    def identity(self, locale: str) -> dict[str, Any]:
        """Return an identity of a country, with a document that nobody else has."""
        self._serial += 1
        born = _FIRST_BIRTH + timedelta(days=self._serial * _STEP % _BIRTH_DAYS)
        return {
            "legal_name": self._random.choice(self._names[locale]),
            "birth_date": born.isoformat(),
            "document": _DOCUMENTS[locale](self._serial, born),
        }

    def organization(self, locale: str) -> dict[str, Any]:
        """Return an organisation of a country, with a number that no other has."""
        self._serial += 1
        scheme, number = _REGISTERS[locale](self._serial)
        name = self._random.choice(self._companies[locale])
        return {"legal_name": name, "registration": {"scheme": scheme, "number": number}}

    def locale(self) -> str:
        """Draw a country."""
        return self._random.choice(LOCALES)

    def chance(self, share: float) -> bool:
        """Draw whether something is so."""
        return self._random.random() < share


def respelled(identity: dict[str, Any]) -> dict[str, Any]:
    """Return the same person under another spelling: case, accents and spaces; the same document."""
    name = identity["legal_name"]
    bare = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    latin = bare.isascii()
    return {**identity, "legal_name": bare.upper() if latin else " ".join(unicodedata.normalize("NFC", name))}


def rows(count: int, told: Told, seed: int = 1) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return (provider, row) of so many people, in the order of their files; `told` is filled in meanwhile."""
    people, number = People(seed), 0

    def row(provider: str, **content: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - JSON
        nonlocal number
        number += 1
        told.rows[provider] += 1
        common = {"handle": f"user{number}", "kind": "public", "external_id": f"u-{number}", "accepts": _ACCEPTS}
        return provider, {**common, **content}

    for _ in range(count):
        locale = people.locale()
        identity = people.identity(locale)
        if people.chance(BROKEN):
            told.broken += 1
            yield row("chat", identity=_broken(identity, people))
            continue
        told.persons += 1
        if people.chance(ORGANIZATIONS):
            told.organizations += 1
            yield row("chat", organization=people.organization(locale), representative=identity)
            continue
        yield row("chat", identity=identity)
        if people.chance(TWICE):
            told.returners += 1
            yield row("chat", identity=respelled(identity))
        if people.chance(ELSEWHERE):
            told.unions += 1
            yield row("blog", identity=respelled(identity))


def _broken(identity: dict[str, Any], people: People) -> dict[str, Any]:
    """Break one rule: a birth date that is none, a name that is missing, a document of no country."""
    if people.chance(1 / 3):
        return {**identity, "birth_date": "1999-02-30"}
    if people.chance(1 / 2):
        return {name: value for name, value in identity.items() if name != "legal_name"}
    return {**identity, "document": {**identity["document"], "country": "XQX"}}


def _chinese(serial: int, born: date) -> dict[str, str]:
    body = f"110105{born:%Y%m%d}{serial // _BIRTH_DAYS:03d}"
    return _national("CHN", body + ric.calc_check_digit(body + "0"))


def _korean(serial: int, born: date) -> dict[str, str]:
    body = f"{born:%y%m%d}{1 if born.year < 2000 else 3}{serial // _BIRTH_DAYS:05d}"
    return _national("KOR", body + rrn.calc_check_digit(body))


def _german(serial: int, _: date) -> dict[str, str]:
    return {"type": "passport", "country": "DEU", "number": f"C{serial:08d}"}


def _spanish(serial: int, _: date) -> dict[str, str]:
    body = f"{serial:08d}"
    return _national("ESP", body + dni.calc_check_digit(body))


def _polish(serial: int, born: date) -> dict[str, str]:
    month = born.month + (20 if born.year >= 2000 else 0)
    body = f"{born:%y}{month:02d}{born:%d}{serial // _BIRTH_DAYS:04d}"
    return _national("POL", body + pesel.calc_check_digit(body))


def _brazilian(serial: int, _: date) -> dict[str, str]:
    body = f"{serial:09d}"
    return _national("BRA", body + cpf._calc_check_digits(body))  # noqa: SLF001 - the library has no other name for it


def _national(country: str, number: str) -> dict[str, str]:
    return {"type": "national_id", "country": country, "number": number}


_DOCUMENTS: Final = {
    "zh_CN": _chinese, "ko_KR": _korean, "de_DE": _german, "es_ES": _spanish, "pl_PL": _polish, "pt_BR": _brazilian,
}  # fmt: skip


def _chinese_company(serial: int) -> tuple[str, str]:
    body = f"91110105{serial:09d}"
    return "cn.uscc", body + uscc.calc_check_digit(body)


def _korean_company(serial: int) -> tuple[str, str]:
    return "kr.brn", f"{101 + serial // 1_000_000 % 800}{81:02d}{serial % 100_000:05d}"


def _german_company(serial: int) -> tuple[str, str]:
    body = f"1{serial:07d}"
    return "de.vat", body + mod_11_10.calc_check_digit(body)


def _spanish_company(serial: int) -> tuple[str, str]:
    body = f"A{serial:07d}"
    return "es.cif", body + cif.calc_check_digits(body)[0]


def _polish_company(serial: int) -> tuple[str, str]:
    body = f"{serial:08d}"
    return "pl.regon", body + regon.calc_check_digit(body)


def _brazilian_company(serial: int) -> tuple[str, str]:
    body = f"{serial:08d}0001"
    return "br.cnpj", body + cnpj.calc_check_digits(body)


_REGISTERS: Final = {
    "zh_CN": _chinese_company, "ko_KR": _korean_company, "de_DE": _german_company, "es_ES": _spanish_company,
    "pl_PL": _polish_company, "pt_BR": _brazilian_company,
}  # fmt: skip


def write(folder: Path, count: int, seed: int = 1) -> Told:
    """Write chat.jsonl, blog.jsonl and told.json into a folder."""
    told = Told()
    with (folder / "chat.jsonl").open("w") as chat, (folder / "blog.jsonl").open("w") as blog:
        for provider, row in rows(count, told, seed):
            (chat if provider == "chat" else blog).write(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "told.json").write_text(json.dumps(asdict(told)))
    return told


@click.command()
@click.argument("count", type=click.IntRange(1))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", default=1, show_default=True)
def main(count: int, folder: Path, seed: int) -> None:
    """Write COUNT invented people as files to import into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    click.echo(json.dumps(asdict(write(folder, count, seed))))


if __name__ == "__main__":
    main()
