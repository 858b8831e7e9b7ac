"""A review inside the agent: what it opens, asks for, refuses and plans. HTTP tests go through the whole flow."""

from collections.abc import Mapping
from typing import Any

import pytest

from keys import records
from keys.agent.acts import enrolling, erasing, evidence, reviewing, verifying
from keys.agent.acts.matching import sector_tags
from keys.engine import reading
from keys.errors import BudgetError, CandidatesError, ConflictError, MissingError, ProtocolError, RefusedError
from keys.fields import FieldValue, seal_field
from keys.primitives import Secret
from keys.records import Assurance, Record, State
from tests.keys.stores import BANK, NOW, SHOP, KeyStore, Registration, dialogue, registered

ANNA = {
    "legal_name": FieldValue(b'"ANNA ERIKSSON"', (b"ANNA ERIKSSON",)),
    "birth_date": FieldValue(b'"1974-08-12"', (b"1974-08-12",)),
    "document": FieldValue(b'{"number":"L898902C3"}', (b"passport", b"UTO", b"L898902C3")),
}
OPEN = {"kind": "review", "purpose": "review", "fields": ["legal_name", "document"]}
DECIDE = {"kind": "review", "decision": "approved", "faulted": [], "memo": {}, "verdicts": []}


class Vault:
    """What identity and directory hold, and answer when an act asks."""

    def __init__(self, store: KeyStore) -> None:
        self.store = store
        self.sealed: dict[bytes, dict[str, bytes]] = {}
        self.local: dict[bytes, list[dict[str, Any]]] = {}
        self.fingerprints: dict[bytes, bytes] = {}
        self.elsewhere: list[dict[str, Any]] = []
        for client, sector in (("vault", None), ("bound", SHOP), ("other", BANK)):
            self.run(enrolling.enrol, what="reviewer", client=client, sector=sector, name=client)

    def run(self, act: Any, **args: object) -> dict[str, Any]:
        with dialogue(self.answer) as talk:
            found: dict[str, Any] = act(self.store.names(), args, talk)
            return found

    def answer(self, what: str, args: Mapping[str, Any]) -> object:
        values = args["values"]
        if what == "records":
            return [{"rid": rid, "fields": self.sealed[rid]} for rid in values if rid in self.sealed]
        if what == "local":
            return [{"tag": tag, "standing": row} for tag in values for row in self.local.get(tag, [])]
        if what == "fingerprints":
            return [{"tag": tag, "sealed": self.fingerprints[tag]} for tag in values if tag in self.fingerprints]
        return self.elsewhere

    def register(self, fields: Mapping[str, FieldValue] = ANNA) -> Registration:
        made = registered(self.store, *fields)
        deployment = self.store.keyring.deployment
        self.sealed[made.rid] = {
            name: seal_field(Secret(made.keys[name]), deployment, made.rid, name, 1, value)
            for name, value in fields.items()
        }
        return made

    def approve(self, made: Registration, reviewer: str = "bound", **more: object) -> dict[str, Any]:
        evidence = made.evidence(self.store)
        decided = self.run(reviewing.review_decide, **{**DECIDE, "standing": evidence, "reviewer": reviewer, **more})
        assert self.run(reviewing.unite, intent=decided["intent"]) == {}
        plan: dict[str, Any] = decided["plan"]
        approved = made.evidence(self.store, tags=[tag for _, tag, pid in plan["tags"] if pid == made.pid])
        for tag, _, _ in plan["local"]:
            self.local.setdefault(tag, []).append(approved)
        self.fingerprints |= {tag: sealed for tag, _, sealed in plan["fingerprints"]}
        return plan


@pytest.fixture
def vault(store: KeyStore) -> Vault:
    return Vault(store)


def test_a_review_opens_the_fields_that_were_asked_for_and_writes_it_down(vault: Vault) -> None:
    made = vault.register()
    found = vault.run(reviewing.review_open, **OPEN, standing=made.evidence(vault.store), reviewer="bound")
    assert found["fields"] == {name: ANNA[name].shown for name in OPEN["fields"]}
    assert (found["candidates"], found["known_here"], found["returner"]) == ([], False, [])
    assert [row.type for row in vault.store.rows("audit_outbox")] == ["registration.created", "registration.opened"]


