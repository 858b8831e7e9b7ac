"""Leaves, tiles, checkpoints and sealed details; which audit row became which leaf, and still waits to go."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; the one of drained rows was never written before."""
    op.drop_table("drained")
    op.create_table(
        "drained",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table("unsettled", sa.Column("id", sa.LargeBinary, primary_key=True))
    for name, column in (("leaf", "entry"), ("detail", "sealed")):
        op.create_table(
            name,
            sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column(column, sa.LargeBinary, nullable=False),
        )
    op.create_table(
        "tile",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("level", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "checkpoint",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables, with what they hold."""
    for name in ("checkpoint", "tile", "detail", "leaf", "unsettled", "drained"):
        op.drop_table(name)
    op.create_table("drained", sa.Column("id", sa.LargeBinary, primary_key=True))
