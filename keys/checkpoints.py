"""Checkpoints of a log: c2sp.org/tlog-checkpoint v1.0.0, and the agent's own signature on one.

origin ‖ newline ‖ size ‖ newline ‖ base64(root) ‖ newline ‖ extension lines
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from keys.errors import NoteError
from keys.merkle import EMPTY_ROOT, MAX_SIZE
from keys.notes import ED25519, Signature, VerifierKey, encoded, hash_of
from keys.primitives import Ed25519Signer, ed25519_holds

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: so many entries, with this root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [self.origin, str(self.size), encoded(self.root), *self.extensions]
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the checkpoint that a note's text spells.

        Raises:
            NoteError: it is none, or an empty tree with another root than the empty one.
        """
        lines = text.split("\n")
        if len(lines) <= _LINES or lines.pop() or not all(lines):
            raise NoteError("a checkpoint has an origin, a size and a root")
        size, root = size_of(lines[1]), hash_of(lines[2])
        if size == 0 and root != EMPTY_ROOT:
            raise NoteError("an empty tree has the empty root")
        return cls(lines[0], size, root, tuple(lines[_LINES:]))


def size_of(text: str) -> int:
    """Return the number that a text spells: ASCII decimal without leading zeros, at most 2^63 - 1.

    Raises:
        NoteError: it is none.
    """
    if not _SIZE.fullmatch(text) or int(text) > MAX_SIZE:
        raise NoteError("a size is a decimal number without leading zeros")
    return int(text)


def log_key(origin: str, signer: Ed25519Signer) -> VerifierKey:
    """Return the public key of a log under its origin."""
    return VerifierKey(origin, ED25519, signer.public())


def signed(checkpoint: Checkpoint, signer: Ed25519Signer) -> Signature:
    """Return the log's own signature on its checkpoint."""
    key = log_key(checkpoint.origin, signer)
    return Signature(key.name, key.id, signer.sign(str(checkpoint).encode()))


def log_signature_holds(key: VerifierKey, text: str, value: bytes) -> bool:
    """Tell whether a log's Ed25519 signature holds over a note's text."""
    return key.kind == ED25519 and ed25519_holds(key.public, value, text.encode())
