"""The stores on PostgreSQL: what each role may do and nothing else, histories both ways, partitions of wrapped keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import Engine, MetaData, Table, insert, select
from sqlalchemy.exc import IntegrityError

from keys import migrating
from keys import store as keys_store
from keys.engine import open_engine, reading, writing
from keys.errors import SetupError
from tests.databases import Cluster
from tests.stores.test_schema import row, stops_at_records_wrapped_apart
from vault.config import STORES
from vault.stores import granting, schema

pytestmark = pytest.mark.postgresql

READ, ADD, KEEP, ALL = "SELECT", "SELECT INSERT", "SELECT INSERT UPDATE", "SELECT INSERT UPDATE DELETE"
COME_AND_GO: Final = "SELECT INSERT DELETE"
MAY: Final = {
    "idvault_identity": {"record": ALL, "fingerprint": ALL, "evidence": ALL, "record_fence": COME_AND_GO},
    "idvault_directory": {
        "client": KEEP, "provider": KEEP, "account": KEEP, "standing": KEEP, "review": KEEP, "import": ALL,
        "handle": ALL, "person_tag": ALL, "local_tag": ALL, "sanction": ALL, "idempotency": ALL, "import_chunk": ALL,
        "operator": COME_AND_GO, "revoked": COME_AND_GO, "audit_outbox": "INSERT",
        "refusal": KEEP, "event": COME_AND_GO, "standing_fence": COME_AND_GO,
    },
    "idvault_directory_sequencer": {"audit_outbox": "SELECT DELETE", "refusal": "SELECT DELETE"},
    "idvault_keys": {
        "deployment": ADD, "key": KEEP, "reviewer": KEEP, "agreement": KEEP, "budget": KEEP, "record_key": ALL,
        "evidence_key": ALL, "intent": ALL, "person": COME_AND_GO, "statement_key": COME_AND_GO,
        "handoff": COME_AND_GO, "intent_lock": COME_AND_GO, "audit_outbox": COME_AND_GO,
        "leaf_count": ALL, "log_head": KEEP, "ceremony": ALL, "share": ALL, "officer_record": ADD,
        "officer_head": KEEP, "request": ALL, "approval": ALL,
        "disclosure": ALL, "hold": ALL, "resealed": ALL, "deepening": KEEP, "key_use": KEEP, "ended": COME_AND_GO,
    },
    "idvault_log": {"leaf": READ, "tile": READ, "checkpoint": READ, "daily": READ, "tally": READ,
                    "drained": READ},
    "idvault_log_sequencer": {"leaf": ADD, "detail": ADD, "drained": ADD, "tile": KEEP, "checkpoint": KEEP,
                              "unsettled": COME_AND_GO, "daily": KEEP, "tally": ADD},
}  # fmt: skip


def store_of(role: str) -> str:
    return role.split("_")[1]


class Databases:
    """The four databases of a vault, as an administrator reaches them."""

    def __init__(self, cluster: Cluster) -> None:
        urls = cluster.vault()
        self.urls = {store: urls[f"IDVAULT_{store.upper()}_URL"] for store in STORES}
        self.engines = {store: open_engine(url) for store, url in self.urls.items()}

    @contextmanager
    def connected(self, store: str, role: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.urls[store].replace("postgres@", f"{role}@"), autocommit=True) as connection:
            yield connection

    def close(self) -> None:
        for engine in self.engines.values():
            engine.dispose()


@pytest.fixture
def empty(cluster: Cluster) -> Iterator[Databases]:
    databases = Databases(cluster)
    yield databases
    databases.close()


@pytest.fixture(scope="module")
def granted(cluster: Cluster) -> Databases:
    databases = Databases(cluster)
    schema.upgrade_all(databases.engines)
    granting.apply_all(databases.engines)
    databases.close()
    return databases


def refused(connection: psycopg.Connection[Any], statement: sql.Composed | bytes) -> bool:
    """Whether a statement is refused for want of a privilege; what else stops it, and what it does, is taken back."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    except (psycopg.errors.IntegrityError, psycopg.errors.FeatureNotSupported, psycopg.errors.WrongObjectType):
        return False  # it was allowed to try
    return False


