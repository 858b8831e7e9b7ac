"""Organisations over HTTP: two records and one account, reviewed together, acted for by people who come and go."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.people import ANNA, WEI, person
from tests.serving import Client, Server

pytestmark = pytest.mark.sampled

NUMBER = {"scheme": "cn.uscc", "number": "91110000600037341L"}
SPECIMEN: dict[str, Any] = {
    "legal_name": "样本有限公司", "form": "有限公司", "country": "CHN", "registration": NUMBER,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _clean_afterwards(fresh: Server) -> Iterator[None]:
    yield
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def register(client: Client, handle: str, by: dict[str, Any] = ANNA, **organization: Any) -> httpx.Response:
    body = {
        "handle": handle, "kind": "public", "accepts": {"terms": "2026-01", "truthful": True},
        "organization": {**SPECIMEN, **organization}, "representative": by,
    }  # fmt: skip
    return client.post("/v1/registrations", body)


def registered(client: Client, handle: str = "specimen", **more: Any) -> dict[str, Any]:
    answer = register(client, handle, **more)
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


def operators(client: Client, made: dict[str, Any]) -> set[str]:
    return {one["token"] for one in client.get(f"/v1/accounts/{made['account']}/operators").json()["items"]}


def test_an_organisation_has_the_account_and_its_representative_a_token_of_his_own(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    made = registered(chat)
    assert made["representative_token"] != made["token"]
    assert (made["state"], made["scope"]) == ("in_review", "read")
    assert chat.introspect(made["representative_token"])["scope"] == ""
    shown = rita.reveal(made["id"], "legal_name", "form", "registration", "representative/legal_name")
    assert shown["fields"] == {
        "legal_name": SPECIMEN["legal_name"], "form": SPECIMEN["form"],
        "registration": {**NUMBER, "country": "CHN"}, "representative/legal_name": ANNA["legal_name"],
    }  # fmt: skip
    assert shown["candidates"] == []
    rita.approve(made["id"], shown=shown["shown"])
    after = chat.registration(made["id"])
    assert (after["token"], after["representative_token"]) == (made["token"], made["representative_token"])
    assert chat.introspect(made["token"], account=made["account"])["scope"] == "read publish"
    assert chat.introspect(made["representative_token"]) == {
        "active": True, "scope": "", "assurance": "vault", "client_id": chat.id, "sub": made["representative_token"],
        "token_type": "urn:idvault:token-type:pseudonym",
    }  # fmt: skip


def test_the_same_number_is_the_same_organisation_here_and_the_same_person_represents_both(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    fresh.json("provider", "allow-exchange", "chat", "blog", "--purpose", "safety", "--basis", "legal")
    first, again = registered(chat), registered(chat, "second", legal_name="Specimen Ltd")
    there = registered(blog)
    for made in (first, again, there):
        rita.approve(made["id"])
    after = [chat.registration(made["id"]) for made in (first, again)]
    assert len({one["token"] for one in after}) == len({one["representative_token"] for one in after}) == 1
    assert after[0]["token"] != after[0]["representative_token"]
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "scope": "safety", "audience": blog.id,
            "subject_token_type": "urn:idvault:token-type:pseudonym", "subject_token": after[0]["token"]}  # fmt: skip
    given = chat.http.post("/oauth/token", data=form, auth=(chat.id, chat.secret)).json()["access_token"]
    form = {"grant_type": form["grant_type"], "subject_token_type": "urn:idvault:token-type:handoff",
            "subject_token": given}  # fmt: skip
    taken = blog.http.post("/oauth/token", data=form, auth=(blog.id, blog.secret)).json()["access_token"]
    assert taken == there["token"], "the organisation, not its representative"


def test_what_is_wrong_with_an_organisation_is_named_and_its_values_are_not(fresh: Server) -> None:
    chat = fresh.provider("chat")
    wrong = "91110000600037341K"
    for organization, by, pointer in (
        ({"registration": {"scheme": "cn.uscc", "number": wrong}}, ANNA, "/organization/registration/number"),
        ({"registration": {"scheme": "nope", "number": wrong}}, ANNA, "/organization/registration/scheme"),
        ({"country": "DEU"}, ANNA, "/organization/country"),
        ({"legal_name": "…"}, ANNA, "/organization/legal_name"),
        ({}, {**ANNA, "birth_date": "1974-13-12"}, "/representative/birth_date"),
    ):
        answer = register(chat, "specimen", by, **organization)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
        assert wrong not in answer.text
    for missing in ("organization", "representative"):
        body = {"handle": "h", "kind": "public", "accepts": {"terms": "1", "truthful": True},
                "organization": SPECIMEN, "representative": ANNA}  # fmt: skip
        del body[missing]
        answer = chat.post("/v1/registrations", body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{missing}")


def test_a_returned_organisation_is_mended_with_its_representative_and_a_rejected_one_ends_with_him(
    fresh: Server,
) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    made = registered(chat)
    answer = rita.decide(made["id"], "returned", reason="unreadable", fix=["representative/document"])
    assert answer.status_code == 200, answer.text
    body = {"accepts": {"terms": "2026-01", "truthful": True}, "organization": SPECIMEN, "representative": WEI}
    person_alone = {"accepts": body["accepts"], "identity": WEI}
    assert chat.call("PUT", f"/v1/registrations/{made['id']}", json=person_alone).status_code == 422
    answer = chat.call("PUT", f"/v1/registrations/{made['id']}", json=body)
    assert answer.status_code == 202, answer.text
    shown = rita.reveal(made["id"], "legal_name", "representative/legal_name")
    assert shown["fields"]["representative/legal_name"] == WEI["legal_name"]
    assert rita.decide(made["id"], "rejected", reason="not_the_holder").status_code == 200
    assert chat.introspect(made["token"], account=made["account"])["scope"] == "read"


def test_an_ended_organisation_leaves_no_key_and_takes_its_representative_with_it(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    own = chat.registered(WEI, "wei")
    rita.approve(own["id"])
    made, other = registered(chat), registered(chat, "other", by=WEI, registration={
        "scheme": "lei", "number": "213800KUD8LAJWSQ9D15"}, country="DEU")  # fmt: skip
    for one in (made, other):
        rita.approve(one["id"])
        assert chat.call("DELETE", f"/v1/registrations/{one['id']}").status_code == 204
        assert chat.introspect(one["token"]) == {"active": False}
    assert chat.introspect(made["representative_token"]) == {"active": False}
    assert chat.introspect(own["token"])["scope"] == "read publish", "he is a registrant of his own"


def test_operators_act_for_the_account_and_leave_without_it_changing_owner(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    made, one, other = registered(chat), chat.registered(person(1), "one"), chat.registered(person(2), "two")
    path = f"/v1/accounts/{made['account']}/operators"
    assert chat.post(path, {"token": one["token"]}).status_code == 409, "he is not verified yet"
    for registration in (made, one, other):
        rita.approve(registration["id"])
    for token in (one["token"], other["token"], one["token"]):
        assert chat.post(path, {"token": token}).status_code == 201
    assert operators(chat, made) == {one["token"], other["token"]}
    assert chat.introspect(one["token"], account=made["account"])["scope"] == "read publish"
    assert blog.post(path, {"token": one["token"]}).status_code == 404
    assert blog.introspect(one["token"], account=made["account"]) == {"active": False}
    sanction = {"rung": "limit_publish", "until": "2031-01-01T00:00:00Z", "ground": "spam", "facts": "as seen",
                "by": "mod-1"}  # fmt: skip
    assert chat.post("/v1/sanctions", {**sanction, "token": other["token"]}).status_code == 201
    assert chat.introspect(other["token"], account=made["account"])["scope"] == "read", "his own rung goes with him"
    assert chat.post("/v1/sanctions", {**sanction, "token": made["token"]}).status_code == 201
    assert chat.introspect(one["token"], account=made["account"])["scope"] == "read", "the owner's rung holds for all"
    assert chat.introspect(one["token"])["scope"] == "read publish", "his own accounts are not touched"
    assert chat.call("DELETE", path, params={"token": one["token"]}).status_code == 204
    assert chat.call("DELETE", path, params={"token": one["token"]}).status_code == 404
    assert operators(chat, made) == {other["token"]}
    assert chat.introspect(one["token"], account=made["account"]) == {"active": False}
    assert chat.get(f"/v1/accounts/{made['account']}").json()["token"] == made["token"]
    assert chat.call("DELETE", f"/v1/registrations/{other['id']}").status_code == 204
    assert operators(chat, made) == set()


def test_only_an_organisations_open_account_has_operators(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    anna, made = chat.registered(ANNA, "anna"), registered(chat, by=WEI)
    for one in (anna, made):
        rita.approve(one["id"])
    answer = chat.get(f"/v1/accounts/{anna['account']}/operators")
    assert (answer.status_code, answer.json()["detail"]) == (409, "only an organisation's account has operators")
    path = f"/v1/accounts/{made['account']}/operators"
    assert chat.post(path, {"token": anna["token"]}).status_code == 201
    assert chat.call("DELETE", f"/v1/accounts/{made['account']}").status_code == 204
    assert chat.introspect(anna["token"], account=made["account"]) == {"active": False}
    assert chat.post(path, {"token": anna["token"]}).status_code == 409
    assert operators(chat, made) == set()
