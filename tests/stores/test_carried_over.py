"""A store of an earlier version comes up to this one, and down again, with what it held: on both databases."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, Table, insert, select

from keys import migrating
from keys.engine import open_engine, reading, snapshot, writing
from keys.fields import HEADER
from vault.stores import handles, people, schema, standings
from vault.stores.identity import record
from vault.stores.reviews import START
from vault.stores.unit import Store

SEALED = HEADER + bytes(range(256))
TERMS = hashlib.sha256(b'{"terms":"2026-01"}').digest()
LATER = hashlib.sha256(b'{"terms":"2026-02"}').digest()
TRUTHFUL = hashlib.sha256(b'{"truthful":true}').digest()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A store without a table."""
    if request.param == "sqlite":
        (tmp_path / "store.db").touch()
        made = open_engine(f"sqlite:///{tmp_path / 'store.db'}")
    else:
        made = open_engine(request.getfixturevalue("cluster").database())
    yield made
    made.dispose()


def put(engine: Engine, table: str, *rows: dict[str, Any]) -> None:
    with writing(engine) as connection:
        connection.execute(insert(Table(table, MetaData(), autoload_with=connection)), list(rows))


def held(engine: Engine, table: str) -> list[dict[str, Any]]:
    """Return a table's rows in the order of its first columns."""
    with reading(engine) as connection:
        there = Table(table, MetaData(), autoload_with=connection)
        found = connection.execute(select(there).order_by(*there.primary_key))
        return [dict(row._mapping) for row in found]


def test_what_people_agreed_to_comes_into_their_records_and_their_fields_stay_what_they_were(empty: Engine) -> None:
    """Of the second the terms were agreed to anew; the third has none, as a record that is being written may."""
    history = schema.HISTORIES["identity"]
    migrating.upgrade(empty, history, "0001")
    kept: dict[str, Any] = {"kind": "natural", "day": 10, "legal_name": SEALED, "phone": None}
    put(empty, "record", *({**kept, "rid": rid, "mandate": None} for rid in (b"1", b"2")))
    put(empty, "record", {**kept, "rid": b"3", "kind": "organization", "mandate": SEALED})
    agreed = [
        {"rid": rid, "kind": kind, "text_hash": digest, "day": day}
        for rid, terms, day in ((b"1", TERMS, 10), (b"2", LATER, 12))
        for kind, digest in (("terms", terms), ("truthful", TRUTHFUL))
    ]
    put(empty, "consent", *agreed)
    migrating.upgrade(empty, history)
    schema.check_all({"identity": empty})
    assert [(row["rid"], row["terms"], row["agreed"]) for row in held(empty, "record")] == [
        (b"1", TERMS, None), (b"2", LATER, 12), (b"3", None, None),
    ]  # fmt: skip
    assert [(row["legal_name"], row["phone"]) for row in held(empty, "record")] == [(SEALED[26:], None)] * 3
    with reading(empty) as unit:
        assert people.sealed_fields(unit, [b"2"]) == {b"2": {"legal_name": SEALED}}
    migrating.downgrade(empty, history, "0001")
    assert held(empty, "consent") == agreed
    assert [(row["legal_name"], row["phone"]) for row in held(empty, "record")] == [(SEALED, None)] * 3
    assert [(row["kind"], row["mandate"]) for row in held(empty, "record")] == [
        ("natural", None), ("natural", None), ("organization", SEALED),
    ]  # fmt: skip


ACCOUNTS: list[dict[str, Any]] = [
    {"id": b"a1", "provider": "cli_one", "handle": "Anna_L", "external_id": "u-1", "state": "approved"},
    {"id": b"a2", "provider": "cli_two", "handle": "Anna_L", "external_id": None, "state": "approved"},
    {"id": b"a3", "provider": "cli_two", "handle": "", "external_id": None, "state": "closed"},
]
HANDLES = [
    {"provider": provider, "handle": "anna_l", "pid": b"of " + account, "account": account, "skeleton": "anna_l"}
    for provider, account in (("cli_one", b"a1"), ("cli_two", b"a2"))
]


def test_handles_and_external_ids_are_found_as_before_by_their_hashes(empty: Engine) -> None:
    history = schema.HISTORIES["directory"]
    migrating.upgrade(empty, history, "0008")
    rest: dict[str, Any] = {"kind": "public", "mac": b"mac", "created": 7}
    put(empty, "account", *({**one, **rest, "pid": b"of " + one["id"]} for one in ACCOUNTS))
    put(empty, "handle", *HANDLES)
    migrating.upgrade(empty, history)
    schema.check_all({"directory": empty})
    with reading(empty) as unit:
        assert standings.handles_taken(unit, "cli_one", ["anna_l", "other"]) == {"anna_l"}
        assert standings.handles_taken(unit, "cli_three", ["anna_l"]) == set()
        assert [row.id for row in standings.accounts_page(unit, "cli_one", START, 9, None, "u-1")] == [b"a1"]
        assert standings.accounts_page(unit, "cli_two", START, 9, None, "u-1") == []
    with snapshot(empty) as unit:
        assert handles.stray(unit) == []
    migrating.downgrade(empty, history, "0008")
    assert held(empty, "handle") == HANDLES
    assert [row["external_id"] for row in held(empty, "account")] == ["u-1", None, None]


def test_marks_of_reviews_are_null_where_they_were_0(empty: Engine) -> None:
    history = schema.HISTORIES["directory"]
    migrating.upgrade(empty, history, "0008")
    rest = {"provider": "cli_one", "pid": b"p", "kind": "identity", "attempt": 1, "state": "rejected", "submitted": 7}
    marked = {b"1": (1, 0), b"2": (0, 1), b"3": (0, 0)}
    marks = ("expired_document", "forgotten")
    put(empty, "review", *({**rest, "reg": reg, **dict(zip(marks, of, strict=True))} for reg, of in marked.items()))
    migrating.upgrade(empty, history)
    found = {row["reg"]: tuple(row[mark] for mark in marks) for row in held(empty, "review")}
    assert found == {b"1": (1, None), b"2": (None, 1), b"3": (None, None)}
    migrating.downgrade(empty, history, "0008")
    assert {row["reg"]: tuple(row[mark] for mark in marks) for row in held(empty, "review")} == marked


def test_a_resubmission_notes_which_terms_were_agreed_to_and_on_which_day(empty: Engine) -> None:
    migrating.upgrade(empty, schema.HISTORIES["identity"])
    store = Store(empty)
    people.add_all(store, [people.NewRecord(b"1", {"legal_name": SEALED}, TERMS)], 10)
    for day, terms, agreed in ((12, LATER, 12), (12, LATER, 12), (10, TERMS, None)):
        with store.writing() as unit:
            people.replace_fields(unit, b"1", {"phone": HEADER + b"anew"}, terms, day)
        with store.reading() as unit:
            [row] = unit.execute(select(record)).all()
        assert (row.day, row.terms, row.agreed) == (10, terms, agreed)
        assert (row.legal_name, row.phone) == (None, b"anew")
    with pytest.raises(ValueError, match="not sealed"):
        people.add_all(store, [people.NewRecord(b"2", {"legal_name": b"in clear"}, TERMS)], 10)
    store.close()
