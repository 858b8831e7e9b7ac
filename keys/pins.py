"""What an officer's machine remembers of a vault: its agent, what it ran when he last looked, and his own sealed share.

    file      = {"v": 1, "said", "signature": base64}                 beside the officer's file, ".pins", mode 0600
    said      = {"vault": URL, "agent": base64, "deployment": hex, "version", "code", "generation",
                "record", "sealed", "next_record", "next_sealed": base64 or ""}
    signature = Ed25519 of the officer over "idvault/pins/v1" ‖ newline ‖ RFC 8785 form of said

Guarantees: what is read back is what this officer wrote. Nothing in it is a secret.
"""

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import rfc8785

from keys.errors import OfficerError
from keys.files import replace_durably
from keys.identity import Statement
from keys.officers import Card, Officer
from keys.primitives import ed25519_holds
from keys.seals.shares import Ceremony

SUFFIX: Final = ".pins"
MAX_BYTES: Final = 64 * 1024
_LABEL: Final = b"idvault/pins/v1\n"
_OCTETS: Final = ("agent", "record", "sealed", "next_record", "next_sealed")


@dataclass(frozen=True, slots=True)
class Pins:
    """What is remembered."""

    vault: str
    agent: bytes
    deployment: bytes
    """None until the first ceremony was begun."""
    version: str
    code: str
    generation: int
    """Of the officers, when he last looked."""
    record: bytes = b""
    """Of the ceremony that his share is of."""
    sealed: bytes = b""
    next_record: bytes = b""
    """Of a ceremony that he confirmed and that is not in force yet."""
    next_sealed: bytes = b""

    @classmethod
    def of(cls, vault: str, stated: Statement) -> Self:
        """Return the pins of an agent whose words were compared."""
        return cls(vault, stated.agent, stated.deployment, stated.version, stated.code, stated.generation)

    def seen(self, stated: Statement) -> "Pins":
        """Return them after another look; a share that he confirmed takes its place once its ceremony is in force."""
        seen = replace(
            self, deployment=stated.deployment, version=stated.version, code=stated.code, generation=stated.generation
        )
        if not self.next_record or hashlib.sha256(self.next_record).hexdigest() != stated.ceremony:
            return seen
        return replace(seen, record=self.next_record, sealed=self.next_sealed, next_record=b"", next_sealed=b"")

    def with_share(self, record: Ceremony, sealed: bytes) -> "Pins":
        """Return them with the officer's own share of a ceremony that he confirms."""
        return replace(self, next_record=bytes(record), next_sealed=sealed)

    def trusting(self, vault: str, stated: Statement) -> "Pins":
        """Return them with another agent of the same vault, whose words were compared."""
        return replace(self, vault=vault, agent=stated.agent, version=stated.version, code=stated.code)

    def check(self, stated: Statement) -> None:
        """Refuse another agent, another vault, and one that was put back.

        Raises:
            OfficerError: what is not as it was.
        """
        if stated.agent != self.agent:
            raise OfficerError(
                "agent: not the one that this officer knows; nothing was sent. If the agent was set up anew, "
                "compare its words by voice and then: idvault-keys trust"
            )
        if self.deployment and stated.deployment != self.deployment:
            raise OfficerError("vault: another one than this officer knows; nothing was sent")
        if stated.generation < self.generation:
            raise OfficerError("vault: put back to an earlier generation of officers; nothing was sent")

    def changes(self, stated: Statement) -> list[str]:
        """Return what of the software is not as it was when the officer last looked."""
        return [what for what in ("version", "code") if getattr(stated, what) != getattr(self, what)]

    def _said(self) -> dict[str, Any]:
        raw = {name: base64.b64encode(getattr(self, name)).decode() for name in _OCTETS}
        return raw | {
            "vault": self.vault, "deployment": self.deployment.hex(), "version": self.version, "code": self.code,
            "generation": self.generation,
        }  # fmt: skip

    def _content(self, signature: bytes) -> dict[str, Any]:
        return {"v": 1, "said": self._said(), "signature": base64.b64encode(signature).decode()}

    def write(self, path: Path, officer: Officer) -> None:
        """Write them beside an officer's file.

        Raises:
            OfficerError: the folder cannot be written.
        """
        content = self._content(officer.signer.sign(_LABEL + rfc8785.dumps(self._said())))
        try:
            replace_durably(_beside(path), f"{json.dumps(content, indent=2)}\n".encode(), mode=0o600)
        except OSError:
            raise OfficerError(f"{_beside(path).name}: cannot be written") from None

    @classmethod
    def read(cls, path: Path, card: Card) -> "Pins | None":
        """Return what an officer's machine remembers; None where he knows no vault yet.

        Raises:
            OfficerError: not what this officer wrote.
        """
        try:
            with _beside(path).open("rb") as file:
                content = json.loads(file.read(MAX_BYTES))
            said = content["said"]
            raw = {name: base64.b64decode(said[name], validate=True) for name in _OCTETS}
            signature = base64.b64decode(content["signature"], validate=True)
            pins = cls(
                vault=str(said["vault"]), deployment=bytes.fromhex(said["deployment"]), version=str(said["version"]),
                code=str(said["code"]), generation=int(said["generation"]), **raw,
            )  # fmt: skip
            signed = ed25519_holds(card.signs, signature, _LABEL + rfc8785.dumps(pins._said()))
            whole = signed and content == pins._content(signature)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            whole = False
        if not whole:
            raise OfficerError(f"{_beside(path).name}: not what this officer wrote; compare the agent's words anew")
        return pins


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)
