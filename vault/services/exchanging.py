"""Exchange (RFC 8693): a provider's token becomes a hand-off for another, which redeems it once for its own token.

The agent decides, behind a socket of its own; this service shows it the rows, writes what a new person at the taker
needs, and spells the outcome. A batch is one call for the hand-offs it opens and one for those it redeems.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from keys.agent.client import AgentClient
from keys.errors import BudgetError, ConflictError, MissingError, OpenError, ProtocolError, RefusedError
from keys.grouping import Group
from keys.tokens import Pseudonym, handoff_hash
from vault.domain.scopes import Rung, running
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.evidence import Shown, gathered
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.introspecting import answer_of
from vault.services.linking import Linking
from vault.services.showing import Showing
from vault.services.tokens import Tokens
from vault.services.waiting import Patience
from vault.stores import batches, exchanges
from vault.stores.standings import StandingRow
from vault.stores.unit import Store

PSEUDONYM_TYPE: Final = "urn:idvault:token-type:pseudonym"
HANDOFF_TYPE: Final = "urn:idvault:token-type:handoff"
INVALID_REQUEST: Final[dict[str, Any]] = {"status": 400, "error": "invalid_request"}
INVALID_TARGET: Final[dict[str, Any]] = {"status": 400, "error": "invalid_target"}
INVALID_SCOPE: Final[dict[str, Any]] = {"status": 400, "error": "invalid_scope"}
USED_UP: Final[dict[str, Any]] = {"status": 503, "error": "temporarily_unavailable"}
"""Told apart from what passes by itself where there is a way to say so."""
_OUTCOMES: Final[Mapping[str, dict[str, Any]]] = {
    "subject": INVALID_REQUEST,
    "target": INVALID_TARGET,
    "scope": INVALID_SCOPE,
    "budget": {"status": 429, "error": "temporarily_unavailable"},
    "busy": {"status": 503, "error": "temporarily_unavailable"},
    "uses": USED_UP,
    "refused": {"status": 500, "error": "server_error"},
}
"""By the agent's reason; `refused` means that rows were changed by another hand, if it is not the work of a moment."""
_AGAIN: Final = ("busy", "refused")
_TRIES: Final = 20
_WAIT_SECONDS: Final = 0.05
_GATHER_SECONDS: Final = 0.003
"""How long single exchanges wait for those that were answered together before: a third of what one takes then."""
Given = dict[int, dict[str, Any]]
"""What the agent gave, by the place of the item."""
Attempting = Callable[[Client, dict[int, Any]], Given]
_REFUSALS: Final = (RefusedError, BudgetError, MissingError, OpenError, ProtocolError)
"""After which nothing of a group stands, and each wish is carried out by itself."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A token to hand over to an audience (a client id) for one purpose."""

    token: str
    audience: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Redeeming:
    """A hand-off to redeem; a purpose that is given must be its own."""

    handoff: str
    purpose: str | None = None


