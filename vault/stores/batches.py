"""Reads of many standings at once: a statement a table, not one an item."""

from collections.abc import Callable, Iterable
from typing import Final

from sqlalchemy import bindparam, select

from vault.stores.directory import account, person_tag, standing
from vault.stores.handles import owned_as
from vault.stores.standings import ACCOUNT, AccountRow, StandingRow
from vault.stores.unit import Outcome, Prepared, Speaking, Step, Store, Unit

INTROSPECTED: Final = Prepared(
    select(
        standing.c.pid, account.c.id.label("account"), standing.c.assurance, standing.c.generation, standing.c.ladder,
        standing.c.inactive_from, standing.c.superseded_by, standing.c.state, account.c.state.label("account_state"),
        account.c.ladder.label("account_ladder"),
    )
    .select_from(standing.outerjoin(account, account.c.pid == standing.c.pid))
    .where(standing.c.pid.in_(bindparam("pids", expanding=True)), standing.c.provider == bindparam("client"))
)  # fmt: skip
"""What introspection needs of many standings of one client."""
APART: Final = 2
"""How many of its columns say whose it is; what is answered depends on the others alone."""
_FIND: Final = Prepared(select(standing).where(standing.c.pid.in_(bindparam("pids", expanding=True))))


def find_all(store: Store, pids: Iterable[bytes]) -> dict[bytes, StandingRow]:
    """Return standings by pid, in one statement of the hot path: rows that have the members of a `StandingRow`."""
    return {row.pid: row for row in store.rows(_FIND, pids=list(pids))}


def finding(store: Speaking, pids: Iterable[bytes]) -> Step:
    """Return the statement that reads standings, to be run together with others; `found_in` takes what it gave."""
    return _FIND.on(store, pids=list(pids))


def found_in(outcome: Outcome) -> dict[bytes, StandingRow]:
    """Return the standings that were read, by pid."""
    return {row.pid: StandingRow(*row) for row in outcome.rows}


def living_all(store: Store, pids: Iterable[bytes]) -> dict[bytes, StandingRow]:
    """Return, by pid, the standing that each is or has become."""
    return _heirs(find_all(store, pids), lambda heirs: find_all(store, heirs))


def find(unit: Unit, pids: Iterable[bytes]) -> dict[bytes, StandingRow]:
    """Return standings by pid."""
    rows = unit.execute(select(standing).where(standing.c.pid.in_(set(pids))))
    return {row.pid: StandingRow(*row) for row in rows}


def living(unit: Unit, pids: Iterable[bytes]) -> dict[bytes, StandingRow]:
    """Return, by pid, the standing that each is or has become."""
    return _heirs(find(unit, pids), lambda heirs: find(unit, heirs))


def _heirs(
    found: dict[bytes, StandingRow], find_next: Callable[[set[bytes]], dict[bytes, StandingRow]]
) -> dict[bytes, StandingRow]:
    while heirs := {row.superseded_by for row in found.values() if row.superseded_by is not None}:
        next_ones = find_next(heirs)
        found = {pid: next_ones.get(row.superseded_by or b"", row) for pid, row in found.items()}
        if not next_ones:
            break
    return found


def tags(unit: Unit, pids: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Return the person tags of standings."""
    query = select(person_tag.c.pid, person_tag.c.tag).where(person_tag.c.pid.in_(set(pids)))
    found: dict[bytes, list[bytes]] = {}
    for row in unit.execute(query):
        found.setdefault(row.pid, []).append(row.tag)
    return found


def accounts_by_id(unit: Unit, owner: str, ids: Iterable[bytes]) -> dict[bytes, AccountRow]:
    """Return accounts of a provider by their ids."""
    query = select(*ACCOUNT).where(owned_as(owner, account.c.id.in_(set(ids))))
    return {row.id: AccountRow(*row) for row in unit.execute(query)}


def accounts(unit: Unit, pids: Iterable[bytes]) -> dict[bytes, list[AccountRow]]:
    """Return the accounts of standings."""
    found: dict[bytes, list[AccountRow]] = {}
    for row in unit.execute(select(*ACCOUNT).where(account.c.pid.in_(set(pids)))):
        found.setdefault(row.pid, []).append(AccountRow(*row))
    return found


def aliases(unit: Unit, pids: Iterable[bytes]) -> dict[bytes, list[StandingRow]]:
    """Return the standings that became each of these, however many steps away."""
    into = {pid: pid for pid in pids}
    found: dict[bytes, list[StandingRow]] = {}
    wanted = set(into)
    while wanted:
        rows = [StandingRow(*r) for r in unit.execute(select(standing).where(standing.c.superseded_by.in_(wanted)))]
        for row in rows:
            into[row.pid] = into[row.superseded_by or b""]
            found.setdefault(into[row.pid], []).append(row)
        wanted = {row.pid for row in rows}
    return found
