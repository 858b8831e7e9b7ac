"""Introspection (RFC 7662): what a token means at the provider that asks, in one statement.

A forged, foreign, unknown or inactive token costs the same and answers the same {"active": false}.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from keys import slots
from keys.errors import MissingError, OpenError, RefusedError
from keys.grouping import Group
from keys.primitives import random_bytes
from keys.tokens import PID_BYTES, Pseudonym
from vault.config import Settings
from vault.domain.errors import DomainError
from vault.domain.ids import AccountId
from vault.domain.scopes import AccountScope, Rung, intersect, running, scope_of, stricter, waiting_scope
from vault.errors import Kind, VaultError
from vault.services.access import secret_holds
from vault.services.held_keys import HeldKeys
from vault.services.remembering import Moment, Remembering
from vault.services.waiting import Patience
from vault.stores import clients, introspected, operators
from vault.stores.operators import Operated
from vault.stores.unit import Store

_LINE: Final = "introspections"
"""The slot of those who read for all that wait."""
_OF_ONE: Final = (MissingError, RefusedError)
"""What the agent answers where one asks of a sector that it does not know: the others are answered all the same."""
INACTIVE: Final[dict[str, object]] = {"active": False}


class _Ask(NamedTuple):
    """One introspection as it was asked for."""

    client_id: str
    secret: str
    token: str
    account: str | None
    key: bytes
    """What its answer is remembered under."""


class _Said(NamedTuple):
    """What a token says, and until when the keys are used that it was read with; 0 where none read it."""

    pseudonym: Pseudonym
    fresh_until: float


_Outcome = dict[str, object] | Exception


class Introspecting:
    """Answers introspections; remembers which sector a client has, which never changes, and what `memory` does.

    They stand in a line of their own: who comes first answers all that wait, on one connection and in one round trip.
    """

    def __init__(
        self, settings: Settings, directory: Store, keys: HeldKeys, memory: Remembering, now: Callable[[], int]
    ) -> None:
        self._directory, self._keys, self._memory, self._now = directory, keys, memory, now
        self._sectors: dict[str, str] = {}
        self._line = Group[_Ask, _Outcome](self._answer_all, _OF_ONE, most=settings.blocking_threads)
        self._patience = Patience.of(settings)

    def introspect(self, client_id: str, secret: str, token: str, account: str | None) -> dict[str, object]:
        """Return the answer for a token, or for one account of its owner.

        Raises:
            VaultError: the credentials are not valid, the client may not introspect, or too many came before this one.
            KeysError: the agent has no keys, or is not there.
        """
        key = self._memory.key(client_id, secret, token, account)
        known = self._memory.recall(key)
        if known is not None:
            return known
        outcome = self._patience.turn(self._line, _Ask(client_id, secret, token, account, key))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _answer_all(self, asks: Sequence[_Ask]) -> list[_Outcome]:
        """Return what each is told: one reading of keys, store and clock for all.

        Raises:
            KeysError, VaultError: the agent or the store is not there, which concerns everyone.
        """
        # One leads at a time, so that one connection to store and agent serves them all.
        with slots.held(_LINE):
            self._memory.watch()
            self._keys.peek("directory")
            said = [self._decode(ask) for ask in asks]
            moments = [self._memory.moment(one.pseudonym.pid, one.fresh_until) for one in said]
            wanted = [(ask.client_id, one.pseudonym.pid) for ask, one in zip(asks, said, strict=True)]
            rows = introspected.rows_of(self._directory, wanted)
            now = self._now()
            together = zip(asks, said, moments, rows, strict=True)
            return [self._outcome(ask, one.pseudonym, moment, found, now) for ask, one, moment, found in together]

    def _outcome(self, ask: _Ask, said: Pseudonym, moment: Moment | None, rows: Sequence[Any], now: int) -> _Outcome:
        try:
            _authorised(rows, ask.secret, now)
            wanted = _wanted(ask.account)
            operated = self._operated(ask.client_id, said, wanted) if wanted and _is_another(rows, wanted) else None
            answer = answer_of(rows, said, wanted, ask.token, ask.client_id, now, _policy(rows[0]), operated)
        except VaultError as refusal:
            return refusal
        if moment is not None and operated is None and answer is not INACTIVE:
            self._memory.keep(ask.key, answer, moment, now, rows)
        return answer

    def _operated(self, client_id: str, pseudonym: Pseudonym, account: bytes) -> Operated | None:
        with self._directory.reading() as unit:
            return operators.operated(unit, client_id, pseudonym.pid, account)

    def _decode(self, ask: _Ask) -> _Said:
        sector = self._sectors.get(ask.client_id) or self._sector(ask.client_id)
        try:
            if sector is not None:
                tokens, fresh_until = self._keys.tokens_until(sector)
                return _Said(tokens.decode(ask.token), fresh_until)
        except OpenError:
            pass
        # A token that does not open is looked up all the same, under a pid that nobody has.
        return _Said(Pseudonym(random_bytes(PID_BYTES), -1), 0)

    def _sector(self, client_id: str) -> str | None:
        with self._directory.reading() as unit:
            row = clients.find(unit, client_id)
        if row is not None and row.role == "provider" and row.sector is not None:
            self._sectors[client_id] = row.sector
            return row.sector
        return None


def _authorised(rows: Sequence[Any], secret: str, now: int) -> None:
    row = rows[0] if rows else None
    right = secret_holds(row, secret, now)
    if row is None or not right or row.client_state != "active" or row.provider_state not in {None, "active"}:
        raise VaultError(Kind.UNAUTHENTICATED, "the client credentials are not valid")
    if "introspect" not in row.scopes.split() or (row.expires is not None and row.expires <= now):
        raise VaultError(Kind.FORBIDDEN, "this client may not introspect")


def _wanted(account: str | None) -> bytes | None:
    if account is None:
        return None
    try:
        return AccountId.parse(account).raw
    except DomainError:
        return b""  # no account has this id: answered like a foreign one


def _is_another(rows: Sequence[Any], account: bytes) -> bool:
    """Tell whether an account is none of this standing's own, so that it may be one that its registrant operates."""
    return rows[0].pid is not None and all(row.account != account for row in rows)