def statements(table: Table) -> dict[str, sql.Composed]:
    name, column = sql.Identifier(table.name), sql.Identifier(next(iter(table.columns)).name)
    return {
        "SELECT": sql.SQL("SELECT {} FROM {}").format(column, name),
        "INSERT": sql.SQL("INSERT INTO {} DEFAULT VALUES").format(name),
        "UPDATE": sql.SQL("UPDATE {} SET {} = NULL").format(name, column),
        "DELETE": sql.SQL("DELETE FROM {}").format(name),
        "TRUNCATE": sql.SQL("TRUNCATE {}").format(name),
        "REFERENCES": sql.SQL("CREATE TABLE other (c bytea REFERENCES {})").format(name),
        "TRIGGER": sql.SQL("CREATE TRIGGER t BEFORE INSERT ON {} EXECUTE FUNCTION suppress_redundant_updates_trigger()")
        .format(name),
        "MAINTAIN": sql.SQL("REINDEX TABLE {}").format(name),
        "ALTER": sql.SQL("ALTER TABLE {} ADD COLUMN more bytea").format(name),
        "DROP": sql.SQL("DROP TABLE {}").format(name),
        "LOCK": sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name),
        "INDEX": sql.SQL("CREATE INDEX ON {} ({})").format(name, column),
        "POLICY": sql.SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(name),
        "OWNER": sql.SQL("ALTER TABLE {} OWNER TO CURRENT_USER").format(name),
        "GRANT": sql.SQL("GRANT ALL ON {} TO CURRENT_USER").format(name),
    }  # fmt: skip


def test_of_the_outbox_a_worker_tells_how_many_rows_wait_and_since_when_and_no_more(granted: Databases) -> None:
    with granted.connected("directory", "idvault_directory") as connection:
        assert not refused(connection, b"SELECT count(*), min(minute) FROM audit_outbox")
        columns = schema.METADATA["directory"].tables["audit_outbox"].columns
        for column in {one.name for one in columns} - {"minute"}:
            assert refused(connection, sql.SQL("SELECT {} FROM audit_outbox").format(sql.Identifier(column)))


TABLES: Final = [(role, table) for role in MAY for table in schema.METADATA[store_of(role)].tables]


@pytest.mark.parametrize(("role", "table"), TABLES, ids=[f"{role}-{table}" for role, table in TABLES])
def test_a_role_may_do_to_a_table_what_is_said_here_and_nothing_else(granted: Databases, role: str, table: str) -> None:
    store = store_of(role)
    given = set(MAY[role].get(table, "").split())
    with granted.connected(store, role) as connection:
        for verb, statement in statements(schema.METADATA[store].tables[table]).items():
            # To lock a table asks for a right to change its rows (PostgreSQL, LOCK): who may delete may lock it too.
            allowed = given & {"UPDATE", "DELETE"} if verb == "LOCK" else verb in given
            if verb == "GRANT" and given:
                continue  # granting oneself nothing new is a warning; the privileges below would show it
            assert refused(connection, statement) is not bool(allowed), verb


@pytest.mark.parametrize("role", MAY)
def test_a_role_has_exactly_these_privileges_in_the_catalogue_and_owns_nothing(granted: Databases, role: str) -> None:
    """What the server itself says of it: no right with a grant option, none by a group, no attribute, no ownership."""
    store = store_of(role)
    with granted.connected(store) as connection:
        found = connection.execute(
            "SELECT relname, privilege_type, is_grantable FROM pg_class, aclexplode(relacl) WHERE grantee = %s::regrole"
            " AND relkind IN ('r', 'p')", [role],
        ).fetchall()  # fmt: skip
        expected = {(table, verb) for table, verbs in MAY[role].items() for verb in verbs.split()}
        expected.add(("alembic_version", "SELECT"))
        assert {(table, verb) for table, verb, _ in found} == expected
        assert not any(option for *_, option in found)
        owned = "SELECT count(*) FROM pg_class WHERE relowner = %s::regrole"
        assert connection.execute(owned, [role]).fetchone() == (0,)
        public = (
            "SELECT count(*) FROM pg_class, aclexplode(relacl)"
            " WHERE grantee = 0 AND relnamespace = 'public'::regnamespace"
        )
        assert connection.execute(public).fetchone() == (0,)
        attributes = (
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication FROM pg_roles WHERE rolname = %s"
        )
        assert connection.execute(attributes, [role]).fetchone() == (False,) * 5
        groups = "SELECT count(*) FROM pg_auth_members WHERE member = %s::regrole OR roleid = %s::regrole"
        assert connection.execute(groups, [role, role]).fetchone() == (0,)


