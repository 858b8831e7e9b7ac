"""The directory's part of the key agent's plans: decisions, splits, erasures. One transaction each, idempotent.

What each part of a plan means is told where it is made: `keys/agent/acts/uniting.py`, `splitting.py`, `erasing.py`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import delete, func, update

from vault.domain.scopes import Rung, running
from vault.stores import approving, events, fences, operators, reviews, sanctions, standings
from vault.stores.directory import account, fence, local_tag, operator, person_tag, standing
from vault.stores.standings import StandingRow
from vault.stores.unit import Unit

Plan = Mapping[str, Any]


def enter(unit: Unit, intent: bytes, day: int) -> bool:
    """Tell whether a plan is this transaction's to write here; False if this store has it."""
    return fences.enter(unit, fence, intent, day)


def forget(unit: Unit, day: int, limit: int) -> None:
    """Forget plans that were carried out so long ago that nobody has them in hand; about so many at most."""
    fences.expire(unit, fence, day, limit)


def decided(unit: Unit, plan: Plan, now: int) -> None:
    """Write a decision: assurance, tags, merges, bans that go over, and the review itself."""
    memo = plan["decision"]
    if memo["state"] == "approved" and memo["kind"] == "identity":
        # Before accounts move: those of the registrant alone, not of whom he is found to be.
        standings.approve_personal(unit, memo["pid"])
    for pid, assurance in plan["assurance"]:
        standings.set_assurance(unit, pid, assurance)
    for old, new, pid in plan["tags"]:
        standings.write_tag(unit, old, new, pid)
    for former, pid in plan["bans"]:
        _go_over(unit, former, pid, now)
    for tag, kind, pid in plan["local"]:
        standings.add_local_tag(unit, tag, kind, pid)
    for merge in plan["merges"]:
        standings.merge(unit, merge["alias"], merge["survivor"], [(acc, mac) for acc, mac in merge["accounts"]])
        reviews.supersede(unit, merge["alias"])
    supersedes = next((m["alias"] for m in plan["merges"] if m["alias"] == memo["pid"]), None)
    fresh = reviews.decide(unit, memo["reg"], memo["attempt"], memo, supersedes)
    if memo["account"] is not None and memo["kind"] != "match":
        standings.set_account_state(unit, memo["account"], memo["provider"], memo["account_state"])
    if fresh and memo["match"] is not None:
        reviews.add(unit, reviews.ReviewRow(*memo["match"]))
    if fresh and memo["kind"] != "match":
        events.add(unit, memo["provider"], events.DECIDED, memo["reg"], now)


def _go_over(unit: Unit, former: bytes, pid: bytes, now: int) -> None:
    """Copy the running sanctions of an erased registrant: his old accounts, if any, stay under them too."""
    living = standings.living(unit, pid)
    for row in sanctions.of_standing(unit, former):
        runs = row.lifted is None and (row.until is None or row.until > now)
        if living is not None and row.account is None and runs:
            # The same id at each try, so that a retry adds nothing.
            copied = hashlib.sha256(row.id + living.pid).digest()[: len(row.id)]
            sanctions.add(unit, replace(row, id=copied, pid=living.pid, origin=living.pid, statement=None))
    unit.execute(delete(local_tag).where(local_tag.c.pid == former))


def retagged(unit: Unit, plan: Plan, now: int) -> None:
    """Write links and tags of a registrant under other versions of their keys; the tags beside those of the former."""
    del now
    for pid, former, link in plan["links"]:
        unit.execute(update(standing).where(standing.c.pid == pid, standing.c.link == former).values(link=link))
    for old, new, pid in plan["tags"]:
        standings.write_tag(unit, old, new, pid)
    for tag, kind, pid in plan["local"]:
        standings.add_local_tag(unit, tag, kind, pid)


