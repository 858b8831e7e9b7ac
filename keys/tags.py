"""Fingerprints (vault-wide) and local tags (one sector): keyed hashes by which a person is recognised. Agent only.

    fingerprint = version u8 ‖ HMAC(fingerprint key, LP("fingerprint") ‖ LP(kind) ‖ LP(value)…)
    local tag   = version u8 ‖ HMAC(fingerprint key, LP("local") ‖ LP(sector) ‖ LP(kind) ‖ LP(value)…)

The input is low in entropy, so the key never leaves the agent and nothing maps a name or number to anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keys.fields import FieldValue
from keys.frame import length_prefixed
from keys.primitives import Secret, hmac_sha256

DOCUMENT_BIRTH: Final = "document_birth"
DOCUMENT: Final = "document"
NAME_BIRTH: Final = "name_birth"
REGISTRATION: Final = "registration"
EXACT_KINDS: Final = frozenset((DOCUMENT_BIRTH, REGISTRATION))
"""Kinds of which one sector has each tag once: an equal one is the same registrant."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag with its kind; `value` is version(1) ‖ HMAC(32)."""

    kind: str
    value: bytes


def _values(fields: Mapping[str, FieldValue]) -> list[tuple[str, tuple[bytes, ...]]]:
    birth = fields["birth_date"].match if "birth_date" in fields else ()
    document = fields["document"].match if "document" in fields else ()
    number = fields["registration"].match if "registration" in fields else ()
    names = [m for name in ("legal_name", "names") if name in fields for m in fields[name].match]
    values: list[tuple[str, tuple[bytes, ...]]] = []
    if document and birth:
        values.append((DOCUMENT_BIRTH, (*document, *birth)))
    if document:
        values.append((DOCUMENT, document))
    if number:
        values.append((REGISTRATION, number))
    if birth:
        values += [(NAME_BIRTH, (name, *birth)) for name in sorted(set(names))]
    return values


def fingerprints(key: Secret, version: int, fields: Mapping[str, FieldValue]) -> list[Tag]:
    """Return the vault-wide tags of a person: document with birth date, and document alone; names never.

    An organisation's is its number in a register.
    """
    return [
        Tag(kind, bytes((version,)) + hmac_sha256(key, length_prefixed(b"fingerprint", kind.encode(), *values)))
        for kind, values in _values(fields)
        if kind != NAME_BIRTH
    ]


def local_tags(key: Secret, version: int, sector: str, fields: Mapping[str, FieldValue]) -> list[Tag]:
    """Return the tags of a person in one sector; nothing of them is equal in another."""
    return [
        Tag(
            kind,
            bytes((version,)) + hmac_sha256(key, length_prefixed(b"local", sector.encode(), kind.encode(), *values)),
        )
        for kind, values in _values(fields)
    ]
