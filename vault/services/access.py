"""Who calls: client authentication, access tokens, and what a bearer may do."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from keys import slots
from keys.errors import OpenError
from keys.grouping import Group
from keys.primitives import equal, random_bytes
from keys.tokens import JTI_BYTES, Access
from vault.config import Settings
from vault.errors import Kind, VaultError
from vault.services.held_keys import HeldKeys
from vault.services.remembering import RememberedClients
from vault.stores import clients
from vault.stores.clients import Bearer, ClientRow
from vault.stores.unit import Store

_NOBODY: Final = bytes(32)
_LINE: Final = "bearers"
"""The slot of those who look up the bearers of all requests that come together."""


@dataclass(frozen=True, slots=True)
class Client:
    """An authenticated caller; `provider` is the client id of the provider a reviewer is bound to."""

    id: str
    role: str
    scopes: frozenset[str]
    provider: str | None
    sector: str | None
    policy: dict[str, object]


def hash_secret(secret: str) -> bytes:
    """Return SHA-256 of a client secret: it carries 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(secret.encode(errors="replace")).digest()


class Credentials(Protocol):
    """A client's row, as far as its secrets go."""

    @property
    def secret_hash(self) -> bytes:
        """SHA-256 of the secret."""

    @property
    def former_hash(self) -> bytes | None:
        """SHA-256 of the secret before it."""

    @property
    def former_until(self) -> int | None:
        """Until when the former one is good, in seconds since 1970."""


def secret_holds(row: Credentials | None, secret: str, now: int) -> bool:
    """Tell whether a secret is the client's, or its former one within the overlap; the same work always."""
    hashed = hash_secret(secret)
    current = equal(hashed, row.secret_hash if row is not None else _NOBODY)
    former = equal(hashed, (row.former_hash if row is not None else None) or _NOBODY)
    until = (row.former_until if row is not None else None) or 0
    return current | (former & (now < until))


class AccessControl:
    """Authenticates clients and issues their access tokens."""

    def __init__(
        self, settings: Settings, directory: Store, keys: HeldKeys, known: RememberedClients, now: Callable[[], int]
    ) -> None:
        self._settings, self._directory, self._keys, self._known, self._now = settings, directory, keys, known, now
        self._bearers = Group[tuple[str, bytes], Bearer | None](self._find_bearers, (), most=settings.blocking_threads)

    def authenticate(self, client_id: str, secret: str) -> Client:
        """Return the client of these credentials.

        Raises:
            VaultError: unknown, disabled or wrong; which of them is not told.
        """
        row = self._known.known(client_id)
        # An unknown client costs the same comparison.
        right = secret_holds(row, secret, self._now())
        if row is None or not right or not self._enabled(row):
            raise VaultError(Kind.UNAUTHENTICATED, "the client credentials are not valid")
        return _client(row, row.scopes)

    def issue(self, client: Client, scopes: frozenset[str] | None) -> tuple[str, int, frozenset[str]]:
        """Return (access token, seconds it lives, scopes granted); without scopes all that the client has.

        Raises:
            VaultError: a scope that is not the client's.
        """
        granted = client.scopes if scopes is None else scopes
        if not granted <= client.scopes:
            raise VaultError(Kind.FORBIDDEN, "a scope that this client does not have")
        seconds = self._settings.access_token_seconds
        access = Access(client.id, granted, self._now() + seconds, random_bytes(JTI_BYTES))
        return self._keys.directory().encode_access(access), seconds, granted

    def issue_named(self, name: str) -> str:
        """Return an access token of the provider of this name or client id, for who works on the vault's own machine.

        Raises:
            VaultError: there is none, or its credentials are not valid.
        """
        with self._directory.reading() as unit:
            row = clients.find_named(unit, "provider", name)
        if row is None or not self._enabled(row):
            raise VaultError(Kind.NOT_FOUND, "no provider of this name or client id; see idvault provider list")
        return self.issue(_client(row, row.scopes), None)[0]

    def bearer(self, token: str) -> Client:
        """Return the client that an access token speaks for, with the scopes of the token.

        Raises:
            VaultError: forged, expired, revoked, or the client was disabled.
        """
        try:
            access = self._keys.directory().decode_access(token)
        except OpenError:
            raise VaultError(Kind.UNAUTHENTICATED, "the access token is not valid") from None
        row = self._known.bearer(access.client, access.jti)
        if row is None:
            row, revoked = self._bearers.do((access.client, access.jti)) or (None, False)
            row = None if revoked else row
        if row is None or access.expires <= self._now() or not self._enabled(row):
            raise VaultError(Kind.UNAUTHENTICATED, "the access token is not valid")
        return _client(row, access.scopes & row.scopes)

    def _find_bearers(self, asked: Sequence[tuple[str, bytes]]) -> list[Bearer | None]:
        # One leads at a time, so that one connection to the store serves them all.
        with slots.held(_LINE):
            return self._known.find_bearers(asked)

    def _enabled(self, row: ClientRow) -> bool:
        return row.enabled and (row.expires is None or row.expires > self._now())


def _client(row: ClientRow, scopes: frozenset[str]) -> Client:
    return Client(row.id, row.role, scopes, row.provider, row.sector, row.policy)
