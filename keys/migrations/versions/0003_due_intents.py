"""An index by which due intents are found, however many wait for their time."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("intent_not_before_created", "intent", ["not_before", "created"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("intent_not_before_created", "intent")
