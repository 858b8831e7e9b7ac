"""What the log needs of the agent: how many leaves each record has, and what was signed last."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "leaf_count",
        sa.Column("rid", sa.LargeBinary, primary_key=True),
        sa.Column("leaves", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "log_head",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("log_head")
    op.drop_table("leaf_count")
