"""The directory store: clients, accounts, standings and reviews. Times in seconds since 1970."""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table, Text, UniqueConstraint, text

metadata = MetaData()

# Conditions of partial indexes. A statement that is to use one says the very same, with nothing bound to it: a planner
# believes no parameter.
NO_MATCH: Final = text("kind != 'match'")
ACCOUNT_ALONE: Final = text("kind = 'account'")
DUE: Final = text("kind = 'identity' and forgotten is null and state in ('returned', 'rejected')")
KEPT: Final = text("kept = 1")
SUPERSEDED: Final = text("superseded_by is not null")


def _where(condition: Any) -> dict[str, Any]:  # noqa: ANN401 - a SQL clause
    return {"sqlite_where": condition, "postgresql_where": condition}


# An index that finds what is equal and knows no order: on PostgreSQL half as large for ids, which come in no order.
_EQUAL: Final[dict[str, Any]] = {"postgresql_using": "hash", "postgresql_with": {"fillfactor": 90}}

client = Table(
    "client",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("provider", Text, nullable=True),
    Column("scopes", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("former_hash", LargeBinary, nullable=True),
    Column("former_until", BigInteger, nullable=True),
    Column("state", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    UniqueConstraint("role", "name", name="client_role_name"),
)

provider = Table(
    "provider",
    metadata,
    Column("client", Text, primary_key=True),
    Column("name", Text, nullable=False),
    UniqueConstraint("name", name="provider_name"),
    Column("sector", Text, nullable=False),
    UniqueConstraint("sector", name="provider_sector"),
    Column("policy", Text, nullable=False),
    Column("purposes", Text, nullable=False),
    Column("fields", Text, nullable=False),
    Column("caps", Text, nullable=False),
    Column("expires", BigInteger, nullable=True),
    Column("state", Text, nullable=False),
)

account = Table(
    "account",
    metadata,
    Column("pid", LargeBinary, primary_key=True),
    Column("id", LargeBinary, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("external_id", Text, nullable=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("handle", Text, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Column("ladder", Text, nullable=True),
    Column("merged_from", LargeBinary, nullable=True),
    Column("created", BigInteger, nullable=False),
    # By what an account is found by its provider's own id of it: a hash of both, shorter than they are.
    Column("external_hash", BigInteger, nullable=True),
    Index("account_id", "id", **_EQUAL),
    # Lists go by time; accounts of one second share an entry, as reviews do below.
    Index("account_provider_created", "provider", "created"),
    Index("account_external_hash", "external_hash"),
)

handle = Table(
    "handle",
    metadata,
    # Hashes of the provider with the folded handle, and with what handles that look alike have in common.
    Column("key", LargeBinary, primary_key=True),
    Column("account", LargeBinary, nullable=False),
    Column("look", BigInteger, nullable=False),
    Index("handle_look", "look"),
)

standing = Table(
    "standing",
    metadata,
    Column("pid", LargeBinary, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("sector", Text, nullable=False),
    Column("link", LargeBinary, nullable=True),
    Column("assurance", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("ladder", Text, nullable=True),
    Column("inactive_from", BigInteger, nullable=True),
    Column("superseded_by", LargeBinary, nullable=True),
    Index("standing_superseded_by", "superseded_by", **_where(SUPERSEDED)),
    Column("state", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
)

person_tag = Table(
    "person_tag",
    metadata,
    Column("tag", LargeBinary, primary_key=True),
    Column("pid", LargeBinary, nullable=False),
    Index("person_tag_pid", "pid"),
)

local_tag = Table(
    "local_tag",
    metadata,
    Column("tag", LargeBinary, primary_key=True),
    Column("pid", LargeBinary, primary_key=True),
    Column("kind", Text, nullable=False),
    # 1 where only a ban keeps it: nobody stands behind its standing any more.
    Column("kept", BigInteger, nullable=False, server_default="0"),
    Index("local_tag_pid", "pid"),
    Index("local_tag_kept", "pid", **_where(KEPT)),
    # One standing a document with birth date, or an organisation's number, in a sector; other kinds may have several.
    Index("local_tag_exact", "tag", unique=True, **_where(text("kind in ('document_birth', 'registration')"))),
)

review = Table(
    "review",
    metadata,
    Column("reg", LargeBinary, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("pid", LargeBinary, nullable=False),
    Index("review_pid", "pid", **_EQUAL),
    Column("account", LargeBinary, nullable=True),
    Column("kind", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("lease_by", Text, nullable=True),
    Column("lease_until", BigInteger, nullable=True),
    Column("method", Text, nullable=True),
    Column("reason", Text, nullable=True),
    Column("fix", Text, nullable=True),
    Column("reviewer", Text, nullable=True),
    Column("shown", LargeBinary, nullable=True),
    # 1, or null: of what most rows have not, null takes no room.
    Column("expired_document", BigInteger, nullable=True),
    Column("supersedes", LargeBinary, nullable=True),
    Column("representative", LargeBinary, nullable=True),
    Column("submitted", BigInteger, nullable=False),
    Column("decided", BigInteger, nullable=True),
    # 1 once what runs out after a decision has gone: the record of a rejected one, the evidence of a returned one.
    Column("forgotten", BigInteger, nullable=True, server_default=text("NULL")),
    # Lists and queues go by time of submission, so that new rows come last in each index, however many there are. Rows
    # of one second share an entry; a query puts these few in the order of their ids.
    Index("review_state_submitted", "state", "submitted"),
    Index("review_provider_submitted", "provider", "submitted", **_where(NO_MATCH)),
    Index("review_provider_state_submitted", "provider", "state", "submitted", **_where(NO_MATCH)),
    Index("review_due", "state", "decided", **_where(DUE)),
    Index("review_account", "account", **_where(ACCOUNT_ALONE)),
)

sanction = Table(
    "sanction",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("pid", LargeBinary, nullable=False),
    Column("account", LargeBinary, nullable=True),
    Column("rung", BigInteger, nullable=False),
    Column("starts", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=True),
    Column("degree", Text, nullable=True),
    Column("ground", Text, nullable=False),
    Column("by", Text, nullable=True),
    Column("automated", Text, nullable=False),
    Column("source", Text, nullable=False),
    # The words, sealed under the statement key of the standing that `origin` names.
    Column("statement", LargeBinary, nullable=True),
    Column("origin", LargeBinary, nullable=False),
    Column("lifted", BigInteger, nullable=True),
    Column("lift_reason", Text, nullable=True),
    Column("lifted_by", Text, nullable=True),
    Index("sanction_pid", "pid"),
    Index("sanction_provider_id", "provider", "id"),
    Index("sanction_until", "until"),
    Index("sanction_lifted", "lifted"),
)

operator = Table(
    "operator",
    metadata,
    Column("account", LargeBinary, primary_key=True),
    Column("id", LargeBinary, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("pid", LargeBinary, nullable=False),
    Column("created", BigInteger, nullable=False),
    Index("operator_pid", "pid"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("client", Text, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("request", LargeBinary, nullable=False),
    Column("ids", LargeBinary, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("status", BigInteger, nullable=True),
    Column("answer", LargeBinary, nullable=True),
    Column("created", BigInteger, nullable=False),
    Index("idempotency_created", "created"),
)

event = Table(
    "event",
    metadata,
    Column("provider", Text, primary_key=True),
    # Milliseconds since 1970, or one more than the provider's last: grows with each, also after all of them have gone.
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("id", LargeBinary, nullable=False),
    Column("type", Text, nullable=False),
    # The registration that it is about; null where it is about all that the provider has.
    Column("about", LargeBinary, nullable=True),
    Index("event_number", "number"),
)

import_ = Table(
    "import",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("dry_run", BigInteger, nullable=False),
    # SHA-256 of the file and of what else decides its rows: one import a file and provider.
    Column("file", LargeBinary, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("undone", BigInteger, nullable=True),
    UniqueConstraint("provider", "file", name="import_provider_file"),
    Index("import_created", "created"),
)

import_chunk = Table(
    "import_chunk",
    metadata,
    Column("import", LargeBinary, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("request", LargeBinary, nullable=False),
    # What the ids of its rows are drawn from.
    Column("ids", LargeBinary, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    # Places and rules of the rows that were refused, never a value; null until the chunk stands.
    Column("refused", Text, nullable=True),
    Column("undone", BigInteger, nullable=False),
)

revoked = Table(
    "revoked",
    metadata,
    Column("jti", LargeBinary, primary_key=True),
    Column("until", BigInteger, nullable=False),
    Index("revoked_until", "until"),
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

refusal = Table(
    "refusal",
    metadata,
    Column("client", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("minute", BigInteger, primary_key=True),
    Column("id", LargeBinary, nullable=False),
    Column("count", BigInteger, nullable=False),
)

fence = Table(
    "standing_fence",
    metadata,
    Column("mark", LargeBinary, primary_key=True),
    # Days since 1970.
    Column("day", BigInteger, nullable=False),
    Index("standing_fence_day", "day"),
)
