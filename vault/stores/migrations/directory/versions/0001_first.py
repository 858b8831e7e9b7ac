"""The first layout of the directory store."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "client",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("role", "name", name="client_role_name"),
    )
    op.create_table(
        "provider",
        sa.Column("client", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.UniqueConstraint("name", name="provider_name"),
        sa.Column("sector", sa.Text, nullable=False),
        sa.UniqueConstraint("sector", name="provider_sector"),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("purposes", sa.Text, nullable=False),
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("caps", sa.Text, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=True),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_table(
        "account",
        sa.Column("pid", sa.LargeBinary, primary_key=True),
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text, nullable=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("handle", sa.Text, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.Column("rung", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=True),
        sa.Column("merged_from", sa.LargeBinary, nullable=True),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_index("account_provider_id", "account", ["provider", "id"])
    op.create_table(
        "handle",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("handle", sa.Text, primary_key=True),
        sa.Column("pid", sa.LargeBinary, nullable=False),
        sa.Column("account", sa.LargeBinary, nullable=False),
    )
    op.create_index("handle_pid", "handle", ["pid"])
    op.create_table(
        "standing",
        sa.Column("pid", sa.LargeBinary, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("sector", sa.Text, nullable=False),
        sa.Column("link", sa.LargeBinary, nullable=True),
        sa.Column("assurance", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("rung", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=True),
        sa.Column("inactive_from", sa.BigInteger, nullable=True),
        sa.Column("superseded_by", sa.LargeBinary, nullable=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_index("standing_superseded_by", "standing", ["superseded_by"])
    op.create_table(
        "person_tag",
        sa.Column("tag", sa.LargeBinary, primary_key=True),
        sa.Column("pid", sa.LargeBinary, nullable=False),
    )
    op.create_index("person_tag_pid", "person_tag", ["pid"])
    op.create_table(
        "local_tag",
        sa.Column("tag", sa.LargeBinary, primary_key=True),
        sa.Column("pid", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
    )
    op.create_index("local_tag_pid", "local_tag", ["pid"])
    op.create_index(
        "local_tag_document_birth",
        "local_tag",
        ["tag"],
        unique=True,
        sqlite_where=sa.text("kind = 'document_birth'"),
        postgresql_where=sa.text("kind = 'document_birth'"),
    )
    op.create_table(
        "review",
        sa.Column("reg", sa.LargeBinary, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("pid", sa.LargeBinary, nullable=False),
        sa.Column("account", sa.LargeBinary, nullable=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("lease_by", sa.Text, nullable=True),
        sa.Column("lease_until", sa.BigInteger, nullable=True),
        sa.Column("method", sa.Text, nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("fix", sa.Text, nullable=True),
        sa.Column("reviewer", sa.Text, nullable=True),
        sa.Column("shown", sa.LargeBinary, nullable=True),
        sa.Column("expired_document", sa.BigInteger, nullable=False),
        sa.Column("supersedes", sa.LargeBinary, nullable=True),
        sa.Column("submitted", sa.BigInteger, nullable=False),
        sa.Column("decided", sa.BigInteger, nullable=True),
    )
    op.create_index("review_pid", "review", ["pid"])
    op.create_index("review_state_kind_provider_submitted", "review", ["state", "kind", "provider", "submitted"])
    op.create_index("review_provider_reg", "review", ["provider", "reg"])
    op.create_table(
        "idempotency",
        sa.Column("client", sa.Text, primary_key=True),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("ids", sa.LargeBinary, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("status", sa.BigInteger, nullable=True),
        sa.Column("answer", sa.LargeBinary, nullable=True),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_index("idempotency_created", "idempotency", ["created"])
    op.create_table(
        "revoked",
        sa.Column("jti", sa.LargeBinary, primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_index("revoked_until", "revoked", ["until"])
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
    op.drop_table("revoked")
    op.drop_table("idempotency")
    op.drop_table("review")
    op.drop_table("local_tag")
    op.drop_table("person_tag")
    op.drop_table("standing")
    op.drop_table("handle")
    op.drop_table("account")
    op.drop_table("provider")
    op.drop_table("client")
