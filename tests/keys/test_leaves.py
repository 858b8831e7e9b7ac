"""What a leaf says: a closed list, one size for each type, and nothing that leads to anybody."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import leaves
from keys.errors import NoteError
from keys.primitives import Secret

ROOT: Final = Path(__file__).parents[2]
SUBJECTS: Final = st.lists(st.binary(min_size=32, max_size=32), max_size=8)
FACTS: Final[dict[str, dict[str, object]]] = {
    "attempt.refused": {"kind": "scope", "count": 7},
    "disclosure.granted": {"disclosure": "_" * 43, "notice_due": 29_969_538},
    "disclosure.deferred": {"disclosure": "_" * 43, "notice_due": 29_969_538},
    "disclosure.notified": {"disclosure": "_" * 43},
    "keys.resealed": {"count": 5_800_000},
    "report.tallied": {"tally": {"month": "2026-11", "sanctions": {"by_rung": {"warn": 12}}}},
}
_KIND: Final = re.compile(r'"([a-z]+\.[a-z_]+)"')
_NO_ACT: Final = re.compile(r"\.(open|opened_by)$")


def _said() -> Iterator[str]:
    """Return the kinds of act that the code writes audit rows of, as it names them."""
    for folder, pattern in (
        ("keys", r"(?:audit\.write\w*\(|audit\.row\w*\(|kind = |state, kind = |[A-Z_]+: Final = |_audit\().*"),
        ("vault/services", r"(?:_audit(?:ed)?\(|kind = |\"type\": |_AUDIT).*"),
    ):
        for path in (ROOT / folder).rglob("*.py"):
            for line in re.findall(pattern, path.read_text()):
                yield from _KIND.findall(line)


def test_every_act_that_the_code_writes_is_of_the_closed_list() -> None:
    written = {kind for kind in _said() if not kind.startswith(("keys.", "identity.", "directory."))}
    known = leaves.PLACES.keys() | leaves.PUBLIC.keys()
    assert {kind for kind in written if kind.partition(".")[2].endswith(("ed", "chunk", "begun", "set"))} <= known
    assert {"registration.created", "review.opened", "sanction.set", "import.chunk", "exchange.made"} <= written


@pytest.mark.parametrize("kind", leaves.PLACES)
def test_every_entry_of_a_type_has_one_size_of_at_most_4_kib(kind: str) -> None:
    facts = FACTS.get(kind, {})
    sizes = {len(leaves.entry(kind, minute, [], facts)) for minute in (0, 9, 29_926_338, 99_999_999, 2**40)}
    assert sizes == {leaves.size_of(kind)}
    assert leaves.size_of(kind) <= leaves.MAX_BYTES
    full = [bytes([n]) * 32 for n in range(leaves.PLACES[kind])]
    assert len(leaves.entry(kind, 29_926_338, full, facts)) == leaves.size_of(kind)
    assert leaves.read(leaves.entry(kind, 7, full, facts))["subjects"] == full


@given(st.sampled_from(sorted(leaves.PLACES)), st.integers(0, 2**40), SUBJECTS)
def test_every_entry_reads_back_as_it_was_written(kind: str, minute: int, subjects: list[bytes]) -> None:
    named = subjects[: leaves.PLACES[kind]]
    facts = FACTS.get(kind, {})
    read = leaves.read(leaves.entry(kind, minute, named, facts))
    assert (read["type"], read["minute"], read["subjects"][: len(named)]) == (kind, minute, named)
    assert {name: read[name] for name in facts} == facts


def test_a_leaf_says_the_facts_of_its_type_and_no_others() -> None:
    for kind, facts in (
        ("registration.created", {"count": 1}),
        ("attempt.refused", {}),
        ("attempt.refused", {"kind": "scope", "count": 1, "provider": "x"}),
        ("report.tallied", {"tally": {"much": "x" * 4096}}),
    ):
        with pytest.raises(NoteError, match="fact"):
            leaves.entry(kind, 1, [], facts)


def test_a_place_that_stands_for_nobody_is_random_and_never_the_same() -> None:
    made = [leaves.read(leaves.entry("review.opened", 1, [bytes(32)]))["subjects"] for _ in range(50)]
    drawn = [subject for subjects in made for subject in subjects[1:]]
    assert len(set(drawn)) == len(drawn) == 50 * 7


@pytest.mark.parametrize(("kind", "public"), leaves.PUBLIC.items())
def test_an_act_that_is_told_under_another_name_is_told_as_any_other(kind: str, public: str) -> None:
    assert leaves.read(leaves.entry(kind, 1, []))["type"] == public
    assert len(leaves.entry(kind, 1, [])) == len(leaves.entry(public, 1, []))


def test_commitments_differ_by_key_and_by_number_and_those_of_clients_by_act() -> None:
    one, other = Secret(bytes(32)), Secret(bytes([1]) * 32)
    made = [leaves.record_subject(key, number) for key in (one, other) for number in range(100)]
    made += [leaves.record_subject(key, number, told=True) for key in (one, other) for number in range(100)]
    openings = [leaves.client_opening(key, bytes([number]) * 16) for key in (one, other) for number in range(100)]
    made += [leaves.client_subject(opening, "sanction.set", b"cli_a", bytes(16)) for opening in openings]
    assert len(set(made)) == 600


def test_a_commitment_of_a_client_opens_to_one_act_of_one_client_on_one_object() -> None:
    opening = Secret(bytes(32))
    said = [("sanction.set", b"cli_a", bytes(16)), ("sanction.lifted", b"cli_a", bytes(16)),
            ("sanction.set", b"cli_b", bytes(16)), ("sanction.set", b"cli_a", bytes([1]) * 16),
            ("sanction.set", b"cli_", b"a" + bytes(16))]  # fmt: skip
    assert len({leaves.client_subject(opening, *one) for one in said}) == len(said)


def test_what_the_list_does_not_know_has_no_leaf() -> None:
    with pytest.raises(NoteError):
        leaves.entry("record.stolen", 1, [])
    with pytest.raises(NoteError):
        leaves.entry("registration.created", 1, [bytes(32)] * 2)


GOOD: Final = leaves.entry("registration.created", 29_926_338, [bytes(32)])


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"v":1', b'"v":2'), (b'"v":1', b'"v": 1'), (b"created", b"creaxed"), (b"29926338", b'"992633"'),
     (b"29926338", b"-9926338"), (b"00", b"0"), (b"00", b"01"), (b'["', b'[["'), (b'"v":1', b'"v":1,"v":1'),
     (b"AAAA", b"AA=="), (b"AAAA", b"AA+/"), (b"}", b""), (b"{", b"[")],
)  # fmt: skip
def test_what_is_no_entry_is_refused(old: bytes, new: bytes) -> None:
    leaves.read(GOOD)
    with pytest.raises(NoteError):
        leaves.read(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"v":1', b'"v":true'), (b'"v":1', b'"v":1.0'), (b'"minute":29926338', b'"minute":29926338.0'),
     (b'"minute":29926338', b'"minute":true'), (b'"minute":29926338', b'"minute":-29926338'),
     (b'"minute":29926338', b'"minute":null')],
)  # fmt: skip
def test_a_number_of_another_kind_is_refused_in_the_right_size_too(old: bytes, new: bytes) -> None:
    more = len(new) - len(old)
    same = GOOD.replace(b"0" * max(more, 0) + b'","subjects', b'","subjects').replace(old, new)
    same = same.replace(b'","subjects', b"0" * max(-more, 0) + b'","subjects')
    assert len(same) == len(GOOD)
    with pytest.raises(NoteError, match=r"version|minute"):
        leaves.read(same)
