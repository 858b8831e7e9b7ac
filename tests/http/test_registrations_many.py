"""Registering many at once, and giving an existing account its identity: each by itself, one effect under one key."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.exchanges import execute
from tests.people import ANNA, WEI, person
from tests.serving import Client, Server

ACCEPTS = {"terms": "2026-01", "truthful": True}


@pytest.fixture(autouse=True)
def _clean_afterwards(fresh: Server) -> Iterator[None]:
    yield
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def item(number: int, **more: Any) -> dict[str, Any]:
    return {
        "handle": f"many{number}", "kind": "public", "accepts": ACCEPTS, "identity": person(number), **more,
    }  # fmt: skip


def batch(client: Client, items: list[Any], key: str | None = None) -> Any:
    headers = {} if key is None else {"Idempotency-Key": f'"{key}"'}
    answer = client.post("/v1/registrations/batch", {"items": items}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def legacy(client: Client, handle: str) -> dict[str, Any]:
    answer = client.post("/v1/accounts", {"handle": handle, "kind": "public"})
    assert answer.status_code == 201, answer.text
    account: dict[str, Any] = answer.json()
    return account


def identify(client: Client, account: str, identity: dict[str, Any] = ANNA) -> Any:
    return client.post("/v1/registrations", {"account": account, "accepts": ACCEPTS, "identity": identity})


def test_each_item_is_registered_or_refused_by_itself_in_the_same_order(fresh: Server) -> None:
    chat = fresh.provider("chat")
    wrong = {**person(3), "birth_date": "1999-02-30"}
    made = batch(chat, [item(1), item(2, handle="Many1"), item(3, identity=wrong), "text", item(4, extra=1), item(5)])
    assert [one["status"] for one in made] == [202, 409, 422, 422, 422, 202]
    assert [one.get("type", "").removeprefix("urn:idvault:problem:") for one in made[1:5]] == [
        "handle-taken", "validation", "validation", "validation",
    ]  # fmt: skip
    assert made[2]["errors"][0]["pointer"] == "/identity/birth_date"
    assert "1999-02-30" not in str(made)
    for one in (made[0], made[5]):
        assert one == {"status": 202, **chat.registration(one["id"])}
    assert len(chat.get("/v1/registrations").json()["items"]) == 2


def test_one_key_has_one_effect_and_one_answer(fresh: Server) -> None:
    chat = fresh.provider("chat")
    items = [item(number) for number in range(20)]
    first = batch(chat, items, "k1")
    assert batch(chat, items, "k1") == first
    headers = {"Idempotency-Key": '"k1"'}
    assert chat.post("/v1/registrations/batch", {"items": items[:1]}, headers=headers).status_code == 422
    assert len(execute(fresh, "directory", "SELECT pid FROM standing")) == 20


def test_a_batch_has_a_limit_and_a_whole_one_is_carried_out_at_once(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    items = [item(number) for number in range(1_000)]
    made = batch(chat, items)
    assert {one["status"] for one in made} == {202}
    assert len({one["token"] for one in made}) == 1_000
    answer = chat.post("/v1/registrations/batch", {"items": [*items, item(1_001)]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/items")
    assert chat.post("/v1/registrations/batch", {"items": []}).status_code == 422
    rita.approve(made[999]["id"])
    assert chat.introspect(made[999]["token"])["scope"] == "read publish"


def wait_until_nobody_runs(client: Client, items: list[Any], headers: dict[str, str]) -> None:
    """Try again until the lease of the try that was killed is over."""
    end = time.monotonic() + 10
    while client.post("/v1/registrations/batch", {"items": items}, headers=headers).status_code == 409:
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.sqlite
@pytest.mark.parametrize("after", ["identity", "directory"])
def test_a_batch_that_was_killed_has_happened_whole_or_not_at_all(fresh: Server, after: str) -> None:
    chat = fresh.provider("chat")
    items = [item(number) for number in range(5)]
    # The store after which the others are gone: their tables refuse, and then the whole server is killed.
    store, table = ("directory", "review") if after == "identity" else ("keys", "audit_outbox")
    execute(fresh, store, f"CREATE TRIGGER stop BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'stop'); END")
    if after == "directory":
        execute(fresh, store, "DROP TRIGGER stop")
        execute(fresh, store, "CREATE TRIGGER stop BEFORE INSERT ON audit_outbox WHEN NEW.type = 'registration.created'"
                              " BEGIN SELECT RAISE(ABORT, 'stop'); END")  # fmt: skip
    headers = {"Idempotency-Key": '"k1"'}
    assert chat.post("/v1/registrations/batch", {"items": items}, headers=headers).status_code >= 500
    fresh.kill()
    execute(fresh, store, "DROP TRIGGER stop")
    fresh.start()
    wait_until_nobody_runs(chat, items, headers)
    made = batch(chat, items, "k1")
    assert [one["status"] for one in made] == [202] * 5
    assert [chat.registration(one["id"])["state"] for one in made] == ["in_review"] * 5
    assert len(execute(fresh, "directory", "SELECT pid FROM standing WHERE state = 'live'")) == 5


def test_an_account_gets_its_identity_and_keeps_id_and_token(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    account = legacy(chat, "anna")
    answer = identify(chat, account["id"])
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["account"], made["token"], made["state"]) == (account["id"], account["token"], "in_review")
    again = identify(chat, account["id"])
    assert again.status_code == 409
    assert made["id"] in again.text, "it names the registration that is open"
    rita.approve(made["id"])
    assert chat.introspect(account["token"], account=account["id"])["scope"] == "read publish"
    assert identify(chat, account["id"], WEI).status_code == 409, "verified already"


def test_a_rejected_registration_makes_room_for_another_at_the_same_account(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    account = legacy(chat, "anna")
    first = identify(chat, account["id"]).json()
    assert rita.decide(first["id"], "rejected", reason="not_the_holder").status_code == 200
    second = identify(chat, account["id"], WEI)
    assert second.status_code == 202, second.text
    rita.approve(second.json()["id"])
    assert chat.introspect(account["token"])["scope"] == "read publish"
    assert chat.call("DELETE", f"/v1/registrations/{first['id']}").status_code == 204
    assert chat.introspect(account["token"])["scope"] == "read publish", "the first one's record went long ago"


def test_an_account_that_is_foreign_closed_or_unknown_gets_no_identity(fresh: Server) -> None:
    chat, blog = fresh.provider("chat"), fresh.provider("blog")
    foreign, closed = legacy(blog, "anna"), legacy(chat, "closed")
    assert chat.call("DELETE", f"/v1/accounts/{closed['id']}").status_code == 204
    assert identify(chat, foreign["id"]).status_code == 404
    assert identify(chat, "acc_AAAAAAAAAAAAAAAAAAAAAA").status_code == 404
    assert identify(chat, closed["id"]).status_code == 409
    body = {"account": closed["id"], "handle": "h", "accepts": ACCEPTS, "identity": ANNA}
    assert chat.post("/v1/registrations", body).status_code == 422


def test_identities_for_accounts_in_a_batch_are_taken_once_each(fresh: Server) -> None:
    chat = fresh.provider("chat")
    account = legacy(chat, "anna")
    wanted = {"account": account["id"], "accepts": ACCEPTS}
    made = batch(chat, [{**wanted, "identity": ANNA}, {**wanted, "identity": WEI}, item(1)])
    assert [one["status"] for one in made] == [202, 409, 202]
