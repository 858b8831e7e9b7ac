"""What is not settled is remembered a round at a time, not a row."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
_LENGTH_BYTES = 4


def upgrade() -> None:
    """Put what is not settled into one row; its number says no more than that nothing was appended since."""
    ids = op.get_bind().execute(sa.text("SELECT id FROM unsettled")).scalars().all()
    op.drop_table("unsettled")
    unsettled = op.create_table(
        "unsettled",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ids", sa.LargeBinary, nullable=False),
    )
    if ids:
        joined = b"".join(len(one).to_bytes(_LENGTH_BYTES, "big") + bytes(one) for one in ids)
        op.bulk_insert(unsettled, [{"number": -1, "ids": joined}])


def downgrade() -> None:
    """Put what is not settled into a row each."""
    rows = op.get_bind().execute(sa.text("SELECT ids FROM unsettled")).scalars().all()
    op.drop_table("unsettled")
    unsettled = op.create_table("unsettled", sa.Column("id", sa.LargeBinary, primary_key=True))
    ids = []
    for joined in map(bytes, rows):
        at = 0
        while at < len(joined):
            length = int.from_bytes(joined[at : at + _LENGTH_BYTES], "big")
            at += _LENGTH_BYTES + length
            ids.append({"id": joined[at - length : at]})
    if ids:
        op.bulk_insert(unsettled, ids)
