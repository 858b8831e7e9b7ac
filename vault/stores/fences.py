"""Which plans a store has, so that one which is carried out once more, however late, writes nothing.

A worker and housekeeping may carry out the same plan at once. The slower of them would write it over what came after:
who was parted would be united again, what was erased would be back. So a plan's rows come with a mark of its intent, in
one transaction, and who finds that mark leaves the store as it is (the "processed messages" of an idempotent consumer).

    mark = SHA-256("idvault/v1/fence" ‖ name of the table ‖ intent(16))[:16]

Of one plan each store has another mark, so that whoever takes two stores does not learn which rows of them go together.
"""

import hashlib
from typing import Final

from sqlalchemy import Column, Table, delete
from sqlalchemy.dialects.postgresql import insert

from vault.stores.unit import Unit, inserted, oldest

_LABEL: Final = b"idvault/v1/fence"
_MARK_BYTES: Final = 16

KEPT_DAYS: Final = 2
"""How long a plan that was carried out may still be in somebody's hands; what he does takes minutes at most."""


def enter(unit: Unit, table: Table, intent: bytes, day: int) -> bool:
    """Tell whether a plan is this transaction's to write; False if the store has it. Another one's end is awaited."""
    column: Column[bytes] = table.c.mark
    mark = hashlib.sha256(_LABEL + table.name.encode() + intent).digest()[:_MARK_BYTES]
    return inserted(unit, insert(table).values(mark=mark, day=day), column)


def expire(unit: Unit, table: Table, day: int, limit: int) -> None:
    """Forget plans that nobody can have in hand any more; about so many at most."""
    unit.execute(delete(table).where(oldest(unit, table.c.day, day - KEPT_DAYS, limit)))
