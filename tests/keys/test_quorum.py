"""M of N: exactly this request, by enough persons of the generation in force, one of whom did not ask for it; once."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import QuorumError
from keys.officers import Card
from keys.primitives import Ed25519Signer, HybridReceiver, Secret, ed25519_holds
from keys.quorum import CLOCK_SECONDS, MAX_SECONDS, Appointed, Approval, Kind, Policy, Request, check

DEPLOYMENT: Final = bytes(range(16))
NOW: Final = 1_767_225_600
RECEIVES: Final = HybridReceiver(Secret(bytes(96))).public()
SIGNERS: Final = [Ed25519Signer(Secret(bytes([number]) * 32)) for number in range(1, 7)]
NAMES: Final = ("Anna", "Bo", "Chen", "Dilan", "Eva", "anna ")
CARDS: Final = [Card(name.strip(), one.public(), RECEIVES) for name, one in zip(NAMES, SIGNERS, strict=True)]
OFFICERS: Final = [Appointed(card, NOW - 1000) for card in CARDS[:5]]
DETAIL: Final[dict[str, Any]] = {"fields": ["legal_name"], "case": "K 12/26", "recipient": "court"}


def asked(**more: Any) -> Request:
    made = Request.of(DEPLOYMENT, 3, Kind.DISCLOSE, "acc_x", DETAIL, CARDS[0], NOW, 3600)
    return dataclasses.replace(made, **more)


def approved(request: Request, *numbers: int, not_after: int = NOW + 3600) -> list[Approval]:
    return [Approval.of(request.digest, CARDS[number], SIGNERS[number], not_after) for number in numbers]


def checked(request: Request, approvals: list[Approval], **more: Any) -> list[str]:
    state: dict[str, Any] = {"deployment": DEPLOYMENT, "generation": 3, "now": NOW + 10, "used": ()}
    officers, needed = more.pop("officers", OFFICERS), more.pop("needed", 3)
    return check(request, approvals, officers, needed, **state | more)


def test_three_of_five_approve_and_are_named() -> None:
    request = asked()
    assert checked(request, approved(request, 0, 1, 2)) == sorted(card.key_id for card in CARDS[:3])
    assert checked(request, approved(request, 1, 2, 3)), "who asked need not sign"
    with pytest.raises(QuorumError, match="1 more persons"):
        checked(request, approved(request, 0, 1))


def test_a57_the_requester_alone_and_one_person_with_two_keys_are_one_person() -> None:
    request = asked()
    with pytest.raises(QuorumError, match="another person"):
        checked(request, approved(request, 0, 0, 0), needed=2)
    two_keys = [*OFFICERS, Appointed(CARDS[5], NOW - 1000)]
    with pytest.raises(QuorumError, match="another person"):
        checked(request, approved(request, 0, 5), needed=2, officers=two_keys)
    with pytest.raises(QuorumError, match="1 more"):
        checked(request, approved(request, 0, 5, 1), officers=two_keys)
    with pytest.raises(QuorumError, match="1 more"):
        checked(request, approved(request, 1, 1, 2))
    assert checked(request, approved(request, 0), needed=1) == [CARDS[0].key_id], "a vault of one person says so"


def test_a57_who_was_appointed_after_the_request_or_is_gone_does_not_count() -> None:
    request = asked()
    late = [*OFFICERS[:2], Appointed(CARDS[2], request.created + 1), *OFFICERS[3:]]
    with pytest.raises(QuorumError, match="1 more"):
        checked(request, approved(request, 0, 1, 2), officers=late)
    with pytest.raises(QuorumError, match="1 more"):
        checked(request, approved(request, 0, 1, 2), officers=[*OFFICERS[:2], *OFFICERS[3:]])
    with pytest.raises(QuorumError, match="no officer any more"):
        checked(request, approved(request, 1, 2, 3), officers=OFFICERS[1:])


@pytest.mark.parametrize(
    "change",
    [{"subject": "acc_y"}, {"kind": Kind.HOLD}, {"detail": DETAIL | {"fields": ["legal_name", "phone"]}},
     {"detail": DETAIL | {"case": "K 13/26"}}, {"detail": DETAIL | {"recipient": "police"}}, {"expires": NOW + 7200},
     {"created": NOW - 1}, {"by": CARDS[1].key_id}, {"nonce": bytes(16)}],
)  # fmt: skip
def test_a58_whatever_is_changed_in_a_request_voids_all_approvals(change: dict[str, Any]) -> None:
    request = asked()
    other = dataclasses.replace(request, **change)
    assert other.digest != request.digest
    with pytest.raises(QuorumError, match=r"another person|more persons"):
        checked(other, approved(request, 0, 1, 2))


def test_a59_an_approval_is_of_no_use_elsewhere_later_or_twice() -> None:
    request = asked()
    approvals = approved(request, 0, 1, 2)
    for state, why in (
        ({"deployment": bytes(16)}, "another vault"), ({"generation": 4}, "another generation"),
        ({"now": request.expires}, "expired"), ({"now": request.expires + 10**6}, "expired"),
        ({"used": [request.digest]}, "carried out before"),
        ({"now": request.created - CLOCK_SECONDS - 1}, "has not come"),
    ):  # fmt: skip
        with pytest.raises(QuorumError, match=why):
            checked(request, approvals, **state)
    assert checked(request, approvals, now=request.expires - 1)
    with pytest.raises(QuorumError, match="another person"):
        checked(request, approved(request, 0, 1, 2, not_after=NOW + 10), now=NOW + 10)
    again = asked()
    assert again.digest != request.digest, "the same act asked for again is another request"
    with pytest.raises(QuorumError, match=r"another person|more persons"):
        checked(again, approvals)


def test_signatures_that_do_not_hold_count_nothing_and_do_no_harm() -> None:
    request = asked()
    good = approved(request, 0, 1, 2)
    junk = [
        dataclasses.replace(good[2], signature=bytes(64)), dataclasses.replace(good[2], nonce=bytes(16)),
        dataclasses.replace(good[2], not_after=good[2].not_after + 1), dataclasses.replace(good[2], key="0" * 32),
        dataclasses.replace(good[2], key=CARDS[3].key_id), dataclasses.replace(good[2], nonce=b""),
        dataclasses.replace(good[2], not_after=1 << 64),
    ]  # fmt: skip
    with pytest.raises(QuorumError, match="1 more"):
        checked(request, [*good[:2], *junk])
    assert checked(request, [*junk * 100, *good])


def test_clocks_that_differ_by_a_day_do_not_matter() -> None:
    request = asked(created=NOW + CLOCK_SECONDS, expires=NOW + CLOCK_SECONDS + 3600)
    assert checked(request, approved(request, 0, 1, 2), now=NOW)


@given(st.dictionaries(st.text(max_size=8), st.integers(-(2**53) + 1, 2**53 - 1), max_size=4), st.text(max_size=20))
def test_every_request_reads_back_from_its_one_spelling(detail: dict[str, Any], subject: str) -> None:
    if any(0xD800 <= ord(one) < 0xE000 for text in (subject, *detail) for one in text):
        return  # no text that can be written
    request = asked(detail=detail, subject=subject)
    assert Request.parse(bytes(request)) == request


def test_what_is_no_request_is_refused() -> None:
    raw = bytes(asked())
    said = json.loads(raw)
    changes: list[dict[str, Any]] = [
        {"v": 2}, {"v": True}, {"kind": "open"}, {"kind": "DISCLOSE"}, {"more": 1}, {"detail": []}, {"by": "x"},
        {"nonce": "00"}, {"generation": -1}, {"generation": True}, {"created": "1"}, {"expires": said["created"]},
        {"expires": said["created"] + MAX_SECONDS + 1}, {"subject": 5}, {"subject": "x" * 50_000},
        {"deployment": said["deployment"].upper() + "A"},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(QuorumError):
            Request.parse(json.dumps(said | change, sort_keys=True, separators=(",", ":")).encode())
    for one in (b"", b"[]", b"{}", raw + b" ", raw[:-1], b"[" * 100_000, raw.replace(b":", b": ", 1)):
        with pytest.raises(QuorumError):
            Request.parse(one)


def test_a_threshold_is_lowered_by_those_who_were_needed_before() -> None:
    old, new = Policy(2, {Kind.DISCLOSE: 4}), Policy(2, {Kind.DISCLOSE: 2})
    assert (old.needed(Kind.DISCLOSE), old.needed(Kind.ROTATE)) == (4, 2)
    assert (old.needed_to_change(new), new.needed_to_change(old), old.needed_to_change(old)) == (4, 2, 2)
    assert Policy(3).needed_to_change(Policy(2)) == 3
    old.check(5)
    for policy in (Policy(3, {Kind.DISCLOSE: 2}), Policy(2, {Kind.DISCLOSE: 6}), Policy(6)):
        with pytest.raises(QuorumError, match="policy: "):
            policy.check(5)


def test_an_approval_is_the_signature_that_the_format_says() -> None:
    """The message is built here a second time, from the vector's bytes; Ed25519 is deterministic, so are these."""
    request = Request.parse(VECTOR["request"].encode())
    digest = hashlib.sha256(VECTOR["request"].encode()).digest()
    assert request.digest.hex() == digest.hex() == VECTOR["digest"]
    nonce, not_after = bytes.fromhex(VECTOR["nonce"]), VECTOR["not_after"]
    message = b"idvault/approval/v1\n" + digest + nonce + not_after.to_bytes(8, "big") + b"\x00\x00\x00\x07officer"
    assert message.hex() == VECTOR["message"]
    signature = bytes.fromhex(VECTOR["signature"])
    assert SIGNERS[0].sign(message) == signature
    assert ed25519_holds(SIGNERS[0].public(), signature, message)
    assert Approval(CARDS[0].key_id, nonce, not_after, signature).holds(digest, CARDS[0])


VECTOR: Final[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "approval.json").read_text())
