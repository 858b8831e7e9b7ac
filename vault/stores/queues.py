"""How long the directory's queues are: reviews that wait, audit rows that were not drained."""

from sqlalchemy import func, select

from vault.stores.directory import audit_outbox, review
from vault.stores.unit import Unit

_REVIEWS = (
    select(review.c.kind, func.count(), func.min(review.c.submitted))
    .where(review.c.state == "in_review")
    .group_by(review.c.kind)
)
_OUTBOX = select(func.count(), func.min(audit_outbox.c.minute)).select_from(audit_outbox)


def open_reviews(unit: Unit) -> list[tuple[str, int, int]]:
    """Return (kind, how many wait, when the oldest was submitted in seconds since 1970)."""
    return [(kind, count, oldest) for kind, count, oldest in unit.execute(_REVIEWS)]


def outbox(unit: Unit) -> tuple[int, int]:
    """Return (audit rows that were not drained, the oldest's minute since 1970 or 0)."""
    rows, minute = unit.execute(_OUTBOX).one()
    return rows, minute or 0
