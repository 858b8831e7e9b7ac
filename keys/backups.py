"""The formats of a backup: its manifest, the sealed part of the key store, and the key file that is kept elsewhere.

    manifest.json   RFC 8785 form of {"v": 1, "id", "deployment", "agent", "created", "software", "schema", "files",
                    "log", "generation", "root_id", "key", "pieces"}
    manifest.sig    {"signature": Ed25519 by the agent's identity key over "idvault/backup/v1" ‖ newline ‖ manifest,
                    "mac": HMAC(HKDF(part key, "idvault/v1/backup-manifest"), manifest)}
    keys.sealed     u32be length ‖ frame, for each 16 MiB of the key store's copy, at (deployment, "backup.keys", id,
                    "piece" or for the last one "last", number)
    part key        = HKDF-Expand(backup key, "idvault/v1/backup" ‖ id, 32)
    key file        {"v": 1, "deployment", "root_id", "generation", "ceremony", "seal", "keys": [{"id", "version",
                    "state", "created", "sealed"}]}                                                      mode 0600

Guarantees: the key store's part opens under a backup key alone, which lies in the key file and not in the backup; the
key file opens under the root key alone, for M officers of its generation. Once a backup key was destroyed in every copy
of the key file, nothing of the backups under it opens: who was erased stays erased.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import rfc8785

from keys.entries import BACKUP, Key, place_of
from keys.errors import BackupError, OpenError
from keys.frame import Place, Purpose, length_prefixed, open_frame, seal
from keys.primitives import (
    Ed25519Signer,
    Secret,
    ed25519_holds,
    equal,
    expand_sha256,
    hmac_sha256,
)
from keys.states import State

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
KEYS_PART: Final = "keys.sealed"
ID_BYTES: Final = 16
PURPOSE: Final = BACKUP
"""Of the keys that are in no backup, for they open them."""
PIECE_BYTES: Final = 16 * 1024 * 1024
_MAX_MANIFEST_BYTES: Final = 64 * 1024
_MAX_FRAME_BYTES: Final = PIECE_BYTES + 64 * 1024
_LABEL: Final = b"idvault/backup/v1\n"
_PART_LABEL: Final = b"idvault/v1/backup"
_MAC_LABEL: Final = b"idvault/v1/backup-manifest"
_MEMBERS: Final = frozenset(
    {"v", "id", "deployment", "agent", "created", "software", "schema", "files", "log", "generation", "root_id", "key",
     "pieces"}
)  # fmt: skip
_KEY_MEMBERS: Final = frozenset({"id", "version", "state", "created", "sealed"})
_NUMBER_MAX: Final = 2**53 - 1
"""What the one spelling of a number in JSON goes up to (RFC 8785)."""
_HEX16: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_HEX32: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FILE_NAME: Final = re.compile(r"[a-z]{1,16}\.(db|sealed)", re.ASCII)
_FORM: Final = "manifest: not of its form"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds, as its one spelling says it."""

    raw: bytes
    said: Mapping[str, Any]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Return the manifest that says this.

        Raises:
            BackupError: it breaks a rule.
        """
        return cls.parse(rfc8785.dumps(dict(said)))

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return a manifest of its bytes.

        Raises:
            BackupError: it is none, another spelling of one, or of another version.
        """
        try:
            said: Any = json.loads(raw)
            if len(raw) > _MAX_MANIFEST_BYTES or said.keys() != _MEMBERS or rfc8785.dumps(said) != raw:
                raise BackupError(_FORM)
            if said["v"] != 1:
                raise BackupError("manifest: of another version of idvault")
            _check(said)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, rfc8785.CanonicalizationError):
            raise BackupError(_FORM) from None
        return cls(raw, said)

    @property
    def id(self) -> bytes:
        """Return what names this backup, 16 bytes."""
        return bytes.fromhex(self.said["id"])

    @property
    def deployment(self) -> bytes:
        """Return the vault's deployment id."""
        return bytes.fromhex(self.said["deployment"])

    @property
    def agent(self) -> bytes:
        """Return the public identity key of the agent that signed."""
        return bytes.fromhex(self.said["agent"])

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]]:
        """Return file name → {sha256, bytes}."""
        files: Mapping[str, Mapping[str, Any]] = self.said["files"]
        return files

    def signed(self, identity: Ed25519Signer, part_key: Secret) -> bytes:
        """Return what stands in `manifest.sig`."""
        return rfc8785.dumps({
            "signature": identity.sign(_LABEL + self.raw).hex(), "mac": self._mac(part_key).hex(),
        })  # fmt: skip

    def check_signature(self, raw: bytes) -> None:
        """Check that the agent that the manifest names signed it: whose agent that is, its words tell.

        Raises:
            BackupError: it did not.
        """
        if not ed25519_holds(self.agent, _octets(raw, "signature"), _LABEL + self.raw):
            raise BackupError("manifest: its signature does not hold")

    def check_mac(self, raw: bytes, part_key: Secret) -> None:
        """Check that the vault that holds the backup key made it.

        Raises:
            BackupError: it did not.
        """
        if not equal(_octets(raw, "mac"), self._mac(part_key)):
            raise BackupError("manifest: not made by the vault of this key file")

    def _mac(self, part_key: Secret) -> bytes:
        return hmac_sha256(expand_sha256(part_key, _MAC_LABEL), self.raw)

    def check_files(self, folder: Path) -> None:
        """Check that all files are there, and are what the manifest says.

        Raises:
            BackupError: it names the first that is not.
        """
        for name, told in sorted(self.files.items()):
            if digest_of(folder / name) != told:
                raise BackupError(f"{name}: missing, or not what the manifest says")


