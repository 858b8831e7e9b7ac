"""A record's former key goes only when every field was seen to open without it; who is amid another act waits (A64)."""

from collections.abc import Mapping
from typing import Any

import pytest

from keys import record_keys, records
from keys.agent.acts import deepening
from keys.engine import reading
from keys.errors import OpenError
from keys.fields import FieldValue, seal_field
from keys.primitives import Secret
from keys.record_keys import Opened
from tests.keys.stores import KeyStore, Registration, dialogue, put_in, registered

Fields = Mapping[str, bytes]


def sealed_first(store: KeyStore, made: Registration) -> Fields:
    """Return the fields as the worker sealed them when the person was registered."""
    place = (store.keyring.deployment, made.rid)
    return {
        name: seal_field(Secret(key), *place, name, 1, FieldValue(f'"{name} shown"'.encode()))
        for name, key in made.keys.items()
    }


def act(store: KeyStore, verb: Any, held: Mapping[bytes, Fields], **args: object) -> dict[str, Any]:
    """Call an act beside a store that holds these fields."""

    def answer(_what: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"rid": rid, "fields": dict(held[rid])} for rid in asked["values"] if rid in held]

    with dialogue(answer) as talk:
        return dict(verb(store.names(), args, talk))


def deep(store: KeyStore, held: Mapping[bytes, Fields]) -> dict[str, Any]:
    return act(store, deepening.deep, held, after=b"", limit=10)


def opened(store: KeyStore, rid: bytes) -> Opened:
    with reading(store.engine) as connection:
        return record_keys.unwrap(store.keyring, records.load(connection, store.keyring, rid))


def test_the_former_key_stays_until_every_field_opens_without_it(store: KeyStore) -> None:
    made = registered(store)
    first = sealed_first(store, made)
    act(store, deepening.begin, {}, sure=True)
    (item,) = deep(store, {made.rid: first})["items"]
    assert item["was"] == first
    half = {**first, "phone": item["fields"]["phone"]}
    for held in (first, half, {"phone": item["fields"]["phone"]}, {}):
        assert act(store, deepening.done, {made.rid: held}, rids=[made.rid]) == {"sealed": 0}
    for held in (first, half, item["fields"]):
        shown = opened(store, made.rid).open_fields(store.keyring.deployment, held)
        assert shown["legal_name"].shown == b'"legal_name shown"'
    assert act(store, deepening.done, {made.rid: item["fields"]}, rids=[made.rid]) == {"sealed": 1}
    left = opened(store, made.rid)
    assert left.former is None
    left.open_fields(store.keyring.deployment, item["fields"])
    with pytest.raises(OpenError):
        left.open_fields(store.keyring.deployment, first)


def test_cut_off_between_the_two_stores_a_record_keeps_the_key_that_it_was_given(store: KeyStore) -> None:
    made = registered(store)
    first = sealed_first(store, made)
    act(store, deepening.begin, {}, sure=True)
    given = [deep(store, {made.rid: first})["items"][0]["fields"] for _ in range(2)]
    shown = [opened(store, made.rid).open_fields(store.keyring.deployment, fields) for fields in given]
    assert shown[0] == shown[1], "what was written after the first call opens still"
    assert act(store, deepening.done, {made.rid: given[0]}, rids=[made.rid]) == {"sealed": 1}


@pytest.mark.parametrize("when", ["before", "between"])
def test_who_sends_other_fields_in_meanwhile_waits_for_the_next_pass(store: KeyStore, when: str) -> None:
    made = registered(store)
    held = {made.rid: sealed_first(store, made)}
    act(store, deepening.begin, {}, sure=True)
    if when == "before":
        put_in(store, made.rid, pending={"legal_name": 2, "phone": 1})
        assert deep(store, held)["items"] == []
    else:
        (item,) = deep(store, held)["items"]
        put_in(store, made.rid, pending={"legal_name": 2, "phone": 1})
        held = {made.rid: item["fields"]}
        assert act(store, deepening.done, held, rids=[made.rid]) == {"sealed": 0}
        assert opened(store, made.rid).former is not None
    assert act(store, deepening.end, {}, altered=0)["left"] == 1


def test_a_record_in_creation_waits(store: KeyStore) -> None:
    made = registered(store, done=False)
    act(store, deepening.begin, {}, sure=True)
    assert deep(store, {made.rid: sealed_first(store, made)})["items"] == []
    assert act(store, deepening.end, {}, altered=0)["left"] == 1
