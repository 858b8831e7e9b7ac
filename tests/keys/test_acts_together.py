"""Creations at the same time are one transaction; each has its own answer, and what is refused fails alone."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from keys import records
from keys.agent.acts.registering import claims_of, draw_all
from keys.agent.acts.together import Completions, Creations, Ready
from keys.engine import reading
from keys.errors import BudgetError, RefusedError
from keys.primitives import random_bytes
from keys.records import State
from tests.keys.stores import BANK, SHOP, KeyStore, at_once, registered

Args = Mapping[str, Any]


def _asked(sector: str = SHOP) -> dict[str, Any]:
    return {"sector": sector, "items": [{"pid": random_bytes(16), "fields": ["legal_name"]}]}


def _at_once(act: Callable[[Args, Any], dict[str, Any]], calls: list[dict[str, Any]]) -> list[Any]:
    return at_once([partial(act, call, None) for call in calls])


def _state(store: KeyStore, rid: bytes) -> State:
    with reading(store.engine) as connection:
        return records.load(connection, store.keyring, rid).state


def test_creations_together_leave_each_its_own_record_and_audit_row(store: KeyStore) -> None:
    names, calls = store.names(), [_asked(SHOP) for _ in range(6)] + [_asked(BANK) for _ in range(2)]
    ready = Ready()
    made = [answer["items"][0] for answer in _at_once(Creations(names, ready), calls)]
    done = [
        {"items": [{"sector": call["sector"], "pid": call["items"][0]["pid"], "link": one["link"]}]}
        for call, one in zip(calls, made, strict=True)
    ]
    assert _at_once(Completions(names, ready), done + done[:3]) == [{}] * 11
    assert {_state(store, one["rid"]) for one in made} == {State.IN_REVIEW}
    audited = [row.address for row in store.rows("audit_outbox") if row.type == "registration.created"]
    assert sorted(audited) == sorted(one["rid"] for one in made)
    assert {row.name: row.used for row in store.rows("budget")} == {f"create/{SHOP}": 6, f"create/{BANK}": 2}


def test_creations_together_never_spend_more_than_the_hour_holds(store: KeyStore) -> None:
    found = _at_once(Creations(store.names(creates_per_hour=5), Ready()), [_asked() for _ in range(9)])
    assert sum(isinstance(one, BudgetError) for one in found) == 4
    assert len(store.rows("record_key")) == len(store.rows("person")) == 5


def test_a_group_that_the_budget_does_not_hold_leaves_nothing(store: KeyStore) -> None:
    names = store.names(creates_per_hour=1)
    drawn = [draw_all(names, _asked(), State.CREATING) for _ in range(2)]
    with pytest.raises(BudgetError):
        Creations(names, Ready())._carry_out(drawn)
    assert store.rows("record_key") == store.rows("person") == store.rows("budget") == []


def test_of_completions_together_one_that_is_refused_fails_alone(store: KeyStore) -> None:
    names, made = store.names(), [registered(store, done=False) for _ in range(3)]
    done = [{"items": [{"sector": SHOP, "pid": one.pid, "link": one.link}]} for one in made]
    wrong = {"items": [{"sector": SHOP, "pid": made[0].pid, "link": made[2].link}]}
    answers = _at_once(Completions(names, Ready()), [done[0], wrong, done[1]])
    assert [type(answer) for answer in answers] == [dict, RefusedError, dict]
    assert [_state(store, one.rid) for one in made] == [State.IN_REVIEW, State.IN_REVIEW, State.CREATING]


def test_two_calls_that_claim_one_record_differently_are_not_joined(store: KeyStore) -> None:
    names, made = store.names(), registered(store, done=False)
    claims = claims_of(names, {"items": [{"sector": SHOP, "pid": made.pid, "link": made.link}]})
    pid = random_bytes(16)
    moved = store.keyring.links(SHOP).link(made.rid, pid)
    others = claims_of(names, {"items": [{"sector": SHOP, "pid": pid, "link": moved}]})
    with pytest.raises(RefusedError):
        Completions(names, Ready())._carry_out([claims, others])
    assert _state(store, made.rid) is State.CREATING
