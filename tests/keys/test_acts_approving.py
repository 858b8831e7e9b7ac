"""Many approved in one act: the same as one by one, whoever is not plain left as he is, no more than was signed."""

from typing import Any

import msgpack
import pytest

from keys import intents, records
from keys.agent.acts import approving, enrolling, reviewing, verifying
from keys.agent.acts.matching import read_fingerprint
from keys.engine import writing
from keys.errors import BudgetError, ConflictError, ProtocolError, RefusedError
from keys.fields import FieldValue
from keys.records import Assurance, State
from tests.keys.stores import BANK, NOW, SHOP, KeyStore, Registration, put_in
from tests.keys.test_acts_reviewing import ANNA, DECIDE, Vault, _person, _record

CAP = {"kind": "public", "limit": 1, "adds": 1}


@pytest.fixture
def vault(store: KeyStore) -> Vault:
    return Vault(store)


def item(vault: Vault, made: Registration, **more: object) -> dict[str, object]:
    return {"standing": made.evidence(vault.store), "caps": [], "memo": {"reg": made.pid}, **more}


def approved(vault: Vault, *items: object, reviewer: str = "vault") -> dict[str, Any]:
    return vault.run(approving.approve, reviewer=reviewer, memo={"state": "approved"}, items=list(items))


def shapes(vault: Vault, plan: dict[str, Any], pid: bytes) -> dict[str, object]:
    """Return what a plan writes of one registrant, sealed values opened."""
    names = vault.store.names()
    rid = next(rid for rid, uid, _ in plan["map"] if [None, names.keyring.links(SHOP).tag(uid), pid] in plan["tags"])
    return {
        "local": sorted((tag, kind) for tag, kind, own in plan["local"] if own == pid),
        "assurance": [what for own, what in plan["assurance"] if own == pid],
        "tags": [tag for _, tag, own in plan["tags"] if own == pid],
        "map": [(uid, what) for own, uid, what in plan["map"] if own == rid],
        "evidence": [what for own, what in plan["evidence"] if own == rid],
        "fingerprints": sorted(
            (tag, kind, sorted(read_fingerprint(names, tag, sealed).items()))
            for tag, kind, sealed in plan["fingerprints"]
            if [rid] in read_fingerprint(names, tag, sealed).values()
        ),
        "rest": [plan[part] for part in ("bans", "merges", "gone")],
    }


def test_many_are_approved_as_each_would_be_alone(vault: Vault) -> None:
    made = [vault.register(_person(number)) for number in range(3)]
    # One alone, whose decision is not carried out, so that the same may be planned again of the same record.
    evidence = made[0].evidence(vault.store)
    alone = vault.run(reviewing.review_decide, **DECIDE, standing=evidence, reviewer="vault", alone=True)
    (row,) = [row for row in vault.store.rows("audit_outbox") if row.type == "registration.decided"]
    with writing(vault.store.engine) as connection:
        intents.close(connection, alone["intent"])
    put_in(vault.store, made[0].rid, state=State.IN_REVIEW)
    together = approved(vault, *(item(vault, one) for one in made))
    assert (together["approved"], together["matched"]) == ([0, 1, 2], [])
    plan = together["plan"]
    assert shapes(vault, plan, made[0].pid) == shapes(vault, alone["plan"], made[0].pid)
    assert (plan["decision"], plan["cases"]) == ({"state": "approved"}, [{"reg": one.pid} for one in made])
    rows = [one for one in vault.store.rows("audit_outbox") if one.type == "registration.decided"]
    assert [one.address for one in rows].count(made[0].rid) == 2
    assert {one.address for one in rows} == {one.rid for one in made}
    assert {(one.minute, len(one.detail)) for one in rows} == {(row.minute, len(row.detail))}
    assert vault.run(reviewing.unite, intent=together["intent"]) == {}
    assert {(_record(vault, one).state, _record(vault, one).assurance) for one in made} == {
        (State.VERIFIED, Assurance.VAULT)
    }
    assert vault.store.rows("intent") == vault.store.rows("intent_lock") == []
    assert vault.run(verifying.verify_own)["tables"]["record_key"] == {"rows": 3, "bad": 0}


def test_nothing_of_a_field_leaves_the_act(vault: Vault) -> None:
    told = approved(vault, item(vault, vault.register()))
    assert b"ERIKSSON" not in msgpack.packb(told)
    assert b"L898902C3" not in msgpack.packb(told)


def test_whoever_matches_somebody_is_left_and_of_two_alike_in_one_call_the_later_one(vault: Vault) -> None:
    first = vault.register()
    vault.approve(first, "vault")
    again = vault.register()
    twin = vault.register({**ANNA, "document": FieldValue(b'{"number":"X"}', (b"passport", b"UTO", b"X"))})
    other, same = vault.register(_person(1)), vault.register(_person(1))
    told = approved(vault, *(item(vault, one) for one in (again, other, twin, same)))
    assert (told["approved"], told["matched"]) == ([1], [0])
    assert {_record(vault, one).state for one in (again, twin, same)} == {State.IN_REVIEW}
    vault.run(reviewing.unite, intent=told["intent"])
    # The twin shares name and birth date with one of the same call: asked for without him it is found to match.
    assert approved(vault, item(vault, twin)) == {"approved": [], "matched": [0]}


