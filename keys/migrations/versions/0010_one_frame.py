"""A record's two wrapped keys lie in one frame. Two frames become one by the keys alone, which no migration has."""

import sqlalchemy as sa
from alembic import op

from keys.errors import SetupError

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make one column of two; refused while there are records of an earlier version (adr/0028)."""
    earlier = "SELECT count(*) FROM record_key WHERE length(commitment_key) > 0"
    if op.get_bind().exec_driver_sql(earlier).scalar_one():
        raise SetupError(
            "the key store holds records whose keys an earlier version wrapped apart, which this one cannot open;"
            " keep this vault with the version that made it, and begin a new one for this"
        )
    op.drop_column("record_key", "commitment_key")
    op.execute("ALTER TABLE record_key RENAME COLUMN record_key TO wrapped")


def downgrade() -> None:
    """Make two columns of one; the second is empty: the earlier version opens nothing, and nothing is lost."""
    op.execute("ALTER TABLE record_key RENAME COLUMN wrapped TO record_key")
    empty = sa.Column("commitment_key", sa.LargeBinary, nullable=False, server_default=sa.text("''"))
    op.add_column("record_key", empty)
