"""The one format of everything sealed at rest: a header of ours around a Cobblestone-256 message.

    "IVR1"(4) ‖ suite u8 ‖ purpose u8 ‖ key id(16) ‖ key version u32be ‖ salt(24) ‖ commitment(32) ‖ chunks
    context = LP("idvault/v1") ‖ LP(deployment id) ‖ header ‖ LP(table) ‖ LP(address) ‖ LP(field) [‖ LP(u32be revision)]

Guarantees: no byte of a frame is free (the header is inside the context), the key is committed to before anything is
decrypted, and there is one parser, without a legacy reader. Sources: c2sp.org/chunked-encryption for the body
(AES-256-GCM, key and nonce derived for each message); `docs/formats.md` section 2 for the header and the context.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from keys.errors import OpenError
from keys.primitives import Aead, Expander, Secret, equal, expand_sha512, random_bytes

MAGIC: Final = b"IVR1"
SUITE_COBBLESTONE_256: Final = 1
CHUNK_BYTES: Final = 16 * 1024
TAG_BYTES: Final = 16
KEY_ID_BYTES: Final = 16
NO_KEY_ID: Final = bytes(KEY_ID_BYTES)
HEADER_BYTES: Final = 26
SALT_BYTES: Final = 24
COMMITMENT_BYTES: Final = 32
MAX_PLAINTEXT_BYTES: Final = 32 * 1024 * 1024
"""The bound up to which the specification states its 2^55 messages a key."""
_LABEL: Final = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
_NONCE_BYTES: Final = 12
_LENGTH: Final = struct.Struct(">I").pack
_OVERHEAD: Final = HEADER_BYTES + SALT_BYTES + COMMITMENT_BYTES + TAG_BYTES


class Purpose(IntEnum):
    """What a frame holds; the number is a header byte. Numbers are only ever added."""

    FIELD = 1
    WRAP = 2
    KEYRING = 3
    EVIDENCE = 4
    STATEMENT = 5
    UID = 6
    INTENT = 7
    FINGERPRINT = 8
    ANSWER = 9
    AUDIT = 10
    CURSOR = 11
    HANDOFF = 12
    OFFICER = 13
    SEAL = 14
    BACKUP = 15


_BEGINNINGS: Final = {purpose: MAGIC + bytes((SUITE_COBBLESTONE_256, purpose)) for purpose in Purpose}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame stands: it opens there and nowhere else.

    Attributes:
        deployment: the deployment id, 16 bytes.
        table: `store.table`.
        address: the row: rid, tag, key id or keyed hash of a pid.
        field: the column or field name.
        revision: the field's revision; only for frames under a record's own keys.
    """

    deployment: bytes
    table: str
    address: bytes
    field: str
    revision: int | None = None


_NAMED: Final = _LENGTH(10) + b"idvault/v1"


def length_prefixed(*parts: bytes) -> bytes:
    """Return LP(part) ‖ …, where LP(x) = u32be length ‖ x: unambiguous whatever the parts hold."""
    return b"".join([_LENGTH(len(part)) + part for part in parts])


def split_length_prefixed(joined: bytes) -> list[bytes]:
    """Return the parts of `length_prefixed`.

    Raises:
        OpenError: a length runs past the end.
    """
    parts, at = [], 0
    while at < len(joined):
        end = at + 4 + int.from_bytes(joined[at : at + 4], "big")
        if at + 4 > len(joined) or end > len(joined):
            raise OpenError
        parts.append(joined[at + 4 : end])
        at = end
    return parts


def header_of(purpose: Purpose, key_id: bytes, version: int) -> bytes:
    """Return the 26 header bytes."""
    return _BEGINNINGS[purpose] + key_id + _LENGTH(version)


def key_named_in(sealed: bytes) -> tuple[bytes, int]:
    """Return (key id, key version) that a frame claims; the claim holds only once the frame opens.

    Raises:
        OpenError: shorter than a header, or of another magic or suite.
    """
    if (
        not isinstance(sealed, bytes)
        or len(sealed) < _OVERHEAD
        or sealed[:5] != MAGIC + bytes((SUITE_COBBLESTONE_256,))
    ):
        raise OpenError
    return sealed[6:22], int.from_bytes(sealed[22:26], "big")


def _before_address(header: bytes, deployment: bytes, table: str) -> bytes:
    named = table.encode()
    return b"".join((_NAMED, _LENGTH(len(deployment)), deployment, header, _LENGTH(len(named)), named))


def _behind_address(field: str, revision: int | None) -> bytes:
    named = field.encode()
    behind = _LENGTH(len(named)) + named
    return behind if revision is None else behind + length_prefixed(revision.to_bytes(4, "big"))