@pytest.mark.parametrize(
    ("reviewer", "more", "told"),
    [("bound", {}, True), ("vault", {}, False), ("vault", {"needed": 1}, False), ("vault", {"needed": True}, True)],
)
def test_a_vault_reviewer_s_look_is_told_where_every_case_is_looked_at(
    vault: Vault, reviewer: str, more: dict[str, object], *, told: bool
) -> None:
    made = vault.register()
    looked = {"standing": made.evidence(vault.store), "reviewer": reviewer, **more}
    vault.run(reviewing.review_open, **OPEN, **looked)
    for use in ("seal", "view"):
        vault.run(evidence.evidence, use=use, name="front", **looked)
    opened, _, viewed = [row.type for row in vault.store.rows("audit_outbox")][1:]
    assert (opened, viewed) == (
        ("registration.opened", "registration.viewed") if told else ("review.opened", "evidence.viewed")
    )


def test_what_comes_of_a_match_is_written_as_told_to_nobody(vault: Vault) -> None:
    made = vault.register()
    vault.approve(made)
    approved = {"reviewer": "vault", "kind": "match", "standing": vault.local[next(iter(vault.local))][0]}
    vault.run(reviewing.review_open, **{**OPEN, **approved, "needed": True})
    vault.run(reviewing.review_decide, **{**DECIDE, **approved})
    assert [row.type for row in vault.store.rows("audit_outbox")] == [
        "registration.created", "registration.decided", "review.opened", "review.decided",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"reviewer": "other"}, RefusedError), ({"reviewer": "nobody"}, RefusedError),
        ({"purpose": "curiosity"}, RefusedError), ({"fields": ["mandate"]}, RefusedError),
        ({"kind": "match"}, RefusedError), ({"kind": "match", "reviewer": "vault"}, ConflictError),
        ({"kind": "other"}, ProtocolError), ({"reviewer": 7}, ProtocolError),
    ],
)  # fmt: skip
def test_what_a_review_may_not_do_opens_nothing(
    vault: Vault, change: dict[str, object], error: type[Exception]
) -> None:
    evidence = vault.register().evidence(vault.store)
    with pytest.raises(error):
        vault.run(reviewing.review_open, **{**OPEN, "standing": evidence, "reviewer": "bound", **change})
    assert [row.type for row in vault.store.rows("audit_outbox")] == ["registration.created"]


def test_a2_fields_swapped_taken_away_or_of_another_record_open_nothing(vault: Vault) -> None:
    made, other = vault.register(), vault.register()
    good = vault.sealed[made.rid]
    swapped = {**good, "legal_name": good["document"], "document": good["legal_name"]}
    short = {name: value for name, value in good.items() if name != "birth_date"}
    for wrong in (swapped, short, vault.sealed[other.rid]):
        vault.sealed[made.rid] = wrong
        with pytest.raises(RefusedError):
            vault.run(reviewing.review_open, **OPEN, standing=made.evidence(vault.store), reviewer="bound")


def test_an_approval_plans_tags_and_unite_closes_it_once(vault: Vault) -> None:
    made = vault.register()
    plan = vault.approve(made)
    assert plan["assurance"] == [[made.pid, "provider"]]
    assert [kind for _, kind, _ in plan["local"]] == ["document_birth", "document", "name_birth"]
    assert plan["fingerprints"] == plan["merges"] == plan["gone"] == []
    row = vault.store.rows("record_key")[0]
    assert (row.state, row.assurance) == ("verified", "provider")
    assert vault.store.rows("intent") == vault.store.rows("intent_lock") == []
    with pytest.raises(ConflictError):
        vault.approve(made, standing=vault.local[plan["local"][0][0]][0])