def _check(said: Mapping[str, Any]) -> None:
    numbers = (said["created"], said["generation"], said["pieces"], said["key"]["version"], said["log"]["size"])
    if not all(type(one) is int and one >= 0 for one in numbers):
        raise ValueError
    if not all(_HEX16.fullmatch(said[name]) for name in ("id", "deployment", "root_id")):
        raise ValueError
    if not all(_HEX32.fullmatch(one) for one in (said["agent"], said["log"]["root"])):
        raise ValueError
    if not _HEX16.fullmatch(said["key"]["id"]) or not isinstance(said["software"], str):
        raise ValueError
    for name, told in said["files"].items():
        if not _FILE_NAME.fullmatch(name) or told.keys() != {"sha256", "bytes"} or not _HEX32.fullmatch(told["sha256"]):
            raise ValueError
    if not all(isinstance(one, str) for pair in said["schema"].items() for one in pair):
        raise ValueError


def _octets(raw: bytes, member: str) -> bytes:
    try:
        return bytes.fromhex(json.loads(raw)[member])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BackupError(f"{SIGNATURE}: not of its form") from None


def digest_of(path: Path) -> dict[str, Any]:
    """Return {sha256, bytes} of a file; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
    except OSError:
        return {}


# The part of the key store.


def part_key(backup_key: Key, backup_id: bytes) -> Secret:
    """Return the key of one backup's part."""
    return expand_sha256(backup_key.secret, _PART_LABEL + backup_id)


def _piece(deployment: bytes, backup_id: bytes, number: int, *, last: bool) -> Place:
    return Place(deployment, "backup.keys", backup_id, "last" if last else "piece", number)


def seal_part(key: Secret, deployment: bytes, backup_id: bytes, source: Path, target: Path) -> int:
    """Seal a file, piece by piece, into a new one; return how many pieces there are.

    Raises:
        OSError: a file cannot be read or written.
    """
    target.touch(0o600, exist_ok=False)
    with source.open("rb") as plain, target.open("wb") as sealed:
        piece, number = plain.read(PIECE_BYTES), 0
        while True:
            following = plain.read(PIECE_BYTES)
            place = _piece(deployment, backup_id, number, last=not following)
            frame = seal(key, Purpose.BACKUP, place, piece, key_id=bytes(16), version=0)
            sealed.write(length_prefixed(frame))
            number += 1
            if not following:
                return number
            piece = following


