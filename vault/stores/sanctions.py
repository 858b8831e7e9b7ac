"""Sanctions of the directory store, and the ladders that are computed from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, and_, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from keys.driver import Outcome, Speaking, Step, run
from vault.domain.scopes import Ladder, Rung
from vault.stores.directory import account, sanction, standing
from vault.stores.unit import Prepared, Unit, oldest


@dataclass(frozen=True, slots=True)
class SanctionRow:
    """A sanction as the directory holds it; on one account, or on the registrant where `account` is None."""

    id: bytes
    provider: str
    pid: bytes
    account: bytes | None
    rung: int
    starts: int
    until: int | None
    degree: str | None
    ground: str
    by: str | None
    automated: str
    source: str
    statement: bytes | None
    origin: bytes
    lifted: int | None
    lift_reason: str | None
    lifted_by: str | None


_ADD: Final = Prepared(
    upsert(sanction)
    .values({column.name: bindparam(f"new_{column.name}") for column in sanction.c})
    .on_conflict_do_nothing()
)
_RUNGS: Final = Prepared(
    select(sanction.c.rung, sanction.c.until).where(
        sanction.c.pid == bindparam("pid"), sanction.c.account.is_(None), sanction.c.lifted.is_(None)
    )
)
_ACCOUNT_RUNGS: Final = Prepared(
    select(sanction.c.rung, sanction.c.until).where(
        sanction.c.pid == bindparam("pid"), sanction.c.account == bindparam("account"), sanction.c.lifted.is_(None)
    )
)
_OF_STANDING: Final = Prepared(
    select(sanction).where(sanction.c.pid == bindparam("pid")).order_by(sanction.c.starts, sanction.c.id)
)
_HISTORY: Final = Prepared(
    select(
        sanction.c.pid, sanction.c.account, sanction.c.rung, sanction.c.until, sanction.c.lifted, sanction.c.lift_reason
    )
    .where(sanction.c.pid.in_(bindparam("pids", expanding=True)))
    .order_by(sanction.c.starts, sanction.c.id)
)
_SET: Final = Prepared(update(standing).where(standing.c.pid == bindparam("of")).values(ladder=bindparam("rungs")))
_SET_ACCOUNT: Final = Prepared(
    update(account)
    .where(account.c.pid == bindparam("of"), account.c.id == bindparam("one"))
    .values(ladder=bindparam("rungs"))
)


def add(unit: Unit, row: SanctionRow) -> None:
    """Insert a sanction and put it in force. Idempotent by its id."""
    run(unit, *adding(unit, row, of_standing(unit, row.pid)))


def adding(store: Speaking, row: SanctionRow, history: Iterable[Any]) -> list[Step]:
    """Return the statements that insert a sanction and put it in force: the next call in any worker meets it.

    Idempotent by its id.

    Args:
        store: what they are put in the words of.
        row: the sanction.
        history: all sanctions of its standing, read under the write lock: of each, what `read` gives.
    """
    same = [one for one in (*history, row) if one.account == row.account and one.lifted is None]
    return [
        _ADD.on(store, **{f"new_{name}": getattr(row, name) for name in SanctionRow.__slots__}),
        _setting(store, row.pid, row.account, [(one.rung, one.until) for one in same]),
    ]


def refresh(unit: Unit, pid: bytes, account_id: bytes | None) -> None:
    """Compute the ladder of a standing, or of one of its accounts, from the sanctions that were not lifted."""
    [rungs] = run(unit, _rungs(unit, pid, account_id))
    run(unit, _setting(unit, pid, account_id, rungs.rows))


def _rungs(unit: Unit, pid: bytes, account_id: bytes | None) -> Step:
    if account_id is None:
        return _RUNGS.on(unit, pid=pid)
    return _ACCOUNT_RUNGS.on(unit, pid=pid, account=account_id)


def _setting(unit: Speaking, pid: bytes, account_id: bytes | None, rows: Iterable[Any]) -> Step:
    rungs = Ladder.of((Rung(rung), until) for rung, until in rows).text
    if account_id is None:
        return _SET.on(unit, of=pid, rungs=rungs)
    return _SET_ACCOUNT.on(unit, of=pid, one=account_id, rungs=rungs)


def move(unit: Unit, former: bytes, pid: bytes) -> None:
    """Give the sanctions of one standing to another, and to its ladder; `origin` still says whose they were."""
    unit.execute(update(sanction).where(sanction.c.pid == former).values(pid=pid))
    refresh(unit, former, None)
    refresh(unit, pid, None)


def follow(unit: Unit, account_id: bytes, former: bytes, pid: bytes) -> None:
    """Give the sanctions on one account to the standing that it went to; its ladder went with it."""
    where = and_(sanction.c.pid == former, sanction.c.account == account_id)
    unit.execute(update(sanction).where(where).values(pid=pid))


def give_back(unit: Unit, origin: bytes, survivor: bytes, pid: bytes) -> None:
    """Give back the sanctions that were set on a standing before, or after, it became part of another."""
    where = and_(sanction.c.origin == origin, sanction.c.pid == survivor)
    unit.execute(update(sanction).where(where).values(pid=pid))
    refresh(unit, survivor, None)
    refresh(unit, pid, None)


def forget_statements(unit: Unit, pid: bytes) -> None:
    """Delete sealed words whose key is gone: whose standing sealed them says nothing any more."""
    unit.execute(update(sanction).where(sanction.c.pid == pid).values(statement=None, origin=pid))


def find(unit: Unit, owner: str, sanction_id: bytes) -> SanctionRow | None:
    """Return a sanction of a provider."""
    row = unit.execute(select(sanction).where(sanction.c.provider == owner, sanction.c.id == sanction_id)).one_or_none()
    return None if row is None else SanctionRow(*row)


def of_standing(unit: Unit, pid: bytes) -> list[SanctionRow]:
    """Return all sanctions of a standing and its accounts, oldest first."""
    [found] = run(unit, _OF_STANDING.on(unit, pid=pid))
    return [SanctionRow(*row) for row in found.rows]


def history(store: Speaking, pids: Iterable[bytes]) -> Step:
    """Return the statement that reads the sanctions of standings, to be run with others; `read` takes what it gave."""
    return _HISTORY.on(store, pids=list(pids))


def read(outcome: Outcome) -> dict[bytes, list[Any]]:
    """Return, by pid, account, rung, until, lifted and lift_reason of each sanction, the oldest first."""
    found: dict[bytes, list[Any]] = {}
    for row in outcome.rows:
        found.setdefault(row.pid, []).append(row)
    return found


def page(
    unit: Unit, owner: str, after: bytes, limit: int, pid: bytes | None, account_id: bytes | None
) -> list[SanctionRow]:
    """Return a provider's sanctions by id, after a key: all, or those of a standing, or of one account."""
    query = select(sanction).where(sanction.c.provider == owner, sanction.c.id > after)
    if pid is not None:
        query = query.where(sanction.c.pid == pid)
    if account_id is not None:
        query = query.where(sanction.c.account == account_id)
    return [SanctionRow(*row) for row in unit.execute(query.order_by(sanction.c.id).limit(limit))]


