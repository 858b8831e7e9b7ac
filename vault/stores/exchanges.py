"""What exchanges and revocations write into the directory."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import and_, bindparam, insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from vault.errors import Kind, VaultError
from vault.stores.directory import person_tag, revoked, standing
from vault.stores.standings import StandingRow
from vault.stores.unit import Unit, inserted

_ADD: Final = insert(standing)
_ADD_TAG: Final = insert(person_tag)
_ROTATE: Final = (
    update(standing)
    .where(and_(standing.c.pid == bindparam("of"), standing.c.generation == bindparam("former")))
    .values(generation=bindparam("next"))
)


def add(unit: Unit, rows: Sequence[tuple[StandingRow, bytes]]) -> None:
    """Insert standings that exchanges made, each with its person tag; all of them or none.

    Raises:
        VaultError: one of them, or another standing of the same person, stands already.
    """
    try:
        unit.execute(_ADD, [{name: getattr(row, name) for name in StandingRow.__slots__} for row, _ in rows])
        unit.execute(_ADD_TAG, [{"tag": tag, "pid": row.pid} for row, tag in rows])
    except IntegrityError:
        raise VaultError(Kind.CONFLICT, "this exchange was finished or given up meanwhile; try again") from None


def rotate(unit: Unit, pid: bytes, generation: int) -> bool:
    """Give a standing the next generation of its token; False if it has another one by now."""
    return unit.execute(_ROTATE, {"of": pid, "former": generation, "next": generation + 1}).rowcount == 1


def revoke(unit: Unit, jti: bytes, until: int) -> bool:
    """Revoke an access token until it would have expired; False if it was revoked before."""
    return inserted(unit, upsert(revoked).values(jti=jti, until=until), revoked.c.jti)
