"""How often each version of the key encryption key was used.

Of those that there are it is not known: as many begin as used as wrapped keys stand under them, and a million that may
be gone. No key is at hand here, so that their rows get their MAC when the vault is opened.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_BEGIN = """
INSERT INTO key_use (key_id, used, mac)
SELECT key.id,
       1048576 + (SELECT count(*) FROM record_key WHERE record_key.kek_version = key.version)
               + (SELECT count(*) FROM evidence_key WHERE substr(evidence_key.wrapped, 7, 16) = key.id),
       :unsigned
FROM key WHERE key.purpose = 'kek' AND key.state != 'destroyed'
"""


def upgrade() -> None:
    """Make the table, with a row for each version that there is."""
    op.create_table(
        "key_use",
        sa.Column("key_id", sa.LargeBinary, primary_key=True),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.get_bind().execute(sa.text(_BEGIN), {"unsigned": b""})


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("key_use")
