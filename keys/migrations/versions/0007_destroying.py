"""On PostgreSQL the partition of a destroyed key encryption key can go, so that no record is written under it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_FUNCTION = """
CREATE FUNCTION record_key_partition_drop(version bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    partition text := 'record_key_kek_' || version;
    held bigint;
BEGIN
    -- The lock first: a record that is being written is waited for, and counted.
    EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', partition);
    EXECUTE format('SELECT count(*) FROM public.%I', partition) INTO held;
    IF held > 0 THEN
        RAISE EXCEPTION 'the partition holds % records', held;
    END IF;
    EXECUTE format('DROP TABLE public.%I', partition);
END $$;
"""


def upgrade() -> None:
    """Make the function; there is nothing to do in SQLite."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.text(_FUNCTION.replace(":=", r"\:=")))
        op.execute("REVOKE ALL ON FUNCTION record_key_partition_drop(bigint) FROM PUBLIC")


def downgrade() -> None:
    """Drop the function."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION record_key_partition_drop(bigint)")
