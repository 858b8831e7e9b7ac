"""Indexes and rows hold nothing that their queries can do without (adr/0035)."""

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

from vault.domain.handles import handle_key, skeleton

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
_NO_MATCH = sa.text("kind != 'match'")
_SUPERSEDED = sa.text("superseded_by is not null")
_DUE = sa.text("kind = 'identity' and forgotten is null and state in ('returned', 'rejected')")
_FORMER_DUE = sa.text("kind = 'identity' and forgotten = 0 and state in ('returned', 'rejected')")
_LISTS = {
    "review_state_submitted": (["state", "submitted"], None),
    "review_provider_submitted": (["provider", "submitted"], _NO_MATCH),
    "review_provider_state_submitted": (["provider", "state", "submitted"], _NO_MATCH),
}
_FUNCTIONS = """
    CREATE OR REPLACE FUNCTION pg_temp.hash16(owner text, said text) RETURNS bytea LANGUAGE sql AS
        $$ SELECT substring(sha256(convert_to(owner || ' ' || said, 'UTF8')) FOR 16) $$;
    CREATE OR REPLACE FUNCTION pg_temp.hash8(owner text, said text) RETURNS bigint LANGUAGE sql AS
        $$ SELECT ('x' || left(encode(pg_temp.hash16(owner, said), 'hex'), 16))::bit(64)::bigint $$;
"""
_ROWS = 1000


def _hash(owner: str, said: str) -> bytes:
    return hashlib.sha256(f"{owner} {said}".encode()).digest()[:16]


def _functions() -> str:
    """Have the two hashes in SQL for this transaction or connection; return what stands before their names."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        bind.exec_driver_sql(_FUNCTIONS)
        return "pg_temp."
    driver: Any = bind.connection.driver_connection
    driver.create_function("hash16", 2, _hash)
    driver.create_function("hash8", 2, lambda *both: int.from_bytes(_hash(*both)[:8], "big", signed=True))
    return ""


def _index(name: str, table: str, columns: list[str], where: Any = None) -> None:  # noqa: ANN401 - a SQL clause
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _hash_index(name: str, table: str, column: str) -> None:
    op.create_index(name, table, [column], postgresql_using="hash", postgresql_with={"fillfactor": 90})


def _lists(*more: str) -> None:
    for name, (columns, where) in _LISTS.items():
        op.drop_index(name, "review")
        _index(name, "review", [*columns, *more], where)


def _in_place_of(table: str, made: str) -> None:
    op.drop_table(table)
    op.rename_table(made, table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX {made}_pkey RENAME TO {table}_pkey")


def _handles(prefix: str) -> None:
    """A handle's row is found by a hash, and says whose account has it; the account says the rest."""
    op.create_table(
        "handle_next",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("account", sa.LargeBinary, nullable=False),
        sa.Column("look", sa.BigInteger, nullable=False),
    )
    op.execute(
        f"INSERT INTO handle_next SELECT {prefix}hash16(provider, handle), account, {prefix}hash8(provider, skeleton)"  # noqa: S608 - names of ours
        " FROM handle"
    )
    _in_place_of("handle", "handle_next")
    _index("handle_look", "handle", ["look"])


def _former_handles() -> None:
    op.create_table(
        "handle_former",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("handle", sa.Text, primary_key=True),
        sa.Column("pid", sa.LargeBinary, nullable=False),
        sa.Column("account", sa.LargeBinary, nullable=False),
        sa.Column("skeleton", sa.Text, nullable=False),
    )
    bind = op.get_bind()
    former = sa.table("handle_former", *map(sa.column, ("provider", "handle", "pid", "account", "skeleton")))
    owned = "SELECT a.provider, a.handle, a.pid, a.id FROM handle h JOIN account a ON a.id = h.account"
    for some in bind.exec_driver_sql(owned).partitions(_ROWS):
        rows = [(provider, handle_key(said), pid, account, skeleton(said)) for provider, said, pid, account in some]
        bind.execute(sa.insert(former), [dict(zip(former.c.keys(), row, strict=True)) for row in rows])
    _in_place_of("handle", "handle_former")
    _index("handle_pid", "handle", ["pid"])
    _index("handle_skeleton_provider", "handle", ["skeleton", "provider"])


def _marks(default: str | None, due: Any) -> None:  # noqa: ANN401 - a SQL clause
    """Have marks of reviews say `default`, null or 0, where they are not set."""
    op.drop_index("review_due", "review")
    for name in ("expired_document", "forgotten"):
        op.execute(f"ALTER TABLE review RENAME COLUMN {name} TO former_{name}")
        column = sa.Column(name, sa.BigInteger, nullable=default is None, server_default=default)
        op.add_column("review", column)
        op.execute(f"UPDATE review SET {name} = 1 WHERE former_{name} = 1")  # noqa: S608 - names of ours
        op.drop_column("review", f"former_{name}")
    _index("review_due", "review", ["state", "decided"], due)


def upgrade() -> None:
    """Make indexes anew, and carry over what rows hold."""
    _lists()
    _marks(None, _DUE)
    op.drop_index("standing_superseded_by", "standing")
    _index("standing_superseded_by", "standing", ["superseded_by"], _SUPERSEDED)
    op.drop_index("review_pid", "review")
    _hash_index("review_pid", "review", "pid")
    prefix = _functions()
    _handles(prefix)
    op.drop_index("account_provider_external_id", "account")
    op.add_column("account", sa.Column("external_hash", sa.BigInteger, nullable=True))
    op.execute(
        f"UPDATE account SET external_hash = {prefix}hash8(provider, external_id) WHERE external_id IS NOT NULL"  # noqa: S608 - names of ours
    )
    _index("account_external_hash", "account", ["external_hash"])
    op.drop_index("account_provider_id", "account")
    _hash_index("account_id", "account", "id")
    _index("account_provider_created", "account", ["provider", "created"])


def downgrade() -> None:
    """Make them as they were."""
    op.drop_index("account_provider_created", "account")
    op.drop_index("account_id", "account")
    _index("account_provider_id", "account", ["provider", "id"])
    op.drop_index("account_external_hash", "account")
    op.drop_column("account", "external_hash")
    _index("account_provider_external_id", "account", ["provider", "external_id"])
    _former_handles()
    op.drop_index("review_pid", "review")
    _index("review_pid", "review", ["pid"])
    op.drop_index("standing_superseded_by", "standing")
    _index("standing_superseded_by", "standing", ["superseded_by"])
    _marks("0", _FORMER_DUE)
    _lists("reg")
