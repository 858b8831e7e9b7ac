"""Shares: any M make the key and fewer say nothing; a wrong one is named at entry, and what was given stays."""

import itertools
import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.errors import OpenError, ShareError
from keys.officers import Card, Officer
from keys.primitives import Ed25519Signer, HybridReceiver, Secret, seal_to
from keys.seals.shares import Ceremony, Collecting, Fault, check_threshold, opened, split

DEPLOYMENT: Final = bytes(range(16))
ROOT: Final = Secret(bytes(range(32)))


def officer(number: int, name: str = "") -> Officer:
    signer = Ed25519Signer(Secret(bytes([number]) * 32))
    receiver = HybridReceiver(Secret(bytes([number]) * 96))
    return Officer(Card(name or f"Officer {number}", signer.public(), receiver.public()), signer, receiver)


def dealt(
    threshold: int, count: int, *, generation: int = 1, deployment: bytes = DEPLOYMENT, root: Secret = ROOT
) -> tuple[Ceremony, list[str]]:
    """Return the record of a set and the words of each officer."""
    people = [officer(number) for number in range(1, count + 1)]
    cards = [one.card for one in people]
    record, sealed = split(root, deployment, generation, threshold, cards, no_spare=True)
    return record, [opened(one, record, raw) for one, raw in zip(people, sealed, strict=True)]


def collected(record: Ceremony, words: list[str]) -> Secret:
    collecting = Collecting(record)
    for share in words:
        collecting.give(share)
    return collecting.root()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(0, 3), st.binary(min_size=32, max_size=32), st.randoms())
def test_any_m_of_n_make_the_key_in_any_order(threshold: int, spare: int, raw: bytes, chance: object) -> None:
    record, words = dealt(threshold, threshold + spare, root=Secret(raw))
    chance.shuffle(words)  # type: ignore[attr-defined]
    assert collected(record, words[:threshold]) == Secret(raw)


def test_a12_every_three_of_five_make_the_key_and_no_two_do() -> None:
    record, words = dealt(3, 5)
    for some in itertools.combinations(words, 3):
        assert collected(record, list(some)) == ROOT
    for two in itertools.combinations(words, 2):
        collecting = Collecting(record)
        for share in two:
            collecting.give(share)
        with pytest.raises(ShareError, match="1 more"):
            collecting.root()


@pytest.mark.parametrize(
    ("threshold", "count", "no_spare", "rule"),
    [(1, 2, False, "threshold"), (0, 3, False, "threshold"), (4, 3, False, "threshold"), (2, 17, False, "officers"),
     (1, 0, False, "officers"), (3, 3, False, "--no-spare"), (16, 16, False, "--no-spare"), (-1, 1, True, "threshold"),
     (2, 1, True, "threshold")],
)  # fmt: skip
def test_a12_a_threshold_that_keeps_nobody_out_or_loses_the_vault_is_refused(
    threshold: int, count: int, rule: str, *, no_spare: bool
) -> None:
    with pytest.raises(ShareError, match=rule):
        check_threshold(threshold, count, no_spare=no_spare)


def test_vaults_of_one_two_and_sixteen_work() -> None:
    for threshold, count in ((1, 1), (2, 2), (2, 3), (16, 16), (2, 16)):
        check_threshold(threshold, count, no_spare=True)
        record, words = dealt(threshold, count)
        assert len(words[0].split()) == 33
        assert collected(record, words[:threshold]) == ROOT


SAID = {
    "share: mistyped; compare each word with the paper",
    "share: already provided; the next officer's is needed",
    "share: of generation 1, and generation 2 is in force",
    "share: of another set, or of another vault",
}
"""All that is answered to a wrong share."""


def test_a13_a_wrong_share_is_named_at_entry_and_what_was_given_stays() -> None:
    record, words = dealt(3, 5, generation=2)
    former, old = dealt(3, 5, generation=1)
    _, foreign = dealt(3, 5, deployment=bytes(16))
    collecting = Collecting(record, [former])
    assert collecting.give(words[0]) == 2
    listed = words[1].split()
    swapped = " ".join([*listed[:8], listed[9], listed[8], *listed[10:]])
    wrong = {
        swapped: Fault.MISTYPED, words[1] + " academic": Fault.MISTYPED, " ".join(listed[:-1]): Fault.MISTYPED,
        words[1].replace(listed[7], "zebra"): Fault.MISTYPED, "": Fault.MISTYPED, old[1]: Fault.EARLIER,
        foreign[1]: Fault.OTHER, words[0]: Fault.REPEATED, f"  {words[0].upper()}\n": Fault.REPEATED,
    }  # fmt: skip
    for share, fault in wrong.items():
        with pytest.raises(ShareError) as raised:
            collecting.give(share)
        assert raised.value.fault == fault, share[:20]
        assert str(raised.value) in SAID, "a message of fixed words cannot tell what was entered"
        assert collecting.missing == 2
    assert collecting.give(f"\t{words[4].title()} ") == 1
    assert collecting.give(words[2]) == 0
    assert collecting.root() == ROOT


