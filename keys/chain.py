"""The chain of the officers: who they are, what each act needs, what was used; each record signed by those before it.

    first  = {"v": 1, "number": 0, "previous": 64 zeros, "at", "ceremony", "cards", "policy"}     and confirmations of M
    later  = {"v": 1, "number", "previous": SHA-256 of the record before, "at", "request"}        and approvals of M
    digest = SHA-256 of the RFC 8785 form, without the signatures
    head   = (number, digest) of the last record, kept under a key that the stores' administrator has not

Guarantees: who can write the key store, and is not M officers, can add no officer, lower no threshold, use no request
twice and take none of these back: a record that was altered, inserted, dropped or put in another place is named by its
number; an end that was cut off or added shows by the head. What a record does follows from the request that was signed,
and from nothing else.

Whoever keeps the head writes it with the record, in one transaction, and makes the record by his own clock: its time is
not signed, so a record beyond the head could be of a request that has expired.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import rfc8785

from keys import quorum
from keys.errors import ChainError, OfficerError, QuorumError, SealError, ShareError
from keys.officers import Card
from keys.quorum import Appointed, Approval, Kind, Policy, Request
from keys.seals.configs import SHARES, check_config, described
from keys.seals.shares import Ceremony, check_persons, check_threshold

NOTHING: Final = "0" * 64
REKEYS: Final = frozenset({Kind.REKEY, Kind.OFFICER_ADD, Kind.OFFICER_REMOVE, Kind.OFFICER_REPLACE})
"""Requests that put another root key in force, and shares of it."""
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One record, as it is stored: what it says in its one spelling, and the signatures on it."""

    said: bytes
    signatures: tuple[Approval, ...]

    @property
    def digest(self) -> str:
        """Return SHA-256 of what it says, in hexadecimal digits."""
        return hashlib.sha256(self.said).hexdigest()

    @property
    def number(self) -> int:
        """Return its place in the chain, as it says it."""
        return int(self.read()["number"])

    def read(self) -> dict[str, Any]:
        """Return what it says.

        Raises:
            ValueError: not JSON in the form of RFC 8785.
        """
        said: dict[str, Any] = json.loads(self.said)
        if not isinstance(said, dict) or rfc8785.dumps(said) != self.said:
            raise ValueError
        return said


@dataclass(frozen=True, slots=True)
class Head:
    """The last record that was in force: its number, from 0, and its digest."""

    number: int
    digest: str


@dataclass(frozen=True, slots=True)
class State:
    """What is in force after a record."""

    ceremony: Ceremony
    officers: tuple[Appointed, ...]
    policy: Policy
    at: int
    """When the last record was made, in seconds since 1970."""
    head: Head
    used: frozenset[bytes] = frozenset()
    budgets: Mapping[str, int] = field(default_factory=dict)
    seal_kind: str = SHARES
    seal_config: Mapping[str, str] = field(default_factory=dict)
    """Of the seal that opens the vault beside the shares."""

    @property
    def seal(self) -> str:
        """Return the description of the seal beside the shares; nothing where there is none."""
        return "" if self.seal_kind == SHARES else described(self.seal_kind, self.seal_config)

    @property
    def generation(self) -> int:
        """Return the generation of officers in force."""
        return self.ceremony.generation

    def check(self, request: Request, approvals: Iterable[Approval], now: int, needed: int | None = None) -> list[str]:
        """Check that a request may be carried out now; return the key ids of those whose approvals counted.

        Args:
            request: as it was approved.
            approvals: all that were given.
            now: seconds since 1970.
            needed: how many persons, where it takes more than the policy says of its kind.

        Raises:
            QuorumError: what is missing.
        """
        return quorum.check(
            request, approvals, self.officers, needed or self.policy.needed(request.kind),
            deployment=self.ceremony.deployment, generation=self.generation, now=now, used=self.used,
        )  # fmt: skip


def first(ceremony: Ceremony, cards: Sequence[Card], policy: Policy, now: int) -> bytes:
    """Return what the first record says; in force once M officers have signed it, since their shares opened."""
    return rfc8785.dumps({
        "v": _VERSION, "number": 0, "previous": NOTHING, "at": now, "ceremony": json.loads(bytes(ceremony)),
        "cards": [str(card) for card in cards], "policy": plain_policy(policy),
    })  # fmt: skip


