"""The root key as a seal keeps it: wrapped by a passphrase or a key elsewhere, with what names it and commits to it.

    file       = RFC 8785 form of {"v": 1, "seal", "config", "deployment", "root_id", "commitment", "wrapped"}
                                                                                seal.json, mode 0600
    context    = LP("idvault/v1/seal") ‖ LP(deployment) ‖ LP(root id) ‖ LP(SHA-256 of kind and config)
    commitment = HKDF-Expand(root key, "idvault/v1/commit" ‖ context, 32)

Guarantees: what a backend gives back is the root key that was sealed, or nothing: one that lies, errs or was put in
another's place shows by the commitment. A seal is never in force that was not opened again right after it was made.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

import rfc8785

from keys.errors import SealError, SetupError
from keys.frame import length_prefixed
from keys.primitives import KEY_BYTES, Secret, equal, expand_sha256
from keys.seals.configs import DEVELOPMENT, KINDS, SHARES, check_config, described

FILE_NAME: Final = "seal.json"
MAX_FILE_BYTES: Final = 64 * 1024
_ID_BYTES: Final = 16
_LABEL: Final = b"idvault/v1/seal"
_COMMIT_LABEL: Final = b"idvault/v1/commit"
_MEMBERS: Final = frozenset({"v", "seal", "config", "deployment", "root_id", "commitment", "wrapped"})
_FORM: Final = "the seal cannot be read; restore it from a backup, or open by shares"


class Backend(Protocol):
    """Wraps and unwraps 32 bytes, bound to a context."""

    @property
    def kind(self) -> str:
        """Of the closed list of `configs`."""

    @property
    def config(self) -> Mapping[str, Any]:
        """What it is set to."""

    def wrap(self, root: bytes, context: bytes) -> str:
        """Return the wrapped key, in the backend's own form.

        Raises:
            SealError: refused; SealUnreachableError where it may be tried again.
        """

    def unwrap(self, wrapped: str, context: bytes) -> bytes:
        """Return what was wrapped.

        Raises:
            SealError: refused; SealUnreachableError where it may be tried again.
        """


@dataclass(frozen=True, slots=True)
class Sealed:
    """One root key under one seal."""

    kind: str
    config: Mapping[str, Any]
    deployment: bytes
    root_id: bytes
    commitment: bytes
    wrapped: str

    def __bytes__(self) -> bytes:
        return rfc8785.dumps({
            "v": 1, "seal": self.kind, "config": dict(self.config), "deployment": self.deployment.hex(),
            "root_id": self.root_id.hex(), "commitment": self.commitment.hex(), "wrapped": self.wrapped,
        })  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the seal of its bytes.

        Raises:
            SetupError: it is none, or another spelling of one.
        """
        try:
            said: Any = json.loads(raw)
            deployment, root_id, commitment = (bytes.fromhex(said[name]) for name in _BYTES)
            sealed = cls(said["seal"], dict(said["config"]), deployment, root_id, commitment, said["wrapped"])
            check_config(sealed.kind, sealed.config)
            if said.keys() != _MEMBERS or said["v"] != 1 or bytes(sealed) != raw or sealed.kind == SHARES:
                raise ValueError  # noqa: TRY301 - one way out for all that is no seal
            sizes = (len(sealed.deployment), len(sealed.root_id), len(sealed.commitment))
            if sizes != (_ID_BYTES, _ID_BYTES, KEY_BYTES) or not isinstance(sealed.wrapped, str):
                raise ValueError  # noqa: TRY301 - the same
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SealError,
                rfc8785.CanonicalizationError):  # fmt: skip
            raise SetupError(_FORM) from None
        return sealed

    @property
    def description(self) -> str:
        """Return what officers approved: SHA-256 of the kind and what it is set to."""
        return described(self.kind, self.config)

    def open(self, backend: Backend) -> Secret:
        """Return the root key.

        Raises:
            SealError: the backend refused, or gave another key than was sealed.
        """
        context = context_of(self.kind, self.config, self.deployment, self.root_id)
        root = Secret(backend.unwrap(self.wrapped, context))
        if not equal(_commitment(root, context), self.commitment):
            root.close()
            raise SealError(f"{self.kind}: gave another key than was sealed; nothing was opened")
        return root


_BYTES: Final = ("deployment", "root_id", "commitment")


def context_of(kind: str, config: Mapping[str, Any], deployment: bytes, root_id: bytes) -> bytes:
    """Return what a wrapped root key is bound to: the backend's associated data."""
    return length_prefixed(_LABEL, deployment, root_id, bytes.fromhex(described(kind, config)))


def _commitment(root: Secret, context: bytes) -> bytes:
    return expand_sha256(root, _COMMIT_LABEL + context).expose_cleartext()


def seal_root(backend: Backend, deployment: bytes, root_id: bytes, root: Secret) -> Sealed:
    """Seal a root key, and open it again.

    Raises:
        SealError: the backend refused, or does not give back what it was given.
    """
    context = context_of(backend.kind, backend.config, deployment, root_id)
    wrapped = backend.wrap(root.expose_cleartext(), context)
    made = Sealed(backend.kind, dict(backend.config), deployment, root_id, _commitment(root, context), wrapped)
    made.open(backend).close()
    return made


def kind_at(path: Path) -> str:
    """Return the kind of the seal in a file; `shares` where there is none.

    What is no seal counts as the development seal, whose reader refuses it and stops the start.
    """
    try:
        return kind_of(_content(path))
    except FileNotFoundError:
        return SHARES
    except (OSError, SetupError):
        return DEVELOPMENT


def kind_of(raw: bytes) -> str:
    """Return the kind of a seal of its bytes; what is none counts as the development seal."""
    try:
        kind = json.loads(raw)["seal"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return DEVELOPMENT
    return kind if kind in KINDS - {SHARES} else DEVELOPMENT


def read(path: Path) -> Sealed | None:
    """Return the seal in a file; None where there is none.

    Raises:
        SetupError: it is readable for others, or not of its form.
    """
    try:
        return Sealed.parse(_content(path))
    except FileNotFoundError:
        return None
    except OSError:
        raise SetupError(_FORM) from None


def _content(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise SetupError("the seal is readable for others; make it 0600")
        return file.read(MAX_FILE_BYTES)
