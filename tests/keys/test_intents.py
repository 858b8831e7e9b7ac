"""Intents: locks exclude, what has no plan is dropped, what has one stays until it is closed."""

import pytest
from sqlalchemy import insert

from keys import intents
from keys import store as key_store
from keys.engine import reading, writing
from keys.errors import BusyError, MissingError, OpenError
from keys.intents import Intent
from tests.keys.stores import NOW, KeyStore


def _planned(store: KeyStore, *names: bytes, now: int = NOW, not_before: int = 0) -> bytes:
    with intents.taken(store.engine, store.keyring, "review", names, now) as intent, writing(store.engine) as one:
        intents.plan(one, store.keyring, intent, {"who": "x"}, not_before)
    return intent


def _load(store: KeyStore, intent: bytes) -> Intent | None:
    with reading(store.engine) as connection:
        return intents.load(connection, store.keyring, intent)


def test_an_intent_without_a_plan_is_dropped_with_its_locks_however_the_act_ends(store: KeyStore) -> None:
    with intents.taken(store.engine, store.keyring, "review", [b"a"], NOW):
        assert len(store.rows("intent_lock")) == 1
    with pytest.raises(ZeroDivisionError), intents.taken(store.engine, store.keyring, "review", [b"a"], NOW):
        raise ZeroDivisionError
    assert store.rows("intent") == store.rows("intent_lock") == []


def test_of_two_acts_on_one_name_the_second_is_refused_and_leaves_nothing(store: KeyStore) -> None:
    with intents.taken(store.engine, store.keyring, "review", [b"a", b"b"], NOW):
        with (
            pytest.raises(BusyError, match="another act on the same person is under way"),
            intents.taken(store.engine, store.keyring, "review", [b"c", b"b"], NOW),
        ):
            pytest.fail("it was let in")
        with intents.taken(store.engine, store.keyring, "review", [b"c"], NOW):
            assert len(store.rows("intent")) == 2
        assert len(store.rows("intent")) == 1


def test_an_act_may_take_more_locks_and_one_of_its_own_again(store: KeyStore) -> None:
    with intents.taken(store.engine, store.keyring, "review", [b"a"], NOW) as intent, writing(store.engine) as one:
        intents.lock(one, store.keyring, intent, [b"a", b"b", b"b"])
        intents.lock(one, store.keyring, intent, [b"b"])
        intents.lock(one, store.keyring, intent, [])
    assert store.rows("intent_lock") == []


def test_locks_name_nobody_in_clear(store: KeyStore) -> None:
    name = bytes(range(16))
    _planned(store, name)
    assert [len(row.key) for row in store.rows("intent_lock")] == [32]
    assert name not in store.rows("intent_lock")[0].key


def test_a_planned_intent_holds_its_locks_until_it_is_closed(store: KeyStore) -> None:
    intent = _planned(store, b"a", not_before=5)
    intents.drop_unplanned(store.engine)
    assert _load(store, intent) == Intent(intent, "review", {"who": "x"}, 5)
    with pytest.raises(BusyError), intents.taken(store.engine, store.keyring, "review", [b"a"], NOW):
        pytest.fail("it was let in")
    with writing(store.engine) as connection:
        intents.close(connection, intent)
        intents.close(connection, intent)
    assert _load(store, intent) is None
    assert store.rows("intent_lock") == []


def test_what_a_dead_holder_left_without_a_plan_is_dropped_at_the_next_start(store: KeyStore) -> None:
    planned = _planned(store, b"a")
    with intents.taken(store.engine, store.keyring, "review", [b"b"], NOW) as intent:
        assert _load(store, intent) is None
        intents.drop_unplanned(store.engine)
        assert [row.id for row in store.rows("intent")] == [planned]
        with (
            writing(store.engine) as connection,
            pytest.raises(MissingError, match="the intent was dropped meanwhile"),
        ):
            intents.plan(connection, store.keyring, intent, {}, 0)


def test_what_a_store_that_went_away_left_locked_is_dropped_and_what_is_under_way_is_not(store: KeyStore) -> None:
    """An act that is told of no commit does not know that it holds its locks: nobody would ever drop them."""
    planned = _planned(store, b"a")
    with intents.taken(store.engine, store.keyring, "review", [b"b"], NOW) as left:
        ours = store.rows("intent")
    with writing(store.engine) as connection:
        connection.execute(insert(key_store.intent), [row._asdict() for row in ours if row.id == left])
        intents.lock(connection, store.keyring, left, [b"b"])
    with intents.taken(store.engine, store.keyring, "review", [b"c"], NOW) as under_way:
        intents.drop_abandoned(store.engine)
        assert {row.id for row in store.rows("intent")} == {planned, under_way}
    with intents.taken(store.engine, store.keyring, "review", [b"b"], NOW):
        assert len(store.rows("intent")) == 2


def test_a_plan_is_given_once(store: KeyStore) -> None:
    intent = _planned(store, b"a")
    with writing(store.engine) as connection, pytest.raises(MissingError):
        intents.plan(connection, store.keyring, intent, {"who": "another"}, 0)
    loaded = _load(store, intent)
    assert loaded is not None
    assert loaded.plan == {"who": "x"}


def test_due_are_those_whose_time_has_come_oldest_first(store: KeyStore) -> None:
    late = _planned(store, b"a", now=NOW + 2, not_before=NOW)
    early = _planned(store, b"b", now=NOW + 1, not_before=NOW)
    _planned(store, b"c", now=NOW, not_before=NOW + 1)
    with reading(store.engine) as connection:
        assert [intent.id for intent in intents.due(connection, store.keyring, NOW, 10)] == [early, late]
        assert [intent.id for intent in intents.due(connection, store.keyring, NOW, 1)] == [early]
        assert intents.due(connection, store.keyring, NOW - 1, 10) == []


def test_a4_a_plan_altered_or_moved_to_another_intent_does_not_open(store: KeyStore) -> None:
    one, other = _planned(store, b"a"), _planned(store, b"b")
    store.execute("UPDATE intent SET sealed = (SELECT sealed FROM intent WHERE id = :o) WHERE id = :i", o=other, i=one)
    with pytest.raises(OpenError):
        _load(store, one)
    assert _load(store, other) is not None
    with reading(store.engine) as connection, pytest.raises(OpenError):
        intents.due(connection, store.keyring, NOW, 10)
