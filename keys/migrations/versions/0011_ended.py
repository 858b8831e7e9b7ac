"""Which leaf tells that a registration ended."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "ended",
        sa.Column("address", sa.LargeBinary, primary_key=True),
        sa.Column("subject", sa.LargeBinary, primary_key=True),
        sa.Column("minute", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_index("ended_minute", "ended", ["minute"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("ended")
