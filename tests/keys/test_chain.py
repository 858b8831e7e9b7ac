"""The chain of officers: nobody who is not M of them changes who they are, what is needed, or what was used."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
import rfc8785

from keys.chain import Head, Record, State, after, first, folded, following
from keys.errors import ChainError, QuorumError
from keys.officers import Card, Officer
from keys.primitives import Ed25519Signer, HybridReceiver, Secret
from keys.quorum import Approval, Kind, Policy, Request
from keys.seals.shares import Ceremony, split

DEPLOYMENT: Final = bytes(range(16))
NOW: Final = 1_767_225_600
ROOT: Final = Secret(bytes(range(32)))


def officer(number: int, name: str = "") -> Officer:
    signer, receiver = Ed25519Signer(Secret(bytes([number]) * 32)), HybridReceiver(Secret(bytes([number]) * 96))
    return Officer(Card(name or f"Officer {number}", signer.public(), receiver.public()), signer, receiver)


PEOPLE: Final = [officer(number) for number in range(1, 8)]
CARDS: Final = [one.card for one in PEOPLE]
CEREMONY: Final[Ceremony] = split(ROOT, DEPLOYMENT, 1, 2, CARDS[:4])[0]
POLICY: Final = Policy(2, {Kind.DISCLOSE: 3})


def signed(digest: bytes, *numbers: int, until: int = NOW + 90 * 86_400) -> tuple[Approval, ...]:
    return tuple(Approval.of(digest, CARDS[number], PEOPLE[number].signer, until) for number in numbers)


def begun(*numbers: int, policy: Policy = POLICY) -> Record:
    said = first(CEREMONY, CARDS[:4], policy, NOW)
    return Record(said, signed(bytes.fromhex(Record(said, ()).digest), *numbers))


def asked(state: State, kind: Kind, subject: str = "", by: int = 0, **detail: Any) -> Request:
    return Request.of(DEPLOYMENT, state.generation, kind, subject, detail, CARDS[by], state.at + 10, 3600)


def done(state: State, request: Request, *numbers: int, at: int = 0) -> Record:
    return Record(following(state, request, at or request.created + 60), signed(request.digest, *numbers))


def chain(*steps: Callable[[State], Record]) -> list[Record]:
    """Return a chain of a first record that all confirmed, and of what each step makes of the state before it."""
    records = [begun(0, 1, 2, 3)]
    for step in steps:
        records.append(step(folded(records, DEPLOYMENT, None)))
    return records


def budget(name: str, limit: Any, *numbers: int) -> Callable[[State], Record]:
    return lambda state: done(state, asked(state, Kind.RAISE_BUDGET, name, per_hour=limit), *numbers)


def policy(new: Policy, *numbers: int) -> Callable[[State], Record]:
    detail: dict[str, Any] = {
        "threshold": new.threshold,
        "more": {kind.value: needed for kind, needed in new.more.items()},
    }
    return lambda state: done(state, asked(state, Kind.POLICY, **detail), *numbers)


def rekeyed(
    cards: Sequence[Card], threshold: int, *numbers: int, change: dict[str, Any] | None = None,
    confirmed: Sequence[int] | None = None,
) -> Callable[[State], Record]:  # fmt: skip
    def step(state: State) -> Record:
        made, _ = split(ROOT, DEPLOYMENT, state.generation + 1, threshold, list(cards))
        numbered = [CARDS.index(card) for card in cards if card in CARDS] if confirmed is None else confirmed
        detail = {
            "ceremony": json.loads(bytes(made)), "cards": [str(card) for card in cards],
            "confirmations": [one.plain() for one in signed(made.digest, *numbered)], **(change or {}),
        }  # fmt: skip
        return done(state, asked(state, Kind.OFFICER_REPLACE, **detail), *numbers)

    return step


def test_a_first_record_that_gives_one_person_two_places_is_refused() -> None:
    cards = [CARDS[0], officer(9, "OFFICER 1").card]
    keys = tuple(card.key_id for card in cards)
    made = dataclasses.replace(CEREMONY, threshold=2, keys=keys, shares=CEREMONY.shares[:2])
    said = first(made, cards, Policy(2), NOW)
    with pytest.raises(ChainError, match="one person"):
        folded([Record(said, signed(bytes.fromhex(Record(said, ()).digest), 0))], DEPLOYMENT, None)


def test_a_chain_begins_when_m_have_confirmed_and_is_in_force_as_it_was_signed() -> None:
    state = folded([begun(0, 2)], DEPLOYMENT, None)
    assert [one.card for one in state.officers] == CARDS[:4]
    assert (state.policy, state.generation, state.head.number) == (POLICY, 1, 0)
    for confirmed in ((), (0,), (0, 0), (5, 6), (0, 5)):
        with pytest.raises(ChainError, match="more officers must confirm"):
            folded([begun(*confirmed)], DEPLOYMENT, None)
    with pytest.raises(ChainError, match="another vault"):
        folded([begun(0, 1)], bytes(16), None)
    with pytest.raises(ChainError, match="no chain"):
        folded([], DEPLOYMENT, None)


def test_budgets_policies_and_officers_follow_from_what_was_signed() -> None:
    records = chain(
        budget("exchange", 500, 0, 1), policy(Policy(2, {Kind.DISCLOSE: 4}), 0, 1, 2), budget("exchange", 700, 1, 2),
        rekeyed([*CARDS[:3], CARDS[4]], 2, 0, 1, 2, 3),
    )  # fmt: skip
    state = folded(records, DEPLOYMENT, None)
    assert (state.budgets, state.generation, len(state.used)) == ({"exchange": 700}, 2, 4)
    assert [one.card for one in state.officers] == [*CARDS[:3], CARDS[4]]
    assert state.officers[0].since == NOW < state.officers[3].since
    assert folded(records, DEPLOYMENT, state.head) == state


def test_a17_who_left_approves_nothing_and_who_came_approves_what_is_asked_from_now_on() -> None:
    records = chain(rekeyed([*CARDS[:3], CARDS[4]], 2, 0, 1, 2))
    state = folded(records, DEPLOYMENT, None)
    request = asked(state, Kind.ROTATE)
    for numbers, why in (((0, 3), "another person"), ((0, 5), "another person")):
        with pytest.raises(QuorumError, match=why):
            state.check(request, signed(request.digest, *numbers), request.created + 1)
    assert state.check(request, signed(request.digest, 0, 4), request.created + 1)
    before = dataclasses.replace(request, created=state.at - 100)
    with pytest.raises(QuorumError, match="another person"):
        state.check(before, signed(before.digest, 0, 4), request.created)


@pytest.mark.parametrize(
    ("step", "why"),
    [(budget("exchange", 500, 0), "another person"), (budget("exchange", -1, 0, 1), "not of its form"),
     (budget("exchange", "x", 0, 1), "not of its form"), (policy(Policy(2, {Kind.DISCLOSE: 2}), 0, 1), "1 more"),
     (policy(Policy(1), 0, 1, 2, 3), "policy: "), (policy(Policy(3), 0, 1, 2, 3), "another threshold"),
     (policy(Policy(2, {Kind.ROTATE: 5}), 0, 1, 2, 3), "policy: "), (rekeyed(CARDS[:4], 2, 0), "another person"),
     (rekeyed(CARDS[:2], 2, 0, 1), "1 more"),
     (rekeyed(CARDS[4:7], 2, 0, 1, 2, confirmed=()), "2 more officers must confirm"),
     (rekeyed(CARDS[4:7], 2, 0, 1, 2, confirmed=(4, 4, 0, 1)), "1 more officers must confirm"),
     (rekeyed(CARDS[:3], 2, 0, 1, 2, change={"confirmations": [{}]}), "not of its form"),
 (rekeyed(CARDS[:3], 2, 0, 1, 2, change={"cards": []}), "not those"),
     (rekeyed(CARDS[:3], 2, 0, 1, 2, change={"cards": [str(card) for card in CARDS[1:4]]}), "not those"),
     (rekeyed(CARDS[:3], 2, 0, 1, 2, change={"ceremony": {}}), "ceremony record")],
)  # fmt: skip
def test_what_too_few_approved_or_what_breaks_a_rule_is_not_in_force(step: Callable[[State], Record], why: str) -> None:
    with pytest.raises(ChainError, match=why) as raised:
        chain(step, budget("later", 1, 0, 1))
    assert raised.value.number == 1


def test_a_rekey_that_gives_one_person_two_places_is_not_in_force() -> None:
    """`split` deals no such shares: the record is of a hand that writes the request itself."""
    again = officer(9, "OFFICER 1")
    made, _ = split(ROOT, DEPLOYMENT, 2, 2, CARDS[:2])
    twice = dataclasses.replace(made, keys=(CARDS[0].key_id, again.card.key_id))
    until = NOW + 10**6
    confirmed = [Approval.of(twice.digest, one.card, one.signer, until).plain() for one in (PEOPLE[0], again)]
    detail = {"ceremony": json.loads(bytes(twice)), "cards": [str(CARDS[0]), str(again.card)],
              "confirmations": confirmed}  # fmt: skip
    with pytest.raises(ChainError, match="record 1: officers: one person"):
        folded(chain(lambda state: done(state, asked(state, Kind.REKEY, **detail), 0, 1, 2, 3)), DEPLOYMENT, None)


def test_a59_a_request_that_was_carried_out_is_not_carried_out_again() -> None:
    records = chain(budget("exchange", 500, 0, 1))
    state = folded(records, DEPLOYMENT, None)
    said = {**json.loads(records[1].said), "number": 2, "previous": state.head.digest}
    again = Record(rfc8785.dumps(said), records[1].signatures)
    with pytest.raises(ChainError, match="record 2: request: carried out before"):
        folded([*records, again], DEPLOYMENT, None)


def test_a_record_that_was_altered_inserted_dropped_or_moved_is_named() -> None:
    records = chain(*(budget(f"budget {number}", number, 0, 1) for number in range(6)))
    whole = folded(records, DEPLOYMENT, None)
    forged = done(dataclasses.replace(whole, head=Head(3, records[3].digest)), asked(whole, Kind.RAISE_BUDGET), 5, 6)
    said = json.loads(records[3].said)
    wrong: list[tuple[int, list[Record]]] = [
        (3, [*records[:3], *records[4:]]), (3, [*records[:3], records[4], records[3], *records[5:]]),
        (4, [*records[:4], records[3], *records[4:]]), (4, [*records[:4], forged, *records[4:]]),
        (0, records[1:]), (0, [records[1], *records[1:]]),
    ]  # fmt: skip
    changes: list[dict[str, Any]] = [
        {"number": 9}, {"previous": "0" * 64}, {"at": NOW - 1}, {"at": "x"}, {"v": 2}, {"more": 1}, {"request": {}},
    ]  # fmt: skip
    for change in changes:
        altered = Record(rfc8785.dumps({**said, **change}), records[3].signatures)
        wrong += [(3, [*records[:3], altered, *records[4:]])]
    for place, one in enumerate(records):
        for at in range(0, len(one.said), 211):
            raw = one.said[:at] + bytes([one.said[at] ^ 1]) + one.said[at + 1 :]
            wrong.append((place, [*records[:place], Record(raw, one.signatures), *records[place + 1 :]]))
    for number, forged_chain in wrong:
        with pytest.raises(ChainError) as raised:
            folded(forged_chain, DEPLOYMENT, whole.head)
        # What is altered shows at its own place; what only its neighbour contradicts shows there.
        assert raised.value.number in {number, number + 1}, (number, str(raised.value))


def test_an_end_that_was_cut_off_or_replaced_shows_by_the_head() -> None:
    records = chain(*(budget(f"budget {number}", number, 0, 1) for number in range(3)))
    head = folded(records, DEPLOYMENT, None).head
    for cut in (1, 2, 3):
        with pytest.raises(ChainError, match="cut off"):
            folded(records[:cut], DEPLOYMENT, head)
    other = [*records[:3], budget("another", 9, 0, 1)(folded(records[:3], DEPLOYMENT, None))]
    with pytest.raises(ChainError, match="record 3: not the record that was in force"):
        folded(other, DEPLOYMENT, head)
    grown = [*records, budget("more", 1, 2, 3)(folded(records, DEPLOYMENT, None))]
    with pytest.raises(ChainError, match="record 4: nobody put it in force"):
        folded(grown, DEPLOYMENT, head)


def test_an_administrators_officer_threshold_and_back_dated_request_have_no_effect() -> None:
    records = chain(budget("exchange", 500, 0, 1))
    state = folded(records, DEPLOYMENT, None)
    planted = json.loads(records[0].said)
    planted["cards"].append(str(CARDS[6]))
    lowered = json.loads(records[0].said)
    lowered["policy"]["threshold"] = 1
    for said in (planted, lowered):
        with pytest.raises(ChainError, match="record 0"):
            folded([Record(rfc8785.dumps(said), records[0].signatures), *records[1:]], DEPLOYMENT, state.head)
    late = asked(state, Kind.DESTROY)
    now = late.expires + 80 * 86_400
    dated = Record(following(state, late, late.created + 60), signed(late.digest, 0, 1))
    with pytest.raises(ChainError, match="nobody put it in force"):
        folded([*records, dated], DEPLOYMENT, state.head)
    expired = Record(following(state, late, now), signed(late.digest, 0, 1))
    with pytest.raises(ChainError, match="expired"):
        after(state, expired, 2)
