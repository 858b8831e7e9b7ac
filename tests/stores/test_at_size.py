"""Lists, queues and housekeeping at size: no statement of theirs reads or sorts a big table, on either database.

Statements are taken from the store modules as they are run, not written down here again. PostgreSQL runs each one and
tells what it read; SQLite tells what it would read.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Connection, Engine

from keys import handoffs, intents, migrating, records
from keys.driver import Step, run
from keys.engine import open_engine, reading, snapshot
from keys.keyring import Keyring
from tests.databases import Cluster
from tests.keys.stores import KeyStore
from tests.stores.filling import BIG, DAY, NOW, fill, id_of, nodes, sent
from vault.stores import answers, batches, clients, handles, imports, introspected, reviews, sanctions, standings
from vault.stores.reviews import START
from vault.stores.schema import HISTORIES

pytestmark = pytest.mark.once
Call = Callable[[Connection, int, Keyring], object]
"""Of a unit of work, the number of rows, a keyring."""
SMALL, LARGE = 50_000, 1_000_000
PAGE = 50
ALIKE = standings.AccountRow(b"", id_of("acc", 7), BIG, None, "public", "approved", "h7", b"", None, None, 7)
ONE_SECOND = (20_001, b"\x80" * 16)
"""In the midst of the 5,000 registrations that an import made in one second."""
LITTLE = {"client", "provider", "import"}
"""Tables with a row a client or a file."""
SORTED = 1000
"""What may be sorted: the rows of one page, person or import."""
BLOCKS = 1500
"""Pages of 8 KB that one statement may touch: some 50 rows with their ways through the indexes, and more for deletions.