def test_the_same_person_again_joins_his_standing(vault: Vault) -> None:
    first = vault.register()
    vault.approve(first)
    again = vault.register()
    found = vault.run(reviewing.review_open, **OPEN, standing=again.evidence(vault.store), reviewer="bound")
    assert (found["known_here"], found["candidates"]) == (True, [])
    merges = vault.approve(again)["merges"]
    assert [(merge["alias"], merge["survivor"]) for merge in merges] == [(again.pid, first.pid)]


def test_who_is_sanctioned_joins_his_standing_once_just_that_was_shown(vault: Vault) -> None:
    vault.approve(vault.register())
    again = vault.register()
    found: dict[str, Any] = {}
    for rung in ("warn", "close"):
        for row in (row for rows in vault.local.values() for row in rows):
            row["sanctions"] = [{"rung": rung}]
        with pytest.raises(CandidatesError):
            vault.approve(again, seen=found.get("seen"), shown=found.get("shown"))
        found = vault.run(reviewing.review_open, **OPEN, standing=again.evidence(vault.store), reviewer="bound")
        assert (found["returner"], found["candidates"]) == ([{"rung": rung}], [])
    assert len(vault.approve(again, seen=found["seen"])["merges"]) == 1


def test_a_look_alike_needs_a_verdict_on_what_was_shown(vault: Vault) -> None:
    vault.approve(vault.register())
    twin = vault.register({**ANNA, "document": FieldValue(b'{"number":"X"}', (b"passport", b"UTO", b"X"))})
    found = vault.run(reviewing.review_open, **OPEN, standing=twin.evidence(vault.store), reviewer="bound")
    (candidate,) = found["candidates"]
    assert candidate["kind"] == "look_alike"
    verdict = {"id": candidate["id"], "verdict": "other_person"}
    for wrong in ({}, {"shown": bytes(32), "verdicts": [verdict]}, {"shown": found["shown"]}):
        with pytest.raises(CandidatesError):
            vault.approve(twin, **wrong)
    with pytest.raises(ProtocolError):
        vault.approve(twin, shown=found["shown"], verdicts=[{**verdict, "verdict": "perhaps"}])
    assert vault.approve(twin, shown=found["shown"], verdicts=[verdict])["merges"] == []


def test_a_planted_local_tag_opens_nobody(vault: Vault) -> None:
    """A row that claims a match which its record does not bear out is refused."""
    stranger = vault.register({"legal_name": FieldValue(b'"X"', (b"X",)), "birth_date": FieldValue(b'"Y"', (b"Y",))})
    vault.approve(stranger)
    planted = next(iter(vault.local.values()))
    made = vault.register()
    vault.local[sector_tags(vault.store.names(), SHOP, ANNA)[1].value] = planted
    with pytest.raises(RefusedError):
        vault.run(reviewing.review_open, **OPEN, standing=made.evidence(vault.store), reviewer="bound")


def test_a_vault_reviewers_approval_makes_fingerprints_by_which_he_is_known_again(vault: Vault) -> None:
    first = vault.register()
    plan = vault.approve(first, "vault")
    assert [kind for _, kind, _ in plan["fingerprints"]] == ["document_birth", "document"]
    rows = [{"tag": tag, "sealed": sealed} for tag, sealed in vault.fingerprints.items()]
    moved = {"tag": rows[0]["tag"], "sealed": rows[1]["sealed"]}
    assert vault.run(verifying.verify, what="fingerprints", rows=[*rows, moved])["good"] == [True, True, False]
    vault.local.clear()
    again = vault.register()
    plan = vault.approve(again, "vault")
    assert len(plan["gone"]) == 1
    assert {rid for rid, _, _ in plan["map"]} == {first.rid, again.rid}
    assert len({uid for _, uid, _ in plan["map"]}) == 1
    assert len(vault.store.rows("person")) == 1


