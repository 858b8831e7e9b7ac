"""Budgets: so many uses an hour, counted by one conditional statement within the act's own transaction.

Guarantees: what is counted never goes beyond the limit, whatever counts at the same time; a clock that was set back
does not renew a budget.
"""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, case, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import store
from keys.driver import Prepared, Speaking, Step, run
from keys.errors import BudgetError

HOUR_SECONDS: Final = 3600
_BUDGET: Final = store.budget.c
_ADD: Final = upsert(store.budget).values(name=bindparam("budget"), window=bindparam("at"), used=bindparam("count"))
_SAME: Final = _BUDGET.window == _ADD.excluded.window
_SPEND: Final = Prepared(
    _ADD.on_conflict_do_update(
        index_elements=["name"],
        set_={
            "window": _ADD.excluded.window,
            "used": case((_SAME, _BUDGET.used + _ADD.excluded.used), else_=_ADD.excluded.used),
        },
        where=or_(
            _BUDGET.window < _ADD.excluded.window,
            and_(_SAME, _BUDGET.used + _ADD.excluded.used <= bindparam("limit")),
        ),
    ).returning(_BUDGET.name)
)
_READ: Final = Prepared(select(store.budget).where(_BUDGET.name.in_(bindparam("names", expanding=True))))


def spend(connection: Connection, name: str, limit: int, window: int, count: int = 1) -> None:
    """Count uses of a budget: all of them or none.

    Raises:
        BudgetError: used up in this window.
    """
    check(run(connection, spending(connection, name, limit, window, count))[0].rows)


def spending(store: Speaking, name: str, limit: int, window: int, count: int) -> Step:
    """Return the statement that counts uses, to be run together with others; its rows are for `check`.

    Raises:
        BudgetError: more than there is in any window.
    """
    if count > limit:
        raise BudgetError
    return _SPEND.on(store, budget=name, at=window, count=count, limit=limit)


def check(rows: list[Any]) -> None:
    """Look whether the uses were counted; the caller's transaction must not stand where they were not.

    Raises:
        BudgetError: used up in this window.
    """
    if not rows:
        raise BudgetError


def reading(store: Speaking, names: Iterable[str]) -> Step:
    """Return the statement that reads budgets, for `left`."""
    return _READ.on(store, names=list(names))


def left(rows: Iterable[Any], name: str, limit: int, window: int) -> int:
    """Return what a window still holds, by rows that were read under the write lock."""
    row = next((row for row in rows if row.name == name), None)
    if row is None or row.window < window:
        return limit
    return max(0, limit - row.used) if row.window == window else 0
