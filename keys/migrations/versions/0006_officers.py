"""Officers: ceremonies with their sealed shares, the chain of records and its head, requests and approvals."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "ceremony",
        sa.Column("generation", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("cards", sa.Text, nullable=False),
        sa.Column("first", sa.LargeBinary, nullable=True),
        sa.Column("root", sa.LargeBinary, nullable=True),
    )
    op.create_table(
        "share",
        sa.Column("generation", sa.BigInteger, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("confirmation", sa.LargeBinary, nullable=True),
        sa.Column("proven", sa.BigInteger, nullable=True),
    )
    op.create_table(
        "officer_record",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("said", sa.LargeBinary, nullable=False),
        sa.Column("signatures", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "officer_head",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "request",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("said", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("request_state_expires", "request", ["state", "expires"])
    op.create_table(
        "approval",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("said", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("approval", "request", "officer_head", "officer_record", "share", "ceremony"):
        op.drop_table(name)
