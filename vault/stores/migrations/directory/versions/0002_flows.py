"""Ladders in place of one rung; sanctions, operators, a second secret, look-alike handles, representatives."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
_EXACT = sa.text("kind in ('document_birth', 'registration')")


def upgrade() -> None:
    """Change the tables. Nothing set a rung before, so none is carried over."""
    op.drop_index("local_tag_document_birth", "local_tag")
    op.create_index(
        "local_tag_exact", "local_tag", ["tag"], unique=True,
        sqlite_where=_EXACT, postgresql_where=_EXACT,
    )  # fmt: skip
    for table in ("account", "standing"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("rung")
            batch.drop_column("until")
            batch.add_column(sa.Column("ladder", sa.Text, nullable=True))
    op.add_column("standing", sa.Column("kind", sa.Text, nullable=False, server_default="natural"))
    with op.batch_alter_table("standing") as batch:
        batch.alter_column("kind", server_default=None)
    op.create_index("account_provider_external_id", "account", ["provider", "external_id"])
    op.add_column("handle", sa.Column("skeleton", sa.Text, nullable=False, server_default=""))
    op.execute("update handle set skeleton = handle")
    with op.batch_alter_table("handle") as batch:
        batch.alter_column("skeleton", server_default=None)
    op.create_index("handle_provider_skeleton", "handle", ["provider", "skeleton"])
    op.add_column("client", sa.Column("former_hash", sa.LargeBinary, nullable=True))
    op.add_column("client", sa.Column("former_until", sa.BigInteger, nullable=True))
    op.add_column("review", sa.Column("representative", sa.LargeBinary, nullable=True))
    op.create_table(
        "sanction",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("pid", sa.LargeBinary, nullable=False),
        sa.Column("account", sa.LargeBinary, nullable=True),
        sa.Column("rung", sa.BigInteger, nullable=False),
        sa.Column("starts", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=True),
        sa.Column("degree", sa.Text, nullable=True),
        sa.Column("ground", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=True),
        sa.Column("automated", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("statement", sa.LargeBinary, nullable=True),
        sa.Column("origin", sa.LargeBinary, nullable=False),
        sa.Column("lifted", sa.BigInteger, nullable=True),
        sa.Column("lift_reason", sa.Text, nullable=True),
        sa.Column("lifted_by", sa.Text, nullable=True),
    )
    op.create_index("sanction_pid", "sanction", ["pid"])
    op.create_index("sanction_provider_id", "sanction", ["provider", "id"])
    op.create_table(
        "operator",
        sa.Column("account", sa.LargeBinary, primary_key=True),
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("pid", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_index("operator_pid", "operator", ["pid"])


def downgrade() -> None:
    """Change the tables back; what they held of sanctions and operators is gone."""
    op.drop_table("operator")
    op.drop_table("sanction")
    op.drop_column("review", "representative")
    op.drop_column("client", "former_until")
    op.drop_column("client", "former_hash")
    op.drop_index("handle_provider_skeleton", "handle")
    op.drop_column("handle", "skeleton")
    op.drop_index("account_provider_external_id", "account")
    op.drop_column("standing", "kind")
    for table in ("account", "standing"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("ladder")
            batch.add_column(sa.Column("rung", sa.BigInteger, nullable=False, server_default="0"))
            batch.add_column(sa.Column("until", sa.BigInteger, nullable=True))
    op.drop_index("local_tag_exact", "local_tag")
    op.create_index(
        "local_tag_document_birth",
        "local_tag",
        ["tag"],
        unique=True,
        sqlite_where=sa.text("kind = 'document_birth'"),
        postgresql_where=sa.text("kind = 'document_birth'"),
    )
