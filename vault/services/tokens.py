"""Tokens in batches and at their end: introspected and translated by the thousand, revoked one by one.

Whatever is foreign, forged or unknown is answered alike; no item costs a statement of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from keys.errors import OpenError
from keys.primitives import random_bytes
from keys.tokens import ACCESS, NYM, Pseudonym
from vault.config import Settings
from vault.services.access import Client
from vault.services.held_keys import HeldKeys
from vault.services.introspecting import INACTIVE, answer_of
from vault.services.showing import Showing
from vault.services.targets import has_ended
from vault.stores import answers, batches, exchanges, standings
from vault.stores.standings import StandingRow
from vault.stores.unit import Store, Unit

Items = list[dict[str, Any]]
_INACTIVE: Final[dict[str, Any]] = {"status": 200, **INACTIVE}
_UNKNOWN: Final[dict[str, Any]] = {"status": 404, "error": "unknown"}


class Tokens:
    """What a provider does with its own tokens."""

    def __init__(
        self, settings: Settings, directory: Store, keys: HeldKeys, showing: Showing, now: Callable[[], int]
    ) -> None:
        self._settings, self._directory, self._keys = settings, directory, keys
        self._showing, self._now = showing, now

    def introspect(self, client: Client, tokens: Sequence[str]) -> Items:
        """Return the introspection answer of each token, in one statement."""
        said = self.decoded(client, tokens)
        rows: dict[bytes, list[Any]] = {}
        wanted = list({one.pid for one in said if one is not None})
        for row in self._directory.rows(batches.INTROSPECTED, client=client.id, pids=wanted):
            rows.setdefault(row.pid, []).append(row)
        now = self._now()
        answers: dict[tuple[Any, ...], dict[str, Any]] = {}
        items: Items = []
        for one, token in zip(said, tokens, strict=True):
            found = None if one is None else rows.get(one.pid)
            if one is None or found is None:
                items.append(_INACTIVE)
                continue
            # Most standings are alike: each kind of answer is computed once.
            kind = one.generation, *[row[batches.APART :] for row in found]
            answer = answers.get(kind)
            if answer is None:
                means = answer_of(found, one, None, token, client.id, now, client.policy)
                answer = answers[kind] = {"status": 200, **means}
            items.append({**answer, "sub": token} if "sub" in answer else answer)
        return items

    def signed(self, client_id: str, answer: Mapping[str, object]) -> str:
        """Return an introspection answer signed for the client that asked (RFC 9701)."""
        statement = {"issuer": self._settings.issuer_url, "audience": client_id, "now": self._now(), "answer": answer}
        return self._keys.sign_introspection(statement)

    def translate(self, client: Client, tokens: Sequence[str]) -> Items:
        """Return the living token behind each of this provider's own, whatever rotation or merge it is from."""
        said = self.decoded(client, tokens)
        rows = batches.living_all(self._directory, {one.pid for one in said if one is not None})
        now = self._now()
        told = self._showing.tokens({pid: row for pid, row in rows.items() if _told(row, client, now)})
        living = {pid: {"status": 200, "token": token} for pid, token in told.items()}
        return [_UNKNOWN if one is None else living.get(one.pid, _UNKNOWN) for one in said]

    def revoke(self, client: Client, token: str) -> None:
        """Revoke an access token of this client, or rotate a pseudonym of this provider; all else has no effect."""
        if token.startswith(ACCESS):
            self._revoke_access(client, token)
        elif token.startswith(NYM) and client.role == "provider":
            self._rotate(client, token)

    def _revoke_access(self, client: Client, token: str) -> None:
        try:
            access = self._keys.directory().decode_access(token)
        except OpenError:
            return
        if access.client != client.id or access.expires <= self._now():
            return
        with self._directory.writing() as unit:
            if exchanges.revoke(unit, access.jti, access.expires):
                self._audit(unit, client, "token.revoked", access.jti)

    def _rotate(self, client: Client, token: str) -> None:
        [said] = self.decoded(client, [token])
        if said is None:
            return
        with self._directory.writing() as unit:
            row = standings.find(unit, said.pid)
            own = row is not None and _told(row, client, self._now()) and row.superseded_by is None
            if own and exchanges.rotate(unit, said.pid, said.generation):
                self._audit(unit, client, "token.rotated", said.pid)

    def _audit(self, unit: Unit, client: Client, kind: str, detail: bytes) -> None:
        audit_id = random_bytes(16)
        answers.audit(unit, audit_id, kind, self._now() // 60, client.id, self._keys.seal_audit(audit_id, detail))

    def decoded(self, client: Client, tokens: Sequence[str]) -> list[Pseudonym | None]:
        """Return what each token of this provider says, None for what is none."""
        return self._keys.tokens(client.sector or "").decode_all(tokens)


def _told(row: StandingRow, client: Client, now: int) -> bool:
    return row.provider == client.id and not has_ended(row, now)
