"""Agreements and hand-offs: the exchange of tokens between providers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "agreement",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("giver", sa.Text, nullable=False),
        sa.Column("giver_sector", sa.Text, nullable=False),
        sa.Column("taker", sa.Text, nullable=False),
        sa.Column("taker_sector", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("basis", sa.Text, nullable=False),
        sa.Column("per_hour", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("giver", "taker", "purpose", name="agreement_giver_taker_purpose"),
    )
    op.create_table(
        "handoff",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("handoff_expires", "handoff", ["expires"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("handoff")
    op.drop_table("agreement")
