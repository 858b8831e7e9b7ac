"""Sealed fields of a record: workers seal them, only the agent opens them.

    field key = HKDF(record key, "idvault/v1/field" ‖ LP(field) ‖ LP(u32be revision))
    plaintext = LP(shown) ‖ LP(match form)…, then padded to a multiple of 64 bytes

`shown` is what a reviewer sees; the match forms are what tags are made of (`keys.tags`), so that what was reviewed is
what is tagged. Padding hides lengths up to its step (ISO/IEC 7816-4: 0x80, then zeros).
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from keys.errors import OpenError
from keys.frame import (
    NO_KEY_ID,
    SALT_BYTES,
    Place,
    Purpose,
    Stencil,
    header_of,
    length_prefixed,
    open_frame,
    seal,
    split_length_prefixed,
)
from keys.primitives import Secret, expand_sha256, random_bytes

PAD_BYTES: Final = 64
HEADER: Final = header_of(Purpose.FIELD, NO_KEY_ID, 0)
"""What every sealed field begins with: it is sealed under its record's own keys, which have no name."""
_LABEL: Final = b"idvault/v1/field"
_SALT: Final = Struct(f"{SALT_BYTES}s")
_SALTS: Final = 64
"""How many are drawn at a time."""


@dataclass(frozen=True, slots=True)
class FieldValue:
    """One field in clear. Its repr shows nothing."""

    shown: bytes
    match: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return "FieldValue(…)"


def field_key(record_key: Secret, field: str, revision: int) -> Secret:
    """Return the 32-byte key of one revision of one field."""
    return expand_sha256(record_key, key_label(field, revision))


def key_label(field: str, revision: int) -> bytes:
    """Return the label by which the key of one revision of one field is derived."""
    return _LABEL + length_prefixed(field.encode(), revision.to_bytes(4, "big"))


def pad(payload: bytes) -> bytes:
    """Return the payload, 0x80 and zeros up to a multiple of 64 bytes."""
    return payload + b"\x80" + bytes(-(len(payload) + 1) % PAD_BYTES)


def unpad(padded: bytes) -> bytes:
    """Return what `pad` was given.

    Raises:
        OpenError: not padded as `pad` does it.
    """
    payload = padded.rstrip(b"\x00")
    if len(padded) % PAD_BYTES or payload[-1:] != b"\x80" or len(padded) - len(payload) >= PAD_BYTES:
        raise OpenError
    return payload[:-1]


def encode(value: FieldValue) -> bytes:
    """Return the padded plaintext of a field."""
    return pad(length_prefixed(value.shown, *value.match))


def decode(padded: bytes) -> FieldValue:
    """Return what `encode` was given.

    Raises:
        OpenError: not of that form.
    """
    parts = split_length_prefixed(unpad(padded))
    if not parts:
        raise OpenError
    return FieldValue(parts[0], tuple(parts[1:]))


def place_of(deployment: bytes, rid: bytes, field: str, revision: int) -> Place:
    """Return where a sealed field stands."""
    return Place(deployment, "identity.record", rid, field, revision)


def seal_field(key: Secret, deployment: bytes, rid: bytes, field: str, revision: int, value: FieldValue) -> bytes:
    """Return the sealed field; `key` is that field's key of that revision."""
    return seal(key, Purpose.FIELD, place_of(deployment, rid, field, revision), encode(value))


class Sealer:
    """Seals fields of many records as `seal_field` does: what their frames have in common is made once.

    Lives for one act: its salts are drawn many at a time.
    """

    __slots__ = ("_deployment", "_salts", "_stencils")

    def __init__(self, deployment: bytes) -> None:
        self._deployment, self._salts = deployment, list[bytes]()
        self._stencils: dict[tuple[str, int], Stencil] = {}

    def seal(self, key: Secret, rid: bytes, field: str, revision: int, value: FieldValue) -> bytes:
        """Return the sealed field; `key` is that field's key of that revision."""
        stencil = self._stencils.get((field, revision))
        if stencil is None:
            place = place_of(self._deployment, b"", field, revision)
            stencil = self._stencils[field, revision] = Stencil(Purpose.FIELD, place)
        if not self._salts:
            self._salts = [salt for (salt,) in _SALT.iter_unpack(random_bytes(_SALT.size * _SALTS))]
        return stencil.seal(key, rid, encode(value), self._salts.pop())


def open_field(key: Secret, deployment: bytes, rid: bytes, field: str, revision: int, sealed: bytes) -> FieldValue:
    """Return the field in clear.

    Raises:
        OpenError: tampered, moved, or of another record, field or revision.
    """
    return decode(open_frame(key, Purpose.FIELD, place_of(deployment, rid, field, revision), sealed))