def parted(unit: Unit, plan: Plan, now: int) -> None:
    """Write a split: the alias lives again with its accounts, sanctions and tags."""
    del now
    for old, new, pid in plan["tags"]:
        standings.write_tag(unit, old, new, pid)
    apart = plan["apart"]
    if apart is None:
        return
    alias, survivor = apart["alias"], apart["survivor"]
    unit.execute(update(standing).where(standing.c.pid == alias).values(superseded_by=None))
    for account_id, mac in apart["accounts"]:
        back = update(account).where(account.c.pid == survivor, account.c.id == account_id)
        unit.execute(back.values(pid=alias, mac=mac, merged_from=func.nullif(account.c.merged_from, alias)))
        sanctions.follow(unit, account_id, survivor, alias)
    for pid in apart["group"]:
        sanctions.give_back(unit, pid, survivor, alias)
    reviews.stand_alone(unit, alias)
    unit.execute(delete(local_tag).where(local_tag.c.pid == survivor))
    for tag, kind, pid in plan["local"]:
        standings.add_local_tag(unit, tag, kind, pid)


def erased(unit: Unit, plan: Plan, now: int) -> None:
    """Write an erasure: tombstones, what a running ban keeps, and a fresh legacy standing for open accounts."""
    living = standings.find(unit, plan["ended"][0])
    if plan["why"] == "rejected":
        _forget_record(unit, plan["ended"][0])
        reviews.forget(unit, plan["ended"][0])
        return
    if living is not None and living.state == "live":
        keeper = _keeper(unit, plan, living, now)
        _keep_ban(unit, living, keeper, now)
        sanctions.move(unit, living.pid, keeper)
        sanctions.forget_statements(unit, keeper)
    for pid in plan["ended"]:
        _bury(unit, pid)
    for pid in plan["elsewhere"]:
        _forget_record(unit, pid)
        unit.execute(update(standing).where(standing.c.pid == pid).values(inactive_from=plan["decision"]["elsewhere"]))


def _keeper(unit: Unit, plan: Plan, living: StandingRow, now: int) -> bytes:
    """Return who holds the sanctions from now on: the fresh legacy standing, or without open accounts the tombstone."""
    pid: bytes = plan["legacy"]["pid"]
    rebound = dict(plan["legacy"]["accounts"])
    kept = [row for row in standings.accounts_of(unit, living.pid) if row.id in rebound and row.state != "closed"]
    if not kept:
        return living.pid
    fresh = replace(
        living, pid=pid, link=None, assurance="none", generation=0, ladder=None, inactive_from=None, created=now
    )
    standings.add_bare(unit, fresh)
    for row in kept:
        moved = update(account).where(account.c.pid == living.pid, account.c.id == row.id)
        unit.execute(moved.values(pid=pid, mac=rebound[row.id], merged_from=None, state="legacy"))
        # The mandate went with the record: nobody acts for this account any more.
        operators.remove_all(unit, row.id)
    return pid


def _keep_ban(unit: Unit, living: StandingRow, keeper: bytes, now: int) -> None:
    mine = local_tag.c.pid == living.pid
    if running(living.ladder, now).rung > Rung.warn:
        unit.execute(update(local_tag).where(mine).values(pid=keeper, kept=1))
    else:
        unit.execute(delete(local_tag).where(mine))


def _bury(unit: Unit, pid: bytes) -> None:
    unit.execute(delete(person_tag).where(person_tag.c.pid == pid))
    unit.execute(delete(operator).where(operator.c.pid == pid))
    unit.execute(update(standing).where(standing.c.pid == pid).values(state="gone", link=None, assurance="none"))
    reviews.withdraw(unit, pid)


def _forget_record(unit: Unit, pid: bytes) -> None:
    """Leave a standing without a record behind it."""
    unit.execute(delete(person_tag).where(person_tag.c.pid == pid))
    unit.execute(update(standing).where(standing.c.pid == pid).values(link=None, assurance="none"))


BY_KIND: Final[Mapping[str, Callable[[Unit, Plan, int], None]]] = {
    "review": decided,
    "approve": approving.approved,
    "split": parted,
    "erase": erased,
    "retag": retagged,
}
"""By the kind of the intent."""
