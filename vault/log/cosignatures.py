"""Cosignatures of witnesses on checkpoints: c2sp.org/tlog-cosignature, with Ed25519 and with ML-DSA-44.

value   = u64be time ‖ signature
Ed25519   signs "cosignature/v1" ‖ newline ‖ "time <decimal>" ‖ newline ‖ the checkpoint's whole text
ML-DSA-44 signs "subtree/v1" ‖ newline ‖ 0x00 ‖ u8 length ‖ cosigner ‖ u64be time ‖ u8 length ‖ origin ‖ u64be 0 ‖
          u64be size ‖ root
"""

from typing import Final, Protocol

from keys.checkpoints import Checkpoint, log_signature_holds
from keys.errors import NoteError
from keys.notes import ED25519, ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, Signature, VerifierKey
from keys.primitives import Ed25519Signer, MlDsa44Signer, ed25519_holds, ml_dsa_44_holds

MAX_TIME: Final = 2**63 - 1
_TIME_BYTES: Final = 8
_LABEL: Final = b"subtree/v1\n\0"
_MOST_CHARACTERS: Final = 255
_SIGNATURE_BYTES: Final = {ED25519_COSIGNATURE: 64, ML_DSA_44_COSIGNATURE: 2420}


class Cosigner(Protocol):
    """A witness' key: of either algorithm."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature."""
        ...

    def public(self) -> bytes:
        """Return the public key."""
        ...


def cosigner_key(name: str, signer: Ed25519Signer | MlDsa44Signer) -> VerifierKey:
    """Return the public key of a witness under its name."""
    kind = ED25519_COSIGNATURE if isinstance(signer, Ed25519Signer) else ML_DSA_44_COSIGNATURE
    return VerifierKey(name, kind, signer.public())


def cosigned(text: str, key: VerifierKey, signer: Cosigner, time: int) -> Signature:
    """Return a witness' signature on a checkpoint's text.

    Args:
        text: of the checkpoint.
        key: the witness' own.
        signer: its private half.
        time: seconds since 1970, not 0: a witness says when.

    Raises:
        NoteError: no checkpoint, or a time beyond what the format holds.
    """
    if not 0 < time <= MAX_TIME:
        raise NoteError("a cosignature says when, at most 2^63 - 1")
    return Signature(key.name, key.id, time.to_bytes(_TIME_BYTES, "big") + signer.sign(_message(key, text, time)))


def time_of(value: bytes) -> int:
    """Return when a cosignature was made, in seconds since 1970."""
    return int.from_bytes(value[:_TIME_BYTES], "big")


def holds(key: VerifierKey, text: str, value: bytes) -> bool:
    """Tell whether a signature on a checkpoint's text holds: the log's own, or a witness' of either algorithm."""
    if key.kind == ED25519:
        return log_signature_holds(key, text, value)
    if len(value) != _TIME_BYTES + _SIGNATURE_BYTES[key.kind] or not 0 < time_of(value) <= MAX_TIME:
        return False
    try:
        message = _message(key, text, time_of(value))
    except NoteError:
        return False
    check = ed25519_holds if key.kind == ED25519_COSIGNATURE else ml_dsa_44_holds
    return check(key.public, value[_TIME_BYTES:], message)


def _message(key: VerifierKey, text: str, time: int) -> bytes:
    checkpoint = Checkpoint.parse(text)
    if key.kind == ED25519_COSIGNATURE:
        return f"cosignature/v1\ntime {time}\n{text}".encode()
    return b"".join((
        _LABEL, _short(key.name), time.to_bytes(8, "big"), _short(checkpoint.origin), bytes(8),
        checkpoint.size.to_bytes(8, "big"), checkpoint.root,
    ))  # fmt: skip


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > _MOST_CHARACTERS:
        raise NoteError("a name that ML-DSA-44 commits to has at most 255 bytes")
    return bytes([len(raw)]) + raw
