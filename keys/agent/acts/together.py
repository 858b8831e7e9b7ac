"""The acts `create` and `create.done` of one holder: calls that come at the same time are one transaction (ADR 13).

Each call gets its own answer; one that is refused fails alone, since the others are then carried out by themselves.
What `create.done` is to write is made while `create` has the keys at hand (ADR 44): it then reads nothing, and writes
over rows alone that are as they were drawn. Where that is not at hand, or they are not, it reads them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from keys.agent.acts.registering import (
    MOST,
    Claim,
    Claims,
    Completion,
    Drawn,
    claims_of,
    complete,
    complete_drawn,
    completions,
    draw_all,
    insert_drawn,
)
from keys.agent.arguments import Args
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.errors import ConflictError, KeysError, RefusedError
from keys.grouping import Group
from keys.records import State

_GATHER_SECONDS: Final = 0.0015
"""How long calls wait for those of other workers that were answered together before."""


class Ready:
    """Completions of the records that were drawn last, each until it is asked for; twice as many as a call may hold."""

    def __init__(self, most: int = 2 * MOST) -> None:
        self._most, self._by_rid = most, dict[bytes, Completion]()

    def keep(self, ready: Mapping[bytes, Completion]) -> None:
        """Keep some, and forget as many of the oldest as are too many."""
        self._by_rid.update(ready)
        for rid in list(self._by_rid)[: max(len(self._by_rid) - self._most, 0)]:
            self._by_rid.pop(rid, None)

    def take(self, claims: Claims, minute: int) -> list[Completion]:
        """Return those that are kept of what these rows claim and that are of this minute; each is given once."""
        found = [one for rid in claims if (one := self._by_rid.pop(rid, None)) is not None]
        return [one for one in found if one.claim == claims[one.claim.rid] and one.minute == minute]


class Creations:
    """The act `create`."""

    def __init__(self, names: Names, ready: Ready) -> None:
        self._names, self._ready = names, ready
        self._group = Group[Drawn, None](self._carry_out, (KeysError,), gather_seconds=_GATHER_SECONDS)

    def __call__(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Do what `registering.create` does; what is drawn is sealed before it waits for others."""
        drawn = draw_all(self._names, args, State.CREATING)
        ready = completions(self._names, drawn)
        self._group.do(drawn)
        self._ready.keep(ready)
        return {"items": drawn.answers}

    def _carry_out(self, calls: Sequence[Drawn]) -> list[None]:
        insert_drawn(self._names, calls)
        return [None] * len(calls)


class Completions:
    """The act `create.done`."""

    def __init__(self, names: Names, ready: Ready) -> None:
        self._names, self._ready = names, ready
        self._group = Group[Claims, None](self._carry_out, (KeysError,), gather_seconds=_GATHER_SECONDS)

    def __call__(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Do what `registering.create_done` does."""
        self._group.do(claims_of(self._names, args))
        return {}

    def _carry_out(self, calls: Sequence[Claims]) -> list[None]:
        all_claims: dict[bytes, Claim] = {}
        for claims in calls:
            for rid, claim in claims.items():
                if all_claims.setdefault(rid, claim) != claim:
                    raise RefusedError  # two calls say different things of one record: each is looked at by itself
        left = all_claims.keys() - self._completed(all_claims)
        if left:
            complete(self._names, {rid: all_claims[rid] for rid in left})
        return [None] * len(calls)

    def _completed(self, claims: Claims) -> set[bytes]:
        """Complete those whose completions are at hand; return which: none where another act changed one."""
        ready = self._ready.take(claims, self._names.minute)
        try:
            if ready:
                complete_drawn(self._names, ready)
        except ConflictError:
            return set()
        return {one.claim.rid for one in ready}
