"""What officers know the agent by: its identity key, and what it states of itself, signed, each time it is asked.

    file      = {"v": 1, "identity": base64 of an Ed25519 seed}                     agent.identity, mode 0600
    statement = RFC 8785 form of {"v": 1, "agent", "boot", "key", "deployment", "version", "code", "names",
                "generation", "ceremony", "head", "nonce"}
    signature = Ed25519 over "idvault/statement/v1" ‖ newline ‖ statement

Guarantees: what an officer seals to the boot key of a statement is opened by the process that stated it, on behalf of
the identity key that the officer pinned; a relay, an earlier boot or another vault has another key. The boot key lives
in that process alone.

The identity key must be there while the vault is sealed, so it lies in a file: who reads it can pose as the agent and
ask officers for shares. It opens nothing by itself.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Self

import rfc8785

from keys.errors import MessageError, SetupError
from keys.files import create_durably
from keys.officers import words_of
from keys.primitives import HYBRID_PUBLIC_BYTES, KEY_BYTES, Ed25519Signer, Secret, ed25519_holds

FILE_NAME: Final = "agent.identity"
BOOT_BYTES: Final = 16
MAX_STATEMENT_BYTES: Final = 8192
_LABEL: Final = b"idvault/statement/v1\n"
_MEMBERS: Final = frozenset(
    {"v", "agent", "boot", "key", "deployment", "version", "code", "names", "generation", "ceremony", "head", "nonce"}
)
_UNKNOWN: Final = "unknown"


def open_identity(path: Path) -> Ed25519Signer:
    """Return the agent's identity key; made, for its owner alone, where there is none.

    Raises:
        SetupError: the file is readable for others, is not of its form, or cannot be made.
    """
    try:
        if not path.exists():
            seed = base64.b64encode(Secret.random(KEY_BYTES).expose_cleartext()).decode()
            create_durably(path, json.dumps({"v": 1, "identity": seed}).encode())
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor) as file:
            if os.fstat(descriptor).st_mode & 0o077:
                raise SetupError(f"{FILE_NAME} is readable for others; make it 0600")
            seed_bytes = base64.b64decode(json.load(file)["identity"], validate=True)
        if len(seed_bytes) != KEY_BYTES:
            raise ValueError  # noqa: TRY301 - one way out for all that is no identity
    except (OSError, ValueError, KeyError, TypeError):
        raise SetupError(f"{FILE_NAME} cannot be read or made; restore it from a backup") from None
    return Ed25519Signer(Secret(seed_bytes))


def code_hash() -> str:
    """Return SHA-256 over the modules that this process runs of: the same for the same code, whatever its path."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda one: one.relative_to(root).as_posix()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def software_version() -> str:
    """Return the version of the installed project."""
    try:
        return version("idvault")
    except PackageNotFoundError:
        return _UNKNOWN


@dataclass(frozen=True, slots=True)
class Statement:
    """What an agent states of itself."""

    agent: bytes
    """Its identity's public key, 32 bytes."""
    boot: bytes
    """Names this start, 16 bytes."""
    key: bytes
    """What messages to this start are sealed to, 1216 bytes."""
    deployment: bytes
    """16 bytes; none before the vault was begun."""
    version: str
    code: str
    """SHA-256 of its modules, in hexadecimal digits."""
    names: str
    """new, sealed, lockdown or open."""
    generation: int
    """Of officers in force; 0 before there are any."""
    ceremony: str
    """SHA-256 of the record of the ceremony in force, or of the first one that waits to be confirmed; or empty."""
    head: str
    """SHA-256 of the last record of the chain of officers, or empty."""
    nonce: bytes = b""
    """Of whoever asked, up to 16 bytes: it was stated to him, and not before."""

    def __bytes__(self) -> bytes:
        encoded = partial(map, lambda raw: base64.b64encode(raw).decode())
        agent, key = encoded((self.agent, self.key))
        return rfc8785.dumps({
            "v": 1, "agent": agent, "boot": self.boot.hex(), "key": key, "deployment": self.deployment.hex(),
            "version": self.version, "code": self.code, "names": self.names, "generation": self.generation,
            "ceremony": self.ceremony, "head": self.head, "nonce": self.nonce.hex(),
        })  # fmt: skip

    def signed(self, identity: Ed25519Signer) -> bytes:
        """Return the signature of the agent's identity key."""
        return identity.sign(_LABEL + bytes(self))

    @classmethod
    def parse(cls, raw: bytes, signature: bytes) -> Self:
        """Return the statement of its bytes, signed by the identity that it names.

        Raises:
            MessageError: it is none, or another spelling of one, or the signature does not hold.
        """
        try:
            said: Any = json.loads(raw)
            if len(raw) > MAX_STATEMENT_BYTES or said.keys() != _MEMBERS or said["v"] != 1:
                raise MessageError(_FORM)
            found = cls(
                base64.b64decode(said["agent"], validate=True), bytes.fromhex(said["boot"]),
                base64.b64decode(said["key"], validate=True), bytes.fromhex(said["deployment"]), said["version"],
                said["code"], said["names"], said["generation"], said["ceremony"], said["head"],
                bytes.fromhex(said["nonce"]),
            )  # fmt: skip
            texts = (found.version, found.code, found.names, found.ceremony, found.head)
            whole = bytes(found) == raw and all(isinstance(one, str) for one in texts)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, rfc8785.CanonicalizationError):
            whole = False
        if not whole or (len(found.agent), len(found.boot), len(found.key)) != (
            KEY_BYTES, BOOT_BYTES, HYBRID_PUBLIC_BYTES,
        ) or len(found.deployment) not in (0, 16) or type(found.generation) is not int or (
            len(found.nonce) > BOOT_BYTES
        ):  # fmt: skip
            raise MessageError(_FORM)
        if not ed25519_holds(found.agent, signature, _LABEL + raw):
            raise MessageError("statement: not signed by the agent that it names")
        return found


_FORM: Final = "statement: not of its form"


def words(agent: bytes) -> list[str]:
    """Return the ten words of an agent's identity key, to be read aloud."""
    return words_of(b"idvault/v1/agent\0" + agent)
