"""What a worker remembers of introspections: until when an answer is one, and what it is kept under."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.tokens import Pseudonym
from vault.domain.clock import from_epoch
from vault.services.access import hash_secret
from vault.services.introspecting import _authorised, answer_of
from vault.services.remembering import Remembering, deciding
from vault.stores.changes import Changes

NOW = 1_800_000_000
SPAN = 400_000
"""Seconds around now; days begin in it."""
PID, ACCOUNT = bytes([1]) * 16, bytes([2]) * 16
_times = st.none() | st.integers(NOW - SPAN, NOW + SPAN)
_ladders = st.none() | st.lists(st.tuples(st.integers(1, 4), _times), max_size=3, unique_by=lambda rung: rung[0]).map(
    lambda rungs: " ".join(f"{rung}:{'' if end is None else end}" for rung, end in sorted(rungs, reverse=True)) or None
)
_policies = st.none() | _times.map(
    lambda time: orjson.dumps({} if time is None else {"legacy_until": str(from_epoch(time).date())}).decode()
)
_accounts = st.tuples(st.sampled_from(["legacy", "in_review", "approved", "returned", "closed"]), _ladders)


@st.composite
def _rows(draw: st.DrawFn) -> list[Any]:
    whole = {
        "secret_hash": hash_secret("now"), "former_hash": hash_secret("former"), "former_until": draw(_times),
        "client_state": "active", "scopes": "introspect", "policy": draw(_policies), "provider_state": "active",
        "expires": draw(_times), "pid": PID, "assurance": "document", "generation": 0, "ladder": draw(_ladders),
        "inactive_from": draw(_times), "superseded_by": None, "state": "live",
    }  # fmt: skip
    accounts = draw(st.lists(_accounts, min_size=1, max_size=3))
    return [
        SimpleNamespace(**whole, account=bytes([n]) * 16, account_state=state, account_ladder=ladder)
        for n, (state, ladder) in enumerate(accounts, 2)
    ]


def _told(rows: list[Any], secret: str, account: bytes | None, now: int) -> object:
    """Return what an introspection is told, or why not."""
    try:
        _authorised(rows, secret, now)
    except Exception as refusal:  # noqa: BLE001 - which one is what is compared
        return str(refusal)
    policy = orjson.loads(rows[0].policy) if rows[0].policy else {}
    return answer_of(rows, Pseudonym(PID, 0), account, "nym_x", "cli_a", now, policy)


@given(_rows(), st.sampled_from(["now", "former"]), st.sampled_from([None, ACCOUNT]))
def test_between_two_times_that_decide_an_answer_it_is_the_same(
    rows: list[Any], secret: str, account: bytes | None
) -> None:
    times = sorted({NOW - SPAN - 1, *deciding(rows), NOW + 3 * SPAN})
    for begin, end in pairwise(times):
        told = [_told(rows, secret, account, now) for now in (begin, (begin + end) // 2, end - 1)]
        assert told[0] == told[1] == told[2]


class _Vault:
    """A memory, and all that it looks at."""

    def __init__(self, counters: Changes, entries: int = 10) -> None:
        self.counters, self.now, self.there, self.recalled = counters, NOW, True, 0
        self.memory = Remembering(entries, counters, cast("Any", self), lambda: self.now, self.count)
        self.key = self.memory.key("cli_a", "secret", "nym_x", None)

    def watch(self) -> Any:
        return lambda: self.there

    def count(self) -> None:
        self.recalled += 1

    def keep(self, until: int | None = None, fresh_until: float = float("inf")) -> None:
        row = SimpleNamespace(
            expires=until, former_until=None, inactive_from=None, ladder=None, policy=None, account_ladder=None
        )
        self.memory.watch()
        moment = self.memory.moment(PID, fresh_until)
        assert moment is not None
        self.memory.keep(self.key, {"active": True}, moment, self.now, [row])


@pytest.fixture
def vault(tmp_path: Any) -> _Vault:
    return _Vault(Changes(tmp_path / "counters", 0o600))


def test_an_answer_is_given_again_until_something_decides_it(vault: _Vault) -> None:
    assert vault.memory.recall(vault.key) is None
    vault.keep(until=NOW + 5)
    vault.now += 4
    assert vault.memory.recall(vault.key) == {"active": True}
    assert vault.recalled == 1
    vault.now += 1
    assert vault.memory.recall(vault.key) is None, "its time has come"
    vault.now = NOW - 1
    assert vault.memory.recall(vault.key) is None, "the clock was set back"
    assert vault.recalled == 1


def test_an_answer_goes_with_a_commit_that_begins_with_its_holder_and_with_its_keys(vault: _Vault) -> None:
    vault.keep()
    number = vault.counters.begin([PID])
    assert vault.memory.recall(vault.key) is None
    assert vault.memory.moment(PID, 0) is None, "nothing is kept while it is under way"
    vault.counters.over(number)
    assert vault.memory.recall(vault.key) is None
    vault.keep()
    vault.there = False
    assert vault.memory.recall(vault.key) is None
    vault.there = True
    vault.keep(fresh_until=0)
    assert vault.memory.recall(vault.key) is None


def test_without_entries_or_counters_nothing_is_kept(vault: _Vault) -> None:
    for memory in (
        Remembering(0, vault.counters, cast("Any", vault), lambda: NOW),
        Remembering(10, None, cast("Any", vault), lambda: NOW),
    ):
        memory.watch()
        assert memory.moment(PID, float("inf")) is None
        assert memory.recall(memory.key("cli_a", "secret", "nym_x", None)) is None


def test_of_too_many_answers_the_oldest_goes(vault: _Vault) -> None:
    keys = [vault.memory.key("cli_a", "secret", f"nym_{n}", None) for n in range(12)]
    for vault.key in keys:
        vault.keep()
    assert [vault.memory.recall(key) is not None for key in keys] == [False] * 2 + [True] * 10


def test_answers_to_different_questions_are_kept_apart(vault: _Vault) -> None:
    asked: list[tuple[str | None, ...]] = [
        ("a", "b", "c", None), ("a", "b", "c", ""), ("ab", "", "c", None), ("a", "bc", "", None), ("a", "b", "", "c"),
        ("a", "b", "c", "-"), ("1:a", "b", "c", None), ("a", "b", "c\ud800", None), ("a", "b", "c?", None),
    ]  # fmt: skip
    keys = {vault.memory.key(*one) for one in asked}
    assert len(keys) == len(asked)
    another = Remembering(1, vault.counters, cast("Any", vault), lambda: NOW)
    assert another.key("a", "b", "c", None) not in keys, "the hash has a key of the process"
