"""Rows inserted in bulk come out as they went in, on both databases; one that cannot stand leaves none."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, Engine, LargeBinary, MetaData, Table, Text, select
from sqlalchemy.exc import IntegrityError

from keys.bulk import Bulk
from keys.engine import open_engine, reading, writing

metadata = MetaData()
table = Table(
    "thing",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("first", BigInteger, nullable=False),
    Column("words", Text, nullable=True),
    Column("raw", LargeBinary, nullable=True),
)
things = Bulk(table)
ROWS = [
    (bytes(16), 0, "", b""),
    (b"\x00\xff" * 8, -(2**63), "zwei\twörter\n\\N 张伟", b"\\x00"),
    (b"\xff" * 16, 2**63 - 1, None, None),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty store with one table."""
    if request.param == "sqlite":
        (tmp_path / "bulk.db").touch()
        made = open_engine(f"sqlite:///{tmp_path / 'bulk.db'}")
    else:
        made = open_engine(request.getfixturevalue("cluster").vault()["IDVAULT_LOG_URL"])
    metadata.create_all(made)
    yield made
    made.dispose()


def stored(engine: Engine) -> list[tuple[object, ...]]:
    """Return all rows."""
    with reading(engine) as connection:
        return [tuple(row) for row in connection.execute(select(table).order_by(table.c.id))]


def test_rows_come_out_as_they_went_in(engine: Engine) -> None:
    with writing(engine) as connection:
        things.insert(connection, ROWS)
        things.insert(connection, [])
    assert stored(engine) == sorted(ROWS)


def test_a_key_that_stands_is_told_and_nothing_of_the_transaction_stays(engine: Engine) -> None:
    with writing(engine) as connection:
        things.insert(connection, ROWS[:1])
    with pytest.raises(IntegrityError), writing(engine) as connection:
        things.insert(connection, [*ROWS[1:], ROWS[0]])
    assert stored(engine) == ROWS[:1]
    with writing(engine) as connection:  # the connection is good for the next
        things.insert(connection, ROWS[1:])


def test_a_row_that_is_refused_is_the_stores_error(engine: Engine) -> None:
    with pytest.raises(IntegrityError), writing(engine) as connection:
        things.insert(connection, [(b"x", None, None, None)])
    assert stored(engine) == []
