"""The key store's tables: the agent's alone. Every key is sealed; rows that decide something carry a MAC."""

from typing import Final

from sqlalchemy import BigInteger, Column, Connection, Index, LargeBinary, MetaData, Table, Text, UniqueConstraint

PARTITION: Final = "record_key_kek_"
"""How the partitions of `record_key` begin on PostgreSQL: one for each version of the key encryption key."""

metadata = MetaData()

deployment = Table(
    "deployment",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("created", BigInteger, nullable=False),
)

key = Table(
    "key",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("id", LargeBinary, nullable=False),
    UniqueConstraint("id", name="key_id"),
    Column("state", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", BigInteger, nullable=False),
)

key_use = Table(
    "key_use",
    metadata,
    Column("key_id", LargeBinary, primary_key=True),
    Column("used", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

# On PostgreSQL partitioned by kek_version, so its primary key there is (rid, kek_version): adr/0010.
record_key = Table(
    "record_key",
    metadata,
    Column("rid", LargeBinary, primary_key=True),
    Column("kek_version", BigInteger, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("assurance", Text, nullable=False),
    Column("revisions", LargeBinary, nullable=False),
    Column("pending", LargeBinary, nullable=True),
    Column("uid", LargeBinary, nullable=False),
    Column("origin", LargeBinary, nullable=True),
    Column("created", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Index("record_key_state_created", "state", "created"),
)

person = Table(
    "person",
    metadata,
    Column("uid", LargeBinary, primary_key=True),
    Column("state", Text, nullable=False),
)

reviewer = Table(
    "reviewer",
    metadata,
    Column("client", Text, primary_key=True),
    Column("sector", Text, nullable=True),
    Column("state", Text, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

evidence_key = Table(
    "evidence_key",
    metadata,
    Column("rid", LargeBinary, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("views", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

statement_key = Table(
    "statement_key",
    metadata,
    Column("address", LargeBinary, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

agreement = Table(
    "agreement",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("giver", Text, nullable=False),
    Column("giver_sector", Text, nullable=False),
    Column("taker", Text, nullable=False),
    Column("taker_sector", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("per_hour", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    UniqueConstraint("giver", "taker", "purpose", name="agreement_giver_taker_purpose"),
)

handoff = Table(
    "handoff",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("handoff_expires", "expires"),
)

intent = Table(
    "intent",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=True),
    Column("not_before", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Index("intent_not_before_created", "not_before", "created"),
)

intent_lock = Table(
    "intent_lock",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("intent", LargeBinary, nullable=False),
    Index("intent_lock_intent", "intent"),
)

budget = Table(
    "budget",
    metadata,
    Column("name", Text, primary_key=True),
    Column("window", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
)

leaf_count = Table(
    "leaf_count",
    metadata,
    Column("rid", LargeBinary, primary_key=True),
    Column("leaves", BigInteger, nullable=False),
)

log_head = Table(
    "log_head",
    metadata,
    Column("id", Text, primary_key=True),
    Column("origin", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

ceremony = Table(
    "ceremony",
    metadata,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("cards", Text, nullable=False),
    Column("first", LargeBinary, nullable=True),
    Column("root", LargeBinary, nullable=True),
)

share = Table(
    "share",
    metadata,
    Column("generation", BigInteger, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("confirmation", LargeBinary, nullable=True),
    Column("proven", BigInteger, nullable=True),
)

officer_record = Table(
    "officer_record",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("said", LargeBinary, nullable=False),
    Column("signatures", LargeBinary, nullable=False),
)

officer_head = Table(
    "officer_head",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

request = Table(
    "request",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("said", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("request_state_expires", "state", "expires"),
)

approval = Table(
    "approval",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("said", LargeBinary, nullable=False),
)

deepening = Table(
    "deepening",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("began", BigInteger, nullable=False),
    Column("active", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

resealed = Table(
    "resealed",
    metadata,
    Column("rid", LargeBinary, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("minute", BigInteger, nullable=False),
)

disclosure = Table(
    "disclosure",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("rid", LargeBinary, nullable=False),
    Column("package", LargeBinary, nullable=True),
    Column("made", BigInteger, nullable=False),
    Column("notice_due", BigInteger, nullable=False),
    Column("notified", BigInteger, nullable=True),
    Column("mac", LargeBinary, nullable=False),
    Index("disclosure_rid", "rid"),
    Index("disclosure_notified_notice_due", "notified", "notice_due"),
)

hold = Table(
    "hold",
    metadata,
    Column("rid", LargeBinary, primary_key=True),
    Column("case_number", Text, primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

ended = Table(
    "ended",
    metadata,
    Column("address", LargeBinary, primary_key=True),
    Column("subject", LargeBinary, primary_key=True),
    Column("minute", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Index("ended_minute", "minute"),
)

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("type", Text, nullable=False),
    Column("minute", BigInteger, nullable=False),
    Column("address", LargeBinary, nullable=False),
    Column("detail", LargeBinary, nullable=False),
)


def make_partition(connection: Connection, kek_version: int) -> None:
    """Make the partition for records under a version of the key encryption key, in the transaction that writes the key.

    Idempotent; nothing to do where the store is one file. A version without a partition takes no record. The agent's
    role has no DDL, so a function of the owner's does it.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT record_key_partition(%(version)s)", {"version": kek_version})


def drop_partition(connection: Connection, kek_version: int) -> None:
    """Drop the partition of a destroyed version: a record that is still being written under it is then refused.

    Raises:
        DBAPIError: it holds records.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT record_key_partition_drop(%(version)s)", {"version": kek_version})
