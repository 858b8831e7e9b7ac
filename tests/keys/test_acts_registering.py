"""Registrations step by step: budget, fields, states; what is repeated does nothing twice."""

from typing import Any

import pytest

from keys import records
from keys.agent.acts import registering
from keys.agent.names import Names
from keys.engine import reading
from keys.errors import BudgetError, ConflictError, MissingError, OpenError, ProtocolError, RefusedError
from keys.records import State
from tests.keys.stores import BANK, NOW, SHOP, KeyStore, dialogue, put_in, registered

PID = bytes(range(16))


def _act(act: Any, names: Names, **args: object) -> dict[str, Any]:
    with dialogue() as talk:
        found: dict[str, Any] = act(names, args, talk)
        return found


def _create(names: Names, sector: str = SHOP, fields: object = ("phone",)) -> dict[str, Any]:
    return _act(registering.create, names, sector=sector, items=[{"pid": PID, "fields": list(fields)}])  # type: ignore[call-overload]


def test_a_sector_creates_as_often_as_its_budget_of_the_hour_allows(store: KeyStore) -> None:
    names = store.names(creates_per_hour=2)
    for _ in range(2):
        _create(names)
    for _ in range(2):
        with pytest.raises(BudgetError, match="the budget of this act is used up"):
            _create(names)
    assert len(store.rows("record_key")) == len(store.rows("person")) == 2
    # Another sector has a budget of its own, and the next hour is a new one.
    _create(store.names(creates_per_hour=1), BANK)
    with pytest.raises(BudgetError):
        _create(store.names(now=NOW + 3599, creates_per_hour=2))
    _create(store.names(now=NOW + 3600, creates_per_hour=2))


def test_a_batch_is_counted_whole_and_a_batch_beyond_the_budget_makes_nothing(store: KeyStore) -> None:
    names = store.names(creates_per_hour=5)
    items = [{"pid": bytes([at] * 16), "fields": ["phone"]} for at in range(3)]
    made = _act(registering.create, names, sector=SHOP, items=items)["items"]
    assert len({item["rid"] for item in made}) == len(store.rows("record_key")) == 3
    with pytest.raises(BudgetError):
        _act(registering.create, names, sector=SHOP, items=items)
    assert len(store.rows("record_key")) == 3
    _act(registering.create, names, sector=SHOP, items=items[:2])


def test_a_batch_is_finished_or_undone_whole(store: KeyStore) -> None:
    one, other, done = registered(store, done=False), registered(store, done=False), registered(store)
    items = [{"sector": SHOP, "pid": made.pid, "link": made.link} for made in (one, other, done)]
    wrong = {**items[1], "link": one.link}
    with pytest.raises(RefusedError):
        _act(registering.create_done, store.names(), items=[items[0], wrong])
    assert _act(registering.create_check, store.names(), rids=[one.rid, other.rid]) == {}
    with pytest.raises(ConflictError):
        _act(registering.create_undo, store.names(), rids=[one.rid, done.rid])
    with pytest.raises(ConflictError):
        _act(registering.create_check, store.names(), rids=[one.rid, done.rid])
    assert _act(registering.create_done, store.names(), items=items) == {}
    assert {row.state for row in store.rows("record_key")} == {"in_review"}
    assert [row.type for row in store.rows("audit_outbox")] == ["registration.created"] * 3
    with pytest.raises(MissingError):
        _act(registering.create_check, store.names(), rids=[bytes(16)])


def test_a_clock_set_back_does_not_renew_a_budget(store: KeyStore) -> None:
    _create(store.names(creates_per_hour=1))
    with pytest.raises(BudgetError):
        _create(store.names(now=NOW - 3600, creates_per_hour=1))


@pytest.mark.parametrize("fields", [[], ["phone", "phone"], ["unknown"], "phone", None, ["phone"] * 10, [b"phone"]])
def test_only_distinct_known_fields_get_keys(store: KeyStore, fields: object) -> None:
    with pytest.raises(ProtocolError):
        _act(registering.create, store.names(), sector=SHOP, items=[{"pid": PID, "fields": fields}])
    assert store.rows("record_key") == []


def test_an_unknown_sector_creates_nothing(store: KeyStore) -> None:
    with pytest.raises(MissingError):
        _create(store.names(), "unknown.example")
    assert store.rows("record_key") == store.rows("budget") == []


def test_a_link_that_holds_but_was_made_for_another_standing_is_refused(store: KeyStore) -> None:
    """Who could make links, and not the sealed origin, still could not put a record behind another row."""
    made = registered(store, done=False)
    other = bytes(16)
    link = store.keyring.links(SHOP).link(made.rid, other)
    with pytest.raises(RefusedError):
        _act(registering.create_done, store.names(), items=[{"sector": SHOP, "pid": other, "link": link}])


