"""What providers are told of, until it runs out: an outbox for each."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "event",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("about", sa.LargeBinary, nullable=True),
    )
    op.create_index("event_number", "event", ["number"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("event")
