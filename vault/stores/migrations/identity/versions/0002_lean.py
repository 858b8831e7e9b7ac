"""What a person agreed to stands in his record, not in two rows of its own; headers and kinds go (adr/0035)."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The statement of truth has one form, and no registration is taken without it: its hash was the same in each row.
_TRUTHFUL = hashlib.sha256(b'{"truthful":true}').hexdigest()
_FIELDS = ("legal_name", "names", "birth_date", "document", "phone", "email", "form", "registration", "mandate")
# What every sealed field begins with, in hexadecimal digits (formats.md, section 2).
_HEADER = (b"IVR1\x01\x01" + bytes(20)).hex()
_BARE = ", ".join(f"{name} = substr({name}, 27)" for name in _FIELDS)
_OF = "FROM consent WHERE consent.rid = record.rid AND kind = 'terms'"
_AGREED = f"terms = (SELECT text_hash {_OF}), agreed = (SELECT nullif(consent.day, record.day) {_OF})"
_CARRY = f"UPDATE record SET {_BARE}, {_AGREED}"  # noqa: S608 - names of ours
_PART = "INSERT INTO consent SELECT rid, '{0}', {1}, coalesce(agreed, day) FROM record WHERE terms IS NOT NULL"
_TYPE = {"postgresql": "bytea", "sqlite": "BLOB"}


def _dialect() -> str:
    return str(op.get_bind().dialect.name)


def _octets(digits: str) -> str:
    return f"decode('{digits}', 'hex')" if _dialect() == "postgresql" else f"x'{digits}'"


def upgrade() -> None:
    """Carry over the terms' hashes, and the days of those that were agreed to later than the record was made.

    What is in a record says its kind: an organisation's has a mandate, which no person's has.
    """
    op.add_column("record", sa.Column("terms", sa.LargeBinary, nullable=True))
    op.add_column("record", sa.Column("agreed", sa.BigInteger, nullable=True))
    op.execute(_CARRY)
    op.drop_table("consent")
    op.drop_column("record", "kind")


def downgrade() -> None:
    """Make rows of them again, and kinds of what there is."""
    op.create_table(
        "consent",
        sa.Column("rid", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("text_hash", sa.LargeBinary, nullable=False),
        sa.Column("day", sa.BigInteger, nullable=False),
    )
    op.execute(_PART.format("terms", "terms"))
    op.execute(_PART.format("truthful", _octets(_TRUTHFUL)))
    whole = ", ".join(f"{name} = CAST({_octets(_HEADER)} || {name} AS {_TYPE[_dialect()]})" for name in _FIELDS)
    op.execute(f"UPDATE record SET {whole}")  # noqa: S608 - names of ours
    op.add_column("record", sa.Column("kind", sa.Text, nullable=False, server_default="natural"))
    op.execute("UPDATE record SET kind = 'organization' WHERE mandate IS NOT NULL")
    op.drop_column("record", "agreed")
    op.drop_column("record", "terms")
