"""Counts over the directory: what the acts of a month were made of, and how many rows there are that an act made."""

from collections import Counter
from typing import Final

from sqlalchemy import BindParameter, CursorResult, bindparam, func, select

from vault.domain.scopes import Rung
from vault.domain.transparency import Month, Period
from vault.stores.directory import client, review, sanction
from vault.stores.unit import Unit

_FACETS: Final = ("rung", "ground", "automated", "source")
_OUTCOMES: Final = ("approved", "returned", "rejected")
_since: Final[BindParameter[int]] = bindparam("since")
_before: Final[BindParameter[int]] = bindparam("before")
_SET: Final = (
    select(*(sanction.c[name] for name in _FACETS), func.count())
    .where(sanction.c.starts >= _since, sanction.c.starts < _before)
    .group_by(*(sanction.c[name] for name in _FACETS))
)
_LIFTED: Final = (
    select(sanction.c.lift_reason, func.count())
    .where(sanction.c.lifted >= _since, sanction.c.lifted < _before)
    .group_by(sanction.c.lift_reason)
)
_DECIDED: Final = review.c.kind != "match", review.c.decided >= _since, review.c.decided < _before
_REVIEWS: Final = (
    select(review.c.state, func.count()).where(*_DECIDED, review.c.state.in_(_OUTCOMES)).group_by(review.c.state)
)
_WAITED: Final = (
    select(review.c.decided - review.c.submitted)
    .where(*_DECIDED, review.c.state == "approved")
    .order_by(review.c.decided - review.c.submitted)
    .limit(1)
    .offset(bindparam("middle"))
)


_CLIENTS: Final = select(client.c.role + ".enrolled", func.count()).group_by(client.c.role)
_COPIED: Final = ("provider", "rung", "starts", "until", "ground", "by", "automated", "source")
"""What a sanction keeps when it goes over to the new standing of somebody who returns under a ban."""
_SANCTIONS: Final = select(func.count()).select_from(
    select(*(sanction.c[name] for name in _COPIED)).distinct().subquery()
)


def made(unit: Unit) -> dict[str, int]:
    """Return how many rows there are that only an act of a type makes: each has its audit row, or its leaf.

    Sanctions that agree in all but whom they are on count once: a ban goes over to who returns, without an act.
    """
    return _pairs(unit.execute(_CLIENTS)) | {"sanction.set": unit.execute(_SANCTIONS).scalar_one()}


def month(unit: Unit, period: Period) -> Month:
    """Return what the acts of a month were made of; reads the sanctions and reviews once each.

    Sanctions that retention has deleted are not counted any more.
    """
    since, before = period.seconds
    span = {"since": since, "before": before}
    counts: dict[str, Counter[str]] = {name: Counter() for name in _FACETS}
    for *values, count in unit.execute(_SET, span):
        for name, value in zip(_FACETS, values, strict=True):
            counts[name][Rung(value).name if name == "rung" else value] += count
    reversals, decided = _pairs(unit.execute(_LIFTED, span)), _pairs(unit.execute(_REVIEWS, span))
    approved = decided.get("approved", 0)
    seconds = unit.execute(_WAITED, span | {"middle": (approved - 1) // 2}).scalar() if approved else None
    return Month(period.name, counts, reversals, decided, None if seconds is None else int(seconds) // 60)


def _pairs(found: CursorResult[str, int]) -> dict[str, int]:
    return {row[0]: row[1] for row in found}
