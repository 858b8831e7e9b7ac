"""The act `handoff.expire`: what nobody redeemed in time goes, also where no hand-off is opened any more."""

from typing import Any

from keys import handoffs
from keys.agent.arguments import Args
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.engine import writing


def expire(names: Names, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Delete hand-offs that have expired; return how many. Idempotent."""
    with writing(names.engine) as connection:
        return {"gone": handoffs.expire(connection, names.now())}
