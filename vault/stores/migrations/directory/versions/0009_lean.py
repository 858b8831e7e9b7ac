"""Indexes hold nothing that their queries can do without (adr/0035)."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
_NO_MATCH = sa.text("kind != 'match'")
_SUPERSEDED = sa.text("superseded_by is not null")
_LISTS = {
    "review_state_submitted": (["state", "submitted"], None),
    "review_provider_submitted": (["provider", "submitted"], _NO_MATCH),
    "review_provider_state_submitted": (["provider", "state", "submitted"], _NO_MATCH),
}


def _index(name: str, table: str, columns: list[str], where: Any = None, using: str = "btree") -> None:  # noqa: ANN401 - a SQL clause
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where, postgresql_using=using)


def _lists(*more: str) -> None:
    for name, (columns, where) in _LISTS.items():
        op.drop_index(name, "review")
        _index(name, "review", [*columns, *more], where)


def upgrade() -> None:
    """Make the indexes anew."""
    _lists()
    op.drop_index("standing_superseded_by", "standing")
    _index("standing_superseded_by", "standing", ["superseded_by"], _SUPERSEDED)
    op.drop_index("review_pid", "review")
    _index("review_pid", "review", ["pid"], using="hash")


def downgrade() -> None:
    """Make them as they were."""
    op.drop_index("review_pid", "review")
    _index("review_pid", "review", ["pid"])
    op.drop_index("standing_superseded_by", "standing")
    _index("standing_superseded_by", "standing", ["superseded_by"])
    _lists("reg")
