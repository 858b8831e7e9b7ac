"""On PostgreSQL `record_key` becomes a table partitioned by the version of the key encryption key; in SQLite it stays.

The primary key of a partitioned table holds the column it is partitioned by: (rid, kek_version). See adr/0010.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS = (
    "rid, kek_version, record_key, commitment_key, state, assurance, revisions, pending, uid, origin, created, mac"
)

_FUNCTION = """
CREATE FUNCTION record_key_partition(version bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS public.%I PARTITION OF public.record_key FOR VALUES IN (%L)',
        'record_key_kek_' || version, version
    );
END $$;
REVOKE ALL ON FUNCTION record_key_partition(bigint) FROM PUBLIC;
"""
_FILL = """
SELECT record_key_partition(version) FROM (
    SELECT version FROM key WHERE purpose = 'kek' UNION SELECT kek_version FROM former_record_key
) AS versions;
"""


def upgrade() -> None:
    """Make the partitioned table, a partition for each version there is, and carry the rows over."""
    if op.get_bind().dialect.name != "postgresql":
        return
    _make_room()
    op.create_table("record_key", *_columns(), sa.PrimaryKeyConstraint("rid", "kek_version"),
                    postgresql_partition_by="LIST (kek_version)")  # fmt: skip
    op.create_index("record_key_state_created", "record_key", ["state", "created"])
    _run(_FUNCTION)
    _run(_FILL)
    _carry_over()


def downgrade() -> None:
    """Make one table again and carry the rows over."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("DROP FUNCTION record_key_partition(bigint)")
    _make_room()
    op.create_table("record_key", *_columns(), sa.PrimaryKeyConstraint("rid"))
    op.create_index("record_key_state_created", "record_key", ["state", "created"])
    _carry_over()


def _make_room() -> None:
    op.execute("DROP INDEX record_key_state_created")
    op.execute("ALTER TABLE record_key RENAME TO former_record_key")
    op.execute("ALTER TABLE former_record_key RENAME CONSTRAINT record_key_pkey TO former_record_key_pkey")


def _carry_over() -> None:
    op.execute(f"INSERT INTO record_key ({_COLUMNS}) SELECT {_COLUMNS} FROM former_record_key")  # noqa: S608 - our own names
    op.execute("DROP TABLE former_record_key")


def _run(script: str) -> None:
    # The driver itself: what looks like a parameter in the text is none.
    connection = op.get_bind().connection
    assert connection is not None  # noqa: S101 - migrations run online
    connection.cursor().execute(script)


def _columns() -> list[sa.Column[object]]:
    return [
        sa.Column("rid", sa.LargeBinary, nullable=False),
        sa.Column("kek_version", sa.BigInteger, nullable=False),
        sa.Column("record_key", sa.LargeBinary, nullable=False),
        sa.Column("commitment_key", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("assurance", sa.Text, nullable=False),
        sa.Column("revisions", sa.LargeBinary, nullable=False),
        sa.Column("pending", sa.LargeBinary, nullable=True),
        sa.Column("uid", sa.LargeBinary, nullable=False),
        sa.Column("origin", sa.LargeBinary, nullable=True),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    ]
