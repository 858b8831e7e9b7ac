"""The shares of a root key, M of N: SLIP-39 words, each sealed to its officer's card, and the record of the ceremony.

    record  = RFC 8785 form of {"v": 1, "deployment", "generation", "set", "threshold", "root", "officers": […]}
    officer = {"key": his card's id, "share"}
    "root"  = HKDF-Expand(root key, "idvault/v1/root" ‖ deployment ‖ u32be generation, 32), in hexadecimal digits
    "share" = SHA-256 of the words, in hexadecimal digits: of 256 random bits a plain hash tells nothing
    sealed  = HPKE to the card, with info LP("idvault/v1/share") ‖ LP(SHA-256 of the record), of the words

Guarantees: the record is public, and by it a wrong share is named when it is entered, before it could be mixed with
others: mistyped, of an earlier generation, of another set or vault, or given before; what was given stays. Fewer than M
shares say nothing of the key; what M shares give is the key that the record commits to, or nothing.

Sources: SLIP-0039 (words, checksum, digest share), by its reference implementation. That one looks its field arithmetic
up in tables, so that who shares a processor with a ceremony might learn of the shares by time: hold it on a machine of
its own.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

import rfc8785
from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics

from keys.errors import ShareError
from keys.frame import length_prefixed
from keys.officers import Card, Officer, person_of
from keys.primitives import KEY_BYTES, Secret, equal, expand_sha256, seal_to

MAX_OFFICERS: Final = 16
"""SLIP-0039 has four bits for a member."""
_LEAST: Final = 2
_SET_BITS: Final = 15
"""SLIP-0039: the identifier."""
_GENERATION_BITS: Final = 32
_NO_STRETCHING: Final = 0
"""What is shared is a random key: there is no passphrase to be slowed down."""
_DEPLOYMENT_BYTES: Final = 16
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)
_ROOT_LABEL: Final = b"idvault/v1/root"
_SHARE_LABEL: Final = b"idvault/v1/share"


class Fault(StrEnum):
    """What is wrong with a share that was entered."""

    MISTYPED = "mistyped"
    EARLIER = "of an earlier generation"
    OTHER = "of another set or another vault"
    REPEATED = "already provided"
    OTHERS = "another officer's"


@dataclass(frozen=True, slots=True)
class Ceremony:
    """The public record of one set of shares."""

    deployment: bytes
    generation: int
    set_id: int
    threshold: int
    root: str
    keys: tuple[str, ...]
    shares: tuple[str, ...]

    def __bytes__(self) -> bytes:
        return rfc8785.dumps({
            "v": 1, "deployment": self.deployment.hex(), "generation": self.generation, "set": self.set_id,
            "threshold": self.threshold, "root": self.root,
            "officers": [{"key": key, "share": share} for key, share in zip(self.keys, self.shares, strict=True)],
        })  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the record of its bytes.

        Raises:
            ShareError: it is none, or another spelling of one.
        """
        try:
            said: Any = json.loads(raw)
            officers = said["officers"]
            record = cls(
                bytes.fromhex(said["deployment"]), said["generation"], said["set"], said["threshold"], said["root"],
                tuple(one["key"] for one in officers), tuple(one["share"] for one in officers),
            )  # fmt: skip
            numbers = (record.generation, record.set_id, record.threshold)
            texts = (record.root, *record.keys, *record.shares)
            whole = bytes(record) == raw
            whole &= len(set(record.keys)) == len(set(record.shares)) == len(officers)
            whole &= all(type(one) is int for one in numbers) and all(_HEX.fullmatch(one) for one in texts)
            whole &= (len(record.deployment), len(record.root)) == (_DEPLOYMENT_BYTES, 2 * KEY_BYTES)
        except (ValueError, KeyError, TypeError, RecursionError, rfc8785.CanonicalizationError):
            whole = False
        if not whole:
            raise ShareError("ceremony record: not of its form")
        if not (1 <= record.generation < 1 << _GENERATION_BITS and 0 <= record.set_id < 1 << _SET_BITS):
            raise ShareError("ceremony record: generation and set are within bounds")
        check_threshold(record.threshold, len(record.keys), no_spare=True)
        return record

    @property
    def digest(self) -> bytes:
        """Return SHA-256 of the record."""
        return hashlib.sha256(bytes(self)).digest()

    @property
    def root_id(self) -> bytes:
        """Return what names the root key in the frames under it, 16 bytes."""
        return bytes.fromhex(self.root)[:16]

    def commits_to(self, root: Secret) -> bool:
        """Tell whether a key is the root key of this ceremony."""
        return equal(_commitment(root, self.deployment, self.generation).encode(), self.root.encode())

    @property
    def info(self) -> bytes:
        """Return what a share of this set is sealed for."""
        return length_prefixed(_SHARE_LABEL, self.digest)


