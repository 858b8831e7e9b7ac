"""Which seal is in force: the file of the seal, and beside it the one that a change is about to put there.

    seal.json    in force     seal.next    written before the change is committed     seal.stale    in force no more

Guarantees: a kill at any moment of a change leaves a seal that opens what the key store holds, the old one or the new:
`settle` finds out which by what the store itself says, the root key that its entries name and, of a vault of officers,
the seal that they approved last. A file that is neither is put aside, not deleted; but a development seal, whose root
key lies in it in the clear, is.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, select

from keys import store
from keys.chains import seen
from keys.engine import reading
from keys.entries import KEK
from keys.files import remove_durably, replace_durably
from keys.frame import key_named_in
from keys.seals.configs import DEVELOPMENT
from keys.seals.sealed import FILE_NAME, Sealed, kind_at, read
from keys.states import State

NEXT: Final = "seal.next"
STALE: Final = "seal.stale"


@dataclass(frozen=True, slots=True)
class Kept:
    """The seal's files of one vault."""

    home: Path

    @property
    def path(self) -> Path:
        """The file of the seal that is in force."""
        return self.home / FILE_NAME

    @property
    def _next(self) -> Path:
        return self.home / NEXT

    def prepare(self, sealed: Sealed) -> None:
        """Write the seal that a change is about to put in force.

        Raises:
            OSError: the folder cannot be written.
        """
        replace_durably(self._next, bytes(sealed), 0o600)

    def put_in_force(self) -> None:
        """Have the prepared seal in force, once its change was committed.

        Raises:
            OSError: the folder cannot be written.
        """
        replace_durably(self.path, self._next.read_bytes(), 0o600)
        remove_durably(self._next)

    def discard(self) -> None:
        """Forget the prepared seal, if there is one: its change was not committed."""
        remove_durably(self._next)

    def put_aside(self) -> None:
        """Take the seal out of force; one that holds the root key in the clear is deleted."""
        if kind_at(self.path) == DEVELOPMENT:
            remove_durably(self.path)
        elif self.path.exists():
            replace_durably(self.home / STALE, self.path.read_bytes(), 0o600)
            remove_durably(self.path)

    def settle(self, engine: Engine) -> None:
        """Finish or undo a change that a crash cut off, and put aside what is in force no more. Idempotent.

        Raises:
            SetupError: a file is no seal, or is readable for others.
            ChainError: the chain of officers does not hold.
        """
        state, root_id = seen(engine), root_id_of(engine)
        approved = state.seal if state is not None else None
        prepared = read(self._next) if os.path.lexists(self._next) else None
        if prepared is not None:
            if prepared.root_id == root_id and approved in {None, prepared.description}:
                self.put_in_force()
            else:
                self.discard()
        if state is None or not os.path.lexists(self.path):
            return
        if kind_at(self.path) == DEVELOPMENT:
            self.put_aside()
            return
        found = read(self.path)
        if found is None or found.root_id != root_id or found.description != approved:
            self.put_aside()


def root_id_of(engine: Engine) -> bytes:
    """Return what names the root key that the entries lie under; nothing in a vault without keys.

    Raises:
        OpenError: an entry is no frame.
    """
    key = store.key.c
    with reading(engine) as connection:
        found = connection.execute(
            select(key.sealed).where(key.purpose == KEK, key.state != State.DESTROYED).limit(1)
        ).scalar_one_or_none()
    return b"" if found is None else key_named_in(bytes(found))[0]