class Exchanging:
    """The flow of section 6.4 of the design."""

    def __init__(
        self,
        directory: Store,
        exchange: AgentClient,
        linking: Linking,
        tokens: Tokens,
        showing: Showing,
        idempotent: Idempotent,
        patience: Patience,
        now: Callable[[], int],
    ) -> None:
        self._directory, self._exchange, self._linking = directory, exchange, linking
        self._tokens, self._showing, self._idempotent = tokens, showing, idempotent
        self._patience, self._now = patience, now
        self._groups: dict[tuple[str, str], Group[tuple[Client, Any], dict[str, Any]]] = {}

    def batch(
        self, client: Client, wishes: Sequence[Opening | Redeeming | None], members: Idempotency | None
    ) -> Answer:
        """Return (200, {items}) of a batch; None is an item that is not of the form."""

        def effect(attempt: Attempt) -> Answer:
            answer = 200, {"items": self.exchange(client, wishes)}
            if members is not None:
                # The effect is the agent's and durable by now: a crash just here leaves the key to be run again.
                with self._directory.writing() as unit:
                    attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, members, b"", effect)

    def exchange(self, client: Client, wishes: Sequence[Opening | Redeeming | None]) -> list[dict[str, Any]]:
        """Return the outcome of each wish: {status, …}, with `error` where it was refused.

        Raises:
            KeysError: the agent is shut or away.
            VaultError: a store cannot be written, and what was begun is finished or undone later; too many came before.
        """
        outcomes: dict[int, dict[str, Any]] = {at: INVALID_REQUEST for at, wish in enumerate(wishes) if wish is None}
        opening = {at: wish for at, wish in enumerate(wishes) if isinstance(wish, Opening)}
        redeeming = {at: wish for at, wish in enumerate(wishes) if isinstance(wish, Redeeming)}
        for at, given in self._until_settled(opening, lambda pending: self._together(self._open, client, pending)):
            outcomes[at] = _opened(given, opening[at])
        for at, given in self._until_settled(redeeming, lambda pending: self._together(self._redeem, client, pending)):
            outcomes[at] = _redeemed(given)
        return [outcomes[at] for at in range(len(wishes))]

    def _together(self, attempt: Attempting, client: Client, wishes: dict[int, Any]) -> Given:
        """Have single wishes of one client that come to this process at the same time go as one batch (ADR 13)."""
        if len(wishes) != 1:
            return attempt(client, wishes)
        [(at, wish)] = wishes.items()
        line = attempt.__name__, client.id
        group = Group(partial(_joined, attempt), _REFUSALS, gather_seconds=_GATHER_SECONDS, prompt=True, lends=True)
        group = self._groups.setdefault(line, group)
        return {at: self._patience.turn(group, (client, wish))}

    def _until_settled(
        self, wishes: Mapping[int, Any], attempt: Callable[[dict[int, Any]], Given]
    ) -> Iterable[tuple[int, dict[str, Any]]]:
        """Try again what another act on the same person holds up, or left half-way a moment ago."""
        settled: Given = {}
        pending = dict(wishes)
        for tried in range(_TRIES):
            if not pending:
                break
            if tried:
                time.sleep(_WAIT_SECONDS)
            settled |= attempt(pending)
            pending = {at: wish for at, wish in pending.items() if settled[at].get("error") in _AGAIN}
        return settled.items()

    def _open(self, client: Client, wishes: dict[int, Opening]) -> Given:
        said = dict(zip(wishes, self._tokens.decoded(client, [wish.token for wish in wishes.values()]), strict=True))
        now = self._now()
        wanted = {wish.audience for wish in wishes.values()}
        pids, audience = list({one.pid for one in said.values() if one is not None}), next(iter(wanted))
        rows = self._directory.rows(exchanges.GIVEN, pids=pids, client=client.id, audience=audience, now=now)
        shown = gathered(rows)
        if rows and len(wanted) == 1:  # as single exchanges are, and most batches: told in the same round trip
            audiences = wanted if rows[0].open else set()
        else:
            audiences = {row.id for row in self._directory.rows(exchanges.OPEN, ids=list(wanted), now=now)}
        given: Given = {}
        known: dict[int, Shown] = {}
        exchangeable: dict[Pseudonym | None, Shown | None] = {}
        for at, wish in wishes.items():
            token = said[at]
            if token not in exchangeable:
                exchangeable[token] = _exchangeable(shown, token, client, now)
            one = exchangeable[token]
            if wish.audience not in audiences:
                given[at] = {"error": "target"}
            elif one is None:
                given[at] = {"error": "subject"}
            else:
                known[at] = one
        if not known:
            return given
        evidence = self._evidence({one.rows[0].pid: one for one in known.values()})
        place = {pid: number for number, pid in enumerate(evidence)}
        items = [
            {
                "audience": wishes[at].audience, "purpose": wishes[at].purpose,
                "generation": one.rows[0].generation, "standing": place[one.rows[0].pid],
            }
            for at, one in known.items()
        ]  # fmt: skip
        call = {"giver": client.id, "standings": list(evidence.values()), "items": items}
        return given | dict(zip(known, self._exchange.call("exchange.open", call)["items"], strict=True))

    def _evidence(self, shown: Mapping[bytes, Shown]) -> dict[bytes, dict[str, Any]]:
        """Return the evidence of standings by pid."""
        found = {pid: one.evidence() for pid, one in shown.items() if one.alone}
        others = [one.row for one in shown.values() if not one.alone]
        if others:
            found |= {row.pid: one for row, one in zip(others, self._linking.evidence_of(others), strict=True)}
        return found

    def _redeem(self, client: Client, wishes: dict[int, Redeeming]) -> Given:
        digests = {at: handoff_hash(wish.handoff) for at, wish in wishes.items()}
        items = [{"hash": digests[at], "purpose": wish.purpose} for at, wish in wishes.items()]
        answer = self._exchange.call("exchange.redeem", {"taker": client.id, "items": items}, self._answers)
        given: Given = dict(zip(wishes, answer["items"], strict=True))
        fresh = {at: item for at, item in given.items() if "link" in item}
        if fresh:
            consumed = self._make(client, list(fresh.values()), answer["intent"])
            for at in fresh:
                if consumed is None or digests[at] not in consumed:
                    given[at] = {"error": "busy" if consumed is None else "subject"}
        tokens = self._living_tokens(item["pid"] for item in given.values() if "pid" in item)
        return {at: {**item, "token": tokens[item["pid"]]} if "pid" in item else item for at, item in given.items()}

    def _make(self, client: Client, fresh: list[dict[str, Any]], intent: bytes) -> set[bytes] | None:
        """Write new persons at the taker; return whose hand-offs were consumed, None if others were quicker."""
        now = self._now()
        rows = [
            (
                StandingRow(
                    item["pid"], client.id, item["sector"], item["link"], "vault", 0, None, None, None, "live",
                    "natural", now,
                ),
                item["tags"],
            )
            for item in fresh
        ]  # fmt: skip
        try:
            with self._directory.writing() as unit:
                exchanges.add(unit, rows)
            return set(self._exchange.call("exchange.done", {"intent": intent})["consumed"])
        except ConflictError:
            return None
        except VaultError as error:
            if error.kind is not Kind.CONFLICT:
                raise
            return None

    def _answers(self, what: str, args: Mapping[str, Any]) -> object:
        """Serve what redeeming asks for: which tokens are still good, and the standings with the persons' tags."""
        if what == "tags":
            return self._tagged(args["values"])
        if what != "exchange":
            raise ProtocolError(f"the agent asked for {what}, which an exchange does not give")
        directory, tags = self._directory, args["tags"]
        taking = [exchanges.TAKEN.on(directory, tags=of_sector) for of_sector in tags.values()]
        given, *taken = directory.read(batches.finding(directory, args["tokens"]), *taking)
        now = self._now()
        good = [{"pid": row.pid, "generation": row.generation} for row in given.rows if _is_active(row, now)]
        shown = {sector: self._shown(tags[sector], found.rows) for sector, found in zip(tags, taken, strict=True)}
        return {"tokens": good, "tags": shown}

    def _tagged(self, tags: list[bytes]) -> object:
        return self._shown(tags, self._directory.rows(exchanges.TAKEN, tags=tags))

    def _shown(self, tags: list[bytes], rows: Sequence[Any]) -> object:
        """Return the standings with these person tags; what is more than a standing alone the slower way."""
        shown = gathered(rows)
        if not all(one.alone and one.rows[0].link for one in shown.values()):
            return self._linking.answers("tags", {"values": tags})
        asked = {row.asked: row.pid for row in rows}
        return [{"tag": tag, "standing": shown[pid].evidence()} for tag, pid in asked.items()]

    def _living_tokens(self, pids: Iterable[bytes]) -> dict[bytes, str]:
        return self._showing.tokens(batches.living_all(self._directory, set(pids)))