def test_whoever_is_known_elsewhere_or_left_a_ban_is_left(vault: Vault) -> None:
    vault.approve(vault.register(), "vault")
    vault.local.clear()
    again = vault.register()
    assert approved(vault, item(vault, again)) == {"approved": [], "matched": [0]}
    vault.fingerprints = dict.fromkeys(vault.fingerprints, bytes(100))
    assert approved(vault, item(vault, again)) == {"approved": [], "matched": []}, "an altered row is told alone"
    vault.fingerprints.clear()
    vault.elsewhere = [{"tag": vault.store.keyring.links(SHOP).tag(bytes(16)), "standing": {}}]
    uid = records.uid_of(vault.store.keyring, _record(vault, again))
    vault.elsewhere.append({"tag": vault.store.keyring.links(SHOP).tag(uid), "standing": {}})
    assert approved(vault, item(vault, again)) == {"approved": [], "matched": []}, "his own tag stands somewhere"
    del vault.elsewhere[1]
    told = approved(vault, item(vault, again))
    assert told["approved"] == [0], "the tag is nobody's who was asked for"


def test_whose_rows_do_not_agree_or_who_is_not_in_review_is_left_to_the_act_for_one(vault: Vault) -> None:
    good, decided, cut, moved, busy = (vault.register(_person(number)) for number in range(5))
    put_in(vault.store, decided.rid, state=State.RETURNED)
    del vault.sealed[cut.rid]["birth_date"]
    wrong = {"standing": {**moved.evidence(vault.store), "pid": bytes(16)}}
    ring = vault.store.keyring
    with intents.taken(vault.store.engine, ring, "review", [busy.rid], NOW):
        items = [item(vault, decided), item(vault, cut), item(vault, moved, **wrong), item(vault, busy)]
        told = approved(
            vault, *items, item(vault, good), item(vault, good), {"standing": {**wrong["standing"], "link": b""}}
        )
    assert (told["approved"], told["matched"]) == ([4], [])
    vault.run(reviewing.unite, intent=told["intent"])
    assert vault.store.rows("intent_lock") == []
    vault.store.execute("UPDATE record_key SET mac = :mac WHERE rid = :rid", mac=bytes(32), rid=busy.rid)
    assert approved(vault, item(vault, busy)) == {"approved": [], "matched": []}


def organisation(vault: Vault, number: int, of: Registration | None = None) -> tuple[Registration, Registration]:
    """Return an organisation and its representative, a person of the same number; its mandate may be another's."""
    by, stated = vault.register(_person(number)), b"%d" % number
    fields = {
        "legal_name": FieldValue(b'"O"', (b"O" + stated,)),
        "registration": FieldValue(b'{"number":"' + stated + b'"}', (b"lei", b"UTO", stated)),
        "mandate": FieldValue(b"{}", ((of or by).rid,)),
    }
    return vault.register(fields), by


def item_of(vault: Vault, both: tuple[Registration, Registration], **more: object) -> dict[str, object]:
    return item(vault, both[0], representative=both[1].evidence(vault.store), **more)


def test_an_organisation_is_approved_with_its_representative_as_it_would_be_alone(vault: Vault) -> None:
    both, person = organisation(vault, 1), vault.register(_person(2))
    shown = {"standing": both[0].evidence(vault.store), "representative": both[1].evidence(vault.store)}
    alone = vault.run(reviewing.review_decide, **{**DECIDE, **shown, "reviewer": "vault", "alone": True})
    with writing(vault.store.engine) as connection:
        intents.close(connection, alone["intent"])
    for one in both:
        put_in(vault.store, one.rid, state=State.IN_REVIEW)
    # A cap is one of the organisation's accounts: its representative has none of this registration.
    together = approved(vault, item_of(vault, both, caps=[CAP]), item(vault, person))
    assert together["approved"] == [0, 1]
    for one in both:
        assert shapes(vault, together["plan"], one.pid) == shapes(vault, alone["plan"], one.pid)
    first, again, _ = [row for row in vault.store.rows("audit_outbox") if row.type == "registration.decided"]
    assert first.address == again.address == both[0].rid + both[1].rid
    assert (first.minute, len(first.detail)) == (again.minute, len(again.detail))
    assert vault.run(reviewing.unite, intent=together["intent"]) == {}
    assert {(_record(vault, one).state, _record(vault, one).assurance) for one in both} == {
        (State.VERIFIED, Assurance.VAULT)
    }


