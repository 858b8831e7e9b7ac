"""Exchange (RFC 8693): a provider's token becomes a hand-off for another, which redeems it once for its own token.

The agent decides, behind a socket of its own; this service shows it the rows, writes what a new person at the taker
needs, and spells the outcome. A batch is one call for the hand-offs it opens and one for those it redeems.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keys.agent.client import AgentClient
from keys.errors import ConflictError, ProtocolError
from keys.tokens import handoff_hash
from vault.domain.scopes import Rung, running
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.linking import Linking
from vault.services.showing import Showing
from vault.services.tokens import Tokens
from vault.stores import batches, exchanges
from vault.stores.standings import StandingRow
from vault.stores.unit import Store

PSEUDONYM_TYPE: Final = "urn:idvault:token-type:pseudonym"
HANDOFF_TYPE: Final = "urn:idvault:token-type:handoff"
INVALID_REQUEST: Final[dict[str, Any]] = {"status": 400, "error": "invalid_request"}
INVALID_TARGET: Final[dict[str, Any]] = {"status": 400, "error": "invalid_target"}
INVALID_SCOPE: Final[dict[str, Any]] = {"status": 400, "error": "invalid_scope"}
_OUTCOMES: Final[Mapping[str, dict[str, Any]]] = {
    "subject": INVALID_REQUEST,
    "target": INVALID_TARGET,
    "scope": INVALID_SCOPE,
    "budget": {"status": 429, "error": "temporarily_unavailable"},
    "busy": {"status": 503, "error": "temporarily_unavailable"},
    "refused": {"status": 500, "error": "server_error"},
}
"""By the agent's reason; `refused` means that rows were changed by another hand, if it is not the work of a moment."""
_AGAIN: Final = ("busy", "refused")
_TRIES: Final = 20
_WAIT_SECONDS: Final = 0.05
Given = dict[int, dict[str, Any]]
"""What the agent gave, by the place of the item."""


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
        now: Callable[[], int],
    ) -> None:
        self._directory, self._exchange, self._linking = directory, exchange, linking
        self._tokens, self._showing, self._idempotent, self._now = tokens, showing, idempotent, now

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
            VaultError: a store cannot be written; what was begun is finished or undone later.
        """
        outcomes: dict[int, dict[str, Any]] = {at: INVALID_REQUEST for at, wish in enumerate(wishes) if wish is None}
        opening = {at: wish for at, wish in enumerate(wishes) if isinstance(wish, Opening)}
        redeeming = {at: wish for at, wish in enumerate(wishes) if isinstance(wish, Redeeming)}
        opened = self._until_settled(opening, lambda pending: self._open(client, pending))
        redeemed = self._until_settled(redeeming, lambda pending: self._redeem(client, pending))
        for at, given in opened.items():
            outcomes[at] = _opened(given, opening[at])
        tokens = self._living_tokens(given["pid"] for given in redeemed.values() if "pid" in given)
        for at, given in redeemed.items():
            outcomes[at] = _redeemed(given, tokens)
        return [outcomes[at] for at in range(len(wishes))]

    def _until_settled(self, wishes: Mapping[int, Any], attempt: Callable[[dict[int, Any]], Given]) -> Given:
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
        return settled

    def _open(self, client: Client, wishes: dict[int, Opening]) -> Given:
        with self._directory.reading() as unit:
            audiences = batches.open_providers(unit, {wish.audience for wish in wishes.values()}, self._now())
        said = self._tokens.introspected(client, [wish.token for wish in wishes.values()])
        given: Given = {}
        good = {}
        for (at, wish), (pseudonym, answer) in zip(wishes.items(), said, strict=True):
            if wish.audience not in audiences:
                given[at] = {"error": "target"}
            elif pseudonym is None or not answer["active"]:
                given[at] = {"error": "subject"}
            else:
                good[at] = pseudonym
        with self._directory.reading() as unit:
            rows = batches.find(unit, {pseudonym.pid for pseudonym in good.values()})
        # A standing without a record is a legacy account's: nobody stands behind it.
        known = {at: rows[pseudonym.pid] for at, pseudonym in good.items() if (rows[pseudonym.pid].link or b"")}
        given |= {at: {"error": "subject"} for at in good if at not in known}
        if not known:
            return given
        evidence = self._linking.evidence_of(list(known.values()))
        items = [
            {
                "audience": wishes[at].audience, "purpose": wishes[at].purpose, "generation": good[at].generation,
                "standing": shown,
            }
            for at, shown in zip(known, evidence, strict=True)
        ]  # fmt: skip
        answers = self._exchange.call("exchange.open", {"giver": client.id, "items": items})["items"]
        return given | dict(zip(known, answers, strict=True))

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
        return given

    def _make(self, client: Client, fresh: list[dict[str, Any]], intent: bytes) -> set[bytes] | None:
        """Write new persons at the taker; return whose hand-offs were consumed, None if others were quicker."""
        now = self._now()
        rows = [
            (
                StandingRow(
                    item["pid"], client.id, item["sector"], item["link"], "vault", 0, None, None, None, "live",
                    "natural", now,
                ),
                item["tag"],
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
        """Serve what redeeming asks for: which tokens are still good, and the standings with a person's tag."""
        if what == "tags":
            return self._linking.answers(what, args)
        if what != "tokens":
            raise ProtocolError(f"the agent asked for {what}, which an exchange does not give")
        with self._directory.reading() as unit:
            rows = batches.find(unit, args["values"])
        now = self._now()
        return [{"pid": row.pid, "generation": row.generation} for row in rows.values() if _is_active(row, now)]

    def _living_tokens(self, pids: Iterable[bytes]) -> dict[bytes, str]:
        with self._directory.reading() as unit:
            return {pid: self._showing.token(row) for pid, row in batches.living(unit, pids).items()}


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


def _redeemed(given: Mapping[str, Any], tokens: Mapping[bytes, str]) -> dict[str, Any]:
    if "error" in given:
        return _OUTCOMES[given["error"]]
    return {
        "status": 200,
        "access_token": tokens[given["pid"]],
        "issued_token_type": PSEUDONYM_TYPE,
        "token_type": "N_A",
        "scope": given["purpose"],
    }
