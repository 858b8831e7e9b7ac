"""The keyring: every long-lived key by purpose, scope and version, each sealed in the key store.

    seal → root key → kek, standing-kek, fingerprint, map, officer-head, link/S
    standing-kek   → account-mac, index, directory, sign/es256, sign/log, token/S

Guarantees: a key is used only as its state allows (NIST SP 800-57 part 1 section 7); an entry opens only at its own
purpose, scope and version. The holder `standing` is given the standing key encryption key alone and so opens only the
second line.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from threading import RLock
from typing import Any, Self

from sqlalchemy import Connection, Engine, select, update

from keys import store
from keys.deployments import deployment_of
from keys.engine import reading
from keys.entries import (
    KEK,
    MAX_VERSION,
    ROOT_PURPOSES,
    SECTOR_PURPOSES,
    STANDING_KEK,
    STANDING_PURPOSES,
    UNDER_STANDING,
    Key,
    place_of,
    rewrap,
    root_key,
    write_key,
)
from keys.errors import ConflictError, EndedError, MissingError, OpenError, SetupError
from keys.frame import Purpose, key_named_in
from keys.links import Links
from keys.primitives import Mac, Secret, expand_sha256
from keys.rows import LABEL
from keys.states import MAY_PROCESS, MAY_PROTECT, State, check_transition
from keys.tokens import DirectoryTokens, PairwiseTokens
from keys.uses import MOST, Uses


class Keyring:
    """The keys that one holder may use.

    Owned by the holder's process; entries are replaced whole by `reload`, never edited, so readers need no lock.
    """

    def __init__(self, engine: Engine, deployment: bytes, wrapping: Key, connection: Connection | None = None,
                 kek_uses: int = MOST) -> None:  # fmt: skip
        self._engine, self.deployment, self.wrapping = engine, deployment, wrapping  # for `names` the root key
        self.changing = RLock()
        """Held by whoever writes entries, for the span of his transaction."""
        self._keys: dict[tuple[str, str], dict[int, Key]] = {}
        self._usable: dict[tuple[str, str], dict[int, Key]] = {}
        self._active: dict[tuple[str, str], list[Key]] = {}
        self._macs: dict[tuple[str, bytes], Mac] = {}
        self._links: dict[str, Links] = {}
        self.uses = Uses(engine, partial(self.mac, "map", LABEL), kek_uses)
        """Of each version of `kek`."""
        self.reload(connection)

    @classmethod
    def of_earlier_version(cls, engine: Engine, root_id: bytes, root: Secret) -> Self:
        """Return a keyring that may lack keys, to `complete`.

        Raises:
            SetupError: the key store has no deployment.
            OpenError: the root key is not of this key store.
        """
        return cls(engine, deployment_of(engine), root_key(root_id, root))

    @classmethod
    def within(cls, connection: Connection, root_id: bytes, root: Secret) -> Self:
        """Return the keyring of keys that a transaction wrote, before it is committed.

        Raises:
            OpenError: the root key is not of this key store.
        """
        deployment = connection.execute(select(store.deployment.c.id)).scalar_one()
        return cls(connection.engine, bytes(deployment), root_key(root_id, root), connection)

    @classmethod
    def under_root(cls, engine: Engine, root_id: bytes, root: Secret, kek_uses: int = MOST) -> Self:
        """Return the keyring of the holder `names`: everything; `kek_uses` is how often one version of `kek` may seal.

        Raises:
            SetupError: the key store has no deployment, or a key is missing.
            OpenError: the root key is not of this key store.
        """
        keyring = cls(engine, deployment_of(engine), root_key(root_id, root), kek_uses=kek_uses)
        keyring._check((*ROOT_PURPOSES, *STANDING_PURPOSES))
        return keyring

    @classmethod
    def under_standing(cls, engine: Engine, standing: Key) -> Self:
        """Return the keyring of the holder `standing`: what the standing key encryption key opens.

        Raises:
            SetupError: the key store has no deployment, or a key is missing.
        """
        keyring = cls(engine, deployment_of(engine), standing)
        keyring._check(STANDING_PURPOSES)
        return keyring

    def _check(self, purposes: Iterable[str]) -> None:
        missing = [purpose for purpose in purposes if (purpose, "") not in self._keys]
        if missing:
            what = f"the key store lacks the keys: {', '.join(missing)}"
            raise SetupError(f"{what}; if it is of an earlier version run idvault db upgrade, else restore a backup")

    def has(self, purpose: str) -> bool:
        """Tell whether there is a key of a purpose that is no sector's."""
        return (purpose, "") in self._keys

    def reload(self, connection: Connection | None = None) -> None:
        """Read the entries again: another holder may have added a sector; within a transaction, where one is given.

        Raises:
            OpenError: an entry was altered or moved.
        """
        with self.changing:
            self._reload(connection)

    def _reload(self, connection: Connection | None) -> None:
        keys: dict[tuple[str, str], dict[int, Key]] = {}
        wrapping = {self.wrapping.id: self.wrapping}
        if self.wrapping.purpose == STANDING_KEK:
            # The holder `standing` was handed this one; its own entry opens under the root key alone.
            keys[STANDING_KEK, ""] = {self.wrapping.version: self.wrapping}
        with nullcontext(connection) if connection is not None else reading(self._engine) as read:
            rows = read.execute(select(store.key).where(store.key.c.state != State.DESTROYED)).all()
        # The standing key encryption keys come first: they open the entries beneath them.
        for row in sorted(rows, key=lambda row: row.purpose != STANDING_KEK):
            wrapper = wrapping.get(key_named_in(row.sealed)[0])
            if wrapper is None:
                continue
            place = place_of(self.deployment, row.id, row.purpose, row.scope, row.version, row.state)
            secret = Secret(wrapper.open(Purpose.KEYRING, place, row.sealed))
            spend = partial(self.uses.take, row.id) if row.purpose == KEK else None
            key = Key(row.purpose, row.scope, row.version, row.id, State(row.state), secret, spend)
            keys.setdefault((row.purpose, row.scope), {})[row.version] = key
            if row.purpose == STANDING_KEK:
                wrapping[row.id] = key
        # What is made from the entries goes with them; dictionaries are replaced whole, so that readers need no lock.
        # A reader keeps what it made in the dictionary that was there before it read the entries: if they are read anew
        # meanwhile, that is thrown away. Entries come first here, so that nothing of former ones is kept beside them.
        self._keys, self._usable, self._active, self._macs, self._links = keys, {}, {}, {}, {}

    def verify(self) -> tuple[int, int]:
        """Return (rows, bad rows) of the key table, each opened again from the store."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(store.key)).all()
        wrapping = {self.wrapping.id: self.wrapping}
        wrapping |= {key.id: key for key in self._keys.get((STANDING_KEK, ""), {}).values()}
        return len(rows), sum(not self._opens(row, wrapping) for row in rows)

    def _opens(self, row: Any, wrapping: Mapping[bytes, Key]) -> bool:  # noqa: ANN401 - a SQL row
        if row.state == State.DESTROYED:
            return True
        place = place_of(self.deployment, row.id, row.purpose, row.scope, row.version, row.state)
        try:
            wrapping[key_named_in(row.sealed)[0]].open(Purpose.KEYRING, place, row.sealed)
        except (OpenError, KeyError):
            return False
        return True

    def versions(self, purpose: str, scope: str = "") -> dict[int, Key]:
        """Return the versions that may process, by version.

        Raises:
            MissingError: there is none; EndedError where there were some, and all are destroyed.
        """
        held, known = self._usable, self._usable.get((purpose, scope))
        if known is not None:
            return known
        found = self._keys.get((purpose, scope))
        if found is None:
            self.reload()
            found = self._keys.get((purpose, scope), {})
        usable = {version: key for version, key in found.items() if key.state in MAY_PROCESS}
        if not found and self._ended(purpose, scope):
            raise EndedError
        if not usable:
            raise MissingError(f"no key of purpose {purpose}")
        held[purpose, scope] = usable
        return usable

    def _ended(self, purpose: str, scope: str) -> bool:
        query = select(store.key.c.id).where(store.key.c.purpose == purpose, store.key.c.scope == scope)
        with reading(self._engine) as connection:
            return connection.execute(query.limit(1)).first() is not None

    def current(self, purpose: str, scope: str = "") -> Key:
        """Return the newest key that may protect.

        Raises:
            MissingError: there is none.
        """
        return self.active(purpose, scope)[0]

    def active(self, purpose: str, scope: str = "") -> list[Key]:
        """Return all keys that may protect, the newest first: several where versions overlap.

        Raises:
            MissingError: there is none.
        """
        held, known = self._active, self._active.get((purpose, scope))
        if known is not None:
            return known
        keys = [key for key in self.versions(purpose, scope).values() if key.state in MAY_PROTECT]
        if not keys:
            raise MissingError(f"no active key of purpose {purpose}")
        held[purpose, scope] = sorted(keys, key=lambda key: key.version, reverse=True)
        return held[purpose, scope]

    def opener(self, purpose: str, sealed: bytes) -> Key:
        """Return the key that a frame names.

        Raises:
            MissingError: the frame names none of this purpose.
        """
        key_id, version = key_named_in(sealed)
        key = self.versions(purpose).get(version)
        if key is None or key.id != key_id:
            raise MissingError(f"no key of purpose {purpose} with that version")
        return key

    def secrets(self, purpose: str, scope: str = "") -> dict[int, Secret]:
        """Return the secrets of all usable versions."""
        return {version: key.secret for version, key in self.versions(purpose, scope).items()}

    def sectors(self) -> list[str]:
        """Return the sectors that have keys here."""
        return sorted({scope for _, scope in self._keys if scope})

    def links(self, sector: str) -> Links:
        """Return the links of a sector.

        Raises:
            MissingError: no such sector.
        """
        held, known = self._links, self._links.get(sector)
        if known is not None:
            return known
        active = [key.version for key in self.active("link", sector)]
        held[sector] = made = Links(sector, self.secrets("link", sector), active)
        return made

    def mac(self, purpose: str, label: bytes) -> Mac:
        """Return the MAC under what is derived by a label from the current key of a purpose.

        Raises:
            MissingError: there is none.
        """
        held, known = self._macs, self._macs.get((purpose, label))
        if known is not None:
            return known
        held[purpose, label] = made = Mac(expand_sha256(self.current(purpose).secret, label))
        return made

    def tokens(self, sector: str) -> PairwiseTokens:
        """Return the token codec of a sector.

        Raises:
            MissingError: no such sector.
        """
        return PairwiseTokens(sector, self.secrets("token", sector))

    def directory(self) -> DirectoryTokens:
        """Return the codec of access tokens and cursors."""
        return DirectoryTokens(self.secrets("directory"))

    def add_sector(self, connection: Connection, sector: str, now: int) -> None:
        """Write the first token and link keys of a sector, within the caller's transaction; `reload` afterwards."""
        for purpose in SECTOR_PURPOSES:
            write_key(connection, self.deployment, self._wrapper_of(purpose), purpose, sector, now)

    def refresh(self, purpose: str, scope: str = "") -> None:
        """Read the entries again, if another holder gave this key another version or state.

        Raises:
            OpenError: an entry was altered or moved.
        """
        key = store.key.c
        query = select(key.version, key.state).where(
            key.purpose == purpose, key.scope == scope, key.state != State.DESTROYED
        )
        with reading(self._engine) as connection:
            there = {row.version: row.state for row in connection.execute(query)}
        if there != {version: key.state for version, key in self._keys.get((purpose, scope), {}).items()}:
            self.reload()

    def rotate(self, connection: Connection, purpose: str, scope: str, now: int, former: State) -> Key:
        """Write the next version of a key, which protects from now on, within the caller's transaction.

        Args:
            connection: of the transaction; `reload` once it is committed.
            purpose: of the key.
            scope: its sector, or nothing.
            now: seconds since 1970.
            former: the state of the version before: deactivated or compromised, or active where both protect.

        Raises:
            MissingError: no such key.
            ConflictError: there are as many versions as there can be, or another hand rotated it meanwhile.
        """
        old = self.current(purpose, scope)
        if old.version >= MAX_VERSION:
            raise ConflictError("a key has at most 255 versions")
        key = write_key(connection, self.deployment, self._wrapper_of(purpose), purpose, scope, now, old.version + 1)
        if purpose == KEK:
            self.uses.begin(connection, key.id)
        if former is not State.ACTIVE:
            self.move(connection, old, former)
        return key

    def move(self, connection: Connection, key: Key, state: State) -> None:
        """Bring a key into another state, within the caller's transaction; `reload` once it is committed.

        Its entry is sealed anew, for the state is bound to it; of one that is destroyed nothing is left to open.

        Raises:
            ConflictError: a key in its state does not go there, it is the only one that protects, or another hand
                moved it meanwhile.
        """
        table = store.key
        others = select(table.c.id).where(
            table.c.purpose == key.purpose, table.c.scope == key.scope, table.c.id != key.id,
            table.c.state == State.ACTIVE,
        )  # fmt: skip
        if key.state is State.ACTIVE and connection.execute(others.limit(1)).first() is None:
            raise ConflictError("the only active version of a key stays active")
        self._move(connection, key, state)

    def end(self, connection: Connection, purpose: str, scope: str) -> None:
        """Destroy all versions of a sector's key, the active one too, within the caller's transaction.

        Raises:
            ConflictError: another hand moved one meanwhile.
        """
        for key in self.versions(purpose, scope).values():
            retired = key
            if key.state is State.ACTIVE:
                self._move(connection, key, State.DEACTIVATED)
                retired = replace(key, state=State.DEACTIVATED)
            self._move(connection, retired, State.DESTROYED)

    def _move(self, connection: Connection, key: Key, state: State) -> None:
        check_transition(key.state, state)
        table, sealed = store.key, b""
        if state is not State.DESTROYED:
            place = place_of(self.deployment, key.id, key.purpose, key.scope, key.version, state)
            sealed = self._wrapper_of(key.purpose).seal(Purpose.KEYRING, place, key.secret.expose_cleartext())
        statement = update(table).where(table.c.id == key.id, table.c.state == key.state)
        if connection.execute(statement.values(state=state, sealed=sealed)).rowcount != 1:
            raise ConflictError

    def _wrapper_of(self, purpose: str) -> Key:
        return self.current(STANDING_KEK) if purpose in UNDER_STANDING else self.wrapping

    def complete(self, connection: Connection, now: int) -> list[str]:
        """Bring a key store of an earlier version up to this one, within the caller's transaction. Idempotent.

        A standing key that lies under the root key is sealed anew under the standing key encryption key, so that the
        holder `standing` finds it; a purpose that is new gets its first key; what a migration began to count is
        signed.

        Returns:
            The purposes of the keys written.
        """
        standing = self.current(STANDING_KEK)
        written = rewrap(connection, self.deployment, self.wrapping, standing, UNDER_STANDING)
        for purpose in (*ROOT_PURPOSES, *STANDING_PURPOSES):
            if (purpose, "") not in self._keys:
                wrapper = self.wrapping if purpose in ROOT_PURPOSES else standing
                write_key(connection, self.deployment, wrapper, purpose, "", now)
                written.append(purpose)
        self.uses.sign(connection)
        return written

    @contextmanager
    def moving_under(self, root_id: bytes, root: Secret) -> Iterator[None]:
        """Have the entries under another root key from then on: within it, `rewrap_under` is committed.

        Nobody writes or reads entries meanwhile; if it is left by an exception, all stays under the root key as before.
        """
        with self.changing:
            yield
            self.wrapping = root_key(root_id, root)
            self.reload()

    def rewrap_under(self, connection: Connection, root_id: bytes, root: Secret) -> None:
        """Seal what lies under the root key under another one, within the caller's transaction."""
        rewrap(connection, self.deployment, self.wrapping, root_key(root_id, root))
