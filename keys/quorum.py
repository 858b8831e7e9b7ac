"""Requests for dangerous acts, and whether enough officers approved exactly this one.

    request  = RFC 8785 form of {"v": 1, "deployment", "generation", "kind", "subject", "detail", "by", "created",
               "expires", "nonce"}
    digest   = SHA-256 of the request
    approval = Ed25519 over "idvault/approval/v1" ‖ newline ‖ digest(32) ‖ nonce(16) ‖ u64be not_after ‖ LP(role)

Guarantees: an approval is of one request, byte for byte; whatever is changed in it is another request, without
approvals. Approvals count by person, not by key; the requester's counts once, and at least one other person must have
signed; only officers of the generation in force count, who were officers when the request was made. `check` is asked
when the act is done, not only when it was approved, and raises: what was not checked never looks approved.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Self

import rfc8785

from keys.errors import QuorumError
from keys.frame import length_prefixed
from keys.officers import Card, person_of
from keys.primitives import Ed25519Signer, ed25519_holds, random_bytes
from keys.seals.configs import AUTOMATIC, DEVELOPMENT, PASSPHRASE

ROLE: Final = "officer"
NONCE_BYTES: Final = 16
MAX_BYTES: Final = 40 * 1024
"""Room for the cards of sixteen officers."""
MAX_SECONDS: Final = 30 * 86_400
"""How long a request may wait for signatures, at most."""
CLOCK_SECONDS: Final = 86_400
"""By how much officers' clocks may differ from the vault's: a request may come from so far ahead."""
_LABEL: Final = b"idvault/approval/v1\n"
_HEX: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MEMBERS: Final = frozenset(
    {"v", "deployment", "generation", "kind", "subject", "detail", "by", "created", "expires", "nonce"}
)


class Kind(StrEnum):
    """The closed list of acts that need more than one person."""

    ROTATE = "rotate"
    DESTROY = "destroy"
    REKEY = "rekey"
    OFFICER_ADD = "officer-add"
    OFFICER_REMOVE = "officer-remove"
    OFFICER_REPLACE = "officer-replace"
    POLICY = "policy"
    MIGRATE_SEAL = "migrate-seal"
    RESTORE = "restore"
    DISCLOSE = "disclose"
    HOLD = "hold"
    DEFER_NOTICE = "defer-notice"
    LIFT_HOLD = "lift-hold"
    END_LOCKDOWN = "end-lockdown"
    RAISE_BUDGET = "raise-budget"
    PROVIDER_ADD = "provider-add"
    PROVIDER_WIDEN = "provider-widen"
    ALLOW_EXCHANGE = "allow-exchange"
    REVIEWER_ADD = "reviewer-add"
    BULK_APPROVAL = "bulk-approval"
    DESTROY_SECTOR = "destroy-sector"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: one act on one subject."""

    deployment: bytes
    generation: int
    kind: Kind
    subject: str
    detail: Mapping[str, Any]
    by: str
    """The key id of the officer who asks."""
    created: int
    expires: int
    """Seconds since 1970."""
    nonce: bytes

    @classmethod
    def of(
        cls, deployment: bytes, generation: int, kind: Kind, subject: str, detail: Mapping[str, Any], by: Card,
        now: int, seconds: int,
    ) -> Self:  # fmt: skip
        """Return a new request, good for so many seconds."""
        return cls(
            deployment, generation, kind, subject, MappingProxyType(dict(detail)), by.key_id, now, now + seconds,
            random_bytes(NONCE_BYTES),
        )  # fmt: skip

    def __bytes__(self) -> bytes:
        return rfc8785.dumps({
            "v": 1, "deployment": self.deployment.hex(), "generation": self.generation, "kind": self.kind.value,
            "subject": self.subject, "detail": dict(self.detail), "by": self.by, "created": self.created,
            "expires": self.expires, "nonce": self.nonce.hex(),
        })  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the request of its bytes.

        Raises:
            QuorumError: it is none, or another spelling of one.
        """
        try:
            said: Any = json.loads(raw)
            if len(raw) > MAX_BYTES or said.keys() != _MEMBERS or said["v"] != 1:
                raise QuorumError(_FORM)
            request = cls(
                bytes.fromhex(said["deployment"]), said["generation"], Kind(said["kind"]), said["subject"],
                MappingProxyType(dict(said["detail"])), said["by"], said["created"], said["expires"],
                bytes.fromhex(said["nonce"]),
            )  # fmt: skip
            if bytes(request) != raw:
                raise QuorumError(_FORM)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, rfc8785.CanonicalizationError):
            raise QuorumError(_FORM) from None
        request._check()
        return request

    def _check(self) -> None:
        numbers = (self.generation, self.created, self.expires)
        if not all(type(one) is int and one >= 0 for one in numbers) or not isinstance(self.subject, str):
            raise QuorumError(_FORM)
        if len(self.nonce) != NONCE_BYTES or not isinstance(self.by, str) or not _HEX.fullmatch(self.by):
            raise QuorumError(_FORM)
        if not 0 < self.expires - self.created <= MAX_SECONDS:
            raise QuorumError("request: good for a time, and at most for 30 days")

    @property
    def digest(self) -> bytes:
        """Return SHA-256 of the request: what is approved, and by what it is known."""
        return hashlib.sha256(bytes(self)).digest()


_FORM: Final = "request: not of its form"


@dataclass(frozen=True, slots=True)
class Approval:
    """One officer's signature on one request, or on the first record of a chain."""

    key: str
    """The key id of the officer."""
    nonce: bytes
    not_after: int
    signature: bytes

    @classmethod
    def of(cls, digest: bytes, card: Card, signer: Ed25519Signer, not_after: int) -> Self:
        """Return an officer's approval of what has a digest, good until a time in seconds since 1970."""
        nonce = random_bytes(NONCE_BYTES)
        return cls(card.key_id, nonce, not_after, signer.sign(_message(digest, nonce, not_after)))

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "key": self.key, "nonce": self.nonce.hex(), "not_after": self.not_after, "signature": self.signature.hex(),
        }  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return it of its JSON.

        Raises:
            QuorumError: it is none.
        """
        try:
            return cls.of_plain(json.loads(raw))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise QuorumError("approval: not of its form") from None

    @classmethod
    def of_plain(cls, said: Mapping[str, Any]) -> Self:
        """Return it of plain values.

        Raises:
            ValueError, KeyError, TypeError: they are none.
        """
        if said.keys() != {"key", "nonce", "not_after", "signature"} or type(said["not_after"]) is not int:
            raise ValueError
        return cls(str(said["key"]), bytes.fromhex(said["nonce"]), said["not_after"], bytes.fromhex(said["signature"]))

    def holds(self, digest: bytes, card: Card) -> bool:
        """Tell whether this is the officer's signature on the request of a digest."""
        if len(self.nonce) != NONCE_BYTES or not 0 <= self.not_after < 1 << 64:
            return False
        return ed25519_holds(card.signs, self.signature, _message(digest, self.nonce, self.not_after))


