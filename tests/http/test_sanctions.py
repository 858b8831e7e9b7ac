"""Sanctions over HTTP: set, in force at the next call in every worker, ended by the clock, kept and forgotten."""

import base64
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.people import ANNA, WEI, WEI_BY_PASSPORT, person
from tests.serving import NO_TLS, Client, Server

STORES = ("identity", "directory", "keys", "log")
_NUMBERS = itertools.count(70_000)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - a test reads the clock


def later(**delta: int) -> str:
    return (now() + timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


MONTH = later(days=30)


def contents(home: Path) -> bytes:
    return b"".join(path.read_bytes() for store in STORES for path in sorted(home.glob(f"{store}.db*")))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("sanctions") / "home").start()
    yield server
    report = server.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]
    assert report["checked"]["keys.statement_key"] > 0
    assert server.stop() == 0


def approved(provider: Client, rita: Client, **more: Any) -> dict[str, Any]:
    number = next(_NUMBERS)
    made = provider.registered(person(number), f"user{number}", **more)
    rita.approve(made["id"])
    return made


def sanction(provider: Client, expect: Any = 201, headers: Any = None, **body: Any) -> dict[str, Any]:
    answer = provider.post("/v1/sanctions", {"ground": "spam", **body}, headers=headers or {})
    assert answer.status_code == expect, answer.text
    found: dict[str, Any] = answer.json()
    return found


def pointers(problem: dict[str, Any]) -> list[str]:
    return [error["pointer"] for error in problem["errors"]]