def _context(header: bytes, place: Place) -> bytes:
    before = _before_address(header, place.deployment, place.table)
    return b"".join((
        before, _LENGTH(len(place.address)), place.address, _behind_address(place.field, place.revision),
    ))  # fmt: skip


def _message_keys(key: Secret | Expander, salt: bytes, context: bytes) -> tuple[Aead, bytes, bytes]:
    okm = expand_sha512(key, _LABEL + salt + context, 32 + _NONCE_BYTES + COMMITMENT_BYTES)
    return Aead(okm[:32]), okm[32:44], okm[44:]


def encrypt(key: Secret | Expander, context: bytes, plaintext: bytes, *, salt: bytes) -> bytes:
    """Cobblestone-256: return salt ‖ commitment ‖ chunks. `salt` is 24 fresh random bytes (an argument for vectors)."""
    aead, base, commitment = _message_keys(key, salt, context)
    if len(plaintext) < CHUNK_BYTES:
        return salt + commitment + aead.seal(base, plaintext)
    number = int.from_bytes(base, "big")
    # The last chunk is always shorter than CHUNK_BYTES, and empty where need be: so truncation shows.
    count = len(plaintext) // CHUNK_BYTES + 1
    chunks = (
        aead.seal((number ^ i).to_bytes(_NONCE_BYTES, "big"), plaintext[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES])
        for i in range(count)
    )
    return salt + commitment + b"".join(chunks)


def decrypt(key: Secret | Expander, context: bytes, message: bytes) -> bytes:
    """Cobblestone-256: return the plaintext.

    Raises:
        OpenError: cut, lengthened, tampered, another key or another context; the commitment is checked first.
    """
    start, step = SALT_BYTES + COMMITMENT_BYTES, CHUNK_BYTES + TAG_BYTES
    if len(message) < start + TAG_BYTES or (len(message) - start) % step == 0:
        raise OpenError
    aead, base, commitment = _message_keys(key, message[:SALT_BYTES], context)
    if not equal(commitment, message[SALT_BYTES:start]):
        raise OpenError
    if len(message) < start + step:
        return aead.open(base, message[start:])
    number = int.from_bytes(base, "big")
    chunks = [message[at : at + step] for at in range(start, len(message), step)]
    return b"".join(aead.open((number ^ i).to_bytes(_NONCE_BYTES, "big"), chunk) for i, chunk in enumerate(chunks))


def seal(
    key: Secret | Expander,
    purpose: Purpose,
    place: Place,
    plaintext: bytes,
    *,
    key_id: bytes = NO_KEY_ID,
    version: int = 0,
    salt: bytes = b"",
) -> bytes:
    """Return a frame that opens only under `key`, at `place`, for `purpose`.

    Args:
        key: 32 bytes.
        purpose: what it holds.
        place: where it will stand.
        plaintext: at most 32 MiB.
        key_id: 16 bytes naming a keyring key; zeros for frames under a record's own keys.
        version: that key's version.
        salt: 24 fresh random bytes, where those of many frames were drawn at once; else they are drawn here.

    Raises:
        ValueError: the plaintext is too long.
    """
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise ValueError("plaintext: at most 32 MiB")
    header = header_of(purpose, key_id, version)
    return header + encrypt(key, _context(header, place), plaintext, salt=salt or random_bytes(SALT_BYTES))


class Stencil:
    """Frames that differ by key and row alone: what their headers and contexts have in common is made once."""

    __slots__ = ("_before", "_behind", "_header")

    def __init__(self, purpose: Purpose, place: Place, *, key_id: bytes = NO_KEY_ID, version: int = 0) -> None:
        """Take what `seal` takes; of the place all but its address."""
        self._header = header_of(purpose, key_id, version)
        self._before = _before_address(self._header, place.deployment, place.table)
        self._behind = _behind_address(place.field, place.revision)

    def seal(self, key: Secret | Expander, address: bytes, plaintext: bytes, salt: bytes = b"") -> bytes:
        """Return what `seal` returns, at a row; `salt` as there.

        Raises:
            ValueError: the plaintext is too long.
        """
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ValueError("plaintext: at most 32 MiB")
        context = b"".join((self._before, _LENGTH(len(address)), address, self._behind))
        return self._header + encrypt(key, context, plaintext, salt=salt or random_bytes(SALT_BYTES))


def open_frame(
    key: Secret | Expander,
    purpose: Purpose,
    place: Place,
    sealed: bytes,
    *,
    key_id: bytes = NO_KEY_ID,
    version: int = 0,
) -> bytes:
    """Return what `seal` was given.

    Raises:
        OpenError: anything differs: a byte, the key, the place, the purpose, the key named in the header.
    """
    header = header_of(purpose, key_id, version)
    if len(sealed) < _OVERHEAD or sealed[:HEADER_BYTES] != header:
        raise OpenError
    return decrypt(key, _context(header, place), sealed[HEADER_BYTES:])
