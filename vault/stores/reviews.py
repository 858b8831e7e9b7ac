"""Registrations and their reviews in the directory store: the queue, leases and decisions."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import orjson
from sqlalchemy import (
    ColumnElement,
    Select,
    TextClause,
    and_,
    bindparam,
    or_,
    select,
    text,
    true,
    tuple_,
    update,
)

from keys.bulk import Bulk, Rows, insert_all
from keys.driver import Prepared, Speaking, Step
from vault.stores.directory import ACCOUNT_ALONE, NO_MATCH, review, standing
from vault.stores.unit import Unit


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A registration in review, or decided."""

    reg: bytes
    provider: str
    pid: bytes
    account: bytes | None
    kind: str
    attempt: int
    state: str
    lease_by: str | None
    lease_until: int | None
    method: str | None
    reason: str | None
    fix: str | None
    reviewer: str | None
    shown: bytes | None
    expired_document: int | None
    supersedes: bytes | None
    representative: bytes | None
    submitted: int
    decided: int | None

    @property
    def fixes(self) -> list[str]:
        """What a returned registration must mend."""
        return orjson.loads(self.fix) if self.fix else []


_COLUMNS = [review.c[name] for name in ReviewRow.__slots__]
_REVIEWS = Bulk(review)
_values = attrgetter(*ReviewRow.__slots__)
_KNOWN: Final = Prepared(select(review.c.reg).where(review.c.reg.in_(bindparam("regs", expanding=True))).limit(1))
_FIND = select(*_COLUMNS).where(review.c.reg == bindparam("reg"))


def add(unit: Unit, row: ReviewRow) -> None:
    """Insert a registration."""
    add_all(unit, [row])


def add_all(unit: Unit, rows: Iterable[ReviewRow]) -> None:
    """Insert registrations."""
    insert_all(unit, [], adding(rows))


def adding(rows: Iterable[ReviewRow]) -> Rows:
    """Return registrations as they are inserted together with others."""
    return Rows(_REVIEWS, [_values(row) for row in rows])


def knowing(store: Speaking, regs: Iterable[bytes]) -> Step:
    """Return the statement that tells by a row whether one of these registrations stands already."""
    return _KNOWN.on(store, regs=list(regs))


def open_of(unit: Unit, pid: bytes) -> ReviewRow | None:
    """Return the registration of a standing that is in review or returned."""
    where = and_(review.c.pid == pid, review.c.kind == "identity", review.c.state.in_(("in_review", "returned")))
    row = unit.execute(select(*_COLUMNS).where(where).limit(1)).one_or_none()
    return None if row is None else ReviewRow(*row)


def find(unit: Unit, reg: bytes) -> ReviewRow | None:
    """Return a registration."""
    row = unit.execute(_FIND, {"reg": reg}).one_or_none()
    return None if row is None else ReviewRow(*row)


def find_all(unit: Unit, regs: Iterable[bytes]) -> dict[bytes, ReviewRow]:
    """Return registrations by id."""
    return {row.reg: ReviewRow(*row) for row in unit.execute(select(*_COLUMNS).where(review.c.reg.in_(set(regs))))}


Place = tuple[int, bytes]
"""Where a list stands: (submitted, reg) of the last row shown. What is sent in again moves to the end."""
START: Final[Place] = (0, b"")
_ORDER: Final = (review.c.submitted, review.c.reg)
_DUE: Final = text("review.kind = 'identity' and review.forgotten is null and review.state in ('returned', 'rejected')")
"""`DUE` of the index, which is joined with other tables here."""


def _visible(bound_to: str | None) -> ColumnElement[bool] | TextClause:
    """A bound reviewer sees his provider's queue without matches; a vault reviewer sees all."""
    return true() if bound_to is None else and_(review.c.provider == bound_to, NO_MATCH)


def next_open(unit: Unit, bound_to: str | None, reviewer: str, now: int) -> ReviewRow | None:
    """Return the oldest registration in review that nobody else holds."""
    free = or_(review.c.lease_until.is_(None), review.c.lease_until <= now, review.c.lease_by == reviewer)
    query = select(*_COLUMNS).where(review.c.state == "in_review", _visible(bound_to), free)
    row = unit.execute(query.order_by(*_ORDER).limit(1)).one_or_none()
    return None if row is None else ReviewRow(*row)