In `make test-full` a scan of any table with a row a person touches many thousands.
"""


def deep(rows: int) -> int:
    return rows - rows // 10


def some(rows: int) -> list[bytes]:
    """The pids of a page."""
    return [id_of("pid", rows // 60 * at) for at in range(1, PAGE + 1)]


_TAKEN = {"postgresql": standings._TAKEN_EACH, "sqlite": standings._TAKEN}
READS: dict[str, Call] = {
    "registrations": lambda unit, _, __: reviews.page(unit, BIG, None, START, PAGE),
    "registrations, deep": lambda unit, n, _: reviews.page(unit, BIG, None, (deep(n), b""), PAGE),
    "registrations of one second, deep": lambda unit, _, __: reviews.page(unit, BIG, None, ONE_SECOND, PAGE),
    "registrations in review": lambda unit, _, __: reviews.page(unit, BIG, "in_review", START, PAGE),
    "registrations returned, deep": lambda unit, n, _: reviews.page(unit, BIG, "returned", (deep(n), b""), PAGE),
    "registrations withdrawn, none": lambda unit, _, __: reviews.page(unit, BIG, "withdrawn", START, PAGE),
    "queue of all": lambda unit, _, __: reviews.queue(unit, None, None, START, PAGE),
    "queue of all, deep": lambda unit, _, __: reviews.queue(unit, None, None, (0, b"\xc0" * 16), PAGE),
    "queue of all in review": lambda unit, _, __: reviews.queue(unit, None, "in_review", START, PAGE),
    "queue of all rejected, deep": lambda unit, n, _: reviews.queue(unit, None, "rejected", (deep(n), b""), PAGE),
    "queue of all in review of one second, deep": lambda unit, _, __: reviews.queue(
        unit, None, "in_review", ONE_SECOND, PAGE
    ),
    "queue of a provider": lambda unit, _, __: reviews.queue(unit, BIG, None, START, PAGE),
    "queue of a provider in review, deep": lambda unit, n, _: reviews.queue(
        unit, BIG, "in_review", (deep(n), b""), PAGE
    ),
    "next case of all": lambda unit, _, __: reviews.next_open(unit, None, "cli_me", NOW),
    "next case of a provider": lambda unit, _, __: reviews.next_open(unit, BIG, "cli_me", NOW),
    "accounts": lambda unit, _, __: standings.accounts_page(unit, BIG, START, PAGE, None),
    "accounts, deep": lambda unit, n, _: standings.accounts_page(unit, BIG, (deep(n), b""), PAGE, None),
    "accounts of one second, deep": lambda unit, _, __: standings.accounts_page(unit, BIG, ONE_SECOND, PAGE, None),
    "an account": lambda unit, _, __: standings.account_by_id(unit, BIG, id_of("acc", 1001)),
    "accounts by their ids": lambda unit, _, __: batches.accounts_by_id(
        unit, BIG, [id_of("acc", at) for at in range(PAGE)]
    ),
    "an account's handle set free": lambda unit, _, __: handles.free(unit, BIG, id_of("acc", 1001)),
    "what looks alike": lambda unit, _, __: handles.looks_alike(unit, ALIKE),
    "accounts of a token": lambda unit, n, _: standings.accounts_page(unit, BIG, START, PAGE, id_of("pid", n // 2 + 1)),
    "accounts of an external id": lambda unit, _, __: standings.accounts_page(unit, BIG, START, PAGE, None, "x1001"),
    "sanctions": lambda unit, _, __: sanctions.page(unit, BIG, b"", PAGE, None, None),
    "sanctions, deep": lambda unit, _, __: sanctions.page(unit, BIG, b"\xc0" * 16, PAGE, None, None),
    "sanctions of a token": lambda unit, _, __: sanctions.page(unit, BIG, b"", PAGE, id_of("pid", 1002), None),
    "sanctions of an account": lambda unit, _, __: sanctions.page(
        unit, BIG, b"", PAGE, id_of("pid", 1002), id_of("acc", 1002)
    ),
    "sanctions of a standing": lambda unit, _, __: unit.execute(
        sanctions._OF_STANDING.statement, {"pid": id_of("pid", 1002)}
    ),
    "standings of a page": lambda unit, n, _: batches.living(unit, some(n)),
    "accounts of a page": lambda unit, n, _: batches.accounts(unit, some(n)),
    "aliases of a page": lambda unit, n, _: batches.aliases(unit, some(n)),
    "handles taken": lambda unit, _, __: unit.execute(
        _TAKEN[unit.dialect.name].statement, {"keys": [id_of("handle", at) for at in range(50)]}
    ),
    "who has these tags": lambda unit, _, __: standings.by_local_tags(unit, [id_of("local", at) for at in range(5)]),
    "bearer": lambda unit, _, __: unit.execute(clients.BY_TOKEN.statement, {"client": BIG, "jti": id_of("jti", 7)}),
    "introspection": lambda unit, n, _: unit.execute(
        introspected.ONE.statement, {"client": BIG, "pid": id_of("pid", n // 2 + 1)}
    ),
    "introspections": lambda unit, n, _: unit.execute(batches.INTROSPECTED.statement, {"client": BIG, "pids": some(n)}),
    "results of an import": lambda unit, _, __: imports.chunks(unit, id_of("import", 1), 0, 1),
    "results of an import, deep": lambda unit, _, __: imports.chunks(unit, id_of("import", 1), 9_000, 1),
    "refusals of an import, deep": lambda unit, _, __: imports.chunks(unit, id_of("import", 0), 6_001, 1, faulty=True),
    "what is left to undo": lambda unit, _, __: imports.chunks(unit, id_of("import", 1), 0, 1, left=True),
    "rejected long ago": lambda unit, n, _: reviews.rejected_before(unit, n, PAGE),
    "returned long ago": lambda unit, n, _: reviews.returned_before(unit, n, PAGE),
    "bans kept": lambda unit, _, __: standings.kept_bans(unit, b"", PAGE),
    "an account sent in again": lambda unit, _, __: reviews.resubmit_account(unit, BIG, id_of("acc", 7), NOW),
    "an account withdrawn": lambda unit, _, __: reviews.withdraw_account(unit, BIG, id_of("acc", 7)),
    "answers and revocations run out": lambda unit, _, __: answers.expire(unit, NOW + 90, NOW + 90, 50),
    "sanctions run out": lambda unit, _, __: sanctions.expire(unit, NOW + 200, 50),
    "an import runs out": lambda unit, _, __: imports.expire(unit, NOW - 97 * DAY, 50),
}
KEYS: dict[str, Call] = {
    "creations left open": lambda unit, n, ring: records.creating(unit, ring, n, 100),
    "intents due": lambda unit, _, ring: intents.due(unit, ring, NOW, 100),
    "hand-offs run out": lambda unit, _, __: handoffs.expire(unit, NOW + 50),
}
CASES = [*(("directory", name) for name in READS), *(("keys", name) for name in KEYS)]


@pytest.fixture(scope="module")
def rows(full: bool) -> int:  # noqa: FBT001 - a fixture
    return LARGE if full else SMALL


@pytest.fixture(scope="module")
def postgresql(cluster: Cluster, rows: int) -> Iterator[dict[str, Engine]]:
    engines = {}
    for store in ("directory", "keys"):
        name = f"size_{secrets.token_hex(4)}"
        with psycopg.connect(cluster.uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        engines[store] = open_engine(f"postgresql://postgres@/{name}?host={cluster.uri.partition('host=')[2]}")
        fill(engines[store], store, rows)
    yield engines
    for engine in engines.values():
        engine.dispose()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    engines = {}
    for store in ("directory", "keys"):
        path = tmp_path_factory.mktemp("size") / f"{store}.db"
        path.touch()
        engines[store] = open_engine(f"sqlite:///{path}")
        fill(engines[store], store, SMALL // 10)
    yield engines
    for engine in engines.values():
        engine.dispose()


def call_of(store: str, name: str) -> Call:
    return (READS if store == "directory" else KEYS)[name]


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return KeyStore.create(tmp_path_factory.mktemp("ring")).keyring


@contextmanager
def undone(engine: Engine) -> Iterator[Connection]:
    """A transaction of which nothing stays."""
    with reading(engine) as connection:
        connection.exec_driver_sql("BEGIN")
        yield connection
        connection.rollback()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("store", "name"), CASES)
def test_postgresql_reads_no_big_table_whole(
    postgresql: dict[str, Engine], ring: Keyring, rows: int, store: str, name: str
) -> None:
    with undone(postgresql[store]) as connection:
        statements = sent(connection, lambda unit: call_of(store, name)(unit, rows, ring))
    assert statements
    for statement in statements:
        with undone(postgresql[store]) as connection:
            explained = connection.exec_driver_sql(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.sql, statement.parameters
            )
            plan = explained.scalar_one()[0]["Plan"]
        for node in nodes(plan):
            assert "Seq Scan" not in node["Node Type"] or node["Relation Name"] in LITTLE, statement.sql
            assert "Sort" not in node["Node Type"] or node["Actual Rows"] <= SORTED, statement.sql
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= BLOCKS, statement.sql


@pytest.mark.parametrize(("store", "name"), CASES)
def test_sqlite_searches_by_an_index(sqlite: dict[str, Engine], ring: Keyring, store: str, name: str) -> None:
    with undone(sqlite[store]) as connection:
        statements = sent(connection, lambda unit: call_of(store, name)(unit, SMALL // 10, ring))
    assert statements
    for statement in statements:
        with undone(sqlite[store]) as connection:
            plan = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement.sql, statement.parameters).all()
        scans = [line.detail for line in plan if line.detail.startswith("SCAN")]
        assert [line for line in scans if " USING " not in line and line.split()[1] not in LITTLE] == [], statement.sql


def test_the_check_sees_a_whole_read(postgresql: dict[str, Engine], rows: int) -> None:
    """What is claimed above can fail: a list without an index is a scan and a sort of everything."""
    with snapshot(postgresql["directory"]) as connection:
        sql = "EXPLAIN (FORMAT JSON) select pid from standing where kind = 'x' order by created, generation limit 50"
        plan = connection.exec_driver_sql(sql).scalar_one()[0]["Plan"]
    assert {"Seq Scan", "Sort"} <= {node["Node Type"].removeprefix("Parallel ") for node in nodes(plan)}
    assert rows >= SMALL


def test_a_plan_that_was_made_while_the_store_was_empty_finds_handles_by_their_keys(cluster: Cluster) -> None:
    """PostgreSQL keeps such a plan: by another way it would read all handles for each chunk of an import."""
    engine = open_engine(cluster.vault()["IDVAULT_DIRECTORY_URL"])
    migrating.upgrade(engine, HISTORIES["directory"])
    with reading(engine) as connection:
        step = standings.taking(connection, "cli_1", [f"user{number}" for number in range(500)])
        [outcome] = run(connection, Step("EXPLAIN (FORMAT JSON) " + step.text, step.values))
    plan = outcome.rows[0][0][0]["Plan"]
    [found] = [node["Index Cond"] for node in nodes(plan) if "Index Cond" in node]
    assert "key = " in found
    engine.dispose()
