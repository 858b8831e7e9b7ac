"""The seal of one person: the root key under a passphrase, by Argon2id.

    wrapped = "$argon2id$v=19$m=…,t=…,p=…$" ‖ salt ‖ "$" ‖ frame        base64 without padding, as in PHC strings
    frame   = by the key of the passphrase, purpose 14, at (deployment of 16 zero bytes, "seal", context, "root")

Source: RFC 9106 section 4, the second recommended option; the string's form is that of the PHC winner's reference code.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from keys import passphrases
from keys.errors import OfficerError, OpenError, SealError
from keys.frame import Place, Purpose, open_frame, seal
from keys.passphrases import Cost
from keys.primitives import random_bytes
from keys.seals.configs import PASSPHRASE

_STRING: Final = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,2}),p=([0-9]{1,2})\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{64,512})",
    re.ASCII,
)
_NOWHERE: Final = bytes(16)
_WRONG: Final = "passphrase: wrong, or the seal was altered"


@dataclass(frozen=True, slots=True)
class Passphrase:
    """A passphrase, as a backend."""

    passphrase: str = field(repr=False)
    cost: Cost = passphrases.LOW_MEMORY

    @property
    def kind(self) -> str:
        """Return the kind of the seal."""
        return PASSPHRASE

    @property
    def config(self) -> Mapping[str, Any]:
        """Return nothing: cost and salt stand in what is wrapped."""
        return MappingProxyType({})

    def wrap(self, root: bytes, context: bytes) -> str:
        """Return the root key under the passphrase.

        Raises:
            OfficerError: it is too short, too long, or has a control character.
        """
        passphrases.check_new(self.passphrase)
        salt, cost = random_bytes(passphrases.SALT_BYTES), self.cost
        key = passphrases.stretched(self.passphrase, salt, cost)
        frame = seal(key, Purpose.SEAL, _place(context), root)
        return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${_text(salt)}${_text(frame)}"

    def unwrap(self, wrapped: str, context: bytes) -> bytes:
        """Return the root key.

        Raises:
            SealError: the passphrase is wrong, or what is wrapped was altered.
        """
        found = _STRING.fullmatch(wrapped)
        if found is None:
            raise SealError(_WRONG)
        memory, passes, lanes = (int(one) for one in found.groups()[:3])
        try:
            salt, frame = (_octets(one) for one in found.groups()[3:])
            key = passphrases.stretched(self.passphrase, salt, Cost(passes, memory, lanes))
            return open_frame(key, Purpose.SEAL, _place(context), frame)
        except (OpenError, OfficerError, ValueError):
            raise SealError(_WRONG) from None


def _place(context: bytes) -> Place:
    return Place(_NOWHERE, "seal", context, "root")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


def _octets(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
