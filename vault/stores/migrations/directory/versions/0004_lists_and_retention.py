"""Indexes of the lists and queues at size; marks of what has run out, so that housekeeping finds the rest at once."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
_NO_MATCH = sa.text("kind != 'match'")
_DUE = sa.text("kind = 'identity' and forgotten = 0 and state in ('returned', 'rejected')")
_ACCOUNT_ALONE = sa.text("kind = 'account'")
_KEPT = sa.text("kept = 1")
_NEW = (
    "review_account", "review_due", "review_provider_state_submitted", "review_provider_submitted",
    "review_state_submitted",
)  # fmt: skip


def _index(name: str, table: str, columns: list[str], where: Any = None) -> None:  # noqa: ANN401 - a SQL clause
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """Add marks and indexes; what was forgotten before is marked."""
    op.add_column("local_tag", sa.Column("kept", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("update local_tag set kept = 1 where pid in (select pid from standing where link is null)")
    _index("local_tag_kept", "local_tag", ["pid"], _KEPT)
    op.add_column("review", sa.Column("forgotten", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(
        "update review set forgotten = 1 where state = 'rejected'"
        " and pid in (select pid from standing where link is null)"
    )
    op.drop_index("review_state_kind_provider_submitted", "review")
    op.drop_index("review_provider_reg", "review")
    _index("review_state_submitted", "review", ["state", "submitted", "reg"])
    _index("review_provider_submitted", "review", ["provider", "submitted", "reg"], _NO_MATCH)
    _index("review_provider_state_submitted", "review", ["provider", "state", "submitted", "reg"], _NO_MATCH)
    _index("review_due", "review", ["state", "decided"], _DUE)
    _index("review_account", "review", ["account"], _ACCOUNT_ALONE)
    _index("sanction_until", "sanction", ["until"])
    _index("sanction_lifted", "sanction", ["lifted"])
    _index("import_created", "import", ["created"])


def downgrade() -> None:
    """Drop marks and indexes; the two that they took the place of come back."""
    op.drop_index("import_created", "import")
    op.drop_index("sanction_lifted", "sanction")
    op.drop_index("sanction_until", "sanction")
    for name in _NEW:
        op.drop_index(name, "review")
    op.create_index("review_provider_reg", "review", ["provider", "reg"])
    op.create_index(
        "review_state_kind_provider_submitted", "review", ["state", "kind", "provider", "submitted"]
    )  # fmt: skip
    op.drop_column("review", "forgotten")
    op.drop_index("local_tag_kept", "local_tag")
    op.drop_column("local_tag", "kept")