def queue(unit: Unit, bound_to: str | None, state: str | None, after: Place, limit: int) -> list[ReviewRow]:
    """Return a reviewer's cases by time of submission, after a place; a vault reviewer's without a state by id."""
    query = select(*_COLUMNS).where(_visible(bound_to))
    if bound_to is None and state is None:
        # Of all cases of all providers: the only list that needs no index but the key's.
        query = query.where(review.c.reg > after[1]).order_by(review.c.reg)
    else:
        query = _placed(query, state, after)
    return [ReviewRow(*row) for row in unit.execute(query.limit(limit))]


def page(unit: Unit, owner: str, state: str | None, after: Place, limit: int) -> list[ReviewRow]:
    """Return a provider's registrations by time of submission, after a place; matches are none of its business."""
    query = select(*_COLUMNS).where(review.c.provider == owner, NO_MATCH)
    return [ReviewRow(*row) for row in unit.execute(_placed(query, state, after).limit(limit))]


def _placed(query: Select[Any], state: str | None, after: Place) -> Select[Any]:
    if state is not None:
        query = query.where(review.c.state == state)
    return query.where(tuple_(*_ORDER) > tuple_(*after)).order_by(*_ORDER)


def lease(unit: Unit, reg: bytes, reviewer: str, until: int, now: int) -> bool:
    """Take or renew a lease; False while another holds one."""
    free = or_(review.c.lease_until.is_(None), review.c.lease_until <= now, review.c.lease_by == reviewer)
    where = and_(review.c.reg == reg, review.c.state == "in_review", free)
    return unit.execute(update(review).where(where).values(lease_by=reviewer, lease_until=until)).rowcount == 1


def hold(unit: Unit, reg: bytes, by: str, until: int, now: int) -> bool:
    """Hold a returned registration for one resubmission at a time; False while another try runs."""
    free = or_(review.c.lease_until.is_(None), review.c.lease_until <= now)
    where = and_(review.c.reg == reg, review.c.state == "returned", free)
    return unit.execute(update(review).where(where).values(lease_by=by, lease_until=until)).rowcount == 1


def remember_shown(unit: Unit, reg: bytes, digest: bytes) -> None:
    """Remember which candidates the last reveal listed."""
    unit.execute(update(review).where(review.c.reg == reg).values(shown=digest))


def decide(unit: Unit, reg: bytes, attempt: int, decided: dict[str, Any], supersedes: bytes | None) -> bool:
    """Write a decision; False if that attempt was decided already. Idempotent."""
    where = and_(review.c.reg == reg, review.c.attempt == attempt, review.c.state == "in_review")
    return unit.execute(update(review).where(where).values(**_decided(decided, supersedes))).rowcount == 1


def decide_all(unit: Unit, attempts: Iterable[tuple[bytes, int]], decided: Mapping[str, Any]) -> list[bytes]:
    """Write one decision on many (registration, attempt); return those that were not decided before. Idempotent."""
    regs = defaultdict[int, list[bytes]](list)
    for reg, attempt in attempts:
        regs[attempt].append(reg)
    fresh: list[bytes] = []
    for attempt, of in regs.items():
        where = and_(review.c.reg.in_(of), review.c.attempt == attempt, review.c.state == "in_review")
        written = update(review).where(where).values(**_decided(decided, None)).returning(review.c.reg)
        fresh += unit.execute(written).scalars()
    return fresh


def _decided(decided: Mapping[str, Any], supersedes: bytes | None) -> dict[str, Any]:
    return {
        "state": decided["state"], "method": decided["method"], "reason": decided["reason"],
        "fix": orjson.dumps(decided["fix"]).decode(), "reviewer": decided["reviewer"], "decided": decided["at"],
        "supersedes": supersedes, "lease_by": None, "lease_until": None,
    }  # fmt: skip


def resubmit(unit: Unit, reg: bytes, attempt: int, now: int, *, expired_document: bool) -> bool:
    """Put a returned registration back in review, as its next attempt."""
    where = and_(review.c.reg == reg, review.c.attempt == attempt, review.c.state == "returned")
    values = {
        "state": "in_review", "attempt": attempt + 1, "submitted": now, "decided": None, "method": None,
        "reason": None, "fix": None, "reviewer": None, "shown": None,
        "lease_by": None, "lease_until": None, "expired_document": int(expired_document) or None, "forgotten": None,
    }  # fmt: skip
    return unit.execute(update(review).where(where).values(**values)).rowcount == 1


