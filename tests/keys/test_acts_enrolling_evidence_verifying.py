"""Who the agent knows, the keys of evidence, and what `verify` finds."""

from typing import Any

import pytest

from keys.agent.acts import enrolling, evidence, verifying
from keys.agent.names import Names
from keys.errors import BudgetError, ConflictError, MissingError, ProtocolError, RefusedError
from keys.fields import FieldValue, seal_field
from keys.frame import Place, Purpose, seal
from keys.primitives import Secret
from keys.records import State
from tests.keys.stores import BANK, SHOP, KeyStore, Registration, dialogue, put_in, registered


def _act(act: Any, names: Names, **args: object) -> dict[str, Any]:
    with dialogue() as talk:
        found: dict[str, Any] = act(names, args, talk)
        return found


def _reviewer(store: KeyStore, client: str, sector: str | None = None) -> None:
    _act(enrolling.enrol, store.names(), what="reviewer", client=client, sector=sector, name=client)


def _piece(store: KeyStore, made: Registration, use: str, **more: object) -> bytes:
    args = {"use": use, "name": "front", "standing": made.evidence(store), "reviewer": "vault", **more}
    key = _act(evidence.evidence, store.names(), **args)["key"]
    assert isinstance(key, bytes)
    return key


def test_a_provider_is_enrolled_once(store: KeyStore) -> None:
    for _ in range(2):
        made = _act(
            enrolling.enrol, store.names(), what="provider", sector="new.example", client="cli_n", name="New", terms={}
        )
        assert made == {"client": "cli_n"}
    assert len([row for row in store.rows("key") if row.scope == "new.example"]) == 2
    assert store.keyring.links("new.example")


@pytest.mark.parametrize("sector", ["", "UPPER", "-x", "a/b", "a" * 64, "ä", "a\n"])
def test_a_sector_has_one_form(store: KeyStore, sector: str) -> None:
    with pytest.raises(ProtocolError):
        _act(enrolling.enrol, store.names(), what="provider", sector=sector, client="cli_n", name="New")


def test_a_reviewer_is_enrolled_once_and_for_one_sector(store: KeyStore) -> None:
    for _ in range(2):
        _reviewer(store, "bound", SHOP)
    with pytest.raises(ConflictError, match="enrolled for another sector"):
        _reviewer(store, "bound", BANK)
    with pytest.raises(ConflictError):
        _reviewer(store, "bound")
    with pytest.raises(MissingError):
        _reviewer(store, "other", "unknown.example")
    for wrong in ({"what": "reviewer", "client": "x", "sector": 7}, {"what": "officer"}, {}):
        with pytest.raises(ProtocolError):
            _act(enrolling.enrol, store.names(), **wrong)


def test_a_disabled_reviewer_sees_nothing_and_an_unknown_one_cannot_be_disabled(store: KeyStore) -> None:
    made = registered(store)
    _reviewer(store, "vault")
    _piece(store, made, "seal")
    assert _piece(store, made, "view")
    assert _act(enrolling.disable_reviewer, store.names(), client="vault") == {"client": "vault"}
    with pytest.raises(RefusedError):
        _piece(store, made, "view")
    with pytest.raises(MissingError, match="no such reviewer"):
        _act(enrolling.disable_reviewer, store.names(), client="nobody")


def test_a_piece_is_viewed_as_often_as_a_review_may(store: KeyStore) -> None:
    made = registered(store)
    _reviewer(store, "vault")
    key = _piece(store, made, "seal")
    assert [_piece(store, made, "view") for _ in range(3)] == [key] * 3
    with pytest.raises(BudgetError, match="as often as one review may"):
        _piece(store, made, "view")
    assert [row.type for row in store.rows("audit_outbox")].count("evidence.viewed") == 3
    # A piece that is put anew has a new key, and its views begin again.
    assert _piece(store, made, "seal") != key
    assert _piece(store, made, "view") != key


def test_views_set_back_or_a_key_moved_by_another_hand_are_refused(store: KeyStore) -> None:
    made, other = registered(store), registered(store)
    _reviewer(store, "vault")
    for each in (made, other):
        _piece(store, each, "seal")
    _piece(store, made, "view")
    store.execute("UPDATE evidence_key SET views = 0")
    with pytest.raises(RefusedError):
        _piece(store, made, "view")
    store.execute("UPDATE evidence_key SET wrapped = (SELECT wrapped FROM evidence_key WHERE rid = :r)", r=made.rid)
    with pytest.raises(RefusedError):
        _piece(store, other, "view")


def test_evidence_is_sealed_and_viewed_in_the_states_that_need_it(store: KeyStore) -> None:
    made = registered(store)
    _reviewer(store, "vault")
    _reviewer(store, "bound", BANK)
    with pytest.raises(MissingError, match="no such piece"):
        _piece(store, made, "view")
    with pytest.raises(RefusedError):
        _piece(store, made, "view", reviewer="bound")
    with pytest.raises(ProtocolError, match="use: seal or view"):
        _piece(store, made, "steal")
    for number in range(8):
        _piece(store, made, "seal", name=f"piece{number}")
    with pytest.raises(BudgetError, match="at most 8 pieces"):
        _piece(store, made, "seal")
    _piece(store, made, "seal", name="piece0")
    put_in(store, made.rid, state=State.RETURNED)
    _piece(store, made, "seal", name="piece1")
    with pytest.raises(ConflictError):
        _piece(store, made, "view", name="piece1")
    put_in(store, made.rid, state=State.VERIFIED)
    with pytest.raises(ConflictError):
        _piece(store, made, "seal")


