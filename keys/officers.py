"""Officers: a key file on an officer's own machine, and the public card that he hands to others.

    card = "idvault-officer-1 " ‖ name ‖ " " ‖ base64url(Ed25519 public(32) ‖ HPKE public(1216) ‖ check(4))
    check = first 4 bytes of SHA-256("idvault/v1/card" ‖ name ‖ 0x00 ‖ both public keys)
    file = {"v": 1, "card", "argon2id": {"passes", "memory_kib", "lanes", "salt"}, "sealed": base64 of a frame}
    frame = purpose OFFICER, of Ed25519 seed(32) ‖ HPKE seed(96), under the key of the passphrase; address = card

Guarantees: a file is made exclusively, for its owner alone, and never overwritten; what is read back was made of this
card and this passphrase, or nothing is given. A card has one spelling. Its words, to be read aloud, stand for 100 bits
of SHA-256 of it: whoever hears the right words has the right card.
"""

import base64
import binascii
import hashlib
import json
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from shamir_mnemonic.wordlist import WORDLIST

from keys import passphrases
from keys.errors import OfficerError, OpenError
from keys.files import create_durably
from keys.frame import Place, Purpose, open_frame, seal
from keys.passphrases import Cost
from keys.primitives import (
    HYBRID_PUBLIC_BYTES,
    HYBRID_SEED_BYTES,
    Ed25519Signer,
    HybridReceiver,
    Secret,
    random_bytes,
)

PREFIX: Final = "idvault-officer-1"
NAME_CHARACTERS: Final = 64
WORDS: Final = 10
"""Of 10 bits each, from the list of SLIP-39, whose words differ in their first four letters."""
MAX_FILE_BYTES: Final = 16 * 1024
_SIGN_BYTES: Final = 32
_CHECK_BYTES: Final = 4
_LABEL: Final = b"idvault/v1/card"
_NOWHERE: Final = bytes(16)
"""An officer's file belongs to no deployment: one person may serve several."""
_WRONG: Final = "wrong passphrase, or the file was altered"


def person_of(name: str) -> str:
    """Return the one spelling by which persons are told apart: two officers of one are one person."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def check_name(name: str) -> str:
    """Return the name of an officer as it is written.

    Raises:
        OfficerError: empty, too long, or with characters that are not shown.
    """
    spelled = " ".join(unicodedata.normalize("NFKC", name).split())
    shown = all(unicodedata.category(one)[0] in "LMNPS" or one == " " for one in spelled)
    if not 0 < len(spelled) <= NAME_CHARACTERS or not shown:
        raise OfficerError(f"name: 1 to {NAME_CHARACTERS} characters that are shown")
    return spelled


@dataclass(frozen=True, slots=True)
class Card:
    """What an officer is known by: a name, the key that he signs with, the key that shares are sealed to."""

    name: str
    signs: bytes
    receives: bytes

    def __str__(self) -> str:
        body = self.signs + self.receives + self._check()
        return f"{PREFIX} {self.name} {base64.urlsafe_b64encode(body).rstrip(b'=').decode()}"

    def _check(self) -> bytes:
        said = _LABEL + self.name.encode() + b"\0" + self.signs + self.receives
        return hashlib.sha256(said).digest()[:_CHECK_BYTES]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the card of its line.

        Raises:
            OfficerError: it is none, was cut or mistyped, or is another spelling of one.
        """
        start, _, rest = text.strip().partition(" ")
        name, _, body = rest.rpartition(" ")
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if start != PREFIX or len(raw) != _SIGN_BYTES + HYBRID_PUBLIC_BYTES + _CHECK_BYTES:
            raise OfficerError("card: one line, from idvault-officer-1 to its end")
        card = cls(check_name(name), raw[:_SIGN_BYTES], raw[_SIGN_BYTES:-_CHECK_BYTES])
        if str(card) != text.strip():
            raise OfficerError("card: mistyped, or not in its one spelling")
        return card

    @property
    def key_id(self) -> str:
        """Return by what signatures name the officer: 32 hexadecimal digits of SHA-256 of the card."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:32]

    def words(self) -> list[str]:
        """Return the words to be read aloud: two cards that have the same ten are one, but for a chance of 2^-100."""
        return words_of(str(self).encode())


def words_of(raw: bytes) -> list[str]:
    """Return the ten words that stand for 100 bits of SHA-256 of what is to be compared by voice."""
    number = int.from_bytes(hashlib.sha256(raw).digest(), "big") >> (256 - 10 * WORDS)
    return [WORDLIST[number >> (10 * place) & 1023] for place in reversed(range(WORDS))]


@dataclass(frozen=True, slots=True)
class Officer:
    """An officer's own keys, opened: for the span of one command."""

    card: Card
    signer: Ed25519Signer
    receiver: HybridReceiver


