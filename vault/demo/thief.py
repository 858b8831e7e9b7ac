"""The thief: has copies of all four stores and looks for names, numbers and links, with what a thief has: no key.

He looks for each personal value as it is, in other cases and encodings, and as an unkeyed hash; then he tries to join:
any value of one provider's rows that stands in another's, or in another store, would be a link.
"""

import base64
import hashlib
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STORES: Final = ("identity", "directory", "keys", "log")
_MIN_BYTES: Final = 8
"""Shorter values say nothing: states, small numbers."""


@dataclass(frozen=True, slots=True)
class Loot:
    """What the thief found."""

    stolen_bytes: int
    rows: int
    values_tried: int
    names_found: int
    links_between_providers: int
    links_to_records: int


def steal(home: Path, into: Path) -> list[Path]:
    """Copy the four stores, with what SQLite has beside them; not the seal, which is kept elsewhere."""
    into.mkdir()
    found = [path for store in STORES for path in sorted(home.glob(f"{store}.db*"))]
    return [Path(shutil.copy(path, into / path.name)) for path in found]


def _spellings(value: str) -> Iterator[bytes]:
    for text in {value, value.upper(), value.lower(), value.replace(" ", ""), value.replace("-", "")}:
        raw = text.encode()
        yield raw
        yield text.encode("utf-16-le")
        yield base64.b64encode(raw).rstrip(b"=")
        yield raw.hex().encode()
        for algorithm in ("md5", "sha1", "sha256", "sha512"):
            digest = hashlib.new(algorithm, raw, usedforsecurity=False).digest()
            yield digest
            yield digest.hex().encode()


def _rows(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for row in connection.execute(f'select * from "{table}"'):  # noqa: S608 - a table's own name
                yield table, dict(row)


def _values(rows: Iterable[dict[str, object]]) -> set[bytes]:
    found = (value for row in rows for value in row.values() if isinstance(value, bytes))
    return {value for value in found if len(value) >= _MIN_BYTES}


def look(stolen: list[Path], personal: list[str], providers: list[str]) -> Loot:
    """Search stolen stores.

    Args:
        stolen: the copies.
        personal: names, numbers and birth dates that people gave.
        providers: the client ids of two providers.
    """
    everything = b"".join(path.read_bytes() for path in stolen)
    tried = {spelling for value in personal for spelling in _spellings(value)}
    rows = {path.stem: list(_rows(path)) for path in stolen if path.suffix == ".db"}
    directory = [row for _, row in rows["directory"]]
    one, other = (_values(_of_provider(directory, provider)) for provider in providers)
    identity = _values(row for _, row in rows["identity"])
    return Loot(
        stolen_bytes=len(everything), rows=sum(len(found) for found in rows.values()), values_tried=len(tried),
        names_found=sum(spelling in everything for spelling in tried), links_between_providers=len(one & other),
        links_to_records=len(identity & _values(directory)),
    )  # fmt: skip


def _of_provider(directory: list[dict[str, object]], provider: str) -> Iterator[dict[str, object]]:
    mine = [row for row in directory if row.get("provider") == provider]
    pids = {row["pid"] for row in mine if "pid" in row}
    yield from mine
    yield from (row for row in directory if row.get("pid") in pids and "provider" not in row)
