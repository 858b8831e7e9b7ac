"""Refused attempts: how often a client tried in vain what it may not do, by kind and minute, until the log tells it."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from vault.stores.directory import client, refusal
from vault.stores.unit import Unit

_AT_ONCE: Final = 500
_KNOWN: Final = select(client.c.id).where(client.c.id == bindparam("client"))
_ADD: Final = upsert(refusal)
_RAISE: Final = _ADD.on_conflict_do_update(
    index_elements=["client", "kind", "minute"], set_={"count": refusal.c.count + _ADD.excluded.count}
)
_WAITING: Final = select(refusal).where(refusal.c.minute < bindparam("before")).limit(bindparam("limit"))
_SETTLE: Final = delete(refusal).where(refusal.c.id.in_(bindparam("ids", expanding=True)))


def add(unit: Unit, client_id: str, kind: str, minute: int, row_id: bytes, count: int) -> bool:
    """Count refused attempts; False, and nothing counted, where there is no such client."""
    if unit.execute(_KNOWN, {"client": client_id}).first() is None:
        return False
    row = {"client": client_id, "kind": kind, "minute": minute, "id": row_id, "count": count}
    unit.execute(_RAISE, row)
    return True


def waiting(unit: Unit, before: int, limit: int) -> Sequence[Any]:
    """Return rows of minutes before one, which are not in the log yet."""
    return unit.execute(_WAITING, {"before": before, "limit": limit}).all()


def settle(unit: Unit, ids: Sequence[bytes]) -> None:
    """Delete rows whose leaves stand in the log. Idempotent."""
    for place in range(0, len(ids), _AT_ONCE):
        unit.execute(_SETTLE, {"ids": list(ids[place : place + _AT_ONCE])})