def following(state: State, request: Request, now: int) -> bytes:
    """Return what the record of a request says that is carried out now."""
    return rfc8785.dumps({
        "v": _VERSION, "number": state.head.number + 1, "previous": state.head.digest, "at": now,
        "request": json.loads(bytes(request)),
    })  # fmt: skip


def rekey_kind(before: frozenset[str], after: frozenset[str]) -> Kind:
    """Return what another set of officers, by their key ids, is called."""
    if before == after:
        return Kind.REKEY
    if before < after:
        return Kind.OFFICER_ADD
    return Kind.OFFICER_REMOVE if after < before else Kind.OFFICER_REPLACE


def needed(state: State, request: Request, now: int) -> int:
    """Return how many persons must sign a request, once it was found that what it asks for can be done.

    Raises:
        QuorumError: what of it is not of its form, or breaks a rule.
    """
    try:
        return _needed(state, _carried_out(state, request, now), request.kind)
    except (OfficerError, ShareError, SealError) as error:
        raise QuorumError(str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise QuorumError("request: what it asks for is not of its form") from None


def plain_policy(policy: Policy) -> dict[str, Any]:
    """Return it as plain values; what nobody asked for is left out, so that policies of before are as they were."""
    plain = {"threshold": policy.threshold, "more": {kind.value: needed for kind, needed in policy.more.items()}}
    return plain | ({"by_officers": sorted(policy.by_officers)} if policy.by_officers else {})


def _policy_of(said: Mapping[str, Any]) -> Policy:
    numbers = (said["threshold"], *said["more"].values())
    by_officers = said.get("by_officers", [])
    if said.keys() - {"by_officers"} != {"threshold", "more"} or not all(type(one) is int for one in numbers):
        raise ValueError
    if not isinstance(by_officers, list) or sorted(set(by_officers)) != by_officers:
        raise ValueError
    more = {Kind(kind): needed for kind, needed in said["more"].items()}
    return Policy(said["threshold"], more, frozenset(Kind(kind) for kind in by_officers))


def folded(records: Sequence[Record], deployment: bytes, head: Head | None) -> State:
    """Return what is in force after a whole chain, checked from its first record.

    Args:
        records: in their order.
        deployment: of this vault.
        head: the last record in force: what stands beyond it was added by another hand, since its time is nobody's
            word. None for a chain that nobody vouches for yet.

    Raises:
        ChainError: it names the first record that is not as it must be.
    """
    if not records:
        raise ChainError("there is no chain of officers", 0)
    state = _begun(records[0], deployment)
    digests = [state.head.digest]
    for number, record in enumerate(records[1:], 1):
        state = after(state, record, number)
        digests.append(state.head.digest)
    if head is not None and head.number >= len(records):
        raise ChainError("the end of the chain was cut off: a later record was in force", len(records))
    if head is not None and digests[head.number] != head.digest:
        raise ChainError("not the record that was in force", head.number)
    if head is not None and head.number + 1 < len(records):
        raise ChainError("nobody put it in force", head.number + 1)
    return state


def _begun(record: Record, deployment: bytes) -> State:
    try:
        said = record.read()
        if said.keys() != {"v", "number", "previous", "at", "ceremony", "cards", "policy"}:
            raise ValueError  # noqa: TRY301 - one way out for all that is no first record
        ceremony = Ceremony.parse(rfc8785.dumps(said["ceremony"]))
        cards, policy, at = [Card.parse(text) for text in said["cards"]], _policy_of(said["policy"]), said["at"]
        _check_place(said, 0, NOTHING)
        policy.check(len(cards))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OfficerError, ShareError, QuorumError):
        raise ChainError("not a first record", 0) from None
    if ceremony.deployment != deployment:
        raise ChainError("the chain is another vault's", 0)
    if policy.threshold != ceremony.threshold:
        raise ChainError("the policy has another threshold than the shares", 0)
    try:
        _check_confirmed(ceremony, cards, record.signatures, bytes.fromhex(record.digest), at)
    except (QuorumError, ShareError) as error:
        raise ChainError(str(error), 0) from None
    officers = tuple(Appointed(card, at) for card in cards)
    return State(ceremony, officers, policy, at, Head(0, record.digest))