def unlifted(unit: Unit, after: bytes, limit: int) -> Sequence[Any]:
    """Return (provider, id) of sanctions that were not lifted, by id, after a key; those that have ended too."""
    query = select(sanction.c.provider, sanction.c.id).where(sanction.c.id > after, sanction.c.lifted.is_(None))
    return unit.execute(query.order_by(sanction.c.id).limit(limit)).all()


def expire(unit: Unit, before: int, limit: int) -> int:
    """Delete sanctions that ended or were lifted before a time, about `limit` of each; return how many."""
    gone: list[Row[Any, Any]] = []
    for column in (sanction.c.until, sanction.c.lifted):
        over = delete(sanction).where(oldest(unit, column, before, limit))
        gone += unit.execute(over.returning(sanction.c.pid, sanction.c.account)).all()
    for pid, account_id in {(row.pid, row.account) for row in gone}:
        refresh(unit, pid, account_id)
    return len(gone)


def lift(unit: Unit, sanction_id: bytes, now: int, reason: str, by: str | None) -> bool:
    """Lift a sanction at once; False if it was lifted before."""
    where = and_(sanction.c.id == sanction_id, sanction.c.lifted.is_(None))
    values = {"lifted": now, "lift_reason": reason, "lifted_by": by}
    if unit.execute(update(sanction).where(where).values(**values)).rowcount != 1:
        return False
    row = unit.execute(select(sanction.c.pid, sanction.c.account).where(sanction.c.id == sanction_id)).one()
    refresh(unit, row.pid, row.account)
    return True
