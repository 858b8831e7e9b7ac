"""Rows inserted in bulk come out as they went in, on both databases; one that cannot stand leaves none.

Statements run together see each other, and none of them stands where one fails.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, Engine, LargeBinary, MetaData, Table, Text, bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError

from keys import bulk
from keys.bulk import Bulk
from keys.driver import Prepared, run
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
_OF = Prepared(select(table).where(table.c.id.in_(bindparam("ids", expanding=True))))
_USE = Prepared(update(table).where(table.c.first == bindparam("at")).values(words="used"))
_DROP = Prepared(delete(table).where(table.c.id == bindparam("of")).returning(table.c.id))


@pytest.fixture(params=["few", "copied"], autouse=True)
def _few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have PostgreSQL take the rows in a statement of arrays, and by COPY."""
    monkeypatch.setattr(bulk, "FEW", 32 if request.param == "few" else 0)


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


def test_statements_run_together_see_each_other_and_say_what_they_did(engine: Engine) -> None:
    with writing(engine) as connection:
        added, used, dropped, found, none = run(
            connection, things.of(connection, ROWS), _USE.on(connection, at=0), _DROP.on(connection, of=ROWS[1][0]),
            _OF.on(connection, ids=[row[0] for row in ROWS]), _OF.on(connection, ids=[]),
        )  # fmt: skip
    assert (added.count, used.count, dropped.rows, none.rows) == (3, 1, [(ROWS[1][0],)], [])
    assert {(row.id, row.words) for row in found.rows} == {(ROWS[0][0], "used"), (ROWS[2][0], None)}
    assert len(stored(engine)) == 2


def test_of_statements_run_together_none_stands_where_one_fails(engine: Engine) -> None:
    with pytest.raises(IntegrityError), writing(engine) as connection:
        run(connection, things.of(connection, ROWS[:1]), things.of(connection, ROWS[:1]), _USE.on(connection, at=0))
    assert stored(engine) == []
    with writing(engine) as connection:  # the connection is good for the next
        run(connection, things.of(connection, ROWS))
    assert len(stored(engine)) == 3
