"""What passes between the key store and its file: reads open no transaction, and the first fault is the one told."""

import sqlite3

import pytest
from sqlalchemy import event, insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from keys import store as tables
from keys.engine import open_engine, reading, writing
from tests.keys.stores import KeyStore

pytestmark = pytest.mark.sqlite  # it listens to what SQLite is told


def test_a_read_opens_no_transaction_and_a_write_unit_takes_the_lock_at_its_start(store: KeyStore) -> None:
    engine, sent = open_engine(str(store.engine.url)), list[str]()

    def listen(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.set_trace_callback(sent.append)

    event.listen(engine, "connect", listen)
    with reading(engine) as connection:
        connection.execute(select(tables.person)).all()
        connection.execute(select(tables.budget)).all()
    assert [statement.split()[0] for statement in sent] == ["SELECT", "SELECT"]
    sent.clear()
    with writing(engine) as connection:
        connection.execute(select(tables.budget)).all()
    assert [sent[0], sent[1].split()[0], sent[2]] == ["BEGIN IMMEDIATE", "SELECT", "COMMIT"]
    engine.dispose()


def test_a_full_store_says_so_and_takes_writes_again_once_there_is_room(store: KeyStore) -> None:
    engine = open_engine(str(store.engine.url))
    with reading(engine) as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    # SQLite ends the transaction itself here (sqlite.org/lang_transaction.html): nothing is left to roll back.
    with pytest.raises(OperationalError, match="disk is full"), writing(engine) as connection:
        connection.execute(insert(tables.statement_key), {"address": bytes(32), "wrapped": bytes(100_000)})
    with reading(engine) as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 100}")
    with writing(engine) as connection:
        connection.execute(insert(tables.statement_key), {"address": bytes(32), "wrapped": bytes(100_000)})
    assert len(store.rows("statement_key")) == 1
    engine.dispose()
