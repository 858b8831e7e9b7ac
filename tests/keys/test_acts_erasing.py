"""Erasing and parting inside the agent: what they destroy, what they refuse, and what they plan."""

from typing import Any

import pytest

from keys.agent.acts import erasing, reviewing, splitting
from keys.errors import BusyError, ConflictError, KeysError, MissingError, ProtocolError, RefusedError
from keys.primitives import random_bytes
from keys.records import State
from tests.keys.stores import KeyStore, Registration, put_in
from tests.keys.test_acts_reviewing import Vault

ERASE: dict[str, Any] = {"by": "prov", "reviewer": False, "why": "withdrawn", "memo": {"elsewhere": 0}}


@pytest.fixture
def vault(store: KeyStore) -> Vault:
    return Vault(store)


def erase(vault: Vault, made: Registration, **more: object) -> dict[str, Any]:
    given = {**ERASE, "standing": made.evidence(vault.store), "legacy": random_bytes(16), **more}
    return vault.run(erasing.erase, **given)


def tagged(vault: Vault, made: Registration, plan: dict[str, Any]) -> dict[str, Any]:
    return made.evidence(vault.store, tags=[tag for _, tag, pid in plan["tags"] if pid == made.pid])


def test_the_keys_go_with_the_decision_and_one_row_says_so(vault: Vault) -> None:
    made = vault.register()
    found = erase(vault, made)
    assert vault.store.rows("record_key") == []
    assert vault.store.rows("person") == []
    kinds = [row.type for row in vault.store.rows("audit_outbox")]
    assert kinds.count("registration.erased") == 1
    plan = found["plan"]
    assert (plan["ended"], plan["records"], plan["fingerprints"]) == ([made.pid], [made.rid], [])
    assert [account for account, *_ in plan["legacy"]["accounts"]] == [bytes(16)]
    assert vault.run(erasing.erase_done, intent=found["intent"]) == {}
    assert vault.store.rows("intent") == vault.store.rows("intent_lock") == []


def test_an_erasure_that_is_not_carried_out_waits_to_be(vault: Vault) -> None:
    made = vault.register()
    found = erase(vault, made)
    [due] = vault.run(reviewing.intents_due, limit=10)["due"]
    assert (due["kind"], due["intent"], due["plan"]) == ("erase", found["intent"], found["plan"])
    with pytest.raises(MissingError):
        erase(vault, made)


def test_the_fingerprints_of_an_approved_record_lose_it_and_go_when_nobody_is_left(vault: Vault) -> None:
    made = vault.register()
    plan = vault.approve(made, reviewer="vault")
    found = erase(vault, made, standing=tagged(vault, made, plan))["plan"]
    assert {tag for tag, _, _ in found["fingerprints"]} == set(vault.fingerprints)
    assert {sealed for _, _, sealed in found["fingerprints"]} == {None}


@pytest.mark.parametrize("part", ["link", "tags", "accounts"])
def test_a_standing_whose_parts_do_not_agree_destroys_nothing(vault: Vault, part: str) -> None:
    made, other = vault.register(), vault.register()
    wrong: dict[str, Any] = {
        "link": other.link, "tags": [b"\x01" * 33],
        "accounts": [{"id": bytes(16), "provider": "prov", "handle": "someone_else", "mac": bytes(32)}],
    }  # fmt: skip
    evidence = {**made.evidence(vault.store), part: wrong[part]}
    with pytest.raises(KeysError) as caught:
        erase(vault, made, standing=evidence)
    assert isinstance(caught.value, RefusedError)
    assert len(vault.store.rows("record_key")) == 2
    assert vault.store.rows("intent") == []


def test_a_reviewer_must_be_a_vault_reviewer_whom_the_agent_knows(vault: Vault) -> None:
    made = vault.register()
    for by in ("bound", "nobody"):
        with pytest.raises(RefusedError):
            erase(vault, made, reviewer=True, by=by)
    assert erase(vault, made, reviewer=True, by="vault")["plan"]["records"] == [made.rid]


def test_the_time_of_a_rejected_record_runs_out_for_rejected_records_alone(vault: Vault) -> None:
    made = vault.register()
    with pytest.raises(ConflictError):
        erase(vault, made, why="rejected")
    put_in(vault.store, made.rid, state=State.REJECTED)
    assert erase(vault, made, why="rejected")["plan"]["why"] == "rejected"


def test_an_open_act_on_the_same_person_comes_first(vault: Vault) -> None:
    made = vault.register()
    evidence = made.evidence(vault.store)
    args = {"kind": "review", "decision": "rejected", "faulted": [], "memo": {}, "verdicts": [], "reviewer": "bound"}
    decided = vault.run(reviewing.review_decide, **args, standing=evidence)
    with pytest.raises(BusyError):
        erase(vault, made)
    vault.run(reviewing.unite, intent=decided["intent"])
    erase(vault, made)


def test_only_a_vault_reviewer_parts_and_only_what_was_approved(vault: Vault) -> None:
    made = vault.register()
    args = {"group": [made.pid], "accounts": [], "memo": {}}
    with pytest.raises(ConflictError):
        vault.run(splitting.split, **args, standing=made.evidence(vault.store), reviewer="vault")
    evidence = tagged(vault, made, vault.approve(made, reviewer="vault"))
    for reviewer in ("bound", "nobody"):
        with pytest.raises(RefusedError):
            vault.run(splitting.split, **args, standing=evidence, reviewer=reviewer)
    for group in ([], [random_bytes(16)], [made.pid, random_bytes(16)]):
        with pytest.raises(RefusedError):
            vault.run(splitting.split, **args | {"group": group}, standing=evidence, reviewer="vault")
    with pytest.raises(ProtocolError):
        vault.run(splitting.split, **args | {"group": ["text"]}, standing=evidence, reviewer="vault")


def test_who_is_united_with_nobody_is_not_parted(vault: Vault) -> None:
    made = vault.register()
    evidence = tagged(vault, made, vault.approve(made, reviewer="vault"))
    args = {"group": [made.pid], "accounts": [], "memo": {}}
    with pytest.raises(ConflictError):
        vault.run(splitting.split, **args, standing=evidence, reviewer="vault")


def test_a_person_who_is_parted_is_a_new_person_with_the_same_record(vault: Vault) -> None:
    made = vault.register()
    approved = vault.approve(made, reviewer="vault")
    evidence = tagged(vault, made, approved)
    args = {"group": [made.pid], "accounts": [], "memo": {}}
    vault.elsewhere = [{"tag": b"", "standing": {}}]
    parted = vault.run(splitting.split, **args, standing=evidence, reviewer="vault")
    plan = parted["plan"]
    [[old, new, pid]] = plan["tags"]
    assert (old, pid) == (evidence["tags"][0], made.pid)
    assert new != old
    assert {tag for tag, _, _ in plan["fingerprints"]} == set(vault.fingerprints)
    vault.run(reviewing.unite, intent=parted["intent"])
    with pytest.raises(RefusedError):
        erase(vault, made, standing=evidence)
    vault.fingerprints |= {tag: sealed for tag, _, sealed in plan["fingerprints"]}
    vault.elsewhere = []
    erased = erase(vault, made, standing={**evidence, "tags": [new]})
    assert erased["plan"]["records"] == [made.rid]
    assert vault.store.rows("person") != [], "the person that it was parted from"
