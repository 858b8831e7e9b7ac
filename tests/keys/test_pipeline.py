"""Statements sent together give what the driver gives for each, and leave the connection fit for use or closed."""

import signal
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, literal, select

from keys.arrays import array
from keys.driver import Prepared, end, run
from keys.engine import open_engine, unbegun
from keys.pipeline import Pipeline
from tests.databases import Cluster

pytestmark = pytest.mark.postgresql
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(st.binary(max_size=60), WORDS, NUMBERS, st.booleans())
TYPES = {bytes: "bytea", str: "text", int: "int8", bool: "bool"}


class Word(StrEnum):
    said = "said"


class Number(IntEnum):
    three = 3


def connected(cluster: Cluster) -> "psycopg.Connection[Any]":
    url = cluster.vault()["IDVAULT_LOG_URL"].replace("postgresql+psycopg:", "postgresql:")
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)


@pytest.fixture(scope="module")
def connection(cluster: Cluster) -> Iterator["psycopg.Connection[Any]"]:
    with connected(cluster) as made:
        made.execute("CREATE TABLE thing (id bytea PRIMARY KEY, number int8, word text)")
        yield made


@pytest.fixture(scope="module")
def shared(connection: "psycopg.Connection[Any]") -> Pipeline:
    return Pipeline(connection)


@pytest.fixture
def pipeline(connection: "psycopg.Connection[Any]", shared: Pipeline) -> Pipeline:
    connection.execute("TRUNCATE thing")
    return shared


def one(pipeline: Pipeline, text: str, values: Any = ()) -> tuple[list[Any], int]:
    [answer] = pipeline.run([(text, values, tuple)])
    return answer


def test_values_come_back_as_they_went(shared: Pipeline) -> None:
    @given(st.lists(VALUES, min_size=1, max_size=6))
    @settings(max_examples=60)
    def check(values: list[Any]) -> None:
        text = f"SELECT {', '.join(f'%s::{TYPES[type(value)]}' for value in values)}"
        assert one(shared, text, values) == ([tuple(values)], 1)
        named = {f"v{at}": value for at, value in enumerate(values)}
        text = f"SELECT {', '.join(f'%(v{at})s::{TYPES[type(value)]}' for at, value in enumerate(values))}"
        assert one(shared, text, named) == ([tuple(values)], 1)

    check()


def test_lists_come_back_as_they_went(shared: Pipeline) -> None:
    @given(st.one_of(*(st.lists(st.none() | kind, max_size=6) for kind in (st.binary(max_size=20), WORDS, NUMBERS))))
    @settings(max_examples=60)
    def check(values: list[Any]) -> None:
        kind = next((TYPES[type(value)] for value in values if value is not None), "text")
        assert one(shared, f"SELECT %s::{kind}[]", [array(values)]) == ([(values,)], 1)

    check()


def test_a_name_said_twice_a_per_cent_sign_a_null_and_kinds_of_ours(pipeline: Pipeline) -> None:
    text = "SELECT %(a)s::text || %(b)s::text || %(a)s::text, 7 %% 4, 'x' LIKE 'x%%', %(n)s::bytea, %(k)s::int8"
    values = {"a": Word.said, "b": "-", "n": None, "k": Number.three}
    assert one(pipeline, text, values) == ([("said-said", 3, True, None, 3)], 1)


def test_one_text_takes_values_of_other_types_later(pipeline: Pipeline) -> None:
    for value in (None, 5, None, 6):
        assert one(pipeline, "SELECT %s::int8", [value]) == ([(value,)], 1)


def test_what_is_no_value_of_a_store_is_not_sent_and_the_connection_is_not_used_again(cluster: Cluster) -> None:
    for value in (1.5, {"a": 1}, [1, 2]):
        with connected(cluster) as made:
            with pytest.raises(TypeError):
                one(Pipeline(made), "SELECT %s", [value])
            assert made.closed


