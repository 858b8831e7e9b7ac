"""The act `figures`, behind `directory.sock`: numbers for monitoring, of no sector, provider or person."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select

from keys import store
from keys.agent.arguments import Args
from keys.agent.names import Limits
from keys.agent.wire import Dialogue
from keys.chains import head_of, seen
from keys.engine import reading
from keys.errors import ChainError
from keys.uses import by_version

_HOUR_SECONDS: Final = 3600


def figures(engine: Engine, limits: Limits, now: Callable[[], int], _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return {budgets: {kind: {used, fullest}}, intents, intent_oldest, outbox, outbox_minute, kek, kek_limit}.

    `used` sums all budgets of a kind in this hour, `fullest` is the greatest part of its limit that one of them used.
    `kek` is how often each version of the key encryption key was used, `kek_limit` how often each may be.
    Oldest times are in seconds, or minutes, since 1970; 0 where there is nothing.
    """
    intent, outbox = store.intent, store.audit_outbox
    with reading(engine) as connection:
        intents, oldest = connection.execute(select(func.count(), func.min(intent.c.created)).select_from(intent)).one()
        rows, minute = connection.execute(select(func.count(), func.min(outbox.c.minute)).select_from(outbox)).one()
        used = by_version(connection)
        budgets = _budgets(connection, _raised(engine, connection, limits), now() // _HOUR_SECONDS)
    return {
        "budgets": budgets, "intents": intents, "intent_oldest": oldest or 0, "outbox": rows,
        "outbox_minute": minute or 0, "kek": used, "kek_limit": limits.kek_uses,
    }  # fmt: skip


def _raised(engine: Engine, connection: Connection, limits: Limits) -> Limits:
    """Return the limits as officers changed them: what their chain says, where its signatures hold.

    This holder has not the root key under which the chain's end lies; numbers for monitoring decide nothing.
    """
    if head_of(connection) is None:
        return limits
    try:
        state = seen(engine)
    except ChainError:
        return limits
    known = {one.name for one in fields(limits)}
    return replace(limits, **{k: n for k, n in (state.budgets if state else {}).items() if k in known})


def _budgets(connection: Connection, limits: Limits, window: int) -> dict[str, dict[str, float]]:
    query = select(store.agreement.c.id, store.agreement.c.per_hour)
    of_agreements = {f"exchange/{row.id.hex()}": row.per_hour for row in connection.execute(query)}
    found = {kind: {"used": 0, "fullest": 0.0} for kind in ("create", "disclosures", "exchange")}
    of_kinds = {"create": limits.creates_per_hour, "disclosures": limits.disclosures_per_hour}
    current = select(store.budget.c.name, store.budget.c.used).where(store.budget.c.window == window)
    for name, used in connection.execute(current):
        kind = name.partition("/")[0]
        limit = of_agreements.get(name) if kind == "exchange" else of_kinds.get(kind)
        if kind in found:
            found[kind]["used"] += used
            found[kind]["fullest"] = max(found[kind]["fullest"], used / limit if limit else 0.0)
    return found