def _message(digest: bytes, nonce: bytes, not_after: int) -> bytes:
    return _LABEL + digest + nonce + not_after.to_bytes(8, "big") + length_prefixed(ROLE.encode())


@dataclass(frozen=True, slots=True)
class Appointed:
    """An officer of the generation in force, and since when, in seconds since 1970."""

    card: Card
    since: int


@dataclass(frozen=True, slots=True)
class Policy:
    """How many persons each kind needs; all kinds need the threshold of the shares where nothing else is said."""

    threshold: int
    more: Mapping[Kind, int] = field(default_factory=dict)
    by_officers: frozenset[Kind] = frozenset()
    """Kinds that are carried out only while it was officers' shares that opened the vault, and no other seal."""

    def needed(self, kind: Kind) -> int:
        """Return how many persons must sign an act of a kind."""
        return self.more.get(kind, self.threshold)

    def check(self, officers: int) -> None:
        """Check that each kind can be approved at all, and never by fewer than unseal the vault.

        Raises:
            QuorumError: which kind breaks the rule.
        """
        for name, needed in (("threshold", self.threshold), *self.more.items()):
            if not 1 <= self.threshold <= needed <= officers:
                raise QuorumError(f"policy: {name}: from the threshold to the number of officers")

    def needed_to_change(self, new: "Policy") -> int:
        """Return how many persons must sign the change to another policy: as many as what changes needed before."""
        changed = new.by_officers ^ self.by_officers
        kinds = (kind for kind in Kind if new.needed(kind) != self.needed(kind) or kind in changed)
        return max((self.needed(kind) for kind in kinds), default=self.needed(Kind.POLICY))


