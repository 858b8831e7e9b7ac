"""Signed notes and the keys that sign them: c2sp.org/signed-note v1.0.0.

    <text, ends in a newline> ‖ newline ‖ one or more lines "— <key name> <base64(key id(4) ‖ signature)>"
    key id = SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4]      vkey = name "+" hex(key id) "+" base64(type ‖ public key)

Guarantees: one spelling of every note; a signature of a known key that does not hold refuses the whole note, one of an
unknown key is left alone, and a note without a good one is refused.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Self

from keys.errors import NoteError

ED25519: Final = 0x01
ED25519_COSIGNATURE: Final = 0x04
ML_DSA_44_COSIGNATURE: Final = 0x06
KEY_BYTES: Final = {ED25519: 32, ED25519_COSIGNATURE: 32, ML_DSA_44_COSIGNATURE: 1312}
"""Lengths of public keys by signature type (c2sp.org/signed-note, c2sp.org/tlog-cosignature)."""
MAX_SIGNATURES: Final = 100
"""As the Go checksum database's client; at least 16 must be taken."""
MAX_NOTE_BYTES: Final = 1_000_000
_ID_BYTES: Final = 4
_DASH: Final = "— "
_SPACE: Final = 0x20
_SURROGATES: Final = frozenset(map(chr, range(0xD800, 0xE000)))
"""What no UTF-8 spells, and yet stands for foreign bytes in a text that was read leniently."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A name, a signature type and a public key."""

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public) != KEY_BYTES.get(self.kind):
            raise NoteError("a verifier key is of a known type and its length")

    @property
    def id(self) -> bytes:
        """The key id, 4 bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{encoded(bytes([self.kind]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that a vkey spells.

        Raises:
            NoteError: it is not one.
        """
        name, _, rest = text.partition("+")
        named, _, key = rest.partition("+")
        raw = decoded(key)
        if not raw:
            raise NoteError("a verifier key has a type and a key")
        made = cls(name, raw[0], raw[1:])
        if made.id.hex() != named:
            raise NoteError("a verifier key's id is not of its key")
        return made


@dataclass(frozen=True, slots=True)
class Signature:
    """One line beneath a note."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {encoded(self.key_id + self.value)}\n"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Return the signature of a line without its newline.

        Raises:
            NoteError: it is not one.
        """
        name, space, value = line.removeprefix(_DASH).partition(" ")
        raw = decoded(value)
        if not line.startswith(_DASH) or not space or len(raw) <= _ID_BYTES:
            raise NoteError("a signature line is an em dash, a name and a signature")
        check_name(name)
        return cls(name, raw[:_ID_BYTES], raw[_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text with its signatures, none of them checked."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(str(signature) for signature in self.signatures)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the note; the text ends at the last empty line.

        Raises:
            NoteError: not UTF-8, a control character, no empty line, no signature or too many.
        """
        if len(raw) > MAX_NOTE_BYTES:
            raise NoteError("a note is too long")
        try:
            whole = raw.decode()
        except UnicodeDecodeError:
            raise NoteError("a note is UTF-8") from None
        if any(ord(character) < _SPACE and character != "\n" for character in whole):
            raise NoteError("a note has no control characters")
        text, empty, lines = whole.rpartition("\n\n")
        if not empty or not text or not lines.endswith("\n"):
            raise NoteError("a note is a text, an empty line and signatures")
        signatures = lines[:-1].split("\n")
        if len(signatures) > MAX_SIGNATURES:
            raise NoteError("a note has too many signatures")
        return cls(text + "\n", tuple(Signature.parse(line) for line in signatures))

    def signed_by(
        self, keys: Iterable[VerifierKey], holds: Callable[[VerifierKey, str, bytes], bool]
    ) -> list[VerifierKey]:
        """Return the keys whose signatures hold.

        Args:
            keys: the known ones.
            holds: checks one signature: key, text, value.

        Raises:
            NoteError: a known key's signature does not hold, or none does.
        """
        known = {(key.name, key.id): key for key in keys}
        found: list[VerifierKey] = []
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is None:
                continue
            if not holds(key, self.text, signature.value):
                raise NoteError("a signature of a known key does not hold")
            if key not in found:
                found.append(key)
        if not found:
            raise NoteError("no known key signed the note")
        return found


def check_name(name: str) -> None:
    """Check a key name.

    Raises:
        NoteError: empty, not UTF-8, or with a space, a plus or a control character.
    """
    if not name or "+" in name or any(one.isspace() or ord(one) < _SPACE or one in _SURROGATES for one in name):
        raise NoteError("a key name is UTF-8 without a space, a plus or a control character")


def encoded(raw: bytes) -> str:
    """Return base64 with padding (RFC 4648 section 4)."""
    return base64.b64encode(raw).decode()


def decoded(text: str) -> bytes:
    """Return what base64 spells, in its one spelling alone.

    Raises:
        NoteError: another alphabet, no padding, or bits beyond the end.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None
    if encoded(raw) != text:
        raise NoteError("not the one spelling in base64")
    return raw


def hash_of(text: str) -> bytes:
    """Return the 32 bytes that a line of base64 spells.

    Raises:
        NoteError: it does not.
    """
    raw = decoded(text)
    if len(raw) != hashlib.sha256().digest_size:
        raise NoteError("a hash has 32 bytes")
    return raw
