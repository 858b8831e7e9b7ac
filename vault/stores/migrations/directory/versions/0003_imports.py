"""Imports and their chunks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "import",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("dry_run", sa.BigInteger, nullable=False),
        sa.Column("file", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("undone", sa.BigInteger, nullable=True),
        sa.UniqueConstraint("provider", "file", name="import_provider_file"),
    )
    op.create_table(
        "import_chunk",
        sa.Column("import", sa.LargeBinary, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("ids", sa.LargeBinary, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("refused", sa.Text, nullable=True),
        sa.Column("undone", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables: what was imported stays, and can no longer be listed or undone as one."""
    op.drop_table("import_chunk")
    op.drop_table("import")
