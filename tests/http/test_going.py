"""Going and parting, over HTTP: what is gone opens nowhere, what is another's stays, a wrong union is taken back."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests import serving
from tests.http.exchanges import token_at, two_providers
from tests.http.test_backups import run
from tests.http.test_processes import eventually
from tests.people import ANNA, ANNA_BY_MRZ, WEI, WEI_BY_PASSPORT, person
from tests.serving import Client, Server
from vault.domain.clock import SystemClock

pytestmark = pytest.mark.sampled


@pytest.fixture(autouse=True)
def _clean_afterwards(fresh: Server) -> Iterator[None]:
    yield
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def rows(server: Server, store: str, query: str) -> list[tuple[Any, ...]]:
    return server.sql(store, query)


def counts(server: Server) -> dict[str, int]:
    tables = {"identity": ["record", "evidence", "fingerprint"], "keys": ["record_key", "person", "intent"],
              "directory": ["person_tag", "local_tag"]}  # fmt: skip
    return {table: rows(server, store, f"select count(*) from {table}")[0][0]  # noqa: S608 - our own table names
            for store, names in tables.items() for table in names}  # fmt: skip


def sealed_values(server: Server) -> set[bytes]:
    """Return what stands of people in the stores: wrapped keys, maps, sealed fields, links and tags."""
    places = [("keys", "record_key", "wrapped"), ("keys", "record_key", "uid"),
              ("identity", "record", "legal_name"), ("identity", "record", "document"),
              ("directory", "standing", "link"), ("directory", "person_tag", "tag"), ("directory", "local_tag", "tag"),
              ("identity", "fingerprint", "tag"), ("identity", "fingerprint", "sealed")]  # fmt: skip
    return {
        value
        for store, table, column in places
        for (value,) in rows(server, store, f"select {column} from {table} where {column} is not null")  # noqa: S608
    }


def delete(client: Client, reg: str) -> int:
    return client.call("DELETE", f"/v1/registrations/{reg}").status_code


def test_an_erased_registration_leaves_no_key_no_field_no_tag_and_an_inactive_token(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    before = counts(fresh)
    made = chat.registered(ANNA, "anna")
    chat.call("PUT", f"/v1/registrations/{made['id']}/evidence/passport", content=b"\x89PNG",
              headers={"Content-Type": "image/png"})  # fmt: skip
    rita.approve(made["id"])
    assert counts(fresh) != before
    assert delete(chat, made["id"]) == 204
    assert counts(fresh) == before
    assert chat.introspect(made["token"]) == {"active": False}
    assert chat.registration(made["id"])["state"] == "withdrawn"
    assert delete(chat, made["id"]) == 204


def test_ending_a_registration_takes_a_key_of_its_own_request(fresh: Server) -> None:
    chat = fresh.provider("chat")
    made, other = chat.registered(ANNA, "anna"), chat.registered(WEI, "wei")
    key = {"Idempotency-Key": "end-of-anna"}
    ends = [chat.call("DELETE", f"/v1/registrations/{made['id']}", headers=key) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in ends] == [(204, b"")] * 2
    mismatch = chat.call("DELETE", f"/v1/registrations/{other['id']}", headers=key)
    assert mismatch.json()["type"].endswith("idempotency-mismatch")
    assert chat.registration(other["id"])["state"] == "in_review"


def test_an_ending_that_a_case_forbade_frees_its_key(fresh: Server) -> None:
    chat = fresh.provider("chat")
    made = chat.registered(ANNA, "anna")
    order = (made["account"], "--case", "4 Js 1/26", "--legal-basis", "law", "--authority", "court",
             "--ordered-by", "judge")  # fmt: skip
    until = (SystemClock().now() + timedelta(days=9)).date().isoformat()
    fresh.json("hold", "put", *order, "--until", until)
    key = {"Idempotency-Key": "end-of-anna"}
    assert chat.call("DELETE", f"/v1/registrations/{made['id']}", headers=key).json()["type"].endswith("held")
    fresh.json("hold", "lift", *order)
    assert chat.call("DELETE", f"/v1/registrations/{made['id']}", headers=key).status_code == 204


def test_withdrawing_the_identity_keeps_reading_under_a_fresh_token(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    made = chat.registered(ANNA, "anna", external_id="u-1")
    rita.approve(made["id"])
    assert delete(chat, made["id"]) == 204
    account = chat.get(f"/v1/accounts/{made['account']}").json()
    assert (account["state"], account["scope"], account["handle"]) == ("legacy", "read", "anna")
    assert account["token"] != made["token"]
    assert chat.introspect(account["token"])["scope"] == "read"
    assert chat.introspect(account["token"])["assurance"] == "none"
    assert chat.register(WEI, "anna").status_code == 409


def close(provider: Client, **target: str) -> None:
    """Close a person by his token, or one account, until 2031."""
    body = {**target, "rung": "close", "ban_until": "2031-01-01T00:00:00Z", "ground": "threats", "facts": "as seen",
            "by": "mod-1"}  # fmt: skip
    assert provider.post("/v1/sanctions", body).status_code == 201


def test_its_owner_alone_is_told_that_a_token_is_withdrawn(fresh: Server) -> None:
    """Of whom he was united with too, and whether or not accounts are left that nobody has any more."""
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    people = ((ANNA, "anna"), (ANNA_BY_MRZ, "anna2"), (WEI, "wei"))
    one, again, closed = (chat.registered(*who) for who in people)
    for made in (one, again, closed):
        rita.reveal(made["id"])
        rita.approve(made["id"])
    nobody = chat.post("/v1/accounts", {"handle": "bare", "kind": "personal"}).json()["token"]
    chat.call("DELETE", f"/v1/accounts/{closed['account']}")

    def told(client: Client, made: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = client.get("/v1/accounts", params={"token": made["token"]}).json()
        return answer

    before = [told(chat, made) for made in (one, again, closed)]
    assert [set(answer) for answer in before] == [{"items"}] * 3
    for made in (one, again, closed):
        assert delete(chat, made["id"]) == 204
        assert told(blog, made) == {"items": []}
    assert [told(chat, made) for made in (one, again)] == [{"items": [], "state": "withdrawn"}] * 2
    assert (told(chat, closed)["state"], len(told(chat, closed)["items"])) == ("withdrawn", 1)
    assert "state" not in told(chat, {"token": nobody}), "who never had an identity"
    assert "state" not in told(chat, chat.get(f"/v1/accounts/{one['account']}").json()), "what his accounts have now"


def test_who_has_a_token_by_an_exchange_alone_is_told_too_that_it_is_withdrawn(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    made = chat.registered(ANNA, "anna")
    rita.approve(made["id"])
    token = token_at(chat, made["token"], blog)
    asked = {"token": token}
    assert blog.get("/v1/accounts", params=asked).json() == {"items": []}, "it has no account, and is not over"
    assert delete(chat, made["id"]) == 204
    assert eventually(lambda: blog.introspect(token) == {"active": False})
    assert blog.get("/v1/accounts", params=asked).json() == {"items": [], "state": "withdrawn"}
    assert chat.get("/v1/accounts", params=asked).json() == {"items": []}


def test_what_one_provider_ends_touches_nothing_at_another(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    here, there = chat.registered(ANNA, "anna"), blog.registered(ANNA_BY_MRZ, "erika")
    for made in (here, there):
        rita.approve(made["id"])
    before = blog.registration(there["id"]), blog.introspect(there["token"])
    assert delete(chat, here["id"]) == 204
    assert (blog.registration(there["id"]), blog.introspect(there["token"])) == before
    again = blog.registered(ANNA, "anna_again")
    assert rita.reveal(again["id"])["returner"] is True, "at the other provider she is still known"
    rita.approve(again["id"])
    assert blog.registration(again["id"])["token"] == there["token"]


def test_an_erased_person_who_returns_is_nobody_that_anyone_knew(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    made = chat.registered(ANNA, "anna")
    rita.approve(made["id"])
    delete(chat, made["id"])
    again = chat.registered(ANNA, "anna2")
    shown = rita.reveal(again["id"])
    assert (shown["returner"], shown["sanctions"], shown["candidates"]) == (False, [], [])
    rita.approve(again["id"])
    after = chat.registration(again["id"])
    assert after["token"] == again["token"] != made["token"]
    assert "supersedes" not in after


def test_r_de_08_a_person_erased_under_a_ban_meets_it_on_return_at_that_provider_alone(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    first = chat.registered(person(1), "anna")
    rita.approve(first["id"])
    close(chat, token=first["token"])
    assert delete(chat, first["id"]) == 204
    assert rows(fresh, "keys", "select count(*) from statement_key") == [(0,)]
    elsewhere = blog.registered(person(1), "anna")
    shown = rita.reveal(elsewhere["id"])
    assert (shown["returner"], shown["sanctions"], shown["candidates"]) == (False, [], [])
    assert rita.decide(elsewhere["id"], shown=shown["shown"]).status_code == 200
    assert blog.introspect(elsewhere["token"])["scope"] == "read publish"
    back = chat.registered(person(1), "anna2")
    assert back["token"] != first["token"]
    assert chat.introspect(back["token"])["scope"] == "read"
    shown = rita.reveal(back["id"])
    assert shown["returner"] is True
    assert shown["sanctions"][0]["rung"] == "close"
    assert rita.decide(back["id"], shown=shown["shown"]).status_code == 200
    assert chat.introspect(back["token"]) == {"active": False}
    assert blog.introspect(elsewhere["token"])["scope"] == "read publish"
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"] is True


def test_a_close_of_one_account_stays_with_that_account_and_does_not_follow_its_person(fresh: Server) -> None:
    """Nothing of him is kept for it once he is erased: a ban of the person is set by his token."""
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    first = chat.registered(person(1), "anna")
    rita.approve(first["id"])
    close(chat, account=first["account"])
    assert delete(chat, first["id"]) == 204
    assert counts(fresh)["local_tag"] == 0
    back = chat.registered(person(1), "anna2")
    shown = rita.reveal(back["id"])
    assert (shown["returner"], shown["sanctions"]) == (False, [])
    rita.approve(back["id"])
    assert chat.introspect(back["token"])["scope"] == "read publish"
    left = chat.get(f"/v1/accounts/{first['account']}").json()
    assert (left["scope"], left["restriction"]["rung"]) == ("", "close")


def test_erasing_a_united_registrant_ends_all_of_his_records_at_that_provider(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    before = counts(fresh)
    one, two = chat.registered(ANNA, "anna"), chat.registered(ANNA_BY_MRZ, "anna2")
    for made in (one, two):
        rita.approve(made["id"])
    assert delete(chat, two["id"]) == 204
    assert counts(fresh) == before
    assert {chat.registration(made["id"])["state"] for made in (one, two)} == {"withdrawn"}
    tokens = {chat.get(f"/v1/accounts/{made['account']}").json()["token"] for made in (one, two)}
    assert len(tokens) == 1
    assert not tokens & {one["token"], two["token"]}


def test_a_registration_in_any_state_can_be_ended(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    before = counts(fresh)
    made = [chat.registered(person(number), f"person{number}") for number in range(3)]
    rita.decide(made[1]["id"], "returned", reason="unreadable", fix=["document"])
    rita.decide(made[2]["id"], "rejected", reason="not_the_holder")
    for one in made:
        assert delete(chat, one["id"]) == 204
    assert counts(fresh) == before
    assert rita.reveal_answer(made[0]["id"]).status_code == 409
    assert rita.decide(made[0]["id"]).status_code == 409


def test_a_vault_reviewer_may_end_it_and_nobody_else_sees_that_it_is_there(fresh: Server) -> None:
    chat, blog = fresh.provider("chat"), fresh.provider("blog")
    vault, bound = fresh.reviewer("vault"), fresh.reviewer("bound", chat)
    made = chat.registered(ANNA, "anna")
    mine, nobodys = f"/v1/registrations/{made['id']}", "/v1/registrations/reg_AAAAAAAAAAAAAAAAAAAAAA"
    refused = [client.call("DELETE", path) for client, path in ((blog, mine), (bound, mine), (blog, nobodys))]
    assert {(answer.status_code, answer.text) for answer in refused} == {(404, refused[0].text)}
    assert chat.registration(made["id"])["state"] == "in_review"
    assert delete(vault, made["id"]) == 204
    assert chat.registration(made["id"])["state"] == "withdrawn"


def test_a_registrant_united_by_a_wrong_verdict_is_parted_with_account_and_token(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    card, passport = chat.registered(WEI, "wei"), chat.registered(WEI_BY_PASSPORT, "zhang")
    rita.approve(card["id"])
    shown = rita.reveal(passport["id"])
    verdict = [{"id": shown["candidates"][0]["id"], "verdict": "same_person"}]
    rita.approve(passport["id"], candidates=verdict, shown=shown["shown"])
    assert chat.introspect(passport["token"]) == {"active": False}
    answer = rita.post(f"/v1/reviews/{passport['id']}/split", {"reason": "wrong_verdict"})
    assert answer.status_code == 200, answer.text
    after = chat.registration(passport["id"])
    assert after["token"] == passport["token"]
    assert "supersedes" not in after
    for made in (card, passport):
        assert chat.introspect(made["token"], account=made["account"])["scope"] == "read publish"
        assert chat.get(f"/v1/accounts/{made['account']}").json()["token"] == made["token"]


def test_a_ban_met_on_return_stays_with_the_returner_when_a_wrong_verdict_is_taken_back(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    one = chat.registered(WEI, "wei")
    rita.approve(one["id"])
    time.sleep(1)  # who is older is told in seconds

    def passport(verdict: str, handle: str) -> dict[str, Any]:
        made = chat.registered(WEI_BY_PASSPORT, handle)
        shown = rita.reveal(made["id"])
        verdicts = [{"id": candidate["id"], "verdict": verdict} for candidate in shown["candidates"]]
        rita.approve(made["id"], candidates=verdicts, shown=shown["shown"])
        return made

    banned = passport("other_person", "zhang")
    body = {"token": banned["token"], "rung": "suspend_updates", "until": "2031-01-01T00:00:00Z", "ground": "spam",
            "facts": "as seen", "by": "mod-1"}  # fmt: skip
    assert chat.post("/v1/sanctions", body).status_code == 201
    assert delete(chat, banned["id"]) == 204
    returned = passport("same_person", "zhang2")
    assert chat.introspect(chat.registration(returned["id"])["token"])["scope"] == ""
    assert rita.post(f"/v1/reviews/{returned['id']}/split", {"reason": "wrong_verdict"}).status_code == 200
    scopes = [chat.introspect(chat.registration(made["id"])["token"])["scope"] for made in (one, returned)]
    assert scopes == ["read publish", ""]


def test_who_became_part_of_one_who_became_part_of_another_is_parted_with_what_was_his(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")

    def approved(number: str, handle: str, same: set[str]) -> dict[str, Any]:
        """Approve the holder of one more passport as the same person as these holders."""
        document = {**WEI_BY_PASSPORT["document"], "number": number}
        made = chat.registered({**WEI_BY_PASSPORT, "document": document}, handle)
        shown = rita.reveal(made["id"])
        held = {c["id"]: c["fields"]["document"]["number"] for c in shown["candidates"]}
        verdicts = [{"id": i, "verdict": "same_person" if n in same else "other_person"} for i, n in held.items()]
        rita.approve(made["id"], candidates=verdicts, shown=shown["shown"])
        time.sleep(1)  # who is older is told in seconds
        return made

    first, second = approved("E1", "first", set()), approved("E2", "second", set())
    third = approved("E3", "third", {"E2"})
    approved("E4", "fourth", {"E1", "E2", "E3"})
    tokens = {chat.registration(made["id"])["token"] for made in (first, second, third)}
    assert tokens == {first["token"]}, "they are one"
    assert rita.post(f"/v1/reviews/{third['id']}/split", {"reason": "wrong_verdict"}).status_code == 200
    assert chat.introspect(third["token"], account=third["account"])["scope"] == "read publish"
    assert chat.get(f"/v1/accounts/{second['account']}").json()["token"] == first["token"]


def test_one_person_at_two_providers_is_parted_without_a_trace_at_either(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    here, there = chat.registered(ANNA, "anna"), blog.registered(ANNA_BY_MRZ, "erika")
    for made in (here, there):
        rita.approve(made["id"])
    before = blog.registration(there["id"])
    assert rita.post(f"/v1/reviews/{there['id']}/split", {"reason": "wrong_verdict"}).status_code == 200
    assert blog.registration(there["id"]) == before
    assert blog.introspect(there["token"])["active"] is True
    assert rita.post(f"/v1/reviews/{there['id']}/split", {"reason": "wrong_verdict"}).status_code == 409, "alone now"


def test_the_very_same_document_is_not_parted_and_a_provisional_registration_neither(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    one, two, three = (chat.registered(who, f"anna{n}") for n, who in enumerate((ANNA, ANNA_BY_MRZ, person(1))))
    for made in (one, two):
        rita.approve(made["id"])
    for made in (one, two, three):
        assert rita.post(f"/v1/reviews/{made['id']}/split", {"reason": "wrong_verdict"}).status_code == 409
    assert chat.post(f"/v1/reviews/{two['id']}/split", {"reason": "mine"}).status_code == 403


def test_a62_after_erasing_and_compacting_no_file_holds_a_wrapped_key_or_a_sealed_field(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    kept, made = chat.registered(person(7), "kept"), chat.registered(ANNA, "anna")
    for one in (kept, made):
        rita.approve(one["id"])
    before = sealed_values(fresh)
    for _ in range(2):
        assert delete(chat, made["id"]) == 204
    kept_values = sealed_values(fresh)
    residue = before - kept_values
    assert len(residue) == len(kept_values) == len(before) / 2, "the other registration is whole"
    run(fresh.environment | fresh.databases, "db", "compact")
    paths = [path for path in fresh.home.rglob("*") if path.is_file()]
    if serving.cluster is not None:  # its write-ahead log is its server's affair
        paths += [path for url in fresh.databases.values() for path in serving.cluster.files(url)]
    files = b"".join(path.read_bytes() for path in paths)
    assert all(value in files for value in kept_values)
    assert not [value for value in residue if value in files]
