"""Migrations go up and down with data, and the tables are what the code says."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import BigInteger, Engine, LargeBinary, MetaData, Table, UniqueConstraint, insert, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateIndex

from keys import migrating
from keys import store as keys_store
from keys.engine import open_engine, reading, writing
from keys.errors import SetupError
from vault.stores import log, schema

STORES = sorted(schema.METADATA)
PERSONAL = {"legal_name", "names", "birth_date", "document", "phone", "email"}
PUBLIC = {"handle", "nickname", "avatar", "post", "provider", "pid", "token", "account", "external"}
OWNERS = {"rid": {"identity", "keys"}, "uid": {"keys"}, "pid": {"directory"}, "link": {"directory"}}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Engine]]:
    path = tmp_path / "store.db"
    path.touch()
    engine = open_engine(f"sqlite:///{path}")
    yield request.param, engine
    engine.dispose()


def row(table: Table) -> dict[str, Any]:
    return {c.name: 1 if isinstance(c.type, BigInteger) else b"x" if isinstance(c.type, LargeBinary) else "x"
            for c in table.columns}  # fmt: skip


def test_a_store_goes_up_down_and_up_again_with_data(store: tuple[str, Engine]) -> None:
    name, engine = store
    history, metadata = schema.HISTORIES[name], schema.METADATA[name]
    for _ in range(2):
        migrating.upgrade(engine, history)
        assert migrating.current(engine) == migrating.head(history)
        for table in metadata.sorted_tables:
            with writing(engine) as connection:
                connection.execute(insert(table), row(table))
            with reading(engine) as connection:
                assert len(connection.execute(select(table)).all()) == 1
        migrating.downgrade(engine, history, "base")
        assert set(inspect(engine).get_table_names()) <= {"alembic_version"}


def stops_at_records_wrapped_apart(engine: Engine) -> None:
    """Check that a key store with records of before their keys lay in one frame is left as it was."""
    migrating.upgrade(engine, migrating.KEYS, "0009")
    table = Table("record_key", MetaData(), autoload_with=engine)
    with writing(engine) as connection:
        keys_store.make_partition(connection, 1)
        connection.execute(insert(table), row(table))
    with pytest.raises(SetupError, match="an earlier version wrapped apart"):
        migrating.upgrade(engine, migrating.KEYS)
    assert migrating.current(engine) == "0009"
    with reading(engine) as connection:
        assert len(connection.execute(select(table)).all()) == 1
    with writing(engine) as connection:
        connection.execute(table.delete())
    migrating.upgrade(engine, migrating.KEYS)
    schema.check_all({"keys": engine})


def test_records_whose_keys_were_wrapped_apart_stop_the_upgrade_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    path.touch()
    engine = open_engine(f"sqlite:///{path}")
    stops_at_records_wrapped_apart(engine)
    engine.dispose()


def test_the_migrated_schema_is_the_one_of_the_code(store: tuple[str, Engine]) -> None:
    name, engine = store
    migrating.upgrade(engine, schema.HISTORIES[name])
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.METADATA[name]) == []
    schema.check_all({name: engine})


def test_the_migrated_indexes_are_those_of_the_code_with_their_conditions(store: tuple[str, Engine]) -> None:
    """Alembic's comparison does not see a partial index's condition."""
    name, engine = store
    migrating.upgrade(engine, schema.HISTORIES[name])
    tables = schema.METADATA[name].sorted_tables
    said = {str(CreateIndex(index).compile(engine)) for table in tables for index in table.indexes}
    with reading(engine) as connection:
        query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        assert set(connection.exec_driver_sql(query).scalars()) == said


def test_what_was_not_settled_before_an_upgrade_of_the_log_is_not_settled_after_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.touch()
    engine, ids = open_engine(f"sqlite:///{path}"), [bytes([n]) * 16 for n in range(3)] + [b"report.tallied 2026-10"]
    migrating.upgrade(engine, schema.HISTORIES["log"], "0003")
    with writing(engine) as connection:
        for one in ids:
            connection.exec_driver_sql("INSERT INTO unsettled VALUES (?)", (one,))
    migrating.upgrade(engine, schema.HISTORIES["log"])
    with reading(engine) as connection:
        assert sorted(log.unsettled_ids(connection)) == sorted(ids)
    migrating.downgrade(engine, schema.HISTORIES["log"], "0003")
    with reading(engine) as connection:
        assert sorted(connection.exec_driver_sql("SELECT id FROM unsettled").scalars()) == sorted(ids)
    engine.dispose()


def test_what_is_no_store_is_named_and_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"no database" * 1000)
    engine = open_engine(f"sqlite:///{path}")
    with pytest.raises(SetupError, match="the store log cannot be read"):
        schema.check_all({"log": engine})
    assert not schema.answers(engine)
    engine.dispose()


def test_a_store_that_is_not_of_this_version_stops_the_start(store: tuple[str, Engine]) -> None:
    name, engine = store
    with pytest.raises(SetupError, match="run idvault db upgrade"):
        schema.check_all({name: engine})
    migrating.upgrade(engine, schema.HISTORIES[name])
    table = schema.METADATA[name].sorted_tables[0]
    table.drop(engine)
    with pytest.raises(SetupError, match="lacks tables"):
        schema.check_all({name: engine})


def test_sqlite_is_set_to_lose_nothing_and_to_overwrite_what_is_deleted(store: tuple[str, Engine]) -> None:
    _, engine = store
    with reading(engine) as connection:
        pragmas = {p: connection.exec_driver_sql(f"PRAGMA {p}").scalar_one() for p in
                   ("journal_mode", "synchronous", "secure_delete")}  # fmt: skip
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}


def test_a_raise_rolls_back_and_a_second_writer_waits(store: tuple[str, Engine]) -> None:
    name, engine = store
    migrating.upgrade(engine, schema.HISTORIES[name])
    table = schema.METADATA[name].sorted_tables[0]
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(table), [row(table), row(table)])
    with writing(engine) as connection:
        other = sqlite3.connect(str(engine.url.database), timeout=0.05, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        assert other.execute(f"SELECT count(*) FROM {table.name}").fetchone() == (0,)  # noqa: S608
        other.close()
        connection.execute(insert(table), row(table))
    with reading(engine) as connection:
        assert len(connection.execute(select(table)).all()) == 1


def test_a_missing_file_is_refused_and_never_created(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="store gone is missing"):
        open_engine(f"sqlite:///{tmp_path / 'gone.db'}")
    assert not list(tmp_path.iterdir())
    for url in ("nonsense", "sqlite://user:secret@/x.db", "mysql://localhost/x"):
        with pytest.raises(SetupError):
            open_engine(url)


def test_r_cn_05_no_handle_beside_a_record_and_no_identity_field_beside_a_handle() -> None:
    columns = {name: {c.name for t in schema.METADATA[name].sorted_tables for c in t.columns} for name in STORES}
    words = {word for column in columns["identity"] for word in column.split("_")}
    assert not (words | set(schema.METADATA["identity"].tables)) & PUBLIC
    assert not columns["directory"] & PERSONAL
    assert not columns["keys"] & (PERSONAL | {"handle", "account"})
    for column, owners in OWNERS.items():
        assert {name for name in STORES if column in columns[name]} == owners


def test_stores_share_no_table_but_the_outbox() -> None:
    tables = Counter(table for metadata in schema.METADATA.values() for table in metadata.tables)
    assert {table for table, stores in tables.items() if stores > 1} == {"audit_outbox"}


DISTRIBUTED = {
    "identity": {"record": "rid", "fingerprint": "tag", "evidence": "rid"},
    "directory": {
        "account": "pid", "handle": "key", "standing": "pid", "person_tag": "tag", "local_tag": "tag",
        "review": "reg", "sanction": "id", "operator": "account", "idempotency": "key", "import_chunk": "import",
        "revoked": "jti", "audit_outbox": "id", "refusal": "client", "event": "provider",
    },
    "keys": {
        "record_key": "rid", "person": "uid", "evidence_key": "rid", "statement_key": "address", "handoff": "hash",
        "intent": "id", "intent_lock": "key", "audit_outbox": "id", "leaf_count": "rid", "disclosure": "id",
        "hold": "rid", "resealed": "rid", "ended": "address",
    },
    "log": {"leaf": "number", "detail": "number", "tile": "number", "checkpoint": "size", "drained": "id",
            "unsettled": "number", "daily": "day", "tally": "month"},
}  # fmt: skip
SMALL = {
    "directory": {"client", "provider", "import"},
    "keys": {
        "deployment",
        "key",
        "reviewer",
        "agreement",
        "budget",
        "log_head",
        "ceremony",
        "share",
        "officer_record",
        "officer_head",
        "request",
        "approval",
        "deepening",
    },
}
"""They grow with providers and officers, not with people: each node has a copy of them."""


@pytest.mark.parametrize("name", STORES)
def test_what_is_unique_holds_the_column_that_its_table_is_distributed_by(name: str) -> None:
    """Else a distributed database could not keep it so on one node."""
    tables = schema.METADATA[name].tables
    assert set(tables) == set(DISTRIBUTED[name]) | SMALL.get(name, set())
    for table, column in DISTRIBUTED[name].items():
        unique = [list(tables[table].primary_key.columns)]
        unique += [list(c.columns) for c in tables[table].constraints if isinstance(c, UniqueConstraint)]
        unique += [list(index.columns) for index in tables[table].indexes if index.unique]
        for columns in unique:
            assert column in {c.name for c in columns}, (table, columns)
