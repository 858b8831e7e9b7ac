"""What exchanges and revocations write into the directory."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import FromClause, and_, bindparam, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from vault.errors import Kind, VaultError
from vault.stores.directory import account, client, person_tag, provider, revoked, standing
from vault.stores.standings import StandingRow
from vault.stores.unit import Prepared, Unit, inserted

_ADD: Final = insert(standing)
_ADD_TAG: Final = insert(person_tag)
_ROTATE: Final = (
    update(standing)
    .where(and_(standing.c.pid == bindparam("of"), standing.c.generation == bindparam("former")))
    .values(generation=bindparam("next"))
)


_ALIAS: Final = standing.alias()
_TAGGED: Final = person_tag.alias()
_STANDING: Final = standing.outerjoin(account, account.c.pid == standing.c.pid)
_SHOWN: Final = (
    *standing.c, account.c.id.label("account"), account.c.provider.label("owner"), account.c.handle, account.c.mac,
    account.c.state.label("account_state"), account.c.ladder.label("account_ladder"), person_tag.c.tag,
    _ALIAS.c.pid.label("alias"),
)  # fmt: skip
_OPEN: Final = (
    select(client.c.id)
    .select_from(client.join(provider, provider.c.client == client.c.id))
    .where(
        client.c.state == "active", provider.c.state == "active",
        or_(provider.c.expires.is_(None), provider.c.expires > bindparam("now")),
    )
)  # fmt: skip
OPEN: Final = Prepared(_OPEN.where(client.c.id.in_(bindparam("ids", expanding=True))))
"""Those of these clients that are providers in good standing."""


def _beside(asked: FromClause) -> FromClause:
    return asked.outerjoin(person_tag, person_tag.c.pid == standing.c.pid).outerjoin(
        _ALIAS, _ALIAS.c.superseded_by == standing.c.pid
    )


GIVEN: Final = Prepared(
    select(*_SHOWN, _OPEN.where(client.c.id == bindparam("audience")).exists().label("open"))
    .select_from(_beside(_STANDING))
    .where(standing.c.pid.in_(bindparam("pids", expanding=True)), standing.c.provider == bindparam("client"))
)
"""Standings of a client with what the agent checks them by, and beside each whether one audience is `OPEN`."""
TAKEN: Final = Prepared(
    select(*_SHOWN, _TAGGED.c.tag.label("asked"))
    .select_from(_beside(_TAGGED.join(_STANDING, standing.c.pid == _TAGGED.c.pid)))
    .where(_TAGGED.c.tag.in_(bindparam("tags", expanding=True)))
)
"""The same of the standings with these person tags."""


def add(unit: Unit, rows: Sequence[tuple[StandingRow, Sequence[bytes]]]) -> None:
    """Insert standings that exchanges made, each with its person tags; all of them or none.

    Raises:
        VaultError: one of them, or another standing of the same person, stands already.
    """
    try:
        unit.execute(_ADD, [{name: getattr(row, name) for name in StandingRow.__slots__} for row, _ in rows])
        unit.execute(_ADD_TAG, [{"tag": tag, "pid": row.pid} for row, tags in rows for tag in tags])
    except IntegrityError:
        raise VaultError(Kind.CONFLICT, "this exchange was finished or given up meanwhile; try again") from None


def rotate(unit: Unit, pid: bytes, generation: int) -> bool:
    """Give a standing the next generation of its token; False if it has another one by now."""
    return unit.execute(_ROTATE, {"of": pid, "former": generation, "next": generation + 1}).rowcount == 1


def revoke(unit: Unit, jti: bytes, until: int) -> bool:
    """Revoke an access token until it would have expired; False if it was revoked before."""
    return inserted(unit, upsert(revoked).values(jti=jti, until=until), revoked.c.jti)
