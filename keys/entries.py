"""The entries of the keyring: one row of the key store for each version of each key, sealed at its place and state."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from sqlalchemy import Connection, insert, select, update

from keys import store
from keys.errors import UsesError
from keys.frame import Place, Purpose, Stencil, key_named_in, open_frame, seal
from keys.primitives import KEY_BYTES, SIV_KEY_BYTES, Expander, P256Signer, Secret, random_bytes
from keys.states import State

STANDING_KEK: Final = "standing-kek"
KEK: Final = "kek"
OFFICER_HEAD: Final = "officer-head"
BACKUP: Final = "backup"
ROOT_PURPOSES: Final = (KEK, STANDING_KEK, "fingerprint", "map", OFFICER_HEAD, BACKUP)
SIGN_ES256: Final = "sign/es256"
SIGN_LOG: Final = "sign/log"
STANDING_PURPOSES: Final = ("account-mac", "index", "directory", SIGN_ES256, SIGN_LOG)
SECTOR_PURPOSES: Final = ("token", "link")
UNDER_STANDING: Final = frozenset((*STANDING_PURPOSES, "token"))
_SIV: Final = frozenset(("token", "link", "directory"))
MAX_VERSION: Final = 255
"""Tokens, links and tags say the version in one byte."""


@dataclass(frozen=True, slots=True)
class Key:
    """One version of one key."""

    purpose: str
    scope: str
    version: int
    id: bytes
    state: State
    secret: Secret
    spend: Callable[[int], None] | None = field(default=None, repr=False, compare=False)
    """Counts how often it seals, and refuses: `keys.uses`. A key encryption key without it seals nothing."""
    _expander: Expander = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make ready what each of its frames is derived with."""
        object.__setattr__(self, "_expander", Expander(self.secret))

    def seal(self, purpose: Purpose, place: Place, plaintext: bytes, salt: bytes = b"") -> bytes:
        """Return a frame that names this key; `salt` as in `frame.seal`.

        Raises:
            UsesError, UnavailableError: it may not seal now; see `keys.uses.Uses.take`.
        """
        self._use(1)
        return seal(self._expander, purpose, place, plaintext, key_id=self.id, version=self.version, salt=salt)

    def sealer(self, purpose: Purpose, place: Place, count: int) -> Callable[..., bytes]:
        """Return what seals (address, plaintext, salt) of so many rows, each at its own address, as `seal` does.

        Raises:
            UsesError, UnavailableError: it may not seal so many now.
        """
        self._use(count)
        return partial(Stencil(purpose, place, key_id=self.id, version=self.version).seal, self._expander)

    def _use(self, count: int) -> None:
        if self.spend is not None:
            self.spend(count)
        elif self.purpose == KEK:
            raise UsesError("a key encryption key whose uses nobody counts seals nothing")

    def open(self, purpose: Purpose, place: Place, sealed: bytes) -> bytes:
        """Return the plaintext of a frame of this key.

        Raises:
            OpenError: it does not open.
        """
        return open_frame(self._expander, purpose, place, sealed, key_id=self.id, version=self.version)


def place_of(deployment: bytes, key_id: bytes, purpose: str, scope: str, version: int, state: str) -> Place:
    """Return where an entry stands, in its state: a transition seals it anew, an edit by another hand does not open."""
    return Place(deployment, "keys.key", key_id, f"{purpose}/{scope}/{version}/{state}")


def root_key(root_id: bytes, root: Secret) -> Key:
    """Return the root key, which has no entry."""
    return Key("root", "", 1, root_id, State.ACTIVE, root)


def _drawn(purpose: str) -> Secret:
    if purpose == SIGN_ES256:
        return P256Signer.draw()
    return Secret.random(SIV_KEY_BYTES if purpose in _SIV else KEY_BYTES)


def write_key(
    connection: Connection, deployment: bytes, wrapper: Key, purpose: str, scope: str, now: int, version: int = 1
) -> Key:
    """Draw a key and write its entry, active, within the caller's transaction."""
    secret = _drawn(purpose)
    key = Key(purpose, scope, version, random_bytes(16), State.ACTIVE, secret)
    place = place_of(deployment, key.id, purpose, scope, key.version, key.state)
    sealed = wrapper.seal(Purpose.KEYRING, place, secret.expose_cleartext())
    connection.execute(
        insert(store.key).values(
            purpose=purpose, scope=scope, version=version, id=key.id, state=State.ACTIVE, sealed=sealed, created=now
        )
    )
    if purpose == KEK:
        store.make_partition(connection, key.version)
    return key


def rewrap(
    connection: Connection, deployment: bytes, former: Key, new: Key, purposes: Collection[str] | None = None
) -> list[str]:
    """Seal entries that lie under one key under another, within the caller's transaction.

    Each is read back under the new key before what lay under the former one goes.

    Args:
        connection: of the transaction.
        deployment: whose entries they are.
        former: the key under which they lie; others are left alone.
        new: the key under which they lie from then on.
        purposes: of which keys; all where none are given.

    Returns:
        The purposes of the keys that were sealed anew.
    """
    moved = list[str]()
    for row in connection.execute(select(store.key).where(store.key.c.state != State.DESTROYED)).all():
        if key_named_in(row.sealed)[0] != former.id or (purposes is not None and row.purpose not in purposes):
            continue
        place = place_of(deployment, row.id, row.purpose, row.scope, row.version, row.state)
        sealed = new.seal(Purpose.KEYRING, place, former.open(Purpose.KEYRING, place, row.sealed))
        new.open(Purpose.KEYRING, place, sealed)
        connection.execute(update(store.key).where(store.key.c.id == row.id).values(sealed=sealed))
        moved.append(str(row.purpose))
    return moved
