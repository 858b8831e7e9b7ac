"""Stores open as set: nothing lost, nothing made up, write transactions whole; and their history runs both ways."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import OperationalError

from keys import migrating
from keys import store as tables
from keys.engine import is_written_here, open_engine, reading, writing
from keys.errors import SetupError
from tests.keys.stores import KeyStore


@pytest.mark.sqlite
def test_a_store_is_set_to_keep_what_was_committed_and_to_overwrite_what_is_deleted(store: KeyStore) -> None:
    with reading(store.engine) as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "secure_delete", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "busy_timeout": 5000}


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "a store's URL is not a SQLAlchemy URL"),
        ("sqlite://user:secret@/keys.db", "a store's URL holds no password"),
        ("postgresql://keys:secret@host/keys", "a store's URL holds no password"),
        ("mysql://host/keys", "a store's URL begins with sqlite: or postgresql:"),
        ("sqlite:////nowhere/keys.db", "the store keys is missing; restore it from a backup"),
        ("sqlite://", "is missing"),
    ],
)
def test_what_is_no_store_is_not_opened_and_no_secret_is_repeated(url: str, message: str) -> None:
    with pytest.raises(SetupError, match=message) as caught:
        open_engine(url)
    assert "secret" not in str(caught.value)


@pytest.mark.sqlite
def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(SetupError):
        open_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    assert list(tmp_path.iterdir()) == []


def test_leaving_commits_and_raising_rolls_back(store: KeyStore) -> None:
    with writing(store.engine) as connection:
        connection.execute(insert(tables.budget).values(name="kept", window=0, used=0))

    def interrupted() -> None:
        with writing(store.engine) as connection:
            connection.execute(insert(tables.budget).values(name="lost", window=0, used=0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [row.name for row in store.rows("budget")] == ["kept"]


def test_writers_wait_for_each_other_and_none_is_lost(store: KeyStore) -> None:
    with writing(store.engine) as connection:
        connection.execute(insert(tables.budget).values(name="count", window=0, used=0))

    def count() -> None:
        for _ in range(10):
            with writing(store.engine) as one:
                used = one.execute(select(tables.budget.c.used)).scalar_one()
                one.execute(tables.budget.update().values(used=used + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.rows("budget")[0].used == 40


@pytest.mark.sqlite
def test_a_writer_that_waits_too_long_is_refused(store: KeyStore) -> None:
    impatient = open_engine(str(store.engine.url), busy_seconds=0)
    with writing(store.engine):
        with pytest.raises(OperationalError, match="locked"), writing(impatient):
            pytest.fail("two writers at once")
        with reading(impatient) as connection:
            assert len(connection.execute(select(tables.deployment)).all()) == 1
    impatient.dispose()


@pytest.mark.sqlite
def test_the_history_makes_the_tables_that_the_code_knows_and_takes_them_away_again(tmp_path: Path) -> None:
    (tmp_path / "100% keys.db").touch()
    engine = open_engine(f"sqlite:///{tmp_path / '100% keys.db'}")
    migrating.upgrade(engine, migrating.KEYS)
    assert migrating.current(engine) == migrating.head(migrating.KEYS)
    with reading(engine) as connection:
        names = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
    assert names == {*tables.metadata.tables, "alembic_version"}
    migrating.downgrade(engine, migrating.KEYS, "base")
    assert migrating.current(engine) is None
    with reading(engine) as connection:
        left = list(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
    assert left == ["alembic_version"]
    migrating.upgrade(engine, migrating.KEYS)
    assert migrating.current(engine) == migrating.head(migrating.KEYS)
    engine.dispose()


def test_a_thread_knows_which_stores_it_is_writing_to_itself(store: KeyStore) -> None:
    other, seen = open_engine(str(store.engine.url)), list[bool]()
    with writing(store.engine):
        assert is_written_here(store.engine)
        assert not is_written_here(other), "of another engine it is not told"
        elsewhere = threading.Thread(target=lambda: seen.append(is_written_here(store.engine)))
        elsewhere.start()
        elsewhere.join()
    assert seen == [False]
    with pytest.raises(KeyError), writing(store.engine):
        raise KeyError
    assert not is_written_here(store.engine)
    other.dispose()