def _joined(attempt: Attempting, asked: Sequence[tuple[Client, Any]]) -> list[dict[str, Any]]:
    """Carry out the wishes of several requests of one client."""
    given = attempt(asked[0][0], dict(enumerate(wish for _, wish in asked)))
    return [given[at] for at in range(len(asked))]


def _exchangeable(
    shown: Mapping[bytes, Shown], said: Pseudonym | None, client: Client, now: int
) -> Shown | None:  # fmt: skip
    """Return the standing that a token speaks for, if it is active and anybody stands behind it."""
    one = None if said is None else shown.get(said.pid)
    # A standing without a record is a legacy account's.
    if said is None or one is None or not one.rows[0].link:
        return None
    return one if answer_of(one.rows, said, None, "", client.id, now, client.policy)["active"] else None


def _is_active(row: StandingRow, now: int) -> bool:
    ended = row.inactive_from is not None and row.inactive_from <= now
    closed = running(row.ladder, now).rung is Rung.close
    return row.state == "live" and row.superseded_by is None and not ended and not closed


def _opened(given: Mapping[str, Any], wish: Opening) -> dict[str, Any]:
    if "error" in given:
        return _OUTCOMES[given["error"]]
    return {
        "status": 200,
        "access_token": given["handoff"],
        "issued_token_type": HANDOFF_TYPE,
        "token_type": "N_A",
        "expires_in": given["expires_in"],
        "scope": wish.purpose,
    }


def _redeemed(given: Mapping[str, Any]) -> dict[str, Any]:
    if "error" in given:
        return _OUTCOMES[given["error"]]
    return {
        "status": 200,
        "access_token": given["token"],
        "issued_token_type": PSEUDONYM_TYPE,
        "token_type": "N_A",
        "scope": given["purpose"],
    }