@pytest.mark.parametrize(("outcome", "state"), [("returned", "returned"), ("rejected", "rejected")])
def test_another_outcome_changes_the_state_alone(vault: Vault, outcome: str, state: str) -> None:
    made = vault.register()
    plan = vault.approve(made, decision=outcome, faulted=["front"])
    assert vault.store.rows("record_key")[0].state == state
    assert plan["evidence"] == [[made.rid, ["front"] if outcome == "returned" else None]]
    assert plan["local"] == plan["map"] == []
    with pytest.raises(ProtocolError):
        vault.approve(made, decision="eaten")


def test_a_decision_that_was_not_carried_out_is_due_until_it_is(vault: Vault) -> None:
    made = vault.register()
    args = {**DECIDE, "standing": made.evidence(vault.store), "reviewer": "bound", "memo": {"a": 1}}
    decided = vault.run(reviewing.review_decide, **args)
    due = vault.run(reviewing.intents_due)
    assert [(row["intent"], row["plan"]["decision"]) for row in due["due"]] == [(decided["intent"], {"a": 1})]
    for _ in range(2):
        assert vault.run(reviewing.unite, intent=decided["intent"]) == {}
    assert vault.run(reviewing.intents_due, limit=5) == {"due": [], "waiting": 0}
    assert decided["not_before"] <= NOW


def test_a_review_of_a_record_that_is_gone_is_missing(vault: Vault) -> None:
    made = vault.register()
    vault.store.execute("DELETE FROM record_key")
    with pytest.raises(MissingError):
        vault.run(reviewing.review_open, **OPEN, standing=made.evidence(vault.store), reviewer="bound")


def _person(number: int) -> dict[str, FieldValue]:
    number_ = f"L89890{number:03}".encode()
    return ANNA | {"document": FieldValue(b'{"number":"' + number_ + b'"}', (b"passport", b"UTO", number_)),
                   "legal_name": FieldValue(b'"P"', (b"P%d" % number,))}  # fmt: skip


def _record(vault: Vault, made: Registration) -> Record:
    with reading(vault.store.engine) as connection:
        return records.load(connection, vault.store.keyring, made.rid)


def test_officers_word_for_many_approves_so_many_of_one_sector_unseen_and_opens_nothing(vault: Vault) -> None:
    made = [vault.register(_person(number)) for number in range(3)]
    subject = {"subject": "imp_1", "client": "prov", "sector": SHOP, "count": 2, "method": "provider_attested"}
    by = vault.run(enrolling.bulk, **subject)["reviewer"]
    unseen = {"reviewer": by, "decision": "approved", "alone": True}
    evidence = made[0].evidence(vault.store)
    for more in ({"alone": False}, {"decision": "rejected"}, {"decision": "returned"}, {"kind": "match"}):
        with pytest.raises((RefusedError, ConflictError)):
            vault.run(reviewing.review_decide, **{**DECIDE, **unseen, "standing": evidence, **more})
    with pytest.raises(RefusedError):
        vault.run(reviewing.review_open, **{**OPEN, "reviewer": by, "standing": evidence})
    with pytest.raises(RefusedError, match="no such reviewer"):
        vault.run(erasing.erase, standing=evidence, by=by, reviewer=True, why="withdrawn", legacy=bytes(16), memo={})
    for one in made[:2]:
        decided = vault.run(
            reviewing.review_decide, **{**DECIDE, **unseen, "standing": one.evidence(vault.store)}
        )  # fmt: skip
        vault.run(reviewing.unite, intent=decided["intent"])
        assert _record(vault, one).assurance is Assurance.VAULT
    with pytest.raises(BudgetError):
        vault.run(reviewing.review_decide, **{**DECIDE, **unseen, "standing": made[2].evidence(vault.store)})
    assert _record(vault, made[2]).state is State.IN_REVIEW
    elsewhere = vault.run(enrolling.bulk, **{**subject, "sector": BANK})["reviewer"]
    with pytest.raises(RefusedError):
        vault.run(
            reviewing.review_decide,
            **{**DECIDE, **unseen, "reviewer": elsewhere, "standing": made[2].evidence(vault.store)},
        )
    with pytest.raises(ProtocolError, match="count"):
        vault.run(enrolling.bulk, **{**subject, "count": 0})