def test_a14_the_same_share_twice_never_counts_twice_and_more_than_enough_do_no_harm() -> None:
    record, words = dealt(2, 3)
    collecting = Collecting(record)
    collecting.give(words[1])
    for _ in range(3):
        with pytest.raises(ShareError, match="already provided"):
            collecting.give(words[1])
    assert [collecting.give(words[0]), collecting.give(words[2])] == [0, 0]
    assert collecting.root() == ROOT
    assert collecting.missing == 2, "what was given is forgotten"


def test_a_share_opens_for_its_officer_and_its_record_alone() -> None:
    people = [officer(number) for number in (1, 2, 3)]
    cards = [one.card for one in people]
    record, sealed = split(ROOT, DEPLOYMENT, 1, 2, cards)
    again, _ = split(ROOT, DEPLOYMENT, 1, 2, cards)
    assert record.set_id != again.set_id or record.shares != again.shares, "each set is drawn anew"
    with pytest.raises(OpenError):
        opened(people[1], record, sealed[0])
    with pytest.raises(OpenError):
        opened(people[0], again, sealed[0])
    planted = seal_to(cards[0].receives, opened(people[1], record, sealed[1]).encode(), record.info)
    with pytest.raises(ShareError, match="not the one that the record says"):
        opened(people[0], record, planted)


def test_a_record_that_commits_to_another_key_gives_none() -> None:
    record, words = dealt(2, 3)
    said = json.loads(bytes(record))
    other = Ceremony(DEPLOYMENT, 1, record.set_id, 2, "0" * 64, record.keys, record.shares)
    with pytest.raises(ShareError, match="another key"):
        collected(other, words[:2])
    assert said["root"] == record.root


def test_one_person_has_one_share_however_the_name_is_spelled() -> None:
    cards = [officer(1, "Maria Lindqvist").card, officer(2, "maria  LINDQVIST").card, officer(3).card]
    with pytest.raises(ShareError, match="one person"):
        split(ROOT, DEPLOYMENT, 1, 2, cards)


def test_a_record_has_one_spelling_and_tells_no_share() -> None:
    record, words = dealt(2, 3)
    raw = bytes(record)
    assert Ceremony.parse(raw) == record
    assert not any(word in raw.decode() for share in words for word in share.split() if len(word) > 6)
    said = json.loads(raw)
    changes: list[dict[str, object]] = [
        {"v": 2}, {"threshold": 1}, {"threshold": "2"}, {"deployment": "x"}, {"officers": []},
        {"officers": said["officers"] * 6}, {"more": 1}, {"root": None}, {"generation": 0}, {"generation": -1},
        {"root": "zz" * 32}, {"root": said["root"][:-2]}, {"root": said["root"].upper()}, {"deployment": "00"},
        {"officers": [{**one, "share": "zz"} for one in said["officers"]]},
        {"generation": 1 << 32}, {"set": 1 << 15}, {"set": -1}, {"officers": [said["officers"][0]] * 3},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(ShareError):
            Ceremony.parse(json.dumps(said | change, sort_keys=True, separators=(",", ":")).encode())
    for one in (b"", b"[]", b"{", raw + b" ", raw.replace(b":", b": ", 1), b"[" * 100_000):
        with pytest.raises(ShareError):
            Ceremony.parse(one)


VECTOR: Final[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "ceremony.json").read_text())


def test_the_golden_record_of_a_ceremony_is_read_and_commits_to_its_root_key() -> None:
    record = Ceremony.parse(VECTOR["record"].encode())
    assert bytes(record) == VECTOR["record"].encode()
    assert record.digest.hex() == VECTOR["digest"]
    root = bytearray(bytes.fromhex(VECTOR["root"]))
    assert record.commits_to(Secret(bytes(root)))
    root[31] ^= 1
    assert not record.commits_to(Secret(bytes(root)))


@pytest.mark.parametrize("fault", list(VECTOR["faults"]))
def test_a_record_with_one_fault_is_refused(fault: str) -> None:
    with pytest.raises(ShareError):
        Ceremony.parse(VECTOR["faults"][fault].encode())
