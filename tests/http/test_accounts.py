"""Accounts over HTTP: legacy ones, further ones of a person, renaming, closing, caps, look-alike handles."""

import base64
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.people import person
from tests.serving import Client, Server

_NUMBERS = itertools.count(80_000)


def name(stem: str = "user") -> str:
    return f"{stem}{next(_NUMBERS)}"


def with_policy(served: Server, tmp_path: Path, policy: str) -> Client:
    file = tmp_path / f"{name()}.toml"
    file.write_text(f"[policy]\n{policy}\n")
    return served.provider(name("p"), file=str(file))


def approved(provider: Client, rita: Client, number: int | None = None, **more: Any) -> dict[str, Any]:
    made = provider.registered(person(number or next(_NUMBERS)), name(), **more)
    rita.approve(made["id"])
    return made


def added(provider: Client, status: Any = 201, headers: Any = None, **body: Any) -> dict[str, Any]:
    whole = {"handle": name("acc"), "kind": "personal", **body}
    answer = provider.post("/v1/accounts", whole, headers=headers or {})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def patched(provider: Client, account: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = provider.call("PATCH", f"/v1/accounts/{account}", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def closed(provider: Client, account: str) -> int:
    return provider.call("DELETE", f"/v1/accounts/{account}").status_code


def test_r_cn_02_a_legacy_account_reads_and_no_more(chat: Client) -> None:
    handle = name("old")
    made = added(chat, handle=handle, kind="public", external_id="u-1")
    assert set(made) == {"id", "token", "handle", "kind", "state", "scope", "external_id"}
    assert (made["handle"], made["state"], made["scope"]) == (handle, "legacy", "read")
    answer = chat.introspect(made["token"])
    assert (answer["scope"], answer["assurance"]) == ("read", "none")
    assert chat.get(f"/v1/accounts/{made['id']}").json() == made
    taken = chat.post("/v1/accounts", {"handle": handle.upper(), "kind": "personal"})
    assert taken.json()["type"].endswith("handle-taken")


def test_legacy_accounts_have_the_scope_of_the_policy_until_its_day(
    served: Server, tmp_path: Path, rita: Client
) -> None:
    for policy, scope in (
        ('legacy_scope = ""', ""), ("legacy_until = 2020-01-01", ""), ('legacy_until = "2090-01-01"', "read"),
    ):  # fmt: skip
        provider = with_policy(served, tmp_path, policy)
        made = added(provider)
        assert (made["scope"], provider.introspect(made["token"])["scope"]) == (scope, scope)
    late = with_policy(served, tmp_path, "legacy_until = 2020-01-01")
    waiting = late.registered(person(next(_NUMBERS)), name())
    assert waiting["scope"] == late.introspect(waiting["token"])["scope"] == "read"
    rita.approve(waiting["id"])
    assert late.introspect(waiting["token"])["scope"] == "read publish"
    refused = late.registered(person(next(_NUMBERS)), name())
    assert rita.decide(refused["id"], "rejected", reason="not_the_holder").status_code == 200
    assert late.introspect(refused["token"])["scope"] == late.registration(refused["id"])["scope"] == ""


def test_a_personal_account_of_a_verified_person_has_its_scope_at_once(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    side = added(chat, token=made["token"])
    assert (side["state"], side["scope"], side["token"]) == ("approved", "read publish", made["token"])
    assert chat.introspect(made["token"], account=side["id"])["scope"] == "read publish"
    items = chat.get("/v1/accounts", params={"token": made["token"]}).json()["items"]
    assert {item["id"] for item in items} == {made["account"], side["id"]}


def test_accounts_of_a_person_who_is_not_verified_yet_are_refused_with_a_reason(chat: Client, rita: Client) -> None:
    waiting = chat.registered(person(next(_NUMBERS)), name())
    legacy = added(chat)
    for token in (waiting["token"], legacy["token"]):
        for kind in ("personal", "public"):
            problem = added(chat, 409, token=token, kind=kind)
            assert problem["type"] == "urn:idvault:problem:conflict"
            assert "not verified" in problem["detail"]
    rita.approve(waiting["id"])
    added(chat, token=waiting["token"])


def test_foreign_and_unknown_tokens_and_accounts_are_answered_alike(chat: Client, blog: Client, rita: Client) -> None:
    made = approved(chat, rita)
    assert added(blog, 404, token=made["token"]) == added(blog, 404, token="nym_x")
    unknown = "acc_" + base64.urlsafe_b64encode(bytes(16)).rstrip(b"=").decode()
    for method, body in (("GET", None), ("PATCH", {"handle": "abc"}), ("DELETE", None)):
        answers = [
            blog.call(method, f"/v1/accounts/{account}", **({} if body is None else {"json": body}))
            for account in (made["account"], unknown, "acc_x")
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1
    assert chat.get(f"/v1/accounts/{made['account']}").json()["state"] == "approved"


def test_r_cn_03_a_public_account_of_a_verified_person_has_a_review_of_its_own(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    handle = name("shop")
    case = added(chat, 202, token=made["token"], kind="public", handle=handle)
    assert (case["state"], case["scope"], case["token"]) == ("in_review", "read", made["token"])
    assert chat.introspect(made["token"], account=case["account"])["scope"] == "read"
    shown = rita.reveal(case["id"])
    assert (shown["kind"], shown["fields"], shown["evidence"], shown["candidates"]) == ("account", {}, [], [])
    assert shown["account"] == {"handle": handle, "kind": "public", "look_alike": False}
    assert rita.get(f"/v1/reviews/{case['id']}/evidence/passport").status_code == 404
    decided = rita.decide(case["id"], shown=shown["shown"])
    assert decided.status_code == 200, decided.text
    assert decided.json()["kind"] == "account"
    assert chat.introspect(made["token"], account=case["account"])["scope"] == "read publish"
    after = chat.registration(case["id"])
    assert (after["state"], after["scope"]) == ("approved", "read publish")
    assert rita.decide(case["id"]).json()["type"].endswith("decided")


def test_ending_the_registration_of_an_account_closes_it_and_leaves_its_person(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    for state in ("in_review", "approved"):
        case = added(chat, 202, token=made["token"], kind="public")
        if state == "approved":
            rita.approve(case["id"])
        for _ in range(2):
            assert chat.call("DELETE", f"/v1/registrations/{case['id']}").status_code == 204
        assert chat.registration(case["id"])["state"] == "withdrawn"
        assert chat.get(f"/v1/accounts/{case['account']}").json()["state"] == "closed"
        assert chat.introspect(made["token"], account=case["account"]) == {"active": False}
    assert chat.introspect(made["token"])["scope"] == "read publish"


def test_a_rejected_account_falls_to_the_legacy_scope_and_its_person_keeps_his(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    case = added(chat, 202, token=made["token"], kind="public")
    assert rita.decide(case["id"], "rejected", reason="handle_not_allowed").status_code == 200
    assert chat.get(f"/v1/accounts/{case['account']}").json()["state"] == "legacy"
    assert chat.introspect(made["token"], account=case["account"])["scope"] == "read"
    assert chat.introspect(made["token"], account=made["account"])["scope"] == "read publish"


def test_a_returned_account_goes_back_in_review_with_another_handle(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    case = added(chat, 202, token=made["token"], kind="public")
    assert rita.decide(case["id"], "returned", reason="handle_not_allowed", fix=["legal_name"]).status_code == 422
    assert rita.decide(case["id"], "returned", reason="handle_not_allowed", fix=["handle"]).status_code == 200
    after = chat.registration(case["id"])
    assert (after["state"], after["fix"], after["scope"]) == ("returned", ["handle"], "read")
    assert patched(chat, case["account"], external_id="u-9")["state"] == "returned"
    better = name("better")
    assert patched(chat, case["account"], handle=better)["state"] == "in_review"
    assert chat.registration(case["id"])["state"] == "in_review"
    assert rita.reveal(case["id"])["account"]["handle"] == better
    rita.approve(case["id"])
    assert chat.introspect(made["token"], account=case["account"])["scope"] == "read publish"


def test_account_reviews_are_seen_leased_and_idempotent_as_others(
    chat: Client, blog: Client, rita: Client, served: Server
) -> None:
    made = approved(chat, rita)
    case = added(chat, 202, token=made["token"], kind="public")
    here, there = served.reviewer(name("here"), chat), served.reviewer(name("there"), blog)
    body = {"purpose": "review", "fields": ["legal_name"]}
    assert there.post(f"/v1/reviews/{case['id']}/reveal", body).status_code == 404
    assert there.decide(case["id"]).status_code == 404
    here.reveal(case["id"])
    assert rita.decide(case["id"]).json()["type"].endswith("leased")
    assert rita.post(f"/v1/reviews/{case['id']}/reveal", body).json()["type"].endswith("leased")
    verdict = [{"id": "cnd_x", "verdict": "same_person"}]
    assert here.decide(case["id"], candidates=verdict).json()["type"].endswith("candidates-changed")
    assert here.decide(case["id"], shown="00" * 32).json()["type"].endswith("candidates-changed")
    key = {"Idempotency-Key": name("k")}
    answers = [here.decide(case["id"], headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert case["id"] in {item["id"] for item in here.get("/v1/reviews", params={"limit": "200"}).json()["items"]}


def test_an_account_review_needs_a_reveal_where_the_policy_says_so(
    served: Server, tmp_path: Path, rita: Client
) -> None:
    careful = with_policy(served, tmp_path, "review_needs_reveal = true")
    made = careful.registered(person(next(_NUMBERS)), name())
    rita.reveal(made["id"])
    rita.approve(made["id"])
    case = added(careful, 202, token=made["token"], kind="public")
    assert rita.decide(case["id"]).json()["type"].endswith("candidates-changed")
    rita.reveal(case["id"])
    rita.approve(case["id"])


def test_a_renamed_account_frees_its_handle_at_once(chat: Client, rita: Client) -> None:
    old, new = name("old"), name("new")
    made = chat.registered(person(next(_NUMBERS)), old)
    changed = patched(chat, made["account"], handle=new, external_id="u-77")
    assert (changed["handle"], changed["external_id"], changed["id"]) == (new, "u-77", made["account"])
    assert added(chat, handle=old)["handle"] == old
    assert added(chat, 409, handle=new)["type"].endswith("handle-taken")
    assert patched(chat, made["account"], 409, handle=old)["type"].endswith("handle-taken")
    assert patched(chat, made["account"], handle=new.upper())["handle"] == new.upper()
    rita.reveal(made["id"])
    rita.approve(made["id"])
    assert chat.introspect(made["token"])["scope"] == "read publish"


@pytest.mark.parametrize(
    "body", [{}, {"handle": None}, {"external_id": None}, {"handle": ""}, {"handle": "a b"}, {"kind": "public"},
             {"token": "nym_x"}, {"state": "approved"}, {"handle": "ok_handle", "owner": "x"}],
)  # fmt: skip
def test_a45_and_r_cn_14_a_change_takes_handle_and_external_id_alone(chat: Client, body: dict[str, Any]) -> None:
    made = added(chat)
    patched(chat, made["id"], 422, **body)
    assert chat.get(f"/v1/accounts/{made['id']}").json() == made


def test_a45_members_that_are_not_asked_for_are_refused(chat: Client) -> None:
    for extra in ("id", "tenant", "state", "role", "approved_by", "expires_at", "created_at", "key_id", "mac", "pid"):
        added(chat, 422, **{extra: "approved"})
    for member in ("handle", "kind", "external_id", "token"):
        added(chat, 422, **{member: None})


def test_r_cn_10_a_closed_account_is_a_tombstone_and_counts_no_more(
    served: Server, tmp_path: Path, rita: Client
) -> None:
    tight = with_policy(served, tmp_path, "caps = {personal = 2}")
    made = approved(tight, rita, kind="personal", external_id="u-1")
    side = added(tight, token=made["token"], external_id="u-2")
    added(tight, 409, token=made["token"])
    assert closed(tight, side["id"]) == closed(tight, side["id"]) == 204
    gone = tight.get(f"/v1/accounts/{side['id']}").json()
    assert set(gone) == {"id", "token", "kind", "state", "scope"}
    assert (gone["state"], gone["scope"]) == ("closed", "")
    assert tight.get("/v1/accounts", params={"external_id": "u-2"}).json() == {"items": []}
    assert tight.introspect(made["token"], account=side["id"]) == {"active": False}
    assert tight.introspect(made["token"])["scope"] == "read publish"
    assert patched(tight, side["id"], 409, handle="abc")["type"].endswith("conflict")
    # The quota and the handle are free at once.
    assert added(tight, token=made["token"], handle=side["handle"])["state"] == "approved"
    raw = base64.urlsafe_b64decode(side["id"][4:] + "==")
    assert served.sql("directory", "SELECT handle, external_id FROM account WHERE id = ?", raw) == [("", None)]
    assert served.sql("directory", "SELECT * FROM handle WHERE account = ?", raw) == []
    assert served.json("fsck")["clean"]


def test_a_closed_accounts_ban_stays_on_its_row_and_its_person_can_still_be_sanctioned(
    chat: Client, rita: Client
) -> None:
    made = approved(chat, rita)
    ban = {"account": made["account"], "rung": "close", "by": "m", "facts": "x", "ground": "fraud"}
    assert chat.post("/v1/sanctions", ban).status_code == 201
    assert closed(chat, made["account"]) == 204
    assert chat.get(f"/v1/accounts/{made['account']}").json()["restriction"] == {"rung": "close"}
    assert chat.introspect(made["token"]) == {"active": False}
    again = chat.post("/v1/sanctions", ban)
    assert (again.status_code, again.json()["type"]) == (409, "urn:idvault:problem:conflict")
    person_ban = {"token": made["token"], "rung": "warn", "ground": "fraud"}
    assert chat.post("/v1/sanctions", person_ban).status_code == 201


def test_a_closed_accounts_open_review_is_over(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    case = added(chat, 202, token=made["token"], kind="public")
    assert closed(chat, case["account"]) == 204
    assert chat.registration(case["id"])["state"] == "withdrawn"
    assert rita.decide(case["id"]).json()["type"].endswith("decided")


def test_r_cn_09_the_cap_holds_when_an_account_is_added_and_the_refusal_names_nothing(
    served: Server, tmp_path: Path, rita: Client
) -> None:
    tight = with_policy(served, tmp_path, "caps = {personal = 1, public = 2}")
    made = approved(tight, rita, kind="public")
    assert added(tight, token=made["token"])["state"] == "approved"
    problem = added(tight, 409, token=made["token"])
    assert (problem["type"], problem["detail"]) == ("urn:idvault:problem:cap-reached", "cap reached")
    assert set(problem) == {"type", "title", "status", "detail"}
    added(tight, 202, token=made["token"], kind="public")
    assert added(tight, 409, token=made["token"], kind="public")["type"].endswith("cap-reached")


def test_r_cn_09_the_cap_counts_the_person_at_the_decision_and_a_refusal_changes_nothing(
    served: Server, tmp_path: Path, rita: Client
) -> None:
    tight = with_policy(served, tmp_path, "caps = {public = 1}")
    number = next(_NUMBERS)
    bound = served.reviewer(name("bound"), tight)
    first, again = (tight.registered(person(number), name()) for _ in range(2))
    bound.approve(first["id"])
    before = tight.registration(again["id"]), tight.introspect(again["token"])
    for reviewer in (bound, rita):
        shown = reviewer.reveal(again["id"])
        answer = reviewer.decide(again["id"], headers={"Idempotency-Key": name("k")})
        assert (answer.status_code, answer.json()["detail"]) == (409, "cap reached")
        assert answer.json()["type"] == "urn:idvault:problem:cap-reached"
        assert shown["returner"] is True
        served.sql("directory", "UPDATE review SET lease_by = NULL, lease_until = NULL")
    assert (tight.registration(again["id"]), tight.introspect(again["token"])) == before
    assert closed(tight, first["account"]) == 204
    rita.approve(again["id"])
    assert tight.registration(again["id"])["token"] == first["token"]
    assert tight.introspect(first["token"])["scope"] == "read publish"


def test_r_cn_09_the_cap_holds_at_the_decision_of_an_account(served: Server, tmp_path: Path, rita: Client) -> None:
    tight = with_policy(served, tmp_path, "caps = {public = 2}")
    number = next(_NUMBERS)
    first, other = (approved(tight, rita, number=n) for n in (number, next(_NUMBERS)))
    case = added(tight, 202, token=first["token"], kind="public")
    # The same person comes again with an account of his own, and is found to be one with the first.
    again = tight.registered(person(number), name())
    rita.approve(again["id"])
    answer = rita.decide(case["id"])
    assert answer.json()["type"] == "urn:idvault:problem:cap-reached"
    assert tight.registration(case["id"])["state"] == "in_review"
    assert tight.introspect(other["token"])["scope"] == "read publish"
    assert closed(tight, again["account"]) == 204
    rita.approve(case["id"])


def test_without_a_cap_a_person_has_as_many_accounts_as_he_likes(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    assert [added(chat, token=made["token"])["state"] for _ in range(5)] == ["approved"] * 5


def test_a_handle_that_looks_like_another_is_flagged_and_never_says_which(chat: Client, rita: Client) -> None:
    stem = name("paypal")
    first = chat.registered(person(next(_NUMBERS)), stem)
    assert "look_alike" not in chat.get(f"/v1/accounts/{first['account']}").json()
    fake = chat.registered(person(next(_NUMBERS)), stem.replace("a", "\u0430").replace("l", "I"))
    shown = chat.get(f"/v1/accounts/{fake['account']}").json()
    assert shown["look_alike"] is True
    assert stem not in str(shown)
    revealed = rita.reveal(fake["id"])
    assert revealed["look_alike"] is True
    assert stem not in str(revealed)
    assert chat.get(f"/v1/accounts/{first['account']}").json()["look_alike"] is True
    assert closed(chat, fake["account"]) == 204
    assert "look_alike" not in chat.get(f"/v1/accounts/{first['account']}").json()


def test_a_look_alike_at_another_provider_is_nobodys_business(chat: Client, blog: Client, rita: Client) -> None:
    stem = name("scope")
    chat.registered(person(next(_NUMBERS)), stem)
    there = blog.registered(person(next(_NUMBERS)), stem.replace("o", "\u043e"))
    assert "look_alike" not in blog.get(f"/v1/accounts/{there['account']}").json()
    assert rita.reveal(there["id"])["look_alike"] is False


def test_accounts_are_found_by_external_id_and_by_token(chat: Client, blog: Client, rita: Client) -> None:
    mark = name("ext")
    made = approved(chat, rita, external_id=mark)
    added(blog, external_id=mark)
    [item] = chat.get("/v1/accounts", params={"external_id": mark}).json()["items"]
    assert item["id"] == made["account"]
    both = {"external_id": mark, "token": made["token"]}
    assert len(chat.get("/v1/accounts", params=both).json()["items"]) == 1
    assert chat.get("/v1/accounts", params={"external_id": mark + "x"}).json() == {"items": []}


def test_a50_sql_metacharacters_are_data(chat: Client) -> None:
    words = "u'; DROP TABLE account; -- % _"
    made = added(chat, external_id=words)
    assert chat.get("/v1/accounts", params={"external_id": words}).json()["items"] == [made]
    for value in ("' OR '1'='1", "%", "u_"):
        assert chat.get("/v1/accounts", params={"external_id": value}).json() == {"items": []}
    odd = f"{name('x')}';--"
    assert patched(chat, made["id"], handle=odd)["handle"] == odd


def test_a55_adding_changing_and_closing_take_a_key(chat: Client, blog: Client) -> None:
    key = {"Idempotency-Key": name("k")}
    handle = name("once")
    first = added(chat, headers=key, handle=handle)
    assert added(chat, headers=key, handle=handle) == first
    mismatch = chat.post("/v1/accounts", {"handle": name(), "kind": "personal"}, headers=key)
    assert mismatch.json()["type"].endswith("idempotency-mismatch")
    assert added(blog, headers=key, handle=handle)["id"] != first["id"]
    path, rename = f"/v1/accounts/{first['id']}", name("new")
    changes = [
        chat.call("PATCH", path, json={"handle": rename}, headers={"Idempotency-Key": "p" + rename}) for _ in range(2)
    ]
    assert [answer.json()["handle"] for answer in changes] == [rename, rename]
    ends = [chat.call("DELETE", path, headers={"Idempotency-Key": "d" + rename}) for _ in range(2)]
    assert [answer.status_code for answer in ends] == [204, 204]


def test_personal_accounts_of_one_who_is_united_with_a_verified_person_keep_working(
    chat: Client, rita: Client, served: Server
) -> None:
    number = next(_NUMBERS)
    first = approved(chat, rita, number=number, kind="personal")
    side = added(chat, token=first["token"])
    again = chat.registered(person(number), name(), kind="personal")
    assert closed(chat, side["id"]) == 204
    patched(chat, again["account"], handle=name("moved"))
    rita.approve(again["id"])
    items = chat.get("/v1/accounts", params={"token": first["token"]}).json()["items"]
    states = {item["id"]: item["state"] for item in items}
    assert states == {first["account"]: "approved", side["id"]: "closed", again["account"]: "approved"}
    assert served.json("fsck")["clean"]


def test_renames_and_approvals_at_once_leave_every_account_bound(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    rita.authorise()
    chat.authorise()
    for round_ in range(4):
        number = next(_NUMBERS)
        first, again = (chat.registered(person(number), name()) for _ in range(2))
        rita.approve(first["id"])

        def rename(account: str = again["account"]) -> None:
            renamer = Client(fresh, chat.id, chat.secret)
            for _ in range(12):
                assert patched(renamer, account, handle=name("r"))["id"] == account

        with ThreadPoolExecutor(2) as pool:
            renaming = pool.submit(rename)
            rita.approve(again["id"])
            renaming.result()
        assert fresh.json("fsck", "--grace-minutes", "0")["clean"], round_


def test_a_reason_that_is_on_no_list_is_refused_and_not_repeated(chat: Client, rita: Client) -> None:
    made = chat.registered(person(64_001), "reasons")
    for decision in ("rejected", "returned"):
        answer = rita.decide(made["id"], decision, reason="anna_lives_there", fix=["legal_name"])
        assert answer.status_code == 422
        assert "anna" not in answer.text
    assert chat.registration(made["id"])["state"] == "in_review"
