"""The first layout of the keys store."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "deployment",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "key",
        sa.Column("purpose", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("id", name="key_id"),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "record_key",
        sa.Column("rid", sa.LargeBinary, primary_key=True),
        sa.Column("kek_version", sa.BigInteger, nullable=False),
        sa.Column("record_key", sa.LargeBinary, nullable=False),
        sa.Column("commitment_key", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("assurance", sa.Text, nullable=False),
        sa.Column("revisions", sa.LargeBinary, nullable=False),
        sa.Column("pending", sa.LargeBinary, nullable=True),
        sa.Column("uid", sa.LargeBinary, nullable=False),
        sa.Column("origin", sa.LargeBinary, nullable=True),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_index("record_key_state_created", "record_key", ["state", "created"])
    op.create_table(
        "person",
        sa.Column("uid", sa.LargeBinary, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_table(
        "reviewer",
        sa.Column("client", sa.Text, primary_key=True),
        sa.Column("sector", sa.Text, nullable=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "evidence_key",
        sa.Column("rid", sa.LargeBinary, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sa.Column("views", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "statement_key",
        sa.Column("address", sa.LargeBinary, primary_key=True),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "intent",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=True),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "intent_lock",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("intent", sa.LargeBinary, nullable=False),
    )
    op.create_index("intent_lock_intent", "intent_lock", ["intent"])
    op.create_table(
        "budget",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("window", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "audit_outbox",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("minute", sa.BigInteger, nullable=False),
        sa.Column("address", sa.LargeBinary, nullable=False),
        sa.Column("detail", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("audit_outbox")
    op.drop_table("budget")
    op.drop_table("intent_lock")
    op.drop_table("intent")
    op.drop_table("statement_key")
    op.drop_table("evidence_key")
    op.drop_table("reviewer")
    op.drop_table("person")
    op.drop_table("record_key")
    op.drop_table("key")
    op.drop_table("deployment")
