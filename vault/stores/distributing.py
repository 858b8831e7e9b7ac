"""How the stores are laid over several nodes: by which column each table's rows are told apart, and which are copied.

Guarantees: whatever is unique in a table holds its column, so that one node alone can keep it unique; the hot path
reads by that column. The statements are those of Citus, an extension of PostgreSQL
(https://docs.citusdata.com/en/stable/develop/api_udf.html).
"""

from typing import Final

KEYS: Final = {
    "identity": {"record": "rid", "fingerprint": "tag", "evidence": "rid", "record_fence": "mark"},
    "directory": {
        "account": "pid", "handle": "key", "standing": "pid", "person_tag": "tag", "local_tag": "tag",
        "review": "reg", "sanction": "id", "operator": "account", "idempotency": "key", "import_chunk": "import",
        "revoked": "jti", "audit_outbox": "id", "refusal": "client", "event": "provider",
        "standing_fence": "mark",
    },
    "keys": {
        "record_key": "rid", "person": "uid", "evidence_key": "rid", "statement_key": "address", "handoff": "hash",
        "intent": "id", "intent_lock": "key", "audit_outbox": "id", "leaf_count": "rid", "disclosure": "id",
        "hold": "rid", "resealed": "rid", "ended": "address",
    },
    "log": {"leaf": "number", "detail": "number", "tile": "number", "checkpoint": "size", "drained": "id",
            "unsettled": "number", "daily": "day", "tally": "month"},
}  # fmt: skip
"""Store → table → the column that says on which node a row lies."""
COPIED: Final = {
    "identity": frozenset[str](),
    "directory": frozenset({"client", "provider", "import"}),
    "keys": frozenset({
        "deployment", "key", "reviewer", "agreement", "budget", "log_head", "ceremony", "share", "officer_record",
        "officer_head", "request", "approval", "deepening", "key_use",
    }),
    "log": frozenset[str](),
}  # fmt: skip
"""Store → tables that grow with providers and officers, not with people: each node has a copy."""


def script(store: str) -> str:
    """Return the SQL that lays a store's tables over the nodes of a Citus cluster, to be run once by their owner."""
    copied = [f"SELECT create_reference_table('public.{table}');" for table in sorted(COPIED[store])]
    # Columns of one type are laid side by side, as a join of standing and account by pid needs it.
    laid = [f"SELECT create_distributed_table('public.{table}', '{column}');" for table, column in KEYS[store].items()]
    return "\n".join(["CREATE EXTENSION IF NOT EXISTS citus;", *copied, *laid]) + "\n"
