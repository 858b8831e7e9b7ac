"""Skeletons of handles are indexed by themselves first, so that one index alone begins with the provider.

A plan that PostgreSQL makes while the table is empty is kept; with two such indexes it may look handles up by the
wrong one, and read all of a provider's to find a few.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FORMER = "handle_provider_skeleton"
_INDEX = "handle_skeleton_provider"


def upgrade() -> None:
    """Have the other order."""
    op.drop_index(_FORMER, "handle")
    op.create_index(_INDEX, "handle", ["skeleton", "provider"])


def downgrade() -> None:
    """Have the order of before."""
    op.drop_index(_INDEX, "handle")
    op.create_index(_FORMER, "handle", ["provider", "skeleton"])