def _policy(row: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a SQL row
    policy: Mapping[str, Any] = orjson.loads(row.policy) if row.policy else {}
    return policy


def answer_of(
    rows: Sequence[Any],
    pseudonym: Pseudonym,
    account: bytes | None,
    token: str,
    client_id: str,
    now: int,
    policy: Mapping[str, Any],
    operated: Operated | None = None,
) -> dict[str, object]:
    """Return what a token means, from the rows of its standing with its accounts.

    Args:
        rows: at least one; without a standing its `pid` is None.
        pseudonym: what the token says.
        account: the account asked for, or None.
        token: as it was sent.
        client_id: of the provider that asks.
        now: seconds since 1970.
        policy: the provider's; it says what accounts that are not approved may.
        operated: the account asked for, where it is another's and this registrant operates it.
    """
    row = rows[0]
    gone = (
        row.pid is None
        or row.state != "live"
        or row.generation != pseudonym.generation
        or row.superseded_by is not None
        or (row.inactive_from is not None and row.inactive_from <= now)
    )
    if gone:
        return INACTIVE
    everywhere = running(row.ladder, now)
    accounts: list[Any] = [found for found in rows if found.account is not None]
    if operated is not None:
        accounts.append(operated)
    if account is not None:
        accounts = [found for found in accounts if found.account == account]
        if not accounts:
            return INACTIVE
    scopes: list[AccountScope] = []
    restriction = everywhere
    for found in accounts:
        runs = stricter(everywhere, running(found.account_ladder, now))
        scopes.append(scope_of(found.account_state, runs.rung, waiting_scope(policy, found.account_state, now)))
        if account is not None:
            restriction = runs
    result = intersect(scopes, alone=account is not None, rung=everywhere.rung)
    if not result.active:
        return INACTIVE
    answer: dict[str, object] = {
        "active": True,
        "scope": result.text,
        "client_id": client_id,
        "sub": token,
        "token_type": "urn:idvault:token-type:pseudonym",
        "assurance": row.assurance,
    }
    if restriction.rung > Rung.free:
        answer["vault_restriction"] = restriction.shown()
    return answer
