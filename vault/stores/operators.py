"""Operators of the directory store: who else may act for an account; owner, token and rungs stay the account's."""

from dataclasses import dataclass
from itertools import chain
from typing import Final

from sqlalchemy import delete, insert, select

from vault.domain.scopes import Ladder
from vault.stores import standings
from vault.stores.directory import operator
from vault.stores.standings import StandingRow
from vault.stores.unit import Unit


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """An operator as the directory holds him; `pid` is his standing at the same provider."""

    account: bytes
    id: bytes
    provider: str
    pid: bytes
    created: int


_ADD: Final = insert(operator)


@dataclass(frozen=True, slots=True)
class Operated:
    """An account as whoever operates it meets it; the ladder is the account's with its owner's."""

    account: bytes
    account_state: str
    account_ladder: str | None


def add(unit: Unit, row: OperatorRow) -> None:
    """Insert an operator."""
    unit.execute(_ADD, {name: getattr(row, name) for name in OperatorRow.__slots__})


def of_account(unit: Unit, account_id: bytes) -> list[tuple[OperatorRow, StandingRow]]:
    """Return the operators of an account with what their standings have become, in the order they were added."""
    query = select(operator).where(operator.c.account == account_id).order_by(operator.c.created, operator.c.id)
    rows = [OperatorRow(*row) for row in unit.execute(query)]
    return [(row, living) for row in rows if (living := standings.living(unit, row.pid)) is not None]


def operates(unit: Unit, pid: bytes) -> bool:
    """Tell whether a standing operates any account."""
    return bool(unit.execute(select(operator.c.id).where(operator.c.pid == pid).limit(1)).all())


def operated(unit: Unit, owner: str, pid: bytes, account_id: bytes) -> Operated | None:
    """Return an account of a provider that a living standing operates."""
    found = standings.account_by_id(unit, owner, account_id)
    holder = standings.living(unit, found.pid) if found is not None else None
    if found is None or holder is None or pid not in {living.pid for _, living in of_account(unit, account_id)}:
        return None
    ladders = (Ladder.parse(text).ends for text in (found.ladder, holder.ladder))
    return Operated(found.id, found.state, Ladder.of(chain.from_iterable(ladders)).text)


def remove(unit: Unit, account_id: bytes, operator_id: bytes) -> None:
    """Delete an operator. Idempotent."""
    unit.execute(delete(operator).where(operator.c.account == account_id, operator.c.id == operator_id))


def remove_all(unit: Unit, account_id: bytes) -> None:
    """Delete the operators of an account that is closed, or without its organisation. Idempotent."""
    unit.execute(delete(operator).where(operator.c.account == account_id))
