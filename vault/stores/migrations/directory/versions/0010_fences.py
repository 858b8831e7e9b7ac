"""Which plans this store has: who carries one out late writes nothing (adr/0038)."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "standing_fence",
        sa.Column("mark", sa.LargeBinary, primary_key=True),
        sa.Column("day", sa.BigInteger, nullable=False),
    )
    op.create_index("standing_fence_day", "standing_fence", ["day"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("standing_fence")
