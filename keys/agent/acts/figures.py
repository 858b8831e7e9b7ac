"""The act `figures`, behind `directory.sock`: numbers for monitoring, of no sector, provider or person."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select

from keys import store
from keys.agent.arguments import Args
from keys.agent.names import Limits
from keys.agent.wire import Dialogue
from keys.engine import reading

_HOUR_SECONDS: Final = 3600


def figures(engine: Engine, limits: Limits, now: Callable[[], int], _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return {budgets: {kind: {used, fullest}}, intents, intent_oldest, outbox, outbox_minute}.

    `used` sums all budgets of a kind in this hour, `fullest` is the greatest part of its limit that one of them used.
    Oldest times are in seconds, or minutes, since 1970; 0 where there is nothing.
    """
    intent, outbox = store.intent, store.audit_outbox
    with reading(engine) as connection:
        intents, oldest = connection.execute(select(func.count(), func.min(intent.c.created)).select_from(intent)).one()
        rows, minute = connection.execute(select(func.count(), func.min(outbox.c.minute)).select_from(outbox)).one()
        budgets = _budgets(connection, limits, now() // _HOUR_SECONDS)
    return {
        "budgets": budgets, "intents": intents, "intent_oldest": oldest or 0, "outbox": rows,
        "outbox_minute": minute or 0,
    }  # fmt: skip


def _budgets(connection: Connection, limits: Limits, window: int) -> dict[str, dict[str, float]]:
    query = select(store.agreement.c.id, store.agreement.c.per_hour)
    of_agreements = {f"exchange/{row.id.hex()}": row.per_hour for row in connection.execute(query)}
    found = {"create": {"used": 0, "fullest": 0.0}, "exchange": {"used": 0, "fullest": 0.0}}
    current = select(store.budget.c.name, store.budget.c.used).where(store.budget.c.window == window)
    for name, used in connection.execute(current):
        kind = name.partition("/")[0]
        limit = of_agreements.get(name) if kind == "exchange" else limits.creates_per_hour
        if kind in found:
            found[kind]["used"] += used
            found[kind]["fullest"] = max(found[kind]["fullest"], used / limit if limit else 0.0)
    return found
