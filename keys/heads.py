"""The fork guard: what the agent signed last, in the key store and in a file beside it.

    log.head = the text of the last checkpoint that was signed: origin, size, root

Guarantees: both are durable before a signature leaves; the greater of the two counts, so that a store that was put back
to an earlier state, or a file that was, does not have another history signed. A vault that signed before and has lost
the file signs nothing: anybody's copy of its newest checkpoint, put there, is as good.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import store
from keys.checkpoints import Checkpoint, log_key, log_signature_holds
from keys.engine import reading, writing
from keys.entries import SIGN_LOG
from keys.errors import ConflictError, NoteError, RefusedError, SetupError
from keys.files import replace_durably
from keys.frame import length_prefixed
from keys.keyring import Keyring
from keys.merkle import EMPTY_ROOT
from keys.notes import Note
from keys.primitives import Ed25519Signer, equal

FILE_NAME: Final = "log.head"
_LABEL: Final = b"idvault/v1/log-head"
_ROW: Final = "log"
_LOST: Final = (
    "the file log.head is lost, which says what was signed last: put the newest checkpoint of this log there; any "
    "mirror or witness has it"
)
_NO_HEAD: Final = "the file log.head holds no checkpoint of this log"
_NO_MIRROR: Final = "IDVAULT_LOG_MIRROR: its checkpoint cannot be read, or is not signed by this log"
_ALTERED: Final = "what the key store says was signed last was altered"


@dataclass(frozen=True, slots=True)
class Heads:
    """Where the last signed head is kept."""

    engine: Engine
    keyring: Keyring
    home: Path

    @property
    def _path(self) -> Path:
        return self.home / FILE_NAME

    def last(self) -> Checkpoint | None:
        """Return what was signed last, None if nothing ever was.

        Raises:
            RefusedError: the file is lost or is another log's, or the row was altered.
        """
        row, file = self._row(), self._file()
        if row is None or file is None:
            if row is not None and row.size:
                raise RefusedError(_LOST)
            return row or file
        if row.origin != file.origin or (row.size == file.size and row.root != file.root):
            raise RefusedError(_NO_HEAD)
        return max(row, file, key=lambda head: head.size)

    def advance(self, former: Checkpoint | None, head: Checkpoint) -> None:
        """Make a head the last one, durably, if the former still is.

        Raises:
            ConflictError: it is not.
            RefusedError: see `last`.
        """
        with self._locked():
            if self.last() != former:
                raise ConflictError("another head was signed meanwhile")
            replace_durably(self._path, str(head).encode())
            values = {"origin": head.origin, "size": head.size, "root": head.root}
            row = {"id": _ROW, **values, "mac": self._mac(head)}
            statement = upsert(store.log_head).values(row)
            with writing(self.engine) as connection:
                connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=row))

    def check_mirror(self, mirror: Path) -> None:
        """Check that a mirror of the log has no later checkpoint than this key store and the file beside it know.

        A whole home folder that was put back to an earlier state agrees with itself; a mirror elsewhere does not.

        Args:
            mirror: a folder as `idvault log mirror` fills it; one that holds no checkpoint yet tells nothing.

        Raises:
            SetupError: it has a later one, or another of the same size; or its checkpoint is none of this log.
        """
        try:
            note = Note.parse((mirror / "checkpoint").read_bytes())
            seen = Checkpoint.parse(note.text)
            keys = [log_key(seen.origin, Ed25519Signer(key.secret)) for key in self.keyring.versions(SIGN_LOG).values()]
            signed = note.signed_by(keys, log_signature_holds)
        except FileNotFoundError:
            return
        except (OSError, NoteError):
            raise SetupError(_NO_MIRROR) from None
        if not signed:
            raise SetupError(_NO_MIRROR)
        known = [head for head in (self._row(), self._file()) if head is not None]
        last = max(known, key=lambda head: head.size, default=Checkpoint(seen.origin, 0, EMPTY_ROOT))
        if seen.size > last.size or (seen.size == last.size and seen.root != last.root):
            raise SetupError(
                f"the log's mirror has a checkpoint of {seen.size} entries, this vault signed {last.size}: it was put "
                "back to an earlier state; bring a newer backup (idvault restore), or find out who did it"
            )

    def take_row(self) -> None:
        """Take what the key store says was signed last for all that was: of a vault that came back without a copy of
        its log.

        Raises:
            RefusedError: the row was altered.
        """
        row = self._row()
        if row is not None:
            replace_durably(self._path, str(row).encode())

    def _row(self) -> Checkpoint | None:
        with reading(self.engine) as connection:
            row = connection.execute(select(store.log_head)).one_or_none()
        if row is None:
            return None
        head = Checkpoint(row.origin, row.size, row.root)
        if not equal(row.mac, self._mac(head)):
            raise RefusedError(_ALTERED)
        return head

    def _file(self) -> Checkpoint | None:
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError:
            raise RefusedError(_NO_HEAD) from None
        try:
            # Its own text, or a whole note: whoever brings back what was lost has the note.
            text = Note.parse(raw).text if b"\n\n" in raw else raw.decode()
            head = Checkpoint.parse(text)
        except (NoteError, UnicodeDecodeError):
            raise RefusedError(_NO_HEAD) from None
        return Checkpoint(head.origin, head.size, head.root)

    def _mac(self, head: Checkpoint) -> bytes:
        values = (head.origin.encode(), head.size.to_bytes(8, "big"), head.root)
        return self.keyring.mac("index", _LABEL).of(length_prefixed(*values))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.home / f"{FILE_NAME}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
