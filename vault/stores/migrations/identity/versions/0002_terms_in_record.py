"""What a person agreed to stands in his record, not in two rows of its own (adr/0035)."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The statement of truth has one form, and no registration is taken without it: its hash was the same in each row.
_TRUTHFUL = hashlib.sha256(b'{"truthful":true}').hexdigest()
_CARRY = """
    UPDATE record SET
        terms = (SELECT text_hash FROM consent WHERE consent.rid = record.rid AND kind = 'terms'),
        agreed = (SELECT nullif(consent.day, record.day) FROM consent WHERE consent.rid = record.rid AND kind = 'terms')
"""
_PART = "INSERT INTO consent SELECT rid, '{0}', {1}, coalesce(agreed, day) FROM record WHERE terms IS NOT NULL"


def upgrade() -> None:
    """Carry over the terms' hashes, and the days of those that were agreed to later than the record was made."""
    op.add_column("record", sa.Column("terms", sa.LargeBinary, nullable=True))
    op.add_column("record", sa.Column("agreed", sa.BigInteger, nullable=True))
    op.execute(_CARRY)
    op.drop_table("consent")


def downgrade() -> None:
    """Make two rows of them again."""
    op.create_table(
        "consent",
        sa.Column("rid", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("text_hash", sa.LargeBinary, nullable=False),
        sa.Column("day", sa.BigInteger, nullable=False),
    )
    truthful = f"decode('{_TRUTHFUL}', 'hex')" if op.get_bind().dialect.name == "postgresql" else f"x'{_TRUTHFUL}'"
    op.execute(_PART.format("terms", "terms"))
    op.execute(_PART.format("truthful", truthful))
    op.drop_column("record", "agreed")
    op.drop_column("record", "terms")
