"""A record's own two keys, wrapped by the key encryption key, and what they open: the fields, and the audit's details.

    wrapped = frame of record key(32) ‖ commitment key(32) [‖ former record key(32)]           (adr/0028)

Guarantees: wrapped keys open at their record alone, and live for the span of one act.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from keys import records
from keys.errors import OpenError
from keys.fields import FieldValue, field_key, key_label, open_field
from keys.frame import SALT_BYTES, Purpose
from keys.keyring import Keyring
from keys.primitives import KEY_BYTES, Secret, expand_each, expand_sha256, random_bytes
from keys.records import RID_BYTES, UID_BYTES, Assurance, Record, State, place_of

_DRAWN: Final = Struct(f"{RID_BYTES}s{UID_BYTES}s{2 * KEY_BYTES}s" + 3 * f"{SALT_BYTES}s")
"""Of a fresh record: rid, uid, its two keys, and the salts of its three frames."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A record with its keys: for the span of one act."""

    record: Record
    record_key: Secret
    commitment_key: Secret
    former: Secret | None = None
    """The key that some of its fields may still lie under, while they are sealed anew."""

    def field_keys(self, revisions: Mapping[str, int]) -> dict[str, bytes]:
        """Return the keys that a worker seals these fields with."""
        labels = [key_label(name, revision) for name, revision in revisions.items()]
        return dict(zip(revisions, self.keys_by(labels), strict=True))

    def keys_by(self, labels: Iterable[bytes]) -> list[bytes]:
        """Return the keys of fields by their labels."""
        return expand_each(self.record_key, labels)

    def open_fields(
        self, deployment: bytes, sealed: Mapping[str, bytes], revisions: Mapping[str, int] | None = None
    ) -> dict[str, FieldValue]:
        """Return the fields in clear.

        Raises:
            OpenError: a field does not open at its place and revision, is missing, or should not be there.
        """
        revisions = self.record.revisions if revisions is None else revisions
        if set(sealed) != set(revisions):
            raise OpenError
        return {name: self.open_one(deployment, name, revisions[name], value) for name, value in sealed.items()}

    def open_one(self, deployment: bytes, name: str, revision: int, sealed: bytes) -> FieldValue:
        """Return one field in clear.

        Raises:
            OpenError: it does not open at its place and revision.
        """
        try:
            key = field_key(self.record_key, name, revision)
            return open_field(key, deployment, self.record.rid, name, revision, sealed)
        except OpenError:
            if self.former is None:
                raise
        key = field_key(self.former, name, revision)
        return open_field(key, deployment, self.record.rid, name, revision, sealed)

    def detail_key(self, audit_id: bytes) -> Secret:
        """Return the key that seals the detail of one audit row of this record."""
        return detail_key(self.commitment_key, audit_id)


def detail_key(commitment_key: Secret, audit_id: bytes) -> Secret:
    """Return the key that seals the detail of one audit row of the record with this commitment key."""
    return expand_sha256(commitment_key, b"idvault/v1/audit" + audit_id)


def draw(
    keyring: Keyring, sector: str, pid: bytes, fields: Mapping[str, int], minute: int, state: State = State.CREATING
) -> tuple[Opened, bytes]:
    """Return a fresh record with its keys, and the fresh provisional person's uid."""
    [drawn] = draw_all(keyring, sector, [(pid, fields)], minute, state)
    return drawn


def draw_all(
    keyring: Keyring, sector: str, wanted: Sequence[tuple[bytes, Mapping[str, int]]], minute: int, state: State
) -> list[tuple[Opened, bytes]]:
    """Do what `draw` does for many (pid, fields): what their frames have in common is made once.

    Raises:
        UsesError: the key encryption key may not seal so many more.
    """
    kek = keyring.current("kek")
    wrapping = kek.sealer(Purpose.WRAP, place_of(keyring, b"", "wrapped"), len(wanted))
    sealing = keyring.current("map").sealer(Purpose.UID, place_of(keyring, b"", "uid"), len(wanted))
    drawn, random = [], _DRAWN.iter_unpack(random_bytes(_DRAWN.size * len(wanted)))
    for (pid, fields), (rid, uid, keys, *salts) in zip(wanted, random, strict=True):
        creating = state is State.CREATING
        record = Record(
            rid=rid, kek_version=kek.version, wrapped=wrapping(rid, keys, salts[0]), state=state,
            assurance=Assurance.NONE, revisions=fields, pending=None, uid=sealing(rid, uid, salts[1]),
            origin=records.seal_origin(keyring, rid, sector, pid, salt=salts[2]) if creating else None, created=minute,
            mac=b"",
        )  # fmt: skip
        drawn.append((Opened(record, Secret(keys[:KEY_BYTES]), Secret(keys[KEY_BYTES:])), uid))
    return drawn


def unwrap(keyring: Keyring, record: Record) -> Opened:
    """Return the record with its keys.

    Raises:
        OpenError: its wrapped keys were altered or moved.
        MissingError: its key encryption key is gone.
    """
    place = place_of(keyring, record.rid, "wrapped")
    raw = keyring.opener("kek", record.wrapped).open(Purpose.WRAP, place, record.wrapped)
    record_key, commitment_key, *former = (Secret(raw[at : at + KEY_BYTES]) for at in range(0, len(raw), KEY_BYTES))
    return Opened(record, record_key, commitment_key, *former)


def wrap(keyring: Keyring, rid: bytes, *secrets: Secret) -> bytes:
    """Return a record's keys wrapped together: record key, commitment key and, while there is one, the former."""
    raw = b"".join(secret.expose_cleartext() for secret in secrets)
    return keyring.current("kek").seal(Purpose.WRAP, place_of(keyring, rid, "wrapped"), raw)


def commitment_key(keyring: Keyring, record: Record) -> Secret:
    """Return the one key of a record that its audit rows need.

    Raises:
        OpenError, MissingError: see `unwrap`.
    """
    return unwrap(keyring, record).commitment_key
