"""Introspection (RFC 7662): what a token means at the provider that asks, in one statement.

A forged, foreign, unknown or inactive token costs the same and answers the same {"active": false}.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from keys.errors import OpenError
from keys.primitives import random_bytes
from keys.tokens import PID_BYTES, Pseudonym
from vault.domain.errors import DomainError
from vault.domain.ids import AccountId
from vault.domain.scopes import AccountScope, Rung, intersect, running, scope_of, stricter, waiting_scope
from vault.errors import Kind, VaultError
from vault.services.access import secret_holds
from vault.services.held_keys import HeldKeys
from vault.stores import clients, operators, standings
from vault.stores.operators import Operated
from vault.stores.unit import Store

INACTIVE: Final[dict[str, object]] = {"active": False}


class Introspecting:
    """Answers introspections; remembers only which sector a client has, which never changes."""

    def __init__(self, directory: Store, keys: HeldKeys, now: Callable[[], int]) -> None:
        self._directory, self._keys, self._now = directory, keys, now
        self._sectors: dict[str, str] = {}

    def introspect(self, client_id: str, secret: str, token: str, account: str | None) -> dict[str, object]:
        """Return the answer for a token, or for one account of its owner.

        Raises:
            VaultError: the credentials are not valid, or the client may not introspect.
        """
        pseudonym = self._decode(client_id, token)
        rows = self._directory.rows(standings.INTROSPECTED, client=client_id, pid=pseudonym.pid)
        now = self._now()
        _authorised(rows, secret, now)
        wanted = _wanted(account)
        operated = self._operated(client_id, pseudonym, wanted) if wanted and _is_another(rows, wanted) else None
        return answer_of(rows, pseudonym, wanted, token, client_id, now, _policy(rows[0]), operated)

    def _operated(self, client_id: str, pseudonym: Pseudonym, account: bytes) -> Operated | None:
        with self._directory.reading() as unit:
            return operators.operated(unit, client_id, pseudonym.pid, account)

    def _decode(self, client_id: str, token: str) -> Pseudonym:
        sector = self._sectors.get(client_id) or self._sector(client_id)
        try:
            if sector is not None:
                return self._keys.tokens(sector).decode(token)
        except OpenError:
            pass
        # A token that does not open is looked up all the same, under a pid that nobody has.
        return Pseudonym(random_bytes(PID_BYTES), -1)

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
