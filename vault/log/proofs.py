"""Proofs that stand alone: c2sp.org/tlog-proof, an entry's place in a checkpoint, in one file.

c2sp.org/tlog-proof@v1        [extra <base64>]        index <decimal>        proof lines, an empty line, a checkpoint
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Self

from keys.checkpoints import Checkpoint, size_of
from keys.errors import NoteError
from keys.merkle import check_inclusion, leaf_hash
from keys.notes import MAX_NOTE_BYTES, Note, VerifierKey, decoded, encoded, hash_of

FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
MAX_HASHES: Final = 63


@dataclass(frozen=True, slots=True)
class LogProof:
    """An entry's index and way up, beneath a checkpoint; `extra` is anybody's word and proves nothing."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes | None = None

    def __str__(self) -> str:
        extra = "" if self.extra is None else f"extra {encoded(self.extra)}\n"
        lines = "".join(f"{encoded(one)}\n" for one in self.hashes)
        return f"{FIRST_LINE}\n{extra}index {self.index}\n{lines}\n{self.checkpoint}"

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the proof of a file; nothing of it is checked yet.

        Raises:
            NoteError: it is none.
        """
        head, empty, checkpoint = raw.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise NoteError("a proof is ASCII up to its checkpoint") from None
        if len(raw) > MAX_NOTE_BYTES or not empty or lines.pop(0) != FIRST_LINE:
            raise NoteError("a proof begins with its version")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = decoded(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index "):
            raise NoteError("a proof names an index")
        index = size_of(lines.pop(0).removeprefix("index "))
        if len(lines) > MAX_HASHES:
            raise NoteError("a proof has too many hashes")
        return cls(index, tuple(hash_of(line) for line in lines), Note.parse(checkpoint), extra)

    def check(
        self, entry: bytes, keys: Iterable[VerifierKey], holds: Callable[[VerifierKey, str, bytes], bool]
    ) -> list[VerifierKey]:
        """Check that an entry is in the log; return the keys that signed its checkpoint.

        Args:
            entry: the whole entry.
            keys: of the log and of witnesses; whether they suffice is for a policy to say.
            holds: checks one signature.

        Raises:
            NoteError: nobody known signed it.
            ProofError: the entry is not in that checkpoint.
        """
        signed = self.checkpoint.signed_by(keys, holds)
        checkpoint = Checkpoint.parse(self.checkpoint.text)
        check_inclusion(self.index, checkpoint.size, leaf_hash(entry), self.hashes, checkpoint.root)
        return signed
