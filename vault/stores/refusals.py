"""Refused attempts: how often a client tried in vain what it may not do, by kind and minute, until the log tells it."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from vault.stores.directory import client, refusal
from vault.stores.unit import Prepared, Speaking, Step, Unit, run

_KNOWN: Final = select(client.c.id).where(client.c.id == bindparam("client"))
_ADD: Final = upsert(refusal)
_RAISE: Final = _ADD.on_conflict_do_update(
    index_elements=["client", "kind", "minute"], set_={"count": refusal.c.count + _ADD.excluded.count}
)
_WAITING: Final = Prepared(select(refusal).where(refusal.c.minute < bindparam("before")).limit(bindparam("limit")))
_SETTLE: Final = Prepared(delete(refusal).where(refusal.c.id.in_(bindparam("ids", expanding=True))))


def is_client(unit: Unit, client_id: str) -> bool:
    """Tell whether there is a client of this id."""
    return unit.execute(_KNOWN, {"client": client_id}).first() is not None


def add(unit: Unit, client_id: str, kind: str, minute: int, row_id: bytes, count: int) -> bool:
    """Count refused attempts; False, and nothing counted, where there is no such client."""
    if not is_client(unit, client_id):
        return False
    row = {"client": client_id, "kind": kind, "minute": minute, "id": row_id, "count": count}
    unit.execute(_RAISE, row)
    return True


def waiting(unit: Unit, before: int, limit: int) -> Sequence[Any]:
    """Return rows of minutes before one, which are not in the log yet."""
    return run(unit, _WAITING.on(unit, before=before, limit=limit))[0].rows


def settling(store: Speaking, ids: Sequence[bytes]) -> Step:
    """Return the deletion of rows whose leaves stand in the log. Idempotent."""
    return _SETTLE.on(store, ids=ids)
