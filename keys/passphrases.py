"""What people choose goes through Argon2id before it opens anything: the only module that knows `argon2`.

Source: RFC 9106 section 4, the second recommended option (3 passes over 64 MiB, 4 lanes), for whom 2 GiB are too much.
"""

import unicodedata
from dataclasses import dataclass
from typing import Final

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw

from keys.errors import OfficerError
from keys.primitives import KEY_BYTES, Secret

LEAST_CHARACTERS: Final = 12
MAX_BYTES: Final = 1024
SALT_BYTES: Final = 16
_MAX_MEMORY_KIB: Final = 2 * 1024 * 1024
_MAX_PASSES: Final = 64
_MAX_LANES: Final = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """How much work one try is: passes, memory in KiB, lanes."""

    passes: int
    memory_kib: int
    lanes: int

    def check(self) -> None:
        """Refuse what would take this machine down, or costs a guesser next to nothing.

        Raises:
            OfficerError: beyond the bounds.
        """
        if not (
            1 <= self.passes <= _MAX_PASSES
            and 1 <= self.lanes <= _MAX_LANES
            and 8 * self.lanes <= self.memory_kib <= _MAX_MEMORY_KIB
        ):
            raise OfficerError("argon2id: passes, memory and lanes are within bounds")


LOW_MEMORY: Final = Cost(3, 64 * 1024, 4)
"""RFC 9106 section 4, second option."""


def check_new(passphrase: str) -> None:
    """Check a passphrase that is to be used from now on.

    Raises:
        OfficerError: too short, or with a control character.
    """
    if len(passphrase) < LEAST_CHARACTERS:
        raise OfficerError(f"passphrase: at least {LEAST_CHARACTERS} characters; five words that you draw are better")
    _spelled(passphrase)


def stretched(passphrase: str, salt: bytes, cost: Cost) -> Secret:
    """Return the key of a passphrase, 32 bytes.

    Args:
        passphrase: in any Unicode spelling: NFKC decides.
        salt: 16 random bytes.
        cost: of one try.

    Raises:
        OfficerError: too long, with a control character, or a cost beyond bounds.
    """
    cost.check()
    raw = _spelled(passphrase)
    try:
        key = hash_secret_raw(raw, salt, cost.passes, cost.memory_kib, cost.lanes, KEY_BYTES, Type.ID)
    except HashingError:
        raise OfficerError("argon2id: this machine has not the memory for it") from None
    return Secret(key)


def _spelled(passphrase: str) -> bytes:
    """Return the one spelling of a passphrase; refused before anything is hashed (ASVS 6.2.9)."""
    text = unicodedata.normalize("NFKC", passphrase)
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_BYTES or any(unicodedata.category(one) in {"Cc", "Cs"} for one in text):
        raise OfficerError(f"passphrase: at most {MAX_BYTES} bytes, and no control characters")
    return raw