def _fields(store: KeyStore, made: Registration, revision: int = 1) -> dict[str, bytes]:
    deployment = store.keyring.deployment
    return {
        name: seal_field(Secret(key), deployment, made.rid, name, revision, FieldValue(b"x"))
        for name, key in made.keys.items()
    }


def _verify(store: KeyStore, what: str, *rows: object) -> list[bool]:
    good = _act(verifying.verify, store.names(), what=what, rows=list(rows))["good"]
    assert isinstance(good, list)
    return good


def test_verify_tells_good_records_from_bad_ones(store: KeyStore) -> None:
    one, other = registered(store), registered(store)
    rows = [
        {"rid": one.rid, "fields": _fields(store, one)}, {"rid": one.rid, "fields": _fields(store, other)},
        {"rid": one.rid, "fields": {}}, {"rid": bytes(16), "fields": {}}, {"rid": one.rid, "fields": {"phone": 7}}, 7,
    ]  # fmt: skip
    assert _verify(store, "records", *rows) == [True, False, False, False, False, False]


def test_verify_takes_the_next_revision_while_a_revision_is_under_way(store: KeyStore) -> None:
    made = registered(store)
    put_in(store, made.rid, state=State.RETURNED, pending={"phone": 2})
    opened = {"rid": made.rid, "fields": _fields(store, made)}
    assert _verify(store, "records", opened, {"rid": made.rid, "fields": {"phone": b"x"}}) == [True, False]


def test_verify_tells_good_standings_from_bad_ones(store: KeyStore) -> None:
    one, other = registered(store), registered(store)
    good = one.evidence(store, local_tags=[])
    assert _verify(store, "standings", good, {**good, "link": other.link}, {**good, "local_tags": [b"planted"]}) == [
        True, False, False,
    ]  # fmt: skip


def test_verify_tells_good_evidence_from_bad(store: KeyStore) -> None:
    made = registered(store)
    key = Secret(_piece(store, made, "seal"))
    place = Place(store.keyring.deployment, "identity.evidence", made.rid + b"front", "piece")
    sealed = seal(key, Purpose.EVIDENCE, place, b"image")
    row = {"rid": made.rid, "name": "front", "sealed": sealed}
    rows = [row, {**row, "name": "back"}, {**row, "sealed": sealed[:-1]}]
    assert _verify(store, "evidence", *rows) == [True, False, False]


def test_verify_refuses_an_unknown_kind_and_too_many_rows(store: KeyStore) -> None:
    with pytest.raises(ProtocolError, match="what: standings"):
        _verify(store, "everything")
    with pytest.raises(ProtocolError, match="at most 1000"):
        _verify(store, "records", *range(1001))


def test_verify_own_counts_every_row_that_does_not_hold(store: KeyStore) -> None:
    made = registered(store)
    registered(store)
    _reviewer(store, "vault")
    _piece(store, made, "seal")
    found = _act(verifying.verify_own, store.names())
    assert found["tables"] == {
        "record_key": {"rows": 2, "bad": 0}, "reviewer": {"rows": 1, "bad": 0}, "evidence_key": {"rows": 1, "bad": 0},
        "key": {"rows": 15, "bad": 0}, "agreement": {"rows": 0, "bad": 0}, "handoff": {"rows": 0, "bad": 0},
        "statement_key": {"rows": 0, "bad": 0}, "request": {"rows": 0, "bad": 0},
        "officer_record": {"rows": 0, "bad": 0}, "disclosure": {"rows": 0, "bad": 0},
        "deepening": {"rows": 0, "bad": 0}, "hold": {"rows": 0, "bad": 0}, "ended": {"rows": 0, "bad": 0},
        "key_use": {"rows": 1, "bad": 0},
    }  # fmt: skip
    store.execute("UPDATE record_key SET state = 'verified'")
    store.execute("UPDATE reviewer SET state = 'disabled'")
    store.execute("UPDATE evidence_key SET views = 1")
    store.execute("UPDATE key_use SET used = 0")
    store.execute("UPDATE key SET state = 'suspended' WHERE purpose = 'map'")
    bad = {name: table["bad"] for name, table in _act(verifying.verify_own, store.names())["tables"].items()}
    assert bad == {
        "record_key": 2,
        "reviewer": 1,
        "evidence_key": 1,
        "key": 1,
        "agreement": 0,
        "handoff": 0,
        "statement_key": 0,
        "request": 0,
        "officer_record": 0,
        "disclosure": 0,
        "deepening": 0,
        "hold": 0,
        "ended": 0,
        "key_use": 1,
    }
