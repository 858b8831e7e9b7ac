"""The identity store: sealed fields by record; no account, no provider, no time finer than a day."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table, Text

metadata = MetaData()

record = Table(
    "record",
    metadata,
    Column("rid", LargeBinary, primary_key=True),
    Column("day", BigInteger, nullable=False),
    Column("legal_name", LargeBinary, nullable=True),
    Column("names", LargeBinary, nullable=True),
    Column("birth_date", LargeBinary, nullable=True),
    Column("document", LargeBinary, nullable=True),
    Column("phone", LargeBinary, nullable=True),
    Column("email", LargeBinary, nullable=True),
    Column("form", LargeBinary, nullable=True),
    Column("registration", LargeBinary, nullable=True),
    Column("mandate", LargeBinary, nullable=True),
    # The hash of the terms that were agreed to. That what was stated is true has one form, and no record is without it.
    Column("terms", LargeBinary, nullable=True),
    # The day of that, where it is later than the record's.
    Column("agreed", BigInteger, nullable=True),
)

fingerprint = Table(
    "fingerprint",
    metadata,
    Column("tag", LargeBinary, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

evidence = Table(
    "evidence",
    metadata,
    Column("rid", LargeBinary, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("content_type", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("day", BigInteger, nullable=False),
)

fence = Table(
    "record_fence",
    metadata,
    Column("mark", LargeBinary, primary_key=True),
    # Days since 1970.
    Column("day", BigInteger, nullable=False),
    Index("record_fence_day", "day"),
)
