"""The acts `create` and `create.done` of one holder: calls that come at the same time are one transaction (ADR 13).

Each call gets its own answer; one that is refused fails alone, since the others are then carried out by themselves.
"""

from collections.abc import Sequence
from typing import Any, Final

from keys.agent.acts.registering import Claims, Drawn, claims_of, complete, draw_all, insert_drawn
from keys.agent.arguments import Args
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.errors import KeysError, RefusedError
from keys.grouping import Group
from keys.records import State

_GATHER_SECONDS: Final = 0.0015
"""How long calls wait for those of other workers that were answered together before."""


class Creations:
    """The act `create`."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._group = Group[Drawn, None](self._carry_out, (KeysError,), gather_seconds=_GATHER_SECONDS)

    def __call__(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Do what `registering.create` does; what is drawn is sealed before it waits for others."""
        drawn = draw_all(self._names, args, State.CREATING)
        self._group.do(drawn)
        return {"items": drawn.answers}

    def _carry_out(self, calls: Sequence[Drawn]) -> list[None]:
        insert_drawn(self._names, calls)
        return [None] * len(calls)


class Completions:
    """The act `create.done`."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._group = Group[Claims, None](self._carry_out, (KeysError,), gather_seconds=_GATHER_SECONDS)

    def __call__(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Do what `registering.create_done` does."""
        self._group.do(claims_of(self._names, args))
        return {}

    def _carry_out(self, calls: Sequence[Claims]) -> list[None]:
        all_claims: dict[bytes, Any] = {}
        for claims in calls:
            for rid, claim in claims.items():
                if all_claims.setdefault(rid, claim) != claim:
                    raise RefusedError  # two calls say different things of one record: each is looked at by itself
        complete(self._names, all_claims)
        return [None] * len(calls)
