"""The story of registering, reviewing and introspecting, over HTTP against a really started server."""

import json
from collections.abc import Iterator

import pytest

from tests.people import ANNA, ANNA_BY_MRZ, WEI, WEI_BY_PASSPORT
from tests.serving import Server

pytestmark = pytest.mark.sampled


@pytest.fixture(autouse=True)
def _clean_afterwards(fresh: Server) -> Iterator[None]:
    yield
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def test_a_person_gets_read_before_and_publish_after_the_approval(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    made = chat.registered(ANNA, "anna_l", external_id="u-83121")
    assert made["state"] == "in_review"
    assert made["scope"] == "read"
    assert chat.introspect(made["token"])["scope"] == "read"
    shown = rita.reveal(made["id"])
    assert shown["fields"]["legal_name"] == "ANNA MARIA ERIKSSON"
    assert shown["candidates"] == []
    rita.approve(made["id"])
    after = chat.registration(made["id"])
    assert (after["state"], after["token"]) == ("approved", made["token"])
    answer = chat.introspect(made["token"], account=made["account"])
    assert answer["active"] is True
    assert (answer["scope"], answer["assurance"]) == ("read publish", "vault")


def test_one_person_by_mrz_and_by_fields_at_two_providers_is_one_person_that_neither_sees(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    one, other = chat.registered(ANNA_BY_MRZ, "anna"), blog.registered(ANNA, "erika")
    rita.approve(one["id"])
    shown = rita.reveal(other["id"])
    assert (shown["candidates"], shown["returner"]) == ([], False)
    rita.approve(other["id"])
    after = blog.registration(other["id"])
    assert after["token"] == other["token"] != one["token"]
    assert "supersedes" not in after
    assert set(after) == set(chat.registration(one["id"]))


def test_the_same_person_again_at_one_provider_becomes_one_standing(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    one, again = chat.registered(ANNA, "anna"), chat.registered(ANNA_BY_MRZ, "anna2")
    rita.approve(one["id"])
    assert rita.reveal(again["id"])["returner"] is True
    rita.approve(again["id"])
    after = chat.registration(again["id"])
    assert (after["token"], after["supersedes"]) == (one["token"], again["token"])
    listed = {item["id"]: item for item in chat.get("/v1/registrations").json()["items"]}
    assert listed == {one["id"]: chat.registration(one["id"]), again["id"]: after}, "in the list too"
    assert chat.introspect(again["token"]) == {"active": False}
    assert chat.introspect(one["token"], account=again["account"])["scope"] == "read publish"
    assert len(chat.get("/v1/accounts", params={"token": one["token"]}).json()["items"]) == 2


def test_passport_in_latin_and_card_in_han_are_candidates_that_need_a_verdict(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    card, passport = chat.registered(WEI, "wei"), chat.registered(WEI_BY_PASSPORT, "zhang")
    rita.approve(card["id"])
    assert rita.decide(passport["id"]).json()["type"].endswith("candidates-changed")
    shown = rita.reveal(passport["id"])
    [candidate] = shown["candidates"]
    assert (candidate["kind"], candidate["fields"]["legal_name"]) == ("look_alike", "张伟")
    verdict = [{"id": candidate["id"], "verdict": "other_person"}]
    assert rita.decide(passport["id"], candidates=verdict, shown="00" * 32).status_code == 409
    rita.approve(passport["id"], candidates=verdict, shown=shown["shown"])
    assert chat.registration(passport["id"])["token"] == passport["token"]


def test_a_verdict_same_person_makes_two_documents_one_standing(fresh: Server) -> None:
    chat = fresh.provider("chat")
    rita = fresh.reviewer("rita", chat)
    card, passport = chat.registered(WEI, "wei"), chat.registered(WEI_BY_PASSPORT, "zhang")
    rita.approve(card["id"])
    shown = rita.reveal(passport["id"])
    verdict = [{"id": shown["candidates"][0]["id"], "verdict": "same_person"}]
    rita.approve(passport["id"], candidates=verdict, shown=shown["shown"])
    assert chat.registration(passport["id"])["token"] == card["token"]


def test_an_impostor_who_is_rejected_changes_nothing_about_the_true_person(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    true = chat.registered(ANNA, "anna")
    rita.approve(true["id"])
    before = chat.registration(true["id"]), chat.introspect(true["token"])
    for provider in (chat, blog):
        false = provider.registered({**ANNA, "legal_name": "SOMEBODY ELSE"}, "impostor")
        assert rita.decide(false["id"], "rejected", reason="not_the_holder").status_code == 200
        after = provider.registration(false["id"])
        assert (after["state"], after["scope"]) == ("rejected", "read")
    assert (chat.registration(true["id"]), chat.introspect(true["token"])) == before


def test_a_bound_reviewer_counts_at_his_provider_and_the_match_queue_makes_it_vault_wide(fresh: Server) -> None:
    chat, blog = fresh.provider("chat"), fresh.provider("blog")
    bound, vault = fresh.reviewer("bound", chat), fresh.reviewer("vault")
    here, there = chat.registered(ANNA, "anna"), blog.registered(ANNA, "anna")
    assert bound.decide(there["id"]).status_code == 404
    vault.approve(there["id"])
    bound.approve(here["id"])
    assert chat.introspect(here["token"])["assurance"] == "provider"
    assert [case["kind"] for case in bound.get("/v1/reviews").json()["items"]] == ["identity"]
    match = vault.post("/v1/reviews/next").json()
    assert match["kind"] == "match"
    vault.approve(match["id"])
    assert chat.introspect(here["token"])["assurance"] == "vault"
    assert chat.registration(here["id"])["token"] == here["token"]


def test_a_returned_registration_is_mended_under_the_same_id_and_token(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    made = chat.registered({**ANNA, "legal_name": "ANNA ERIKSON"}, "anna")
    assert rita.decide(made["id"], "returned", reason="name_differs", fix=["legal_name"]).status_code == 200
    assert chat.registration(made["id"])["fix"] == ["legal_name"]
    body = {"accepts": {"terms": "2026-01", "truthful": True}, "identity": ANNA}
    again = chat.call("PUT", f"/v1/registrations/{made['id']}", json=body)
    assert again.status_code == 202, again.text
    assert (again.json()["id"], again.json()["token"]) == (made["id"], made["token"])
    assert rita.reveal(made["id"])["fields"]["legal_name"] == ANNA["legal_name"]
    rita.approve(made["id"])
    assert chat.introspect(made["token"])["scope"] == "read publish"


def test_evidence_is_seen_three_times_at_most_and_destroyed_at_the_decision(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    made = chat.registered(ANNA, "anna")
    path = f"/v1/registrations/{made['id']}/evidence/passport"
    picture = b"\x89PNG" + bytes(100_000)
    assert chat.call("PUT", path, content=picture, headers={"Content-Type": "image/png"}).status_code in {201, 204}
    assert rita.reveal(made["id"])["evidence"] == ["passport"]
    views = [rita.get(f"/v1/reviews/{made['id']}/evidence/passport") for _ in range(4)]
    assert [view.status_code for view in views] == [200, 200, 200, 429]
    assert views[0].content == picture
    rita.approve(made["id"])
    assert rita.get(f"/v1/reviews/{made['id']}/evidence/passport").status_code in {404, 409}


def test_one_idempotency_key_has_one_effect_and_one_answer(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    key = {"Idempotency-Key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}
    one, two = (chat.register(ANNA, "anna", headers=key) for _ in range(2))
    assert (one.status_code, one.json()) == (two.status_code, two.json())
    assert chat.register(WEI, "anna", headers=key).status_code == 422
    decided = [rita.decide(one.json()["id"], headers=key) for _ in range(2)]
    assert [answer.status_code for answer in decided] == [200, 200]
    assert decided[0].json() == decided[1].json()
    assert len(json.loads(fresh.run("provider", "list", "--json"))) == 1
