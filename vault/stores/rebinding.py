"""Accounts that changed between a plan and its carrying out: renamed, added or closed in the meantime.

The key agent binds the accounts that move from one standing to another as they were when it made its plan. One that was
renamed since would not hold under that MAC, and one that was added since has none: these are bound anew, in the
transaction that moves them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vault.stores import standings
from vault.stores.standings import AccountRow
from vault.stores.unit import Unit

Bind = Callable[[Mapping[str, object]], bytes]
"""The act `account.bind`."""


def fitted(unit: Unit, plan: Mapping[str, Any], bind: Bind) -> dict[str, Any]:
    """Return a plan whose accounts are (id, mac) pairs that hold for the rows as they are now."""
    found = dict(plan)
    if "merges" in plan:
        found["merges"] = [
            {**merge, "accounts": _all_of(unit, merge["alias"], merge["survivor"], merge["accounts"], bind)}
            for merge in plan["merges"]
        ]
    if plan.get("apart"):
        apart = plan["apart"]
        back = _all_of(unit, apart["survivor"], apart["alias"], apart["accounts"], bind)
        planned = {entry[0] for entry in apart["accounts"]}
        found["apart"] = {**apart, "accounts": [pair for pair in back if pair[0] in planned]}
    if "legacy" in plan:
        legacy = plan["legacy"]
        accounts = _all_of(unit, plan["ended"][0], legacy["pid"], legacy["accounts"], bind)
        found["legacy"] = {**legacy, "accounts": accounts}
    return found


def _all_of(unit: Unit, former: bytes, pid: bytes, planned: list[Any], bind: Bind) -> list[tuple[bytes, bytes]]:
    """Return (id, mac) of everything that stands on `former`, as bound to `pid`."""
    known = {account: (mac, handle) for account, mac, handle in planned}
    return [(row.id, _mac(row, pid, known.get(row.id), bind)) for row in standings.accounts_of(unit, former)]


def _mac(row: AccountRow, pid: bytes, planned: tuple[bytes, str] | None, bind: Bind) -> bytes:
    if row.state == "closed":
        return row.mac  # a tombstone: nothing is bound by it
    if planned is not None and planned[1] == row.handle:
        return planned[0]
    return bind({"provider": row.provider, "handle": row.handle, "pid": pid, "account": row.id})