def check_threshold(threshold: int, officers: int, *, no_spare: bool) -> None:
    """Check how many of how many; 1 of 1 and 2 of 2 are vaults of one and two persons, which say so.

    Args:
        threshold: M.
        officers: N.
        no_spare: whether M = N is wanted above 2, though a lost share then loses the vault.

    Raises:
        ShareError: which rule is broken.
    """
    if not 1 <= officers <= MAX_OFFICERS:
        raise ShareError(f"officers: 1 to {MAX_OFFICERS}")
    if not (_LEAST <= threshold <= officers or (threshold, officers) == (1, 1)):
        raise ShareError("threshold: from 2 to the number of officers; 1 for a vault of one person alone")
    if threshold == officers > _LEAST and not no_spare:  # a vault of two persons can have no spare
        raise ShareError("threshold: all officers, so that one lost share loses the vault; say --no-spare to want that")


def check_persons(cards: Sequence[Card]) -> None:
    """Check that nobody has two places under two spellings of a name.

    Raises:
        ShareError: somebody has.
    """
    if len({person_of(card.name) for card in cards}) != len(cards):
        raise ShareError("officers: one person has one share")


def split(
    root: Secret, deployment: bytes, generation: int, threshold: int, cards: Sequence[Card], *, no_spare: bool = False
) -> tuple[Ceremony, list[bytes]]:
    """Split a root key; return the record, and the shares, each sealed to its officer.

    Args:
        root: 32 bytes.
        deployment: the deployment id, 16 bytes.
        generation: of the officers, from 1.
        threshold: M.
        cards: of the N officers; one person has one.
        no_spare: see `check_threshold`.

    Raises:
        ShareError: threshold or cards break a rule.
    """
    check_threshold(threshold, len(cards), no_spare=no_spare)
    check_persons(cards)
    [words] = generate_mnemonics(
        1, [(threshold, len(cards))], root.expose_cleartext(), extendable=True, iteration_exponent=_NO_STRETCHING
    )
    record = Ceremony(
        deployment, generation, Share.from_mnemonic(words[0]).identifier, threshold,
        _commitment(root, deployment, generation), tuple(card.key_id for card in cards),
        tuple(_hash(share) for share in words),
    )  # fmt: skip
    sealed = [seal_to(card.receives, share.encode(), record.info) for card, share in zip(cards, words, strict=True)]
    return record, sealed


def opened(officer: Officer, record: Ceremony, sealed: bytes) -> str:
    """Return an officer's own share, checked against the record.

    Raises:
        OpenError: not sealed to this officer for this record.
        ShareError: what was sealed is not the share that the record says.
    """
    words = officer.receiver.open(sealed, record.info).decode("utf-8", "replace")
    places = [place for place, key in enumerate(record.keys) if key == officer.card.key_id]
    if not any(equal(record.shares[place].encode(), _hash(words).encode()) for place in places):
        raise ShareError("share: not the one that the record says")
    return words


@dataclass(slots=True)
class Collecting:
    """Takes shares one by one until there are enough; a wrong one changes nothing."""

    record: Ceremony
    earlier: Sequence[Ceremony] = ()
    """Records of earlier generations, to say so of their shares."""
    _given: dict[int, str] = field(default_factory=dict, repr=False)

    def give(self, words: str, key: str | None = None) -> int:
        """Take one share; return how many are needed still.

        Args:
            words: of the share.
            key: the key id of the officer who gives it, where it must be his own.

        Raises:
            ShareError: with its `fault`; nothing was changed.
        """
        spelled = " ".join(words.lower().split())
        try:
            share = Share.from_mnemonic(spelled)
        except MnemonicError:
            raise ShareError("share: mistyped; compare each word with the paper", Fault.MISTYPED) from None
        hashed = _hash(spelled)
        if hashed not in self.record.shares:
            raise self._foreign(hashed, share.identifier)
        place = self.record.shares.index(hashed)
        if key is not None and self.record.keys[place] != key:
            raise ShareError("share: another officer's; each gives his own", Fault.OTHERS)
        if place in self._given:
            raise ShareError("share: already provided; the next officer's is needed", Fault.REPEATED)
        if len(self._given) < self.record.threshold:
            self._given[place] = spelled
        return self.missing

    def _foreign(self, hashed: str, set_id: int) -> ShareError:
        for record in self.earlier:
            if hashed in record.shares:
                return ShareError(
                    f"share: of generation {record.generation}, and generation {self.record.generation} is in force",
                    Fault.EARLIER,
                )
        if set_id == self.record.set_id:
            return ShareError("share: not one that was given out; compare each word with the paper", Fault.MISTYPED)
        return ShareError("share: of another set, or of another vault", Fault.OTHER)

    @property
    def missing(self) -> int:
        """Return how many shares are needed still."""
        return self.record.threshold - len(self._given)

    def root(self) -> Secret:
        """Return the root key; the shares that were given are forgotten.

        Raises:
            ShareError: too few were given, or they make another key than the record commits to.
        """
        if self.missing:
            raise ShareError(f"shares: {self.missing} more are needed")
        given, self._given = list(self._given.values()), {}
        try:
            root = Secret(combine_mnemonics(given))
        except MnemonicError:
            raise ShareError("shares: they make no key") from None
        if not self.record.commits_to(root):
            raise ShareError("shares: they make another key than the record commits to")
        return root


def _hash(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()


def _commitment(root: Secret, deployment: bytes, generation: int) -> str:
    info = _ROOT_LABEL + deployment + generation.to_bytes(4, "big")
    return expand_sha256(root, info, KEY_BYTES).expose_cleartext().hex()