def open_part(key: Secret, deployment: bytes, backup_id: bytes, source: Path, target: Path, pieces: int) -> None:
    """Open what `seal_part` sealed into a new file.

    Raises:
        BackupError: a piece does not open, is missing or is one too many.
        OSError: a file cannot be read or written.
    """
    opened = 0
    target.touch(0o600, exist_ok=False)
    with source.open("rb") as sealed, target.open("wb") as plain:
        try:
            for frame in _frames(sealed):
                place = _piece(deployment, backup_id, opened, last=opened == pieces - 1)
                plain.write(open_frame(key, Purpose.BACKUP, place, frame, key_id=bytes(16), version=0))
                opened += 1
        except OpenError:
            opened = -1
    if opened != pieces:
        raise BackupError(f"{KEYS_PART}: does not open: altered, cut, or sealed under another backup key")


def _frames(file: IO[bytes]) -> Iterator[bytes]:
    while prefix := file.read(4):
        size = int.from_bytes(prefix, "big")
        frame = file.read(size) if size <= _MAX_FRAME_BYTES else b""
        if len(frame) != size:
            raise OpenError
        yield frame


# The key file.


@dataclass(frozen=True, slots=True)
class Keeper:
    """What opens backups, for whoever has the root key: to be kept apart from them, in its newest form alone."""

    deployment: bytes
    root_id: bytes
    generation: int
    ceremony: bytes
    """The public record of the officers' shares; nothing in a vault without officers."""
    seal: bytes
    """The seal's file; nothing where shares stand alone."""
    keys: tuple[Mapping[str, Any], ...]
    """Of each backup key: id, version, state, created, sealed."""

    def __bytes__(self) -> bytes:
        return rfc8785.dumps({
            "v": 1, "deployment": self.deployment.hex(), "root_id": self.root_id.hex(), "generation": self.generation,
            "ceremony": self.ceremony.hex(), "seal": self.seal.hex(),
            "keys": [{**key, "id": key["id"].hex(), "sealed": key["sealed"].hex()} for key in self.keys],
        })  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return a key file of its bytes.

        Raises:
            BackupError: it is none.
        """
        try:
            said: Any = json.loads(raw)
            _check_keeper(said)
            keys = tuple(
                {**key, "id": bytes.fromhex(key["id"]), "sealed": bytes.fromhex(key["sealed"])} for key in said["keys"]
            )
            texts = (bytes.fromhex(said[name]) for name in ("deployment", "root_id", "ceremony", "seal"))
            deployment, root_id, ceremony, seal_file = texts
            made = cls(deployment, root_id, said["generation"], ceremony, seal_file, keys)
            if said["v"] != 1 or bytes(made) != raw:
                raise ValueError  # noqa: TRY301 - one way out for all that is no key file
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, rfc8785.CanonicalizationError):
            raise BackupError("key file: not of its form") from None
        return made

    def backup_key(self, root: Key, version: int, key_id: bytes) -> Key:
        """Return a backup key, opened under the root key.

        Raises:
            BackupError: it is not in this file any more, so that what it sealed opens no more; or the root key is of
                another generation.
        """
        for row in self.keys:
            if (row["version"], row["id"]) != (version, key_id):
                continue
            place = place_of(self.deployment, key_id, BACKUP, "", version, row["state"])
            try:
                secret = Secret(root.open(Purpose.KEYRING, place, row["sealed"]))
            except OpenError:
                raise BackupError("key file: does not open by these shares or this seal") from None
            return Key(BACKUP, "", version, key_id, State(row["state"]), secret)
        raise BackupError("key file: without the key of this backup; it has run out, or the file is of another vault")


def _check_keeper(said: Mapping[str, Any]) -> None:
    """Check what is not bound to its seals: each key becomes a row of the key store that comes back."""
    keys = said["keys"]
    numbers = (said["generation"], *(key[name] for key in keys for name in ("version", "created")))
    if not all(type(one) is int and 0 <= one <= _NUMBER_MAX for one in numbers):
        raise ValueError
    if not all(_HEX16.fullmatch(one) for one in (said["deployment"], said["root_id"], *(key["id"] for key in keys))):
        raise ValueError
    if any(key.keys() != _KEY_MEMBERS for key in keys) or len({key["version"] for key in keys}) != len(keys):
        raise ValueError
    for key in keys:
        State(key["state"])
