"""The directory's part of an approval of many: what `plans.decided` writes of one, in some statements for all of them.

Nobody of them matches anybody, so there are no merges, and no bans that go over.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import delete, select, update

from keys.bulk import Bulk
from vault.stores import events, reviews
from vault.stores.directory import account, local_tag, person_tag, standing
from vault.stores.handles import owned_as
from vault.stores.unit import Unit

_PERSON_TAGS: Final = Bulk(person_tag, conflict="ON CONFLICT (tag) DO UPDATE SET pid = excluded.pid")
_LOCAL_TAGS: Final = Bulk(local_tag, conflict="ON CONFLICT DO NOTHING")
_WAITING: Final = ("legacy", "in_review")


def approved(unit: Unit, plan: Mapping[str, Any], now: int) -> None:
    """Write an approval of many: assurance, tags, accounts, the reviews themselves. Idempotent."""
    memo, cases = plan["decision"], plan["cases"]
    pids = [case["pid"] for case in cases]
    personal = (account.c.kind == "personal") & account.c.state.in_(_WAITING)
    unit.execute(update(account).where(account.c.pid.in_(pids), personal).values(state="approved"))
    for assurance in {given for _, given in plan["assurance"]}:
        of = [pid for pid, given in plan["assurance"] if given == assurance]
        unit.execute(update(standing).where(standing.c.pid.in_(of)).values(assurance=assurance))
    _PERSON_TAGS.insert(unit, [(tag, pid) for _, tag, pid in plan["tags"]])
    _add_local_tags(unit, plan["local"])
    fresh = reviews.decide_all(unit, [(case["reg"], case["attempt"]) for case in cases], memo)
    accounts = [case["account"] for case in cases if case["account"] is not None]
    own = owned_as(memo["provider"], account.c.id.in_(accounts)) & (account.c.state != "closed")
    unit.execute(update(account).where(own).values(state="approved"))
    events.add_all(unit, memo["provider"], events.DECIDED, fresh, now)


def _add_local_tags(unit: Unit, rows: Sequence[tuple[bytes, str, bytes]]) -> None:
    """Add local tags as `standings.add_local_tag` does; those that a ban kept of an erased registrant give way."""
    nobody = select(standing.c.pid).where(standing.c.pid == local_tag.c.pid, standing.c.link.is_(None))
    tags = [tag for tag, _, _ in rows]
    unit.execute(delete(local_tag).where(local_tag.c.tag.in_(tags), nobody.exists()))
    _LOCAL_TAGS.insert(unit, [(tag, pid, kind) for tag, kind, pid in rows])
