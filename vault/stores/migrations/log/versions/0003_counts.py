"""How many leaves of each type a day has, and where the tallies of months stand; leaves that are there are counted."""

import json
from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
_MINUTES_A_DAY = 24 * 60
_AT_ONCE = 1000


def upgrade() -> None:
    """Create the tables, and count."""
    daily = op.create_table(
        "daily",
        sa.Column("day", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("type", sa.Text, primary_key=True),
        sa.Column("leaves", sa.BigInteger, nullable=False),
        sa.Column("times", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tally",
        sa.Column("month", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    counts = Counter[tuple[int, str]]()
    leaf = sa.table("leaf", sa.column("number", sa.BigInteger), sa.column("entry", sa.LargeBinary))
    connection, first = op.get_bind(), 0
    while True:
        where = (leaf.c.number >= first) & (leaf.c.number < first + _AT_ONCE)
        entries = connection.execute(sa.select(leaf.c.entry).where(where)).scalars().all()
        if not entries:
            break
        for said in map(json.loads, entries):
            counts[said["minute"] // _MINUTES_A_DAY, said["type"]] += 1
        first += _AT_ONCE
    rows = [{"day": day, "type": kind, "leaves": count, "times": 0} for (day, kind), count in sorted(counts.items())]
    if rows:
        op.bulk_insert(daily, rows)


def downgrade() -> None:
    """Drop the tables; what they say stands in the leaves."""
    op.drop_table("tally")
    op.drop_table("daily")
