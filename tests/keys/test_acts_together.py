"""Creations at the same time are one transaction; each has its own answer, and what is refused fails alone."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import pytest

from keys import record_keys, records
from keys.agent.acts.registering import claims_of, create_undo, draw_all
from keys.agent.acts.together import Completions, Creations, Ready
from keys.engine import reading, writing
from keys.errors import BudgetError, MissingError, OpenError, RefusedError
from keys.frame import Place, Purpose, open_frame
from keys.primitives import random_bytes
from keys.records import State
from tests.keys.stores import BANK, NOW, SHOP, KeyStore, at_once, registered

Args = Mapping[str, Any]
_NO_DIALOGUE = cast("Any", None)


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


def _drawn(store: KeyStore, ready: Ready, *, now: int = NOW) -> tuple[bytes, dict[str, Any]]:
    """Have a record drawn by `create`; return its rid, and what `create.done` is told of it."""
    call = _asked()
    [made] = Creations(store.names(now), ready)(call, _NO_DIALOGUE)["items"]
    return made["rid"], {"items": [{"sector": SHOP, "pid": call["items"][0]["pid"], "link": made["link"]}]}


def _finished(store: KeyStore) -> list[bytes]:
    return [row.address for row in store.rows("audit_outbox") if row.type == "registration.created"]


def test_what_was_just_drawn_is_completed_without_being_read(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Ready()
    rid, done = _drawn(store, ready)
    with monkeypatch.context() as patched:
        patched.setattr(records, "load_all", lambda *_: pytest.fail("it was read"))
        assert Completions(store.names(), ready)(done, _NO_DIALOGUE) == {}
    assert (_state(store, rid), _finished(store)) == (State.IN_REVIEW, [rid])
    with reading(store.engine) as connection:
        record = records.load(connection, store.keyring, rid)
    assert record.origin is None
    [row] = [row for row in store.rows("audit_outbox") if row.address == rid]
    key = record_keys.unwrap(store.keyring, record).detail_key(row.id)
    place = Place(store.keyring.deployment, "keys.audit_outbox", row.id, "detail")
    assert open_frame(key, Purpose.AUDIT, place, row.detail) == b"\x80", "nothing is said beside whose it is"
    assert Completions(store.names(), ready)(done, _NO_DIALOGUE) == {}
    assert _finished(store) == [rid], "said again, it writes nothing"


def test_a_record_that_another_act_changed_since_it_was_drawn_is_read_and_completed(store: KeyStore) -> None:
    ready = Ready()
    (one, done), (other, others) = _drawn(store, ready), _drawn(store, ready)
    with writing(store.engine) as connection:
        record = records.load(connection, store.keyring, one)
        records.change(connection, store.keyring, record, assurance=records.Assurance.PROVIDER)
    assert _at_once(Completions(store.names(), ready), [done, others]) == [{}, {}]
    assert sorted(_finished(store)) == sorted([one, other])
    with reading(store.engine) as connection:
        assert records.load(connection, store.keyring, one).assurance is records.Assurance.PROVIDER


def test_a_record_that_was_given_up_since_it_was_drawn_is_missing(store: KeyStore) -> None:
    ready = Ready()
    rid, done = _drawn(store, ready)
    create_undo(store.names(), {"rids": [rid]}, _NO_DIALOGUE)
    with pytest.raises(MissingError):
        Completions(store.names(), ready)(done, _NO_DIALOGUE)
    assert _finished(store) == []


def test_a1_a_row_that_was_altered_since_it_was_drawn_is_refused_by_whoever_reads_it(store: KeyStore) -> None:
    ready = Ready()
    rid, done = _drawn(store, ready)
    store.execute("UPDATE record_key SET created = created - 1")
    Completions(store.names(), ready)(done, _NO_DIALOGUE)
    with pytest.raises(OpenError):
        _state(store, rid)


def test_an_audit_row_says_the_minute_of_its_completion(store: KeyStore) -> None:
    ready = Ready()
    rid, done = _drawn(store, ready)
    Completions(store.names(NOW + 60), ready)(done, _NO_DIALOGUE)
    assert [row.minute for row in store.rows("audit_outbox") if row.address == rid] == [NOW // 60 + 1]


def test_what_is_at_hand_completes_nothing_for_a_row_that_is_not_its_own(store: KeyStore) -> None:
    ready, pid = Ready(), random_bytes(16)
    rid, _ = _drawn(store, ready)
    link = store.keyring.links(SHOP).link(rid, pid)
    with pytest.raises(RefusedError):
        Completions(store.names(), ready)({"items": [{"sector": SHOP, "pid": pid, "link": link}]}, _NO_DIALOGUE)
    assert (_state(store, rid), _finished(store)) == (State.CREATING, [])


def test_only_the_last_are_kept_and_the_others_are_read(store: KeyStore) -> None:
    ready = Ready(most=1)
    (one, done), (other, others) = _drawn(store, ready), _drawn(store, ready)
    assert list(ready._by_rid) == [other]
    for told in (done, others):
        Completions(store.names(), ready)(told, _NO_DIALOGUE)
    assert (sorted(_finished(store)), ready._by_rid) == (sorted([one, other]), {})


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
