"""What the public log serves: its newest checkpoint, and the tiles and bundles of the tree that it signed."""

from dataclasses import dataclass

from keys.agent.client import AgentClient
from keys.errors import NoteError
from keys.notes import ED25519, Note, VerifierKey
from vault.errors import Kind, VaultError
from vault.log import sources, tiles
from vault.log.proofs import LogProof
from vault.log.proving import Tree
from vault.log.tiles import Tile
from vault.log.verify import Head
from vault.stores import log
from vault.stores.unit import Store

_HASH_BYTES = 32
_LAST_DAY = 2**31


@dataclass(frozen=True, slots=True)
class LogReader:
    """The log as anybody may read it. Nothing beyond the newest checkpoint is served: it is not signed yet."""

    store: Store
    signer: AgentClient
    origin: str
    """The name that the log is signed by at first."""

    def signed_last(self) -> tuple[str, Head]:
        """Return the log's public key, and what the agent signed last; size 0 if nothing was.

        Raises:
            KeysError: the agent is not there, or sealed.
        """
        last = self.signer.call("log.head", {})
        origin = last["origin"] or self.origin
        return str(VerifierKey(origin, ED25519, last["public"])), Head(origin, last["size"], last["root"])

    def size(self) -> int:
        """Return how many entries stand in the store, signed or not.

        Raises:
            VaultError: the store cannot be read now.
        """
        with self.store.reading() as unit:
            return log.size(unit)

    def counts(self, size: int) -> dict[tuple[int, str], tuple[int, int]]:
        """Return (day since 1970, type) → (leaves, how many attempts they say), of the leaves under a size.

        Raises:
            VaultError: the store cannot be read now.
        """
        with self.store.snapshot() as unit:
            return log.signed_counts(unit, size, range(_LAST_DAY))

    def checkpoint(self) -> bytes:
        """Return the newest checkpoint's note.

        Raises:
            VaultError: nothing was signed yet, or the store cannot be read now.
        """
        return self._newest()[1]

    def _newest(self) -> tuple[int, bytes]:
        with self.store.reading() as unit:
            found = log.newest(unit)
        if found is None:
            raise VaultError(Kind.NOT_FOUND)
        return found

    def file(self, path: str) -> bytes:
        """Return a tile or a bundle by its path, such as tile/0/000 or tile/entries/000.p/7.

        Raises:
            VaultError: no such path, or nothing there that was signed; or the store cannot be read now.
        """
        try:
            tile = Tile.parse(path)
        except NoteError:
            raise VaultError(Kind.NOT_FOUND) from None
        if not tile.is_in(self._newest()[0]):
            raise VaultError(Kind.NOT_FOUND)
        with self.store.reading() as unit:
            if tile.level is None:
                return tiles.bundle(log.entries(unit, tile.first, tile.width))
            held = log.read_tile(unit, tile.level, tile.number) or b""
        return held[: tile.width * _HASH_BYTES]

    def read(self, name: str) -> bytes:
        """Return what lies at a path, as a mirror or a verifier asks for it.

        Raises:
            FileNotFoundError: nothing.
        """
        try:
            return self.checkpoint() if name == sources.CHECKPOINT else self.file(name)
        except VaultError as error:
            if error.kind is Kind.NOT_FOUND:
                raise FileNotFoundError(name) from None
            raise

    def proof(self, index: int) -> tuple[LogProof, bytes]:
        """Return the proof that an entry is in the newest checkpoint, and the entry.

        Raises:
            VaultError: there is no such entry there.
        """
        with self.store.reading() as unit:
            size, note = log.newest(unit) or (0, b"")
            if not 0 <= index < size:
                raise VaultError(Kind.NOT_FOUND)
            [entry] = log.entries(unit, index, 1)
            tree = Tree(size, lambda level, number: log.read_tile(unit, level, number) or b"")
            return LogProof(index, tuple(tree.inclusion(index)), Note.parse(note)), entry
