"""A witness: signs a log's checkpoint only if it continues the one it signed last (c2sp.org/tlog-witness v1.0.0).

    POST add-checkpoint: "old " size, proof lines, an empty line, a checkpoint
    200 cosignatures · 400 malformed, or old > new · 403 not signed by the log · 404 unknown log · 409 old is not the
    recorded size, which the answer says · 422 the proof does not hold, or the same size has another root

Guarantees: what it signed is on disk before the answer leaves, and compared and replaced under one lock, so that no two
answers go two ways, whatever is killed.
"""

import fcntl
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from keys.checkpoints import Checkpoint, log_signature_holds, size_of
from keys.errors import NoteError, ProofError
from keys.files import replace_durably
from keys.merkle import EMPTY_ROOT, check_consistency
from keys.notes import MAX_NOTE_BYTES, Note, VerifierKey, encoded, hash_of
from vault.log.cosignatures import Cosigner, cosigned

MAX_HASHES: Final = 63
TEXT: Final = "text/plain; charset=utf-8"
SIZE: Final = "text/x.tlog.size"
_OLD: Final = "old "


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers over HTTP."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = TEXT


@dataclass(frozen=True, slots=True)
class Request:
    """The body of add-checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: Note

    @classmethod
    def parse(cls, raw: bytes) -> "Request":
        """Return the request.

        Raises:
            NoteError: it is none.
        """
        head, empty, note = raw.partition(b"\n\n")
        if len(raw) > MAX_NOTE_BYTES or not empty:
            raise NoteError("a request is an old size, a proof, an empty line and a checkpoint")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise NoteError("a request is ASCII up to its checkpoint") from None
        if not first.startswith(_OLD) or len(lines) > MAX_HASHES:
            raise NoteError("a request begins with an old size, and has at most 63 hashes")
        return cls(size_of(first.removeprefix(_OLD)), tuple(hash_of(line) for line in lines), Note.parse(note))

    def __bytes__(self) -> bytes:
        lines = "".join(f"{encoded(one)}\n" for one in self.proof)
        return f"{_OLD}{self.old}\n{lines}\n{self.note}".encode()


@dataclass(frozen=True, slots=True)
class Witness:
    """One witness' key, the logs that it knows by origin, and the folder of what it signed last."""

    key: VerifierKey
    signer: Cosigner
    logs: Mapping[str, VerifierKey]
    folder: Path

    def add_checkpoint(self, raw: bytes, now: int) -> Answer:
        """Answer a request of a log; `now` is in seconds since 1970."""
        try:
            request = Request.parse(raw)
            origin = request.note.text.partition("\n")[0]
        except NoteError:
            return Answer(HTTPStatus.BAD_REQUEST)
        log = self.logs.get(origin)
        if log is None:
            return Answer(HTTPStatus.NOT_FOUND)
        try:
            request.note.signed_by([log], log_signature_holds)
        except NoteError:
            return Answer(HTTPStatus.FORBIDDEN)
        try:
            checkpoint = Checkpoint.parse(request.note.text)
        except NoteError:
            # An empty tree with a root is a checkpoint in form, and no tree has it.
            empty = request.note.text.split("\n")[1:2] == ["0"]
            return Answer(HTTPStatus.UNPROCESSABLE_ENTITY if empty else HTTPStatus.BAD_REQUEST)
        if request.old > checkpoint.size:
            return Answer(HTTPStatus.BAD_REQUEST)
        with self._locked(origin):
            return self._decide(request, checkpoint, now)

    def checkpoint(self, name: str) -> bytes | None:
        """Return what was signed last of the log whose origin has this SHA-256, in hex; None if nothing was."""
        known = {hashlib.sha256(origin.encode()).hexdigest() for origin in self.logs}
        try:
            return (self.folder / name).read_bytes() if name in known else None
        except FileNotFoundError:
            return None

    def _decide(self, request: Request, checkpoint: Checkpoint, now: int) -> Answer:
        last = self._last(checkpoint.origin)
        if request.old != last.size:
            return Answer(HTTPStatus.CONFLICT, f"{last.size}\n".encode(), SIZE)
        try:
            check_consistency(last.size, checkpoint.size, request.proof, last.root, checkpoint.root)
        except ProofError:
            return Answer(HTTPStatus.UNPROCESSABLE_ENTITY)
        signature = cosigned(request.note.text, self.key, self.signer, now)
        note = Note(request.note.text, (*request.note.signatures, signature))
        replace_durably(self._path(checkpoint.origin), str(note).encode())
        return Answer(HTTPStatus.OK, str(signature).encode())

    def _path(self, origin: str) -> Path:
        return self.folder / hashlib.sha256(origin.encode()).hexdigest()

    def _last(self, origin: str) -> Checkpoint:
        try:
            return Checkpoint.parse(Note.parse(self._path(origin).read_bytes()).text)
        except FileNotFoundError:
            return Checkpoint(origin, 0, EMPTY_ROOT)

    @contextmanager
    def _locked(self, origin: str) -> Iterator[None]:
        with self._path(origin).with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