def _check_confirmed(
    ceremony: Ceremony, cards: Sequence[Card], signatures: Iterable[Approval], digest: bytes, now: int
) -> None:
    """Check that a ceremony's shares are those officers', and that enough of them signed a digest: theirs opened.

    Raises:
        QuorumError, ShareError: the cards are others', one person has two, or too few confirmed.
    """
    if tuple(card.key_id for card in cards) != ceremony.keys:
        raise QuorumError("ceremony: the officers are not those whom the shares were given to")
    check_persons(cards)
    by_key, confirmed = {card.key_id: card for card in cards}, set[str]()
    for signature in signatures:
        card = by_key.get(signature.key)
        if card is not None and now < signature.not_after and signature.holds(digest, card):
            confirmed.add(signature.key)
    if len(confirmed) < ceremony.threshold:
        raise QuorumError(f"{ceremony.threshold - len(confirmed)} more officers must confirm their shares")


def _check_place(said: Mapping[str, Any], number: int, previous: str) -> None:
    if said["v"] != _VERSION or said["number"] != number or said["previous"] != previous or type(said["at"]) is not int:
        raise ValueError


def after(state: State, record: Record, number: int) -> State:
    """Return what is in force after one more record, made by `following` with the caller's own clock.

    Raises:
        ChainError: it does not follow, or was not approved by those in force before it.
    """
    try:
        said = record.read()
        if said.keys() != {"v", "number", "previous", "at", "request"}:
            raise ValueError  # noqa: TRY301 - one way out for all that is no record
        _check_place(said, number, state.head.digest)
        request = Request.parse(rfc8785.dumps(said["request"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, QuorumError):
        raise ChainError("not a record, or not the one that follows", number) from None
    if said["at"] < state.at:
        raise ChainError("its time is before that of the record before it", number)
    try:
        changed = _carried_out(state, request, said["at"])
        state.check(request, record.signatures, said["at"], _needed(state, changed, request.kind))
    except (QuorumError, OfficerError, ShareError, SealError) as error:
        raise ChainError(str(error), number) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ChainError("what it asks for is not of its form", number) from None
    used = changed.used | {request.digest}
    return replace(changed, at=said["at"], head=Head(number, record.digest), used=used)


def _needed(state: State, changed: State, kind: Kind) -> int:
    if changed.policy == state.policy:
        return state.policy.needed(kind)
    return max(state.policy.needed(kind), state.policy.needed_to_change(changed.policy))


def _carried_out(state: State, request: Request, now: int) -> State:
    """Return the state with what a request does to officers, policy, budgets and seal; others are only used up."""
    detail = request.detail
    match request.kind:
        case kind if kind in REKEYS:
            return _rekeyed(state, detail, now)
        case Kind.POLICY:
            policy = _policy_of(detail)
            policy.check(len(state.officers))
            if policy.threshold != state.policy.threshold:
                raise QuorumError("policy: another threshold needs other shares: ask for a rekey")
            return replace(state, policy=policy)
        case Kind.RAISE_BUDGET:
            limit = detail["per_hour"]
            if type(limit) is not int or limit < 0:
                raise ValueError
            return replace(state, budgets={**state.budgets, str(request.subject): limit})
        case Kind.MIGRATE_SEAL:
            check_config(request.subject, detail["config"])
            return replace(state, seal_kind=request.subject, seal_config=dict(detail["config"]))
        case _:
            return state


def policy_of_next(state: State, threshold: int, officers: int) -> Policy:
    """Return the policy of another set of officers: no kind asks for fewer than its threshold, or more than all."""
    more = {kind: max(threshold, min(persons, officers)) for kind, persons in state.policy.more.items()}
    return Policy(threshold, more, state.policy.by_officers)


def _rekeyed(state: State, detail: Mapping[str, Any], now: int) -> State:
    """Return the state with another set of officers, whose shares are those of a new ceremony that M of them confirmed.

    Whoever stays keeps the time since when he is an officer; whoever comes is one from now on.
    """
    ceremony = Ceremony.parse(rfc8785.dumps(detail["ceremony"]))
    cards = [Card.parse(text) for text in detail["cards"]]
    if ceremony.deployment != state.ceremony.deployment or ceremony.generation != state.generation + 1:
        raise QuorumError("ceremony: of this vault, and of the generation after the one in force")
    _check_confirmed(ceremony, cards, map(Approval.of_plain, detail["confirmations"]), ceremony.digest, now)
    check_threshold(ceremony.threshold, len(cards), no_spare=bool(detail.get("no_spare", False)))
    since = {one.card: one.since for one in state.officers}
    policy = policy_of_next(state, ceremony.threshold, len(cards))
    policy.check(len(cards))
    officers = tuple(Appointed(card, since.get(card, now)) for card in cards)
    return replace(state, ceremony=ceremony, officers=officers, policy=policy)