DDL: Final = {
    "table": "CREATE TABLE more (a int)",
    "temporary table": "CREATE TEMPORARY TABLE more (a int)",
    "function": "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "schema": "CREATE SCHEMA more",
    "role": "CREATE ROLE more",
    "database": "ALTER DATABASE template1 ALLOW_CONNECTIONS false",
    "file": "COPY (SELECT 1) TO '/tmp/idvault-more'",
    "program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "owner's role": "SET ROLE idvault_{store}_owner",
    "checkpoint": "CHECKPOINT",
}


@pytest.mark.parametrize("what", DDL)
@pytest.mark.parametrize("role", MAY)
def test_a_role_has_no_ddl_and_nothing_of_the_server(granted: Databases, role: str, what: str) -> None:
    with granted.connected(store_of(role), role) as connection:
        assert refused(connection, DDL[what].format(store=store_of(role)).encode())


@pytest.mark.parametrize("role", [*MAY, *(granting.owner(store) for store in STORES)])
def test_no_role_reaches_another_store(granted: Databases, role: str) -> None:
    for store in STORES:
        if store == store_of(role):
            with granted.connected(store, role) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            continue
        with (
            pytest.raises(psycopg.OperationalError, match="permission denied for database"),
            granted.connected(store, role),
        ):
            pytest.fail("connected")


def test_only_the_agents_role_makes_a_partition_and_reads_none_by_itself(granted: Databases) -> None:
    with granted.connected("keys", "idvault_keys") as connection:
        assert not refused(connection, b"SELECT record_key_partition(7)")
        connection.execute("SELECT record_key_partition(7)")
        for verb in ("SELECT * FROM", "DELETE FROM", "DROP TABLE", "TRUNCATE"):
            assert refused(connection, f"{verb} record_key_kek_7".encode())


def test_grants_are_made_again_by_the_owner_and_take_back_what_stood_besides(granted: Databases) -> None:
    for store in STORES:
        role = f"idvault_{store}"
        with granted.connected(store) as connection:
            connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}".encode())
        owner = open_engine(granted.urls[store].replace("postgres@", f"{granting.owner(store)}@"))
        granting.apply_all({store: owner})
        migrating.upgrade(owner, schema.HISTORIES[store])
        owner.dispose()
        test_a_role_has_exactly_these_privileges_in_the_catalogue_and_owns_nothing(granted, role)


def test_grants_need_tables_and_somebody_who_may_make_them(empty: Databases, granted: Databases) -> None:
    with pytest.raises(SetupError, match="the grants of the store keys cannot be made: run idvault db upgrade first"):
        granting.apply_all({"keys": empty.engines["keys"]})
    service = open_engine(granted.urls["keys"].replace("postgres@", "idvault_keys@"))
    with pytest.raises(SetupError, match="as idvault_keys_owner"):
        granting.apply_all({"keys": service})
    service.dispose()


@pytest.mark.parametrize("store", STORES)
def test_a_store_goes_up_down_and_up_again_with_data(empty: Databases, store: str) -> None:
    engine, history, metadata = empty.engines[store], schema.HISTORIES[store], schema.METADATA[store]
    for _ in range(2):
        migrating.upgrade(engine, history)
        schema.check_all({store: engine})
        for table in metadata.sorted_tables:
            with writing(engine) as connection:
                if table.name == "record_key":
                    keys_store.make_partition(connection, 1)
                connection.execute(insert(table), row(table))
            with reading(engine) as connection:
                assert len(connection.execute(select(table)).all()) == 1
        migrating.downgrade(engine, history, "base")
        with reading(engine) as connection:
            left = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
            assert connection.exec_driver_sql(left).scalars().all() == ["alembic_version"]


