"""Disclosures that took place, and legal holds."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "disclosure",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("rid", sa.LargeBinary, nullable=False),
        sa.Column("package", sa.LargeBinary, nullable=True),
        sa.Column("made", sa.BigInteger, nullable=False),
        sa.Column("notice_due", sa.BigInteger, nullable=False),
        sa.Column("notified", sa.BigInteger, nullable=True),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_index("disclosure_rid", "disclosure", ["rid"])
    op.create_index("disclosure_notified_notice_due", "disclosure", ["notified", "notice_due"])
    op.create_table(
        "hold",
        sa.Column("rid", sa.LargeBinary, primary_key=True),
        sa.Column("case_number", sa.Text, primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("hold")
    op.drop_table("disclosure")