def test_an_organisation_whose_rows_are_not_of_one_registration_is_left_to_the_act_for_one(vault: Vault) -> None:
    both, person = organisation(vault, 1), vault.register(_person(2))
    others, returned = organisation(vault, 3, of=person), organisation(vault, 4)
    put_in(vault.store, returned[1].rid, state=State.RETURNED)
    items = [
        item(vault, both[0]), item_of(vault, (both[0], person)), item_of(vault, (person, both[1])),
        item_of(vault, others), item_of(vault, (both[0], both[0])), item_of(vault, returned),
    ]  # fmt: skip
    assert approved(vault, *items) == {"approved": [], "matched": []}
    assert {_record(vault, one).state for one in (*both, person, *others)} == {State.IN_REVIEW}


def test_an_organisation_is_left_where_it_or_its_representative_matches_somebody(vault: Vault) -> None:
    known = vault.register(_person(1))
    vault.approve(known, "vault")
    represented, first, second = organisation(vault, 1), organisation(vault, 2), organisation(vault, 2)
    told = approved(vault, *(item_of(vault, both) for both in (represented, first, second)))
    assert (told["approved"], told["matched"]) == ([1], [0]), "of two alike in one call the later one waits"
    assert {_record(vault, one).state for one in (*represented, *second)} == {State.IN_REVIEW}


def test_officers_word_counts_an_organisation_with_its_representative_once(vault: Vault) -> None:
    subject = {"subject": "imp_1", "client": "prov", "sector": SHOP, "count": 2, "method": "provider_attested"}
    by = vault.run(enrolling.bulk, **subject)["reviewer"]
    made = [organisation(vault, number) for number in (1, 2)]
    assert approved(vault, *(item_of(vault, both) for both in made), reviewer=by)["approved"] == [0, 1]


def test_a_cap_that_an_approval_would_pass_leaves_the_case(vault: Vault) -> None:
    made, other = vault.register(_person(1)), vault.register(_person(2))
    told = approved(vault, item(vault, made, caps=[{**CAP, "adds": 2}]), item(vault, other, caps=[CAP]))
    assert (told["approved"], told["matched"]) == ([1], [])


@pytest.mark.parametrize("reviewer", ["bound", "other", "nobody"])
def test_only_a_vault_reviewer_or_officers_approve_many(vault: Vault, reviewer: str) -> None:
    made = vault.register()
    with pytest.raises(RefusedError):
        approved(vault, item(vault, made), reviewer=reviewer)
    assert _record(vault, made).state is State.IN_REVIEW


def test_officers_word_counts_everyone_of_a_call_and_refuses_it_whole_beyond(vault: Vault) -> None:
    made = [vault.register(_person(number)) for number in range(3)]
    subject = {"subject": "imp_1", "client": "prov", "sector": SHOP, "count": 2, "method": "provider_attested"}
    by = vault.run(enrolling.bulk, **subject)["reviewer"]
    elsewhere = vault.run(enrolling.bulk, **{**subject, "sector": BANK})["reviewer"]
    items = [item(vault, one) for one in made]
    assert approved(vault, *items, reviewer=elsewhere) == {"approved": [], "matched": []}
    with pytest.raises(BudgetError):
        approved(vault, *items, reviewer=by)
    assert {_record(vault, one).state for one in made} == {State.IN_REVIEW}
    assert [row.type for row in vault.store.rows("audit_outbox")].count("registration.decided") == 0
    assert vault.store.rows("intent") == vault.store.rows("intent_lock") == []
    assert approved(vault, *items[:2], reviewer=by)["approved"] == [0, 1]
    with pytest.raises(BudgetError):
        approved(vault, items[2], reviewer=by)


def test_a_record_that_changes_meanwhile_refuses_the_call_whole(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [vault.register(_person(number)) for number in range(2)]
    answer = vault.answer

    def changing(what: str, args: dict[str, object]) -> object:
        if what == "records":
            put_in(vault.store, made[1].rid, state=State.RETURNED)
        return answer(what, args)

    monkeypatch.setattr(vault, "answer", changing)
    with pytest.raises(ConflictError):
        approved(vault, *(item(vault, one) for one in made))
    assert _record(vault, made[0]).state is State.IN_REVIEW
    assert vault.store.rows("intent") == []


def test_what_was_approved_is_due_until_it_is_carried_out(vault: Vault) -> None:
    told = approved(vault, item(vault, vault.register()))
    (due,) = vault.run(reviewing.intents_due)["due"]
    assert (due["intent"], due["kind"], due["plan"]["cases"]) == (told["intent"], "approve", told["plan"]["cases"])
    for _ in range(2):
        assert vault.run(reviewing.unite, intent=told["intent"]) == {}
    assert vault.run(reviewing.intents_due)["due"] == []


def test_a_call_is_some_hundred_at_most(vault: Vault) -> None:
    made = item(vault, vault.register())
    with pytest.raises(ProtocolError):
        approved(vault, *[made] * (approving.MOST + 1))
    assert approved(vault) == {"approved": [], "matched": []}