def test_the_contracts_own_example_sets_a_limit_that_any_call_meets(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    set_ = sanction(
        chat, token=made["token"], rung="limit_publish", until="2031-01-01T00:00:00Z", facts="…", by="mod-17",
        automated="none", source="own_initiative",
    )  # fmt: skip
    assert set(set_) == {
        "id", "rung", "state", "starts", "until", "ground", "by", "automated", "source", "token",
    }  # fmt: skip
    assert (set_["rung"], set_["state"], set_["until"]) == ("limit_publish", "running", "2031-01-01T00:00:00Z")
    answer = chat.introspect(made["token"])
    assert (answer["active"], answer["scope"]) == (True, "read")
    assert answer["vault_restriction"] == {"rung": "limit_publish", "until": "2031-01-01T00:00:00Z"}
    assert chat.registration(made["id"])["restriction"]["rung"] == "limit_publish"
    assert chat.get(f"/v1/sanctions/{set_['id']}").json() == set_


def test_a_sanction_says_who_set_it_how_far_automated_and_on_whose_word(chat: Client, rita: Client) -> None:
    """With the defaults where they were not sent, without `by` where nobody is named; the same in every answer."""
    made = approved(chat, rita)
    plain = sanction(chat, token=made["token"], rung="warn", facts="x")
    assert ("by" in plain, plain["automated"], plain["source"]) == (False, "none", "own_initiative")
    said = {"by": "mod-17", "automated": "partially", "source": "trusted_flagger"}
    full = sanction(chat, account=made["account"], rung="warn", facts="x", **said)
    assert said.items() <= full.items()
    assert chat.get(f"/v1/sanctions/{full['id']}").json() == full
    listed = chat.get("/v1/sanctions", params={"token": made["token"]}).json()["items"]
    assert sorted(listed, key=str) == sorted([plain, full], key=str)
    for one in (plain, full):
        lifted = chat.post(f"/v1/sanctions/{one['id']}/lift", {"reason": "other", "by": "mod-18"}).json()
        assert lifted.items() >= {**one, "state": "lifted"}.items(), "`by` is who set it"


def test_r_cn_06_the_ladder_has_four_ordered_rungs_with_their_scopes(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    shown = []
    for rung in ("warn", "limit_publish", "suspend_updates", "close"):
        more = {"by": "mod-1"} if rung == "close" else {"until": MONTH} if rung != "warn" else {}
        sanction(chat, token=made["token"], rung=rung, **more)
        answer = chat.introspect(made["token"])
        shown.append((answer["active"], answer.get("scope"), answer.get("vault_restriction", {}).get("rung")))
    assert shown == [
        (True, "read publish", "warn"), (True, "read", "limit_publish"), (True, "", "suspend_updates"),
        (False, None, None),
    ]  # fmt: skip
    assert sanction(chat, 422, token=made["token"], rung="mute")["errors"]


def test_r_cn_06_a_rung_that_skips_ahead_needs_a_written_reason(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    body = {"token": made["token"], "rung": "suspend_updates", "until": MONTH}
    assert pointers(sanction(chat, 422, **body)) == ["/skip_reason"]
    assert pointers(sanction(chat, 422, **body, facts="\n ")) == ["/skip_reason"]
    sanction(chat, **body, skip_reason="credible threats\nwith a date")
    assert sanction(chat, token=made["token"], rung="close", by="mod-1")["state"] == "running"


def test_r_cn_06_what_was_lifted_as_a_mistake_is_no_step_of_the_ladder(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    first = sanction(chat, token=made["token"], rung="warn")
    path = f"/v1/sanctions/{first['id']}/lift"
    assert chat.post(path, {"reason": "mistake"}).json()["state"] == "lifted"
    body = {"token": made["token"], "rung": "limit_publish", "until": MONTH}
    assert pointers(sanction(chat, 422, **body)) == ["/skip_reason"]
    sanction(chat, token=made["token"], rung="warn")
    sanction(chat, **body)


def test_r_cn_07_every_limit_has_an_end_after_which_the_scope_is_back_with_no_human_act(
    chat: Client, rita: Client
) -> None:
    made = approved(chat, rita)
    for rung in ("limit_publish", "suspend_updates"):
        assert pointers(sanction(chat, 422, token=made["token"], rung=rung, facts="x")) == ["/until"]
    end = later(seconds=6)
    short = sanction(chat, token=made["token"], rung="suspend_updates", until=end, facts="x")
    assert chat.introspect(made["token"])["scope"] == ""
    while now() < datetime.strptime(end, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC):
        time.sleep(0.1)
    answer = chat.introspect(made["token"])
    assert (answer["scope"], "vault_restriction" in answer) == ("read publish", False)
    assert chat.get(f"/v1/sanctions/{short['id']}").json()["state"] == "ended"


def test_a_sanction_holds_in_every_worker_from_the_next_call_on(chat: Client, rita: Client) -> None:
    for _ in range(3):
        made = approved(chat, rita)
        for _ in range(20):
            assert chat.introspect(made["token"])["scope"] == "read publish"
        set_ = sanction(chat, token=made["token"], rung="limit_publish", until=MONTH, facts="x")
        with httpx.Client(base_url=chat.server.url, verify=NO_TLS) as other:
            for _ in range(20):
                # A connection of its own each time, so that both workers answer.
                asked = httpx.post(
                    chat.server.url + "/oauth/introspect",
                    data={"token": made["token"]},
                    auth=(chat.id, chat.secret),
                    verify=NO_TLS,
                )
                again = other.post("/oauth/introspect", data={"token": made["token"]}, auth=(chat.id, chat.secret))
                assert asked.json()["scope"] == again.json()["scope"] == "read"
        assert chat.post(f"/v1/sanctions/{set_['id']}/lift", {"reason": "appeal"}).status_code == 200
        for _ in range(20):
            assert chat.introspect(made["token"])["scope"] == "read publish"


def test_a_stricter_sanction_that_ends_or_is_lifted_gives_way_to_the_milder_that_runs(
    chat: Client, rita: Client
) -> None:
    made = approved(chat, rita)
    sanction(chat, token=made["token"], rung="limit_publish", until=MONTH, facts="x")
    strict = sanction(chat, token=made["token"], rung="suspend_updates", until=MONTH)
    assert chat.introspect(made["token"])["scope"] == ""
    assert chat.post(f"/v1/sanctions/{strict['id']}/lift", {"reason": "served", "by": "mod-2"}).status_code == 200
    assert chat.introspect(made["token"])["scope"] == "read"


def test_a_sanction_is_lifted_once(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    set_ = sanction(chat, token=made["token"], rung="warn")
    path = f"/v1/sanctions/{set_['id']}/lift"
    lifted = chat.post(path, {"reason": "other"}).json()
    assert (lifted["state"], lifted["lift_reason"]) == ("lifted", "other")
    again = chat.post(path, {"reason": "other"})
    assert (again.status_code, again.json()["type"]) == (409, "urn:idvault:problem:conflict")
    assert chat.post(path, {"reason": "bored"}).status_code == 422


def test_a_sanction_on_one_account_leaves_the_others_and_one_on_the_person_meets_all(
    chat: Client, rita: Client
) -> None:
    made = approved(chat, rita, kind="personal")
    body = {"handle": f"side{next(_NUMBERS)}", "kind": "personal", "token": made["token"]}
    side = chat.post("/v1/accounts", body).json()
    one = sanction(chat, account=made["account"], rung="limit_publish", until=MONTH, facts="x")
    assert (one["account"], "token" in one) == (made["account"], False)
    token = made["token"]
    assert chat.introspect(token, account=made["account"])["scope"] == "read"
    assert chat.introspect(token, account=side["id"])["scope"] == "read publish"
    assert chat.introspect(token)["scope"] == "read"
    sanction(chat, token=token, rung="suspend_updates", until=MONTH, facts="x")
    assert chat.introspect(token, account=side["id"])["scope"] == ""
    items = chat.get("/v1/accounts", params={"token": token}).json()["items"]
    assert {item["restriction"]["rung"] for item in items} == {"suspend_updates"}


def test_a_registration_shows_the_stricter_of_what_runs_on_its_registrant_and_on_its_account(
    chat: Client, rita: Client
) -> None:
    made = approved(chat, rita)

    def shown() -> Any:
        one = chat.registration(made["id"])
        assert one == next(item for item in chat.get("/v1/registrations", params={"limit": 200}).json()["items"]
                           if item["id"] == made["id"])  # fmt: skip
        return one["scope"], one.get("restriction")

    assert shown() == ("read publish", None)
    sanction(chat, account=made["account"], rung="limit_publish", until=MONTH, facts="x")
    assert shown() == ("read", {"rung": "limit_publish", "until": MONTH})
    sanction(chat, token=made["token"], rung="warn", facts="x")
    assert shown() == ("read", {"rung": "limit_publish", "until": MONTH})
    sanction(chat, token=made["token"], rung="suspend_updates", until=MONTH, facts="x", skip_reason="x")
    assert shown() == ("", {"rung": "suspend_updates", "until": MONTH})


def test_the_reason_for_an_inactive_token_is_shown_to_its_owner(chat: Client, blog: Client, rita: Client) -> None:
    made = approved(chat, rita)
    set_ = sanction(chat, token=made["token"], rung="close", by="mod-1", facts="x", ban_until=later(days=900))
    assert chat.introspect(made["token"]) == {"active": False}
    [item] = chat.get("/v1/accounts", params={"token": made["token"]}).json()["items"]
    assert item["restriction"] == {"rung": "close", "until": set_["ban_until"]}
    assert (item["state"], item["scope"]) == ("approved", "")
    assert blog.get("/v1/accounts", params={"token": made["token"]}).json() == {"items": []}


def test_r_gdpr_06_a_closure_names_who_decided_it_and_is_no_machines_alone(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    body = {"token": made["token"], "rung": "close", "facts": "x"}
    assert pointers(sanction(chat, 422, **body)) == ["/by"]
    assert pointers(sanction(chat, 422, **body, by="mod-1", automated="fully")) == ["/automated"]
    assert pointers(sanction(chat, 422, **body, by="")) == ["/by"]
    assert pointers(sanction(chat, 422, **body, by="mod 1")) == ["/by"]
    extreme = {"token": made["token"], "degree": "extreme", "facts": "x", "automated": "fully", "by": "m"}
    assert pointers(sanction(chat, 422, **extreme)) == ["/automated"]
    sanction(chat, **body, by="mod-1", automated="partially")


def test_a_closed_person_is_out_for_five_years_and_a_closed_account_for_good_unless_said(
    chat: Client, rita: Client
) -> None:
    made = approved(chat, rita)
    on_account = sanction(chat, account=made["account"], rung="close", by="m", facts="x")
    assert "ban_until" not in on_account
    on_person = sanction(chat, token=made["token"], rung="close", by="m", facts="x")
    assert on_person["ban_until"][:4] == str(now().year + 5)


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"rung": "warn", "ban_until": MONTH}, "/ban_until"),
        ({"rung": "close", "by": "m", "until": MONTH}, "/until"),
        ({"rung": "warn", "until": "2020-01-01T00:00:00Z"}, "/until"),
        ({"rung": "warn", "until": later(days=7 * 365)}, "/until"),
        ({"rung": "warn", "until": "2027-01-01"}, "/until"),
        ({"rung": "warn", "until": "2027-01-01T00:00:00+00:00"}, "/until"),
        ({"rung": "warn", "until": "2027-13-01T00:00:00Z"}, "/until"),
        ({"rung": "close", "by": "m", "ban_until": later(days=7 * 365)}, "/ban_until"),
        ({"rung": "warn", "degree": "minor"}, "/rung"),
        ({"rung": "warn", "reach": {"views": 1}}, "/rung"),
        ({}, "/rung"),
        ({"degree": "huge"}, "/degree"),
        ({"reach": {}}, "/reach/views"),
        ({"reach": {"views": -1}}, "/reach/views"),
        ({"reach": {"views": True}}, "/reach/views"),
        ({"rung": "warn", "source": "rumour"}, "/source"),
        ({"rung": "warn", "ground": "Spam it is"}, "/ground"),
        ({"rung": "warn", "facts": "x" * 5001}, "/facts"),
        ({"rung": "warn", "facts": "a\u0000"}, "/facts"),
        ({"rung": "warn", "facts": None}, "/facts"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(
    chat: Client, rita: Client, more: dict[str, Any], pointer: str
) -> None:
    made = approved(chat, rita)
    assert pointer in pointers(sanction(chat, 422, token=made["token"], **more))
    assert chat.get("/v1/sanctions", params={"token": made["token"]}).json() == {"items": []}


def test_one_target_exactly_is_named(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    assert pointers(sanction(chat, 422, rung="warn")) == ["/token"]
    both = {"token": made["token"], "account": made["account"]}
    assert pointers(sanction(chat, 422, rung="warn", **both)) == ["/token"]
    assert chat.get("/v1/sanctions", params=both).status_code == 422


def test_foreign_and_unknown_tokens_accounts_and_sanctions_are_answered_alike(
    chat: Client, blog: Client, rita: Client
) -> None:
    made = approved(chat, rita)
    set_ = sanction(chat, token=made["token"], rung="warn")
    unknown = "acc_" + base64.urlsafe_b64encode(bytes(16)).rstrip(b"=").decode()
    for foreign, strange in ((made["token"], "nym_x"), (made["account"], unknown)):
        name = "token" if foreign == made["token"] else "account"
        assert sanction(blog, 404, rung="warn", **{name: foreign}) == sanction(
            blog, 404, rung="warn", **{name: strange}
        )
        lists = [blog.get("/v1/sanctions", params={name: value}) for value in (foreign, strange)]
        assert [answer.status_code for answer in lists] == [404, 404]
        assert lists[0].json() == lists[1].json()
    other = "san_" + unknown[4:]
    for path in ("/v1/sanctions/{}", "/v1/sanctions/{}/lift"):
        method = "GET" if path.endswith("{}") else "POST"
        body = {} if method == "GET" else {"json": {"reason": "other"}}
        answers = [blog.call(method, path.format(each), **body) for each in (set_["id"], other, "san_x")]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1
    assert chat.get(f"/v1/sanctions/{set_['id']}").json()["state"] == "running"


def test_a_provider_lists_its_history_a_page_at_a_time(chat: Client, rita: Client, served: Server) -> None:
    made = approved(chat, rita)
    mine = {sanction(chat, token=made["token"], rung="warn")["id"] for _ in range(3)}
    mine.add(sanction(chat, account=made["account"], rung="warn")["id"])
    seen: list[str] = []
    query: dict[str, str] = {"limit": "2", "token": made["token"]}
    while True:
        page = chat.get("/v1/sanctions", params=query).json()
        seen += [item["id"] for item in page["items"]]
        if "next" not in page:
            break
        query["cursor"] = page["next"]
    assert (set(seen), len(seen)) == (mine, 4)
    [own] = chat.get("/v1/sanctions", params={"account": made["account"]}).json()["items"]
    assert own["account"] == made["account"]
    everything = chat.get("/v1/sanctions", params={"limit": "200"}).json()["items"]
    assert mine <= {item["id"] for item in everything}
    fresh = served.provider(f"empty{next(_NUMBERS)}")
    assert fresh.get("/v1/sanctions").json() == {"items": []}
    assert chat.get("/v1/sanctions", params={"cursor": "cur_x"}).status_code == 400


def test_degree_and_reach_lead_to_rungs_and_the_numbers_stay_nowhere(
    chat: Client, rita: Client, served: Server
) -> None:
    made = approved(chat, rita)
    marks = {"views": 987_654_321_012, "reposts": 123_456_789_876}
    by_reach = sanction(chat, token=made["token"], reach=marks, facts="seen by many")
    assert (by_reach["rung"], by_reach["degree"]) == ("limit_publish", "serious")
    until = datetime.strptime(by_reach["until"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(days=6, hours=23) < until - now() <= timedelta(days=7)
    for small in ({"views": 4_999}, {"reposts": 499}, {"views": 4_999, "reposts": 499}):
        assert sanction(chat, token=made["token"], reach=small)["degree"] == "minor"
    for big in ({"views": 5_000}, {"reposts": 500}):
        assert sanction(chat, token=made["token"], reach=big)["degree"] == "serious"
    grave = sanction(chat, token=made["token"], degree="grave")
    assert grave["rung"] == "suspend_updates"
    assert sanction(chat, token=made["token"], degree="extreme", by="m")["rung"] == "close"
    served.json("fsck")  # whatever the workers hold is written by now
    held = contents(served.home) + served.log.read_bytes()
    for number in marks.values():
        packed = [
            str(number).encode(),
            *(number.to_bytes(size, order) for size in (5, 8) for order in ("big", "little")),
        ]
        assert not any(form in held for form in packed)


def test_a_policy_maps_degrees_reach_and_days(served: Server, rita: Client, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        '[policy]\ndegrees = {minor = "limit_publish"}\nreach_serious = {views = 10}\n'
        "default_days = {limit_publish = 2}\n"
    )
    strict = served.provider(f"strict{next(_NUMBERS)}", file=str(file))
    made = approved(strict, rita)
    minor = sanction(strict, token=made["token"], degree="minor", facts="x")
    assert minor["rung"] == "limit_publish"
    until = datetime.strptime(minor["until"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert until - now() <= timedelta(days=2)
    assert sanction(strict, token=made["token"], reach={"views": 10})["degree"] == "serious"
    assert sanction(strict, token=made["token"], reach={"views": 9})["degree"] == "minor"


def test_the_words_of_a_sanction_lie_sealed(chat: Client, rita: Client, served: Server) -> None:
    made = approved(chat, rita)
    sanction(
        chat, token=made["token"], rung="limit_publish", until=MONTH, facts="Zq7factsmark", skip_reason="Zq7skipmark"
    )
    held = contents(served.home) + served.log.read_bytes()
    assert b"Zq7factsmark" not in held
    assert b"Zq7skipmark" not in held


def test_r_cn_11_and_12_a_returner_meets_his_ban_before_publish_and_at_that_provider_alone(
    chat: Client, blog: Client, rita: Client
) -> None:
    first = chat.registered(WEI, "wei")
    rita.approve(first["id"])
    sanction(chat, token=first["token"], rung="close", by="mod-1", facts="x")
    again, elsewhere = chat.registered(WEI_BY_PASSPORT, "zhang"), blog.registered(WEI_BY_PASSPORT, "zhang")
    shown = rita.reveal(again["id"])
    [candidate] = shown["candidates"]
    assert candidate["sanctions"][0]["rung"] == "close"
    clean = rita.reveal(elsewhere["id"])
    assert (clean["candidates"], clean["returner"], clean["sanctions"]) == ([], False, [])
    verdicts = [{"id": candidate["id"], "verdict": "same_person"}]
    rita.approve(again["id"], candidates=verdicts, shown=shown["shown"])
    assert chat.registration(again["id"])["token"] == first["token"]
    assert chat.introspect(first["token"], account=again["account"]) == {"active": False}
    rita.approve(elsewhere["id"])
    answer = blog.introspect(elsewhere["token"])
    assert (answer["scope"], "vault_restriction" in answer) == ("read publish", False)


def test_nobody_is_approved_whose_running_sanctions_were_not_shown_or_are_others_by_now(
    chat: Client, blog: Client, rita: Client, served: Server
) -> None:
    """His document is the very same, so that he is no candidate: the decision waits for a reveal all the same."""
    bound, number = served.reviewer(f"bound{next(_NUMBERS)}", chat), next(_NUMBERS)
    first = chat.registered(person(number), f"one{number}")
    rita.approve(first["id"])
    sanction(chat, token=first["token"], rung="warn", facts="x")
    again, elsewhere = chat.registered(person(number), f"two{number}"), blog.registered(person(number), f"x{number}")
    rita.approve(elsewhere["id"])
    for reviewer in (rita, bound):
        assert reviewer.decide(again["id"]).json()["type"].endswith("candidates-changed")
    shown = rita.reveal(again["id"])
    assert (shown["candidates"], shown["sanctions"]) == ([], [{"rung": "warn"}])
    sanction(chat, token=first["token"], rung="limit_publish", until=MONTH)
    for more in ({}, {"shown": shown["shown"]}):
        assert rita.decide(again["id"], **more).json()["type"].endswith("candidates-changed")
    assert rita.reveal(again["id"])["sanctions"][0]["rung"] == "limit_publish"
    rita.approve(again["id"])
    assert chat.registration(again["id"])["token"] == first["token"]


def test_a_ban_of_one_who_was_erased_is_shown_before_he_is_approved(chat: Client, rita: Client) -> None:
    number = next(_NUMBERS)
    first = chat.registered(person(number), f"one{number}")
    rita.approve(first["id"])
    sanction(chat, token=first["token"], rung="close", by="mod-1", facts="x")
    assert chat.call("DELETE", f"/v1/registrations/{first['id']}").status_code == 204
    again = chat.registered(person(number), f"two{number}")
    assert rita.decide(again["id"]).json()["type"].endswith("candidates-changed")
    assert rita.reveal(again["id"])["sanctions"][0]["rung"] == "close"
    rita.approve(again["id"])
    assert chat.introspect(again["token"]) == {"active": False}


def test_who_returns_with_nothing_running_is_approved_unseen(chat: Client, rita: Client) -> None:
    number = next(_NUMBERS)
    first, again = (chat.registered(person(number), f"{name}{number}") for name in ("one", "two"))
    rita.approve(first["id"])
    lifted = sanction(chat, token=first["token"], rung="warn", facts="x")
    assert chat.post(f"/v1/sanctions/{lifted['id']}/lift", {"reason": "appeal"}).status_code == 200
    rita.approve(again["id"])
    assert chat.registration(again["id"])["token"] == first["token"]


def test_r_de_08_a_new_document_changes_neither_token_nor_ban(chat: Client, rita: Client) -> None:
    first = chat.registered(ANNA, "anna")
    rita.approve(first["id"])
    sanction(chat, token=first["token"], rung="limit_publish", until=MONTH, facts="x")
    renewed = {**ANNA, "document": {**ANNA["document"], "number": "X12345678"}}
    again = chat.registered(renewed, "anna_new")
    shown = rita.reveal(again["id"])
    verdicts = [{"id": shown["candidates"][0]["id"], "verdict": "same_person"}]
    rita.approve(again["id"], candidates=verdicts, shown=shown["shown"])
    assert chat.registration(again["id"])["token"] == first["token"]
    assert chat.introspect(first["token"])["vault_restriction"]["rung"] == "limit_publish"
    # The superseded token leads to what it has become.
    on_alias = sanction(chat, token=again["token"], rung="suspend_updates", until=MONTH)
    assert on_alias["token"] == first["token"]
    both = chat.get("/v1/sanctions", params={"token": again["token"]}).json()["items"]
    assert {item["rung"] for item in both} == {"limit_publish", "suspend_updates"}


def test_sanctions_of_those_who_become_one_are_all_kept(chat: Client, rita: Client) -> None:
    number = next(_NUMBERS)
    one = chat.registered(person(number), f"one{number}")
    other = chat.registered(person(number), f"other{number}")
    sanction(chat, token=one["token"], rung="warn")
    sanction(chat, token=other["token"], rung="limit_publish", until=MONTH, facts="x")
    sanction(chat, account=other["account"], rung="suspend_updates", until=MONTH, facts="x")
    rita.approve(one["id"])
    assert rita.reveal(other["id"])["sanctions"] == [{"rung": "warn"}]
    rita.approve(other["id"])
    living = chat.registration(other["id"])["token"]
    items = chat.get("/v1/sanctions", params={"token": living}).json()["items"]
    assert sorted(item["rung"] for item in items) == ["limit_publish", "suspend_updates", "warn"]
    assert chat.introspect(living, account=one["account"])["scope"] == "read"
    assert chat.introspect(living, account=other["account"])["scope"] == ""


def test_r_cn_08_a_sanction_goes_when_its_retention_has_run_out_and_not_before(tmp_path: Path) -> None:
    served = Server(tmp_path / "home", IDVAULT_SANCTION_RETENTION_DAYS="183").start()
    chat, rita = served.provider("chat"), served.reviewer("rita")
    made = approved(chat, rita)
    ids = [sanction(chat, token=made["token"], rung="warn", until=MONTH)["id"] for _ in range(4)]
    lifted = chat.post(f"/v1/sanctions/{ids[2]}/lift", {"reason": "served"}).json()
    assert lifted["state"] == "lifted"
    assert served.stop() == 0
    day = 86_400
    for sanction_id, column, age in ((ids[0], "until", 184), (ids[1], "until", 182), (ids[2], "lifted", 184)):
        raw = base64.urlsafe_b64decode(sanction_id[4:] + "==")
        when = int(time.time()) - age * day
        served.sql("directory", f'UPDATE sanction SET "{column}" = ? WHERE id = ?', when, raw)  # noqa: S608
    served.start()
    again = Client(served, chat.id, chat.secret)
    end = time.monotonic() + 20
    while len(again.get("/v1/sanctions").json()["items"]) > 2 and time.monotonic() < end:
        time.sleep(0.1)
    assert {item["id"] for item in again.get("/v1/sanctions").json()["items"]} == {ids[1], ids[3]}
    assert served.stop() == 0


def test_retention_below_half_a_year_stops_the_start(tmp_path: Path) -> None:
    server = Server(tmp_path / "home", IDVAULT_SANCTION_RETENTION_DAYS="182")
    server.run("provider", "list", code=1)


def test_a45_members_that_are_not_asked_for_are_refused(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    for extra in ("id", "tenant", "status", "role", "approved_by", "expires_at", "created_at", "key_id", "lifted"):
        assert sanction(chat, 422, token=made["token"], rung="warn", **{extra: "x"})
        assert sanction(chat, 422, token=made["token"], reach={"views": 1, extra: 1})
    assert chat.get("/v1/sanctions", params={"token": made["token"]}).json() == {"items": []}


def test_a50_sql_metacharacters_are_data(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    words = "'; DROP TABLE sanction; -- \" % _ \\"
    set_ = sanction(chat, token=made["token"], rung="limit_publish", until=MONTH, facts=words, skip_reason=words)
    for value in (words, "' OR '1'='1", "%"):
        assert chat.get("/v1/sanctions", params={"token": value}).status_code in {404, 422}
        assert chat.get("/v1/sanctions", params={"account": value}).status_code in {404, 422}
        assert sanction(chat, 422, token=made["token"], rung="warn", by=value)
        assert sanction(chat, 422, token=made["token"], rung="warn", ground=value)
    assert chat.get(f"/v1/sanctions/{set_['id']}").json() == set_


def test_a55_one_key_and_body_have_one_effect_and_one_answer(
    chat: Client, blog: Client, rita: Client, served: Server
) -> None:
    made, there = approved(chat, rita), approved(blog, rita)
    key = {"Idempotency-Key": f"k{next(_NUMBERS)}"}
    body = {"token": made["token"], "rung": "warn"}
    first = sanction(chat, headers=key, **body)
    assert sanction(chat, headers=key, **body) == first
    other = sanction(chat, 422, headers=key, **{**body, "until": MONTH})
    assert other["type"].endswith("idempotency-mismatch")
    assert sanction(blog, headers=key, token=there["token"], rung="warn")["id"] != first["id"]
    assert len(chat.get("/v1/sanctions", params={"token": made["token"]}).json()["items"]) == 1
    lift = f"/v1/sanctions/{first['id']}/lift"
    lifts = [chat.post(lift, {"reason": "other"}, headers={"Idempotency-Key": "lift-" + key["Idempotency-Key"]})
             for _ in range(2)]  # fmt: skip
    assert [answer.status_code for answer in lifts] == [200, 200]
    assert first["id"].encode() not in contents(served.home)


def test_a_sanction_that_was_refused_frees_its_key(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    key = {"Idempotency-Key": f"k{next(_NUMBERS)}"}
    skipped = {"token": made["token"], "rung": "suspend_updates", "until": MONTH}
    assert pointers(sanction(chat, 422, headers=key, **skipped))
    assert sanction(chat, headers=key, **skipped, facts="x")["rung"] == "suspend_updates"


def test_a55_twenty_at_once_have_one_effect(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    key = {"Idempotency-Key": f"burst{next(_NUMBERS)}", "Authorization": f"Bearer {chat.token}"}
    body = {"token": made["token"], "rung": "warn", "ground": "spam"}

    def send(_: int) -> tuple[int, str]:
        for _ in range(50):
            answer = httpx.post(chat.server.url + "/v1/sanctions", json=body, headers=key, timeout=30, verify=NO_TLS)
            if answer.status_code != 409:
                return answer.status_code, answer.json()["id"]
            time.sleep(0.05)
        raise AssertionError("still running")

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(send, range(20)))
    assert len(answers) == 1
    assert {status for status, _ in answers} == {201}
    assert len(chat.get("/v1/sanctions", params={"token": made["token"]}).json()["items"]) == 1


def test_each_of_many_at_once_has_its_own_sanction_or_refusal(chat: Client, rita: Client, served: Server) -> None:
    """A worker sets what waits together in one transaction: of one person too, and beside what is refused."""
    tokens = [approved(chat, rita)["token"] for _ in range(6)]
    bodies: list[dict[str, Any]] = [
        {"token": token, "rung": "warn", "ground": "spam", "facts": f"{number}"}
        for token in tokens for number in range(4)
    ]  # fmt: skip
    ahead = {"rung": "suspend_updates", "until": later(days=3), "ground": "spam"}
    bodies += [{"token": token, **ahead} for token in tokens[1:]]
    limit = {"token": tokens[0], "rung": "limit_publish", "ground": "spam", "facts": "x"}
    bodies += [{**limit, "until": later(days=days)} for days in (1, 9, 5)]
    audited = served.sql("directory", "SELECT count(*) FROM audit_outbox WHERE type = ?", "sanction.set")[0][0]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda body: chat.post("/v1/sanctions", body), bodies))
    codes = [answer.status_code for answer in answers]
    # Whether a suspension comes before the first warning of its person or after, it skips ahead.
    assert codes == [201] * 24 + [422] * 5 + [201] * 3
    made = [answer.json() for answer in answers if answer.status_code == 201]
    assert len({one["id"] for one in made}) == 27
    assert [one["token"] for one in made[:24]] == [body["token"] for body in bodies[:24]]
    for token in tokens:
        rungs = [one["rung"] for one in chat.get(f"/v1/sanctions?token={token}").json()["items"]]
        assert sorted(rungs) == ["limit_publish"] * (3 if token == tokens[0] else 0) + ["warn"] * 4
    # Each was computed from those set before it in the same transaction: the latest end runs.
    assert chat.introspect(tokens[0])["vault_restriction"] == {"rung": "limit_publish", "until": bodies[-2]["until"]}
    assert chat.introspect(tokens[1])["vault_restriction"] == {"rung": "warn"}
    rows = served.sql("directory", "SELECT count(*) FROM audit_outbox WHERE type = ?", "sanction.set")[0][0]
    assert rows - audited == 27


def test_a55_the_stored_answer_and_the_sanction_hold_after_a_restart(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    made = approved(chat, rita)
    body = {"token": made["token"], "rung": "limit_publish", "until": MONTH, "facts": "x"}
    first = sanction(chat, headers={"Idempotency-Key": "k"}, **body)
    fresh.kill()
    fresh.start()
    again = Client(fresh, chat.id, chat.secret)
    assert sanction(again, headers={"Idempotency-Key": "k"}, **body) == first
    assert again.introspect(made["token"])["scope"] == "read"


def test_every_sanction_and_lifting_writes_an_audit_row_in_the_directory(
    chat: Client, rita: Client, served: Server
) -> None:
    def rows() -> int:
        [[count]] = served.sql("directory", "SELECT count(*) FROM audit_outbox WHERE type LIKE 'sanction.%'")
        return int(count)

    made = approved(chat, rita)
    before = rows()
    set_ = sanction(chat, token=made["token"], rung="warn")
    sanction(chat, 422, token=made["token"], rung="suspend_updates", until=MONTH)
    assert rows() == before + 1
    chat.post(f"/v1/sanctions/{set_['id']}/lift", {"reason": "appeal"})
    assert rows() == before + 2


def test_the_scope_sanction_is_needed(chat: Client, rita: Client) -> None:
    made = approved(chat, rita)
    form = {"grant_type": "client_credentials", "scope": "register introspect"}
    token = chat.http.post("/oauth/token", data=form, auth=(chat.id, chat.secret)).json()["access_token"]
    answer = chat.http.post(
        "/v1/sanctions", json={"token": made["token"], "rung": "warn", "ground": "spam"},
        headers={"Authorization": f"Bearer {token}"},
    )  # fmt: skip
    assert answer.status_code == 403
