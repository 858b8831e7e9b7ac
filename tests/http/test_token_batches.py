"""Tokens by the thousand, and at their end: one status an item, one answer for all that is not the caller's."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.http.exchanges import (
    HANDOFF,
    PSEUDONYM,
    PURPOSE,
    approved,
    at_once,
    execute,
    hand_over,
    handed,
    redeem,
    rows,
    token_at,
    two_providers,
)
from tests.people import ANNA, person
from tests.serving import Client, Server

pytestmark = pytest.mark.sampled

REQUEST, TARGET, SCOPE = (
    {"status": 400, "error": code} for code in ("invalid_request", "invalid_target", "invalid_scope")
)


def items(client: Client, path: str, body: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    answer = client.post(f"/v1/tokens/{path}", body, **more)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def revoke(client: Client, token: str, **more: str) -> None:
    answer = client.http.post("/oauth/revoke", data={"token": token, **more}, auth=(client.id, client.secret))
    assert (answer.status_code, answer.content) == (200, b"")


def inactive_everywhere(client: Client, token: str) -> bool:
    """Ask often enough to meet every worker."""
    return all(client.introspect(token) == {"active": False} for _ in range(12))


@pytest.fixture
def served(fresh: Server) -> Iterator[Server]:
    yield fresh
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def test_a_batch_says_of_each_token_what_introspection_says(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    tokens = [
        approved(chat, rita),
        chat.registered(person(1), "one")["token"],
        approved(blog, rita, handle="blog-anna"),
    ]
    tokens += ["nym_" + "A" * 50, "vat_x", "x", tokens[0]]
    found = items(chat, "introspect", {"tokens": tokens})
    assert found == [{"status": 200, **chat.introspect(token)} for token in tokens]
    assert [item["active"] for item in found] == [True, True, False, False, False, False, True]


def test_standings_that_are_alike_are_answered_with_their_own_token_and_others_with_what_is_theirs(
    served: Server,
) -> None:
    chat, _, rita = two_providers(served)
    tokens = [approved(chat, rita, person(n), f"p{n}") for n in range(5)]
    until = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() + 30 * 86_400))
    limited = {"rung": "limit_publish", "until": until, "ground": "spam", "facts": "as seen", "token": tokens[1]}
    assert chat.post("/v1/sanctions", limited).status_code == 201
    assert chat.post("/v1/accounts", {"handle": "more", "kind": "personal", "token": tokens[2]}).status_code == 201
    revoke(chat, tokens[3])
    found = items(chat, "introspect", {"tokens": tokens})
    assert found == [{"status": 200, **chat.introspect(token)} for token in tokens]
    assert [item.get("sub") for item in found] == [*tokens[:3], None, tokens[4]]
    assert ["vault_restriction" in item for item in found] == [False, True, False, False, False]


def test_a39_in_a_batch_foreign_forged_revoked_and_random_tokens_are_one(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    foreign, revoked = approved(chat, rita), approved(blog, rita, person(2), "revoked")
    revoke(blog, revoked)
    tokens = [foreign, revoked, revoked[:-3] + "AAA", "nym_" + "x" * 50, "anything"]
    assert items(blog, "introspect", {"tokens": tokens}) == [{"status": 200, "active": False}] * 5
    assert items(blog, "translate", {"tokens": tokens}) == [
        {"status": 404, "error": "unknown"},
        {"status": 200, "token": items(blog, "translate", {"tokens": [revoked]})[0]["token"]},
        *[{"status": 404, "error": "unknown"}] * 3,
    ]


def test_a_thousand_items_are_answered_in_order_and_one_more_is_refused(served: Server) -> None:
    chat, _, rita = two_providers(served)
    token = approved(chat, rita)
    many = [token if at % 3 == 0 else "nym_" + "A" * 50 for at in range(1000)]
    found = items(chat, "introspect", {"tokens": many})
    assert [item["active"] for item in found] == [at % 3 == 0 for at in range(1000)]
    for path, body in (
        ("introspect", {"tokens": [*many, token]}),
        ("translate", {"tokens": []}),
        ("introspect", {"tokens": [token], "more": 1}),
        ("introspect", {"tokens": ["é"]}),
        ("introspect", {"tokens": [None]}),
        ("exchange", {"items": [{"subject_token": token, "actor_token": "x"}]}),
        ("exchange", {"items": [{"audience": "x"}]}),
        ("exchange", {"items": [{"subject_token": token}] * 1001}),
    ):
        assert chat.post(f"/v1/tokens/{path}", body).status_code == 422, (path, list(body))
    assert chat.post("/v1/tokens/introspect", {"tokens": ["x" * 500] * 9000}).status_code == 413


def test_hand_offs_are_opened_and_redeemed_by_the_batch_each_with_its_own_outcome(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    tokens = [approved(chat, rita, person(n), f"p{n}") for n in range(4)]
    good = [{"subject_token": token, "audience": blog.id, "scope": PURPOSE} for token in tokens]
    opened = items(chat, "exchange", {"items": [
        good[0],
        {**good[1], "subject_token_type": PSEUDONYM},
        {**good[2], "subject_token_type": HANDOFF},
        {**good[2], "audience": "cli_unknown"},
        {**good[2], "scope": "other"},
        {"subject_token": tokens[2]},
        {"subject_token": "nym_" + "A" * 50, "audience": blog.id, "scope": PURPOSE},
        {"subject_token": "hnd_unknown"},
        good[2],
    ]})  # fmt: skip
    assert opened[2:8] == [REQUEST, TARGET, SCOPE, TARGET, REQUEST, REQUEST]
    handoffs = [opened[at].pop("access_token") for at in (0, 1, 8)]
    assert opened[0] == {
        "status": 200, "issued_token_type": HANDOFF, "token_type": "N_A", "expires_in": 300, "scope": PURPOSE,
    }  # fmt: skip
    redeemed = items(blog, "exchange", {"items": [{"subject_token": text} for text in [*handoffs, handoffs[0]]]})
    assert [item["status"] for item in redeemed] == [200, 200, 200, 400]
    theirs = [item["access_token"] for item in redeemed[:3]]
    assert len({*theirs, *tokens}) == 7
    assert all(item["scope"] == "" for item in items(blog, "introspect", {"tokens": theirs}))


def test_two_hand_offs_of_one_new_person_in_one_batch_give_one_token(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    token = approved(chat, rita)
    handoffs = [handed(chat, token, blog) for _ in range(3)]
    found = items(blog, "exchange", {"items": [{"subject_token": text} for text in handoffs]})
    assert [item["status"] for item in found] == [200] * 3
    assert len({item["access_token"] for item in found}) == 1


def test_a_batch_with_an_idempotency_key_has_one_effect_and_one_answer(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    handoff = handed(chat, approved(chat, rita), blog)
    key = {"Idempotency-Key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}
    body = {"items": [{"subject_token": handoff}]}
    first, again = (items(blog, "exchange", body, headers=key) for _ in range(2))
    assert first == again
    assert first[0]["status"] == 200
    assert items(blog, "exchange", body)[0] == REQUEST
    other = blog.post("/v1/tokens/exchange", {"items": [{"subject_token": "hnd_x"}]}, headers=key)
    assert other.status_code == 422


def test_a_batch_gets_as_much_as_the_budget_holds(served: Server) -> None:
    chat, blog, rita = two_providers(served, "--per-hour", "2")
    item = {"subject_token": approved(chat, rita), "audience": blog.id, "scope": PURPOSE}
    found = items(chat, "exchange", {"items": [item] * 4})
    assert [one["status"] for one in found] == [200, 200, 429, 429]
    assert found[3] == {"status": 429, "error": "temporarily_unavailable"}


def test_large_batches_that_come_together_each_get_all_of_theirs_and_an_audit_row_for_each(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    item = {"subject_token": approved(chat, rita), "audience": blog.id, "scope": PURPOSE}
    clients = [Client(served, chat.id, chat.secret) for _ in range(4)]
    found = at_once([lambda one=one: items(one, "exchange", {"items": [item] * 250}) for one in clients])  # type: ignore[misc]
    handoffs = [one["access_token"] for batch in found for one in batch]
    assert len(set(handoffs)) == len(handoffs) == 1000
    redeemed = items(blog, "exchange", {"items": [{"subject_token": handoff} for handoff in handoffs]})
    assert len({one["access_token"] for one in redeemed}) == 1
    audited = "SELECT type, count(*) FROM audit_outbox WHERE type LIKE 'exchange.%' GROUP BY type ORDER BY type"
    counts = dict(execute(served, "keys", audited))
    assert counts["exchange.opened"] == 1000
    assert sum(counts.values()) == 2000


def test_large_batches_that_come_together_get_no_more_than_the_budget_holds(served: Server) -> None:
    chat, blog, rita = two_providers(served, "--per-hour", "500")
    item = {"subject_token": approved(chat, rita), "audience": blog.id, "scope": PURPOSE}
    clients = [Client(served, chat.id, chat.secret) for _ in range(4)]
    found = at_once([lambda one=one: items(one, "exchange", {"items": [item] * 200}) for one in clients])  # type: ignore[misc]
    statuses = [one["status"] for batch in found for one in batch]
    assert (statuses.count(200), statuses.count(429)) == (500, 300)
    assert execute(served, "keys", "SELECT count(*) FROM handoff") == [(500,)]


def test_a_hand_off_to_a_taker_whose_token_was_rotated_gives_the_one_that_is_good(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    token = approved(chat, rita)
    first = token_at(chat, token, blog)
    assert token_at(chat, token, blog) == first
    revoke(blog, first)
    living = token_at(chat, token, blog)
    assert living != first
    assert blog.introspect(living)["active"]
    assert not blog.introspect(first)["active"]


def test_batches_need_the_scope_of_their_verb(served: Server) -> None:
    chat, _, rita = two_providers(served)
    bodies = {"introspect": {"tokens": ["x"]}, "translate": {"tokens": ["x"]}, "exchange": {"items": []}}
    for path, body in bodies.items():
        assert rita.post(f"/v1/tokens/{path}", body).status_code == 403
    weak = chat.http.post(
        "/oauth/token", data={"grant_type": "client_credentials", "scope": "sanction"}, auth=(chat.id, chat.secret)
    ).json()["access_token"]
    for path, body in bodies.items():
        headers = {"Authorization": f"Bearer {weak}"}
        assert chat.http.post(f"/v1/tokens/{path}", json=body, headers=headers).status_code == 403


def test_a42_a_revoked_pseudonym_is_inactive_in_every_worker_for_good_and_its_heir_is_told(served: Server) -> None:
    chat, _, rita = two_providers(served)
    made = chat.registered(ANNA, "anna")
    rita.approve(made["id"])
    old = made["token"]
    assert chat.introspect(old)["active"]
    revoke(chat, old, token_type_hint="access_token")
    assert inactive_everywhere(chat, old)
    living = chat.registration(made["id"])["token"]
    assert living != old
    assert chat.introspect(living)["scope"] == "read publish"
    assert chat.get(f"/v1/accounts/{made['account']}").json()["token"] == living
    assert items(chat, "translate", {"tokens": [old, living]}) == [{"status": 200, "token": living}] * 2
    revoke(chat, old)  # an old one has no effect on its heir
    assert chat.introspect(living)["active"]
    served.kill()
    served.start()
    assert inactive_everywhere(chat, old)
    assert chat.introspect(living)["active"]
    audited = execute(served, "directory", "SELECT count(*) FROM audit_outbox WHERE type = 'token.rotated'")
    assert audited == [(1,)]


def test_a42_a_revoked_access_token_is_refused_in_every_worker_and_after_a_restart(served: Server) -> None:
    chat, _, rita = two_providers(served)
    for client in (chat, rita):
        path = "/v1/accounts" if client is chat else "/v1/reviews"
        assert client.get(path).status_code == 200
        revoke(client, client.token)
        assert {client.get(path).status_code for _ in range(12)} == {401}
    served.kill()
    served.start()
    assert chat.get("/v1/accounts").status_code == 401
    assert chat.authorise()
    assert chat.get("/v1/accounts").status_code == 200
    assert execute(served, "directory", "SELECT count(*) FROM audit_outbox WHERE type = 'token.revoked'") == [(2,)]


def test_a42_revoking_what_is_foreign_unknown_or_over_has_no_effect(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    token = approved(chat, rita)
    handoff = handed(chat, token, blog)
    assert chat.get("/v1/accounts").status_code == 200
    before = rows(served)
    for foreign in (token, chat.token, "nym_" + "A" * 50, "vat_x", "hnd_x", handoff, "anything", "é"):
        for client in (blog, rita):
            revoke(client, foreign)
    revoke(chat, "nym_" + "A" * 50, token_type_hint="no_such_type")
    assert rows(served) == before
    assert chat.introspect(token)["active"]
    assert chat.get("/v1/accounts").status_code == 200
    assert redeem(blog, handoff).status_code == 200
    for bad, status in (({}, 400), ({"token": ""}, 400), ({"token": ["a", "b"]}, 400)):
        answer = chat.http.post("/oauth/revoke", data=bad, auth=(chat.id, chat.secret))
        assert (answer.status_code, answer.json()["error"]) == (status, "invalid_request")
    answer = chat.http.post("/oauth/revoke", data={"token": token}, auth=(chat.id, "wrong"))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a42_a_token_revoked_during_an_exchange_gives_no_new_one(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    token = approved(chat, rita)
    handoff = handed(chat, token, blog)
    revoke(chat, token)
    before = rows(served)
    for _ in range(2):
        answer = redeem(blog, handoff)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert hand_over(chat, token, blog).status_code == 400
    assert rows(served) == before


def test_introspecting_by_the_batch_costs_little_an_item(served: Server) -> None:
    chat, _, rita = two_providers(served)
    token = approved(chat, rita)
    body = {"tokens": [token, "nym_" + "A" * 50] * 500}
    items(chat, "introspect", body)
    took = list[float]()
    for _ in range(3):
        started = time.perf_counter()
        items(chat, "introspect", body)
        took.append(time.perf_counter() - started)
    # The goal is 10 µs an item; this bound only tells a statement an item from one for all.
    assert min(took) < 0.25