def check(
    request: Request, approvals: Iterable[Approval], officers: Sequence[Appointed], needed: int, *, deployment: bytes,
    generation: int, now: int, used: Iterable[bytes],
) -> list[str]:  # fmt: skip
    """Check that a request may be carried out now; return the key ids of those whose signatures counted.

    Args:
        request: as it was approved.
        approvals: all that were given; those that do not hold are not counted, and do no harm.
        officers: of the generation in force.
        needed: how many persons; see `Policy.needed`.
        deployment: of this vault.
        generation: of officers in force.
        now: seconds since 1970.
        used: digests of requests that were carried out before.

    Raises:
        QuorumError: what is missing.
    """
    if request.deployment != deployment:
        raise QuorumError("request: of another vault")
    if request.generation != generation:
        raise QuorumError("request: of another generation of officers; ask anew")
    if now >= request.expires:
        raise QuorumError("request: expired; ask anew")
    if request.created > now + CLOCK_SECONDS:
        raise QuorumError("request: of a time that has not come")
    if request.digest in set(used):
        raise QuorumError("request: carried out before; ask anew")
    signed = _signed(request, approvals, officers, now)
    asker = next((one for one in officers if one.card.key_id == request.by), None)
    if asker is None:
        raise QuorumError("request: who asked is no officer any more")
    others = signed.keys() - {person_of(asker.card.name)}
    if needed > 1 and not others:
        raise QuorumError("request: another person than who asked must approve it")
    if len(signed) < needed:
        raise QuorumError(f"request: {needed - len(signed)} more persons must approve it")
    return sorted(signed.values())


def _signed(request: Request, approvals: Iterable[Approval], officers: Sequence[Appointed], now: int) -> dict[str, str]:
    """Return person → key id of those whose approvals count."""
    by_key = {one.card.key_id: one for one in officers}
    found: dict[str, str] = {}
    for approval in approvals:
        officer = by_key.get(approval.key)
        if officer is None or officer.since > request.created or now >= approval.not_after:
            continue
        if approval.holds(request.digest, officer.card):
            found.setdefault(person_of(officer.card.name), approval.key)
    return found


def kept_by(threshold: int, officers: int, seal: str) -> str:
    """Return by how many persons a vault is kept, in words: for whoever has to trust it."""
    if seal == DEVELOPMENT:
        return "the development seal: whoever reads its file has everything"
    if seal == PASSPHRASE and officers == 0:
        return "one person alone: who has the passphrase and that file has everything"
    kept = _kept_by_officers(threshold, officers)
    if seal == PASSPHRASE:
        return f"{kept}; and without them whoever has the passphrase"
    if seal in AUTOMATIC:
        return f"{kept}; and without them whoever reaches the key of its {seal} seal"
    return kept


def _kept_by_officers(threshold: int, officers: int) -> str:
    if officers == 0:
        return "nobody yet"
    if officers == 1:
        return "one person alone: who has that file and passphrase has everything"
    if threshold == officers:
        return f"{officers} persons, all of them needed: one lost share loses the vault"
    return f"any {threshold} of {officers} officers"