def test_each_statement_has_its_rows_and_its_number(pipeline: Pipeline) -> None:
    insert = "INSERT INTO thing SELECT * FROM unnest(%s::bytea[], %s::int8[], %s::text[])"
    answers = pipeline.run([
        ("BEGIN", (), tuple),
        (insert, [array([b"a", b"b", b"c"]), array([1, 2, 3]), array(["x", None, "z"])], tuple),
        ("UPDATE thing SET number = number + 1 WHERE number > %s RETURNING number", [1], list),
        ("DELETE FROM thing WHERE id = %s", [b"none"], tuple),
        ("SELECT id, word FROM thing ORDER BY id", (), tuple),
        ("COMMIT", (), tuple),
    ])  # fmt: skip
    assert answers[1:5] == [([], 3), ([[3], [4]], 2), ([], 0), ([(b"a", "x"), (b"b", None), (b"c", "z")], 3)]


@pytest.mark.parametrize("begun", [True, False])
def test_after_one_that_fails_none_is_run_and_the_connection_goes_on(
    connection: "psycopg.Connection[Any]", pipeline: Pipeline, *, begun: bool
) -> None:
    insert = "INSERT INTO thing (id) VALUES (%s)"
    statements: list[Any] = [(insert, [key], tuple) for key in (b"a", b"a", b"b")]
    with pytest.raises(psycopg.errors.UniqueViolation):
        pipeline.run([("BEGIN", (), tuple), *statements] if begun else statements)
    if begun:
        connection.execute("ROLLBACK")
    assert one(pipeline, "SELECT count(*) FROM thing") == ([(0,)], 1)
    assert one(pipeline, insert, [b"c"]) == ([], 1)
    assert one(pipeline, "SELECT id FROM thing") == ([(b"c",)], 1)


def test_one_that_the_server_does_not_understand_is_understood_once_it_can_be(
    connection: "psycopg.Connection[Any]", pipeline: Pipeline
) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        pipeline.run([("SELECT 1", (), tuple), ("SELECT * FROM later", (), tuple), ("SELECT 2", (), tuple)])
    connection.execute("CREATE TABLE later (at int8)")
    try:
        assert one(pipeline, "SELECT * FROM later") == ([], 0)
        assert one(pipeline, "SELECT 2") == ([(2,)], 1)
    finally:
        connection.execute("DROP TABLE later")


def test_more_than_the_sockets_hold_goes_both_ways_at_once(pipeline: Pipeline) -> None:
    much = bytes(100_000)
    answers = pipeline.run([("SELECT %s::bytea", [much], tuple)] * 200)
    assert len(answers) == 200
    assert all(rows == [(much,)] for rows, _ in answers)


def test_a_connection_that_is_lost_says_so(cluster: Cluster) -> None:
    with connected(cluster) as made:
        pipeline = Pipeline(made)
        with pytest.raises(psycopg.OperationalError):
            pipeline.run([
                ("SELECT 1", (), tuple),
                ("SELECT pg_terminate_backend(pg_backend_pid())", (), tuple),
                ("SELECT 2", (), tuple),
            ])  # fmt: skip
        assert made.broken


class _Interrupted(BaseException):
    pass


def test_one_that_is_broken_off_leaves_a_connection_that_nobody_uses_again(cluster: Cluster) -> None:
    def interrupt(*_: object) -> None:
        raise _Interrupted

    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        with connected(cluster) as made:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(_Interrupted):
                one(Pipeline(made), "SELECT pg_sleep(20)")
            assert made.closed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def test_what_is_prepared_outlives_rollbacks_and_statements_that_drop(cluster: Cluster) -> None:
    engine = open_engine(cluster.vault()["IDVAULT_LOG_URL"])
    twice = Prepared(select(literal(2, BigInteger).label("two")))
    for at in range(8):  # after the fifth time the driver would prepare one of its own accord
        with unbegun(engine) as connection:
            connection.exec_driver_sql(f"BEGIN; CREATE TABLE gone{at} (at int8)")
            connection.exec_driver_sql("SELECT 1")
            connection.exec_driver_sql(f"DROP TABLE gone{at}")
            assert run(connection, twice.on(engine))[0].rows == [(2,)]
            connection.exec_driver_sql("ROLLBACK")
            assert end(connection, twice.on(engine))[0].rows == [(2,)]
    engine.dispose()