@pytest.mark.parametrize("store", STORES)
def test_the_migrated_schema_is_the_one_of_the_code(empty: Databases, store: str) -> None:
    engine = empty.engines[store]
    migrating.upgrade(engine, schema.HISTORIES[store])
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.METADATA[store]) == []


def keys_at(engine: Engine, revision: str) -> None:
    if migrating.current(engine) is None or str(migrating.current(engine)) < revision:
        migrating.upgrade(engine, migrating.KEYS, revision)
    else:
        migrating.downgrade(engine, migrating.KEYS, revision)


def records(engine: Engine, table: Table = keys_store.record_key) -> list[Any]:
    with reading(engine) as connection:
        return list(connection.execute(select(table).order_by(table.c.rid)))


def partitions(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        names = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'record_key'::regclass ORDER BY 1"
        return {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()  # noqa: S608
            for name in connection.exec_driver_sql(names).scalars().all()
        }


def test_partitioning_carries_the_records_over_both_ways(empty: Databases) -> None:
    """Records of three versions, one of them without a key any more, go into partitions and out of them unchanged."""
    engine = empty.engines["keys"]
    keys_at(engine, "0003")
    table = Table("record_key", MetaData(), autoload_with=engine)
    values = {**row(table), "pending": None}
    with writing(engine) as connection:
        connection.execute(insert(keys_store.key), {**row(keys_store.key), "purpose": "kek", "version": 2})
        made = [{**values, "rid": bytes([n]), "kek_version": n % 3 + 1} for n in range(30)]
        connection.execute(insert(table), made)
    before = records(engine, table)
    keys_at(engine, "0004")
    assert records(engine, table) == before
    assert partitions(engine) == {"record_key_kek_1": 10, "record_key_kek_2": 10, "record_key_kek_3": 10}
    keys_at(engine, "0003")
    assert records(engine, table) == before
    with reading(engine) as connection:
        kind = "SELECT relkind FROM pg_class WHERE relname = 'record_key'"
        assert connection.exec_driver_sql(kind).scalar_one() in {"r", b"r"}
    keys_at(engine, "0004")
    assert records(engine, table) == before


def test_records_whose_keys_were_wrapped_apart_stop_the_upgrade_and_stay(empty: Databases) -> None:
    stops_at_records_wrapped_apart(empty.engines["keys"])


def test_a_version_without_a_partition_takes_no_record_and_a_re_wrapped_row_moves(empty: Databases) -> None:
    engine, table = empty.engines["keys"], keys_store.record_key
    migrating.upgrade(engine, migrating.KEYS)
    with pytest.raises(Exception, match="no partition"), writing(engine) as connection:
        connection.execute(insert(table), row(table))
    with writing(engine) as connection:
        for version in (1, 2, 2):
            keys_store.make_partition(connection, version)
        connection.execute(insert(table), row(table))
    assert partitions(engine) == {"record_key_kek_1": 1, "record_key_kek_2": 0}
    with writing(engine) as connection:
        moved = table.update().where(table.c.rid == b"x", table.c.mac == b"x").values(kek_version=2)
        assert connection.execute(moved).rowcount == 1
    assert partitions(engine) == {"record_key_kek_1": 0, "record_key_kek_2": 1}
    assert [found.kek_version for found in records(engine)] == [2]
    with pytest.raises(IntegrityError), writing(engine) as connection:  # one rid twice in a partition
        connection.execute(insert(table), {**row(table), "kek_version": 2})


@pytest.mark.parametrize("store", [store for store in STORES if store != "keys"])
def test_the_migrated_indexes_are_those_of_the_code_with_their_conditions_and_kinds(
    cluster: Cluster, store: str
) -> None:
    """Alembic's comparison sees neither. The key store's migrations alone know its partitions."""

    def indexes(engine: Engine) -> set[str]:
        with reading(engine) as connection:
            query = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            return set(connection.exec_driver_sql(query).scalars())

    migrated, made = open_engine(cluster.database()), open_engine(cluster.database())
    migrating.upgrade(migrated, schema.HISTORIES[store])
    schema.METADATA[store].create_all(made)
    assert indexes(migrated) == indexes(made)
    migrated.dispose()
    made.dispose()
