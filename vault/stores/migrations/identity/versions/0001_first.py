"""The first layout of the identity store."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "record",
        sa.Column("rid", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("day", sa.BigInteger, nullable=False),
        sa.Column("legal_name", sa.LargeBinary, nullable=True),
        sa.Column("names", sa.LargeBinary, nullable=True),
        sa.Column("birth_date", sa.LargeBinary, nullable=True),
        sa.Column("document", sa.LargeBinary, nullable=True),
        sa.Column("phone", sa.LargeBinary, nullable=True),
        sa.Column("email", sa.LargeBinary, nullable=True),
        sa.Column("form", sa.LargeBinary, nullable=True),
        sa.Column("registration", sa.LargeBinary, nullable=True),
        sa.Column("mandate", sa.LargeBinary, nullable=True),
    )
    op.create_table(
        "fingerprint",
        sa.Column("tag", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "consent",
        sa.Column("rid", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("text_hash", sa.LargeBinary, nullable=False),
        sa.Column("day", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "evidence",
        sa.Column("rid", sa.LargeBinary, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("day", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("evidence")
    op.drop_table("consent")
    op.drop_table("fingerprint")
    op.drop_table("record")