def resubmit_account(unit: Unit, owner: str, account: bytes, now: int) -> bool:
    """Put the returned review of an account alone back in review; False if it was not returned."""
    where = and_(review.c.provider == owner, review.c.account == account, ACCOUNT_ALONE)
    query = select(review.c.reg, review.c.attempt).where(where, review.c.state == "returned")
    row = unit.execute(query).one_or_none()
    return row is not None and resubmit(unit, row.reg, row.attempt, now, expired_document=False)


def withdraw_account(unit: Unit, owner: str, account: bytes) -> None:
    """End the open review of an account alone, which is closed. Idempotent."""
    where = and_(review.c.provider == owner, review.c.account == account, ACCOUNT_ALONE)
    open_state = review.c.state.in_(("in_review", "returned"))
    unit.execute(update(review).where(where, open_state).values(**_WITHDRAWN))


def supersede(unit: Unit, alias: bytes) -> None:
    """Note on an alias's approved registrations that its token was superseded. Idempotent."""
    where = and_(review.c.pid == alias, review.c.state == "approved", review.c.supersedes.is_(None))
    unit.execute(update(review).where(where).values(supersedes=alias))


def stand_alone(unit: Unit, pid: bytes) -> None:
    """Take back the note that a standing's token was superseded. Idempotent."""
    unit.execute(update(review).where(review.c.pid == pid).values(supersedes=None))


_WITHDRAWN = {
    "state": "withdrawn", "method": None, "reason": None, "fix": None, "shown": None, "lease_by": None,
    "lease_until": None,
}  # fmt: skip


def withdraw(unit: Unit, pid: bytes) -> None:
    """End all registrations of a standing. Idempotent."""
    unit.execute(update(review).where(review.c.pid == pid).values(**_WITHDRAWN))


def withdraw_one(unit: Unit, reg: bytes) -> None:
    """End one registration. Idempotent."""
    unit.execute(update(review).where(review.c.reg == reg).values(**_WITHDRAWN))


_OTHER = review.alias("other")
_LATER = and_(_OTHER.c.pid == review.c.pid, _OTHER.c.reg != review.c.reg, _OTHER.c.kind == "identity")
_KEPT = ("in_review", "returned", "approved")


def followed(unit: Unit, row: ReviewRow) -> bool:
    """Tell whether the account of a rejected registration was registered anew."""
    anew = select(_OTHER.c.reg).where(_LATER, _OTHER.c.state.in_(_KEPT))
    return bool(unit.execute(select(review.c.reg).where(review.c.reg == row.reg, anew.exists())).all())


def rejected_of(unit: Unit, pid: bytes) -> list[ReviewRow]:
    """Return the rejected registrations of a standing."""
    where = and_(review.c.pid == pid, review.c.kind == "identity", review.c.state == "rejected")
    return [ReviewRow(*row) for row in unit.execute(select(*_COLUMNS).where(where))]


def rejected_before(unit: Unit, before: int, limit: int) -> list[ReviewRow]:
    """Return registrations that were rejected before a time and still have a record, none made anew since."""
    since = or_(_OTHER.c.state.in_(_KEPT), and_(_OTHER.c.state == "rejected", _OTHER.c.decided >= before))
    query = (
        _due("rejected", before)
        .join(standing, standing.c.pid == review.c.pid)
        .where(standing.c.link.is_not(None), standing.c.assurance == "none", standing.c.superseded_by.is_(None))
        .where(~select(_OTHER.c.reg).where(_LATER, since).exists())
    )
    return [ReviewRow(*row) for row in unit.execute(query.limit(limit))]


def returned_before(unit: Unit, before: int, limit: int) -> list[ReviewRow]:
    """Return registrations that were returned before a time and may still have evidence, longest ago first."""
    return [ReviewRow(*row) for row in unit.execute(_due("returned", before).limit(limit))]


def _due(state: str, before: int) -> Select[Any]:
    where = and_(_DUE, review.c.state == state, review.c.decided < before)
    return select(*_COLUMNS).where(where).order_by(review.c.decided)


def forget(unit: Unit, pid: bytes) -> None:
    """Note that what runs out after a decision is gone of a standing's registrations. Idempotent."""
    decided = review.c.state.in_(("rejected", "returned"))
    unit.execute(update(review).where(review.c.pid == pid, decided).values(forgotten=1))
