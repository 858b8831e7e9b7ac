"""The first layout of the log store."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "drained",
        sa.Column("id", sa.LargeBinary, primary_key=True),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("drained")
