"""Rows inserted in bulk come out as they went in, on both databases; one that cannot stand leaves none.

Statements run together see each other, and none of them stands where one fails.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, Engine, LargeBinary, MetaData, Table, Text, bindparam, delete, select, update
from sqlalchemy.exc import IntegrityError

from keys import bulk
from keys.bulk import Bulk, Rows, insert_alone, insert_last, inserting
from keys.driver import Prepared, begun, end, once, run, table_of
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


@pytest.mark.parametrize("few", [0, bulk.MANY])
def test_a_thousand_rows_and_more_come_out_as_they_went_in_whichever_way_the_table_takes_them(
    engine: Engine, few: int
) -> None:
    rows = [(number.to_bytes(16, "big"), number, f"w{number}", bytes(number % 300)) for number in range(bulk.MANY + 1)]
    for given in (rows[1:], rows[:1]):
        insert_alone(engine, Rows(Bulk(table, few=few), given))
    assert stored(engine) == rows


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


def test_what_begins_with_its_first_statements_and_is_committed_with_its_last_stands_as_a_whole(engine: Engine) -> None:
    insert_alone(engine, Rows(things, ROWS[:1]))
    with begun(engine, _OF.on(engine, ids=[ROWS[0][0]])) as (connection, (found,)):
        assert [tuple(row) for row in found.rows] == ROWS[:1]
        insert_last(connection, Rows(things, ROWS[1:]))
    assert stored(engine) == sorted(ROWS)
    assert once(engine, _DROP.on(engine, of=ROWS[0][0]))[0].count in {1, -1}  # SQLite does not count what it returns
    assert stored(engine) == sorted(ROWS[1:])


def test_what_is_not_committed_by_its_last_statements_is_when_it_is_left(engine: Engine) -> None:
    with inserting(engine, [_USE.on(engine, at=0)], Rows(things, ROWS)) as (used,):
        assert used.count == 0
    with begun(engine) as (connection, none):
        assert none == []
        run(connection, _USE.on(connection, at=0))
    assert (ROWS[0][0], 0, "used", b"") in stored(engine)


def test_nothing_stands_of_a_transaction_whose_first_or_last_statements_fail_and_the_next_is_whole(
    engine: Engine,
) -> None:
    insert_alone(engine, Rows(things, ROWS[:1]))
    with pytest.raises(IntegrityError) as told, inserting(engine, [_USE.on(engine, at=0)], Rows(things, ROWS[:1])):
        raise AssertionError
    assert table_of(told.value) == "thing"
    with pytest.raises(IntegrityError), begun(engine, _USE.on(engine, at=0)) as (connection, _):
        insert_last(connection, Rows(things, [*ROWS[1:], ROWS[0]]))
    with pytest.raises(IntegrityError):
        once(engine, _USE.on(engine, at=0), things.of(engine, ROWS[:1]))
    with pytest.raises(ZeroDivisionError), begun(engine, _USE.on(engine, at=0)):
        raise ZeroDivisionError
    assert stored(engine) == ROWS[:1]
    with begun(engine) as (connection, _):
        end(connection, _USE.on(connection, at=0))
    assert stored(engine) == [(ROWS[0][0], 0, "used", b"")]
