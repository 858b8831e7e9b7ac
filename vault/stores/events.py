"""Events of the directory store: an outbox for each provider, in the order in which it was written."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import delete, func, select

from keys.bulk import Bulk
from vault.domain.ids import EventId
from vault.stores.directory import event, provider
from vault.stores.unit import Unit, oldest

RESYNC: Final = "resync-required"
DECIDED: Final = "registration-decided"
TYPES: Final = frozenset({RESYNC, DECIDED})
"""All that a provider is told of."""
_PER_SECOND: Final = 1000
_EVENTS: Final = Bulk(event)


def add(unit: Unit, client: str, kind: str, about: bytes | None, now: int) -> None:
    """Tell a provider of something, in the transaction in which it happens: as its last statement that locks anything.

    Numbers of one provider are given under a lock that is held until the commit, so that none comes after a higher one
    was read; and never below the clock, so that they go on where an older directory came back.
    """
    add_all(unit, client, kind, [about], now)


def add_all(unit: Unit, client: str, kind: str, abouts: Sequence[bytes | None], now: int) -> None:
    """Tell a provider of several things of one kind, in their order: see `add`."""
    if not abouts:
        return
    unit.execute(select(provider.c.client).where(provider.c.client == client).with_for_update())
    last = unit.execute(select(func.max(event.c.number)).where(event.c.provider == client)).scalar_one()
    first = max(now * _PER_SECOND, (last or 0) + 1)
    rows = [(client, number, EventId.new().raw, kind, about) for number, about in enumerate(abouts, first)]
    _EVENTS.insert(unit, rows)


def page(unit: Unit, client: str, after: int, limit: int) -> Sequence[Any]:
    """Return a provider's events after a number: number, id, type, about."""
    query = select(event.c.number, event.c.id, event.c.type, event.c.about)
    own = (event.c.provider == client) & (event.c.number > after)
    return unit.execute(query.where(own).order_by(event.c.number).limit(limit)).all()


def minute_of(number: int) -> int:
    """Return the minute since 1970 in which an event was written."""
    return number // (60 * _PER_SECOND)


def expire(unit: Unit, before: int, limit: int) -> None:
    """Delete events that were written before a time in seconds since 1970, about so many at most."""
    unit.execute(delete(event).where(oldest(unit, event.c.number, before * _PER_SECOND, limit)))