def test_a_link_of_another_row_or_record_finishes_nothing(store: KeyStore) -> None:
    one, other = registered(store, done=False), registered(store, done=False)
    good = {"sector": SHOP, "pid": one.pid, "link": one.link, "rid": one.rid}
    for wrong in ({"link": other.link}, {"pid": other.pid}, {"rid": other.rid}, {"sector": BANK}):
        with pytest.raises(RefusedError):
            _act(registering.create_done, store.names(), items=[{**good, **wrong}])
    assert {row.state for row in store.rows("record_key")} == {"creating"}


def test_a_creation_is_done_once_and_writes_one_audit_row(store: KeyStore) -> None:
    made = registered(store)
    for _ in range(3):
        _act(
            registering.create_done,
            store.names(),
            items=[{"sector": SHOP, "pid": made.pid, "link": made.link, "rid": made.rid}],
        )
    assert [row.type for row in store.rows("audit_outbox")] == ["registration.created"]
    with reading(store.engine) as connection:
        record = records.load(connection, store.keyring, made.rid)
    assert (record.state, record.origin) == (State.IN_REVIEW, None)


def test_an_undone_creation_is_gone_and_a_finished_one_stays(store: KeyStore) -> None:
    made, done = registered(store, done=False), registered(store)
    for _ in range(2):
        assert _act(registering.create_undo, store.names(), rids=[made.rid]) == {}
    with pytest.raises(ConflictError):
        _act(registering.create_undo, store.names(), rids=[done.rid])
    assert [row.rid for row in store.rows("record_key")] == [done.rid]
    assert len(store.rows("person")) == 1


def test_open_creations_are_those_that_have_waited(store: KeyStore) -> None:
    made = registered(store, done=False)
    registered(store)
    listed = {
        minutes: _act(registering.create_open, store.names(now=NOW + 300), older_minutes=minutes, limit=5)["open"]
        for minutes in (5, 6)
    }
    assert listed == {5: [{"rid": made.rid, "sector": SHOP, "pid": made.pid}], 6: []}


def test_a_returned_registration_is_revised_under_new_keys(store: KeyStore) -> None:
    made = registered(store)
    put_in(store, made.rid, state=State.RETURNED)
    evidence = made.evidence(store)
    one = _act(registering.revise, store.names(), standing=evidence, fields=["legal_name", "email"])
    again = _act(registering.revise, store.names(), standing=evidence, fields=["legal_name"])
    assert one["revisions"] == {"legal_name": 2, "email": 2}
    # A revision that never arrived is not used again: its keys may have sealed something.
    assert again["revisions"] == {"legal_name": 3}
    assert len({one["keys"]["legal_name"], again["keys"]["legal_name"], made.keys["legal_name"]}) == 3
    for _ in range(2):
        assert _act(registering.revise_done, store.names(), standing=evidence) == {}
    with reading(store.engine) as connection:
        record = records.load(connection, store.keyring, made.rid)
    assert (record.state, record.revisions, record.pending) == (State.IN_REVIEW, {"legal_name": 3}, None)
    assert [row.type for row in store.rows("audit_outbox")].count("registration.revised") == 1


def test_nothing_is_revised_in_another_state_or_without_a_beginning(store: KeyStore) -> None:
    made = registered(store)
    with pytest.raises(ConflictError):
        _act(registering.revise, store.names(), standing=made.evidence(store), fields=["phone"])
    put_in(store, made.rid, state=State.RETURNED)
    with pytest.raises(ConflictError):
        _act(registering.revise_done, store.names(), standing=made.evidence(store))
    put_in(store, made.rid, state=State.REJECTED, pending={"phone": 2})
    with pytest.raises(ConflictError):
        _act(registering.revise_done, store.names(), standing=made.evidence(store))


@pytest.mark.parametrize(
    "edit", ["state = 'in_review'", "uid = (SELECT uid FROM record_key r WHERE r.rid <> record_key.rid)"]
)
def test_a4_a_record_row_that_was_edited_serves_no_act(store: KeyStore, edit: str) -> None:
    made, _ = registered(store), registered(store)
    put_in(store, made.rid, state=State.RETURNED)
    store.execute(f"UPDATE record_key SET {edit} WHERE rid = :rid", rid=made.rid)  # noqa: S608
    with pytest.raises(RefusedError):
        _act(registering.revise, store.names(), standing=made.evidence(store), fields=["phone"])
    with pytest.raises(OpenError):
        _act(registering.create_done, store.names(), items=[{"sector": SHOP, "pid": made.pid, "link": made.link}])