def create(path: Path, name: str, passphrase: str, cost: Cost = passphrases.LOW_MEMORY) -> Card:
    """Make an officer's keys in a new file, mode 0600, and return the card.

    Raises:
        OfficerError: name or passphrase is not of its form.
        FileExistsError: there is a file already.
        OSError: the folder cannot be written.
    """
    name = check_name(name)
    passphrases.check_new(passphrase)
    seeds = Secret.random(_SIGN_BYTES + HYBRID_SEED_BYTES)
    card = _opened(name, seeds).card
    salt = random_bytes(passphrases.SALT_BYTES)
    sealed = seal(
        passphrases.stretched(passphrase, salt, cost), Purpose.OFFICER, _place(card), seeds.expose_cleartext()
    )
    content = {
        "v": 1, "card": str(card),
        "argon2id": {"passes": cost.passes, "memory_kib": cost.memory_kib, "lanes": cost.lanes,
                     "salt": base64.b64encode(salt).decode()},
        "sealed": base64.b64encode(sealed).decode(),
    }  # fmt: skip
    create_durably(path, f"{json.dumps(content, indent=2)}\n".encode())
    return card


def read_card(path: Path) -> Card:
    """Return the card of an officer's file; it takes no passphrase, and proves nothing.

    Raises:
        OfficerError: no such file, readable for others, or not an officer's.
    """
    return Card.parse(_content(path)["card"])


def open_file(path: Path, passphrase: str) -> Officer:
    """Return an officer's keys.

    Raises:
        OfficerError: no such file, readable for others, not an officer's; or the passphrase is wrong.
    """
    content = _content(path)
    card = Card.parse(content["card"])
    try:
        work = content["argon2id"]
        cost = Cost(*(work[part] for part in ("passes", "memory_kib", "lanes")))
        salt, sealed = (base64.b64decode(text, validate=True) for text in (work["salt"], content["sealed"]))
        if not all(isinstance(part, int) for part in (cost.passes, cost.memory_kib, cost.lanes)):
            raise ValueError  # noqa: TRY301 - one way out for all that is not a file of this form
    except (KeyError, TypeError, ValueError):
        raise OfficerError("officer file: not of its form") from None
    try:
        seeds = open_frame(passphrases.stretched(passphrase, salt, cost), Purpose.OFFICER, _place(card), sealed)
    except OpenError:
        raise OfficerError(_WRONG) from None
    officer = _opened(card.name, Secret(seeds))
    if officer.card != card:
        raise OfficerError(_WRONG)
    return officer


def _opened(name: str, seeds: Secret) -> Officer:
    raw = seeds.expose_cleartext()
    signer, receiver = Ed25519Signer(Secret(raw[:_SIGN_BYTES])), HybridReceiver(Secret(raw[_SIGN_BYTES:]))
    return Officer(Card(name, signer.public(), receiver.public()), signer, receiver)


def _place(card: Card) -> Place:
    return Place(_NOWHERE, "officer.file", str(card).encode(), "keys")


def _content(path: Path) -> dict[str, Any]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor) as file:
            if os.fstat(descriptor).st_mode & 0o077:
                raise OfficerError("officer file: readable for others; make it 0600")
            content = json.loads(file.read(MAX_FILE_BYTES))
    except OSError:
        raise OfficerError("officer file: cannot be read, or is a symbolic link") from None
    except (ValueError, RecursionError):
        raise OfficerError("officer file: not of its form") from None
    if not isinstance(content, dict) or content.get("v") != 1 or not isinstance(content.get("card"), str):
        raise OfficerError("officer file: not of its form")
    return content
