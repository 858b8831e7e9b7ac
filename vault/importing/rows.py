"""Rows of a file: CSV with a header of dotted members, or JSON Lines; read as a stream, never whole.

A row that cannot be read is None: the vault refuses it under its number like any other faulty row.
"""

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import orjson

from vault.errors import StartError

Row = dict[str, Any] | None
FORMATS: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_PERSON: Final = (
    r"(legal_name|birth_date|phone|email|names\.[0-7]\.(value|script)|document\.(type|country|number|expires))"
)
_COLUMN: Final = re.compile(
    r"handle|kind|external_id|terms_version|accepts\.(terms|truthful)"
    rf"|(identity|representative)\.{_PERSON}"
    r"|organization\.(legal_name|form|country|registration\.(scheme|number))"
)
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}
_LONGEST_VALUE: Final = 65_536
_READ_BYTES: Final = 1 << 20


def format_of(file: Path, named: str | None) -> str:
    """Return the format of a file: the one that is named, or that of its ending.

    Raises:
        StartError: the ending says nothing.
    """
    found = named or FORMATS.get(file.suffix.lower())
    if found is None:
        raise StartError("FILE: ends in none of .csv, .jsonl and .ndjson; say --format")
    return found


def digest(file: Path, options: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a file and of the options that decide what its rows say, in hex."""
    found = hashlib.sha256(orjson.dumps(dict(options), option=orjson.OPT_SORT_KEYS))
    with file.open("rb") as stream:
        while part := stream.read(_READ_BYTES):
            found.update(part)
    return found.hexdigest()


def read(stream: BinaryIO, text: TextIO, kind: str, defaults: Mapping[str, Any]) -> Iterator[Row]:
    """Return the rows of a file with the members that all of them have.

    Args:
        stream: the file, for JSON Lines.
        text: the same in UTF-8 with `surrogateescape` and without newline translation, for CSV.
        kind: csv or jsonl.
        defaults: members of rows that do not have them.

    Raises:
        StartError: the header of a CSV names what a row cannot have; the column is told by its number.
    """
    rows = _csv(text) if kind == "csv" else map(_json, stream)
    return (None if row is None else {**defaults, **row} for row in rows)


def chunks(rows: Iterator[Row], size: int) -> Iterator[tuple[int, int, list[Row]]]:
    """Return (number, first row, rows) of each chunk; all three count from 1."""
    number = 1
    while part := list(islice(rows, size)):
        yield number, (number - 1) * size + 1, part
        number += 1


def _json(line: bytes) -> Row:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _csv(text: TextIO) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_VALUE)
    lines = csv.reader(text, strict=True)
    try:
        header = next(lines)
    except (StopIteration, csv.Error):
        raise StartError("FILE: is empty, or its first line cannot be read") from None
    for number, name in enumerate(header, 1):
        if not _COLUMN.fullmatch(name):
            raise StartError(f"FILE: the header's column {number} is not a member of a row; see docs/import.md")
    if len(set(header)) != len(header):
        raise StartError("FILE: the header names a column twice")
    paths = [name.split(".") for name in header]
    while True:
        try:
            values = next(lines)
        except StopIteration:
            return
        except csv.Error:
            yield None
            continue
        yield _nested(paths, values) if len(values) == len(paths) else None


def _nested(paths: list[list[str]], values: list[str]) -> Row:
    row: dict[str, Any] = {}
    for path, value in zip(paths, values, strict=True):
        if value == "":
            continue
        if not value.isascii() and _has_surrogate(value):
            return None
        at = row
        for step in path[:-1]:
            at = at.setdefault(step, {})
        at[path[-1]] = _TRUTH.get(value.lower(), value) if path[-1] == "truthful" else value
    for member in ("identity", "representative"):
        names = row.get(member, {}).get("names")
        if names is not None:
            row[member]["names"] = [names[place] for place in sorted(names)]
    return row


def _has_surrogate(value: str) -> bool:
    """Whether a value was not UTF-8: `surrogateescape` put lone surrogates in place of such bytes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False
