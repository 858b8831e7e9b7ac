"""One person from one provider to another: by agreement alone, once, and without either learning of the other."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.http.exchanges import (
    HANDOFF,
    PSEUDONYM,
    PURPOSE,
    agree,
    approved,
    at_once,
    exchange,
    execute,
    hand_over,
    handed,
    redeem,
    rows,
    token_at,
    two_providers,
)
from tests.people import ANNA, WEI, WEI_BY_PASSPORT, person
from tests.serving import Client, Server
from vault.errors import Kind, VaultError
from vault.services.exchanging import Redeeming
from vault.wiring import Vault

pytestmark = pytest.mark.sampled

SUBJECT = {"error": "invalid_request", "error_description": "the subject token is none that may be exchanged"}


@pytest.fixture(autouse=True)
def _clean_afterwards(fresh: Server) -> Iterator[None]:
    yield
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def refused(answer: httpx.Response, code: str, status: int = 400) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/json"


def test_a_person_handed_over_is_the_takers_own_token_with_an_empty_scope_and_once(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    token = approved(chat, rita)
    opened = hand_over(chat, token, blog).json()
    handoff = opened.pop("access_token")
    assert opened == {"issued_token_type": HANDOFF, "token_type": "N_A", "expires_in": 300, "scope": PURPOSE}
    redeemed = redeem(blog, handoff)
    assert redeemed.headers["Cache-Control"] == "no-store"
    answer = redeemed.json()
    other = answer.pop("access_token")
    assert answer == {"issued_token_type": PSEUDONYM, "token_type": "N_A", "scope": PURPOSE}
    assert other.startswith("nym_")
    assert other != token
    shown = blog.introspect(other)
    assert (shown["active"], shown["scope"]) == (True, "")
    assert chat.introspect(other) == blog.introspect(token) == {"active": False}
    assert redeem(blog, handoff).json() == SUBJECT
    assert blog.get("/v1/accounts").json() == {"items": []}
    assert chat.introspect(token)["scope"] == "read publish"


def test_every_exchange_of_one_person_gives_the_same_token(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    token = approved(chat, rita)
    assert token_at(chat, token, blog) == token_at(chat, token, blog)
    assert len(execute(fresh, "keys", "SELECT 1 FROM record_key")) == 2


def test_two_hand_offs_of_a_new_person_redeemed_in_parallel_give_one_token(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    token = approved(chat, rita)
    handoffs = [handed(chat, token, blog) for _ in range(6)]
    answers = at_once([lambda text=text: redeem(blog, text) for text in handoffs])  # type: ignore[misc]
    assert [answer.status_code for answer in answers] == [200] * 6, [answer.text for answer in answers]
    assert len({answer.json()["access_token"] for answer in answers}) == 1
    assert len(execute(fresh, "directory", "SELECT 1 FROM standing")) == 2


def test_a38_a_hand_off_is_good_once_at_once_after_a_restart_and_in_any_spelling(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    token = approved(chat, rita)
    handoff = handed(chat, token, blog)
    last = "B" if handoff[-1] != "B" else "C"
    spellings = [handoff + "=", handoff + "==", handoff + " ", " " + handoff, handoff[:-1] + last, handoff + "A",
                 handoff.upper(), handoff.replace("hnd_", "hnd-"), handoff.removeprefix("hnd_"),
                 handoff + "\n"]  # fmt: skip
    for spelling in spellings:
        refused(redeem(blog, spelling), "invalid_request")
    answers = at_once([lambda: redeem(blog, handoff)] * 50)
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    fresh.stop()
    fresh.start()
    blog = Client(fresh, blog.id, blog.secret)
    for spelling in (handoff, *spellings):
        refused(redeem(blog, spelling), "invalid_request")


def test_one_hand_off_redeemed_in_parallel_is_redeemed_once(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    token = approved(chat, rita)
    for _ in range(2):  # a new person at the taker, then one it has
        handoff = handed(chat, token, blog)
        answers = at_once([lambda text=handoff: redeem(blog, text)] * 6)  # type: ignore[misc]
        assert sorted(answer.status_code for answer in answers) == [200, *[400] * 5]
    audited = execute(fresh, "keys", "SELECT type FROM audit_outbox WHERE type LIKE 'exchange.%' ORDER BY type")
    assert audited == [("exchange.opened",)] * 2 + [("exchange.redeemed",)] * 2


def test_who_registers_later_keeps_the_token_of_the_exchange(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    other = token_at(chat, approved(chat, rita), blog)
    made = blog.registered(ANNA, "erika")
    assert rita.reveal(made["id"])["candidates"] == []
    rita.approve(made["id"])
    after = blog.registration(made["id"])
    assert (after["token"], after["supersedes"]) == (other, made["token"])
    assert blog.introspect(other)["scope"] == "read publish"
    assert blog.introspect(made["token"]) == {"active": False}
    [translated] = blog.post("/v1/tokens/translate", {"tokens": [made["token"]]}).json()["items"]
    assert translated == {"status": 200, "token": other}


def test_a_bound_reviewers_approval_joins_the_exchanged_standing_by_the_match_alone(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    bound = fresh.reviewer("bound", blog)
    other = token_at(chat, approved(chat, rita), blog)
    made = blog.registered(ANNA, "erika")
    bound.approve(made["id"])
    assert "supersedes" not in blog.registration(made["id"])
    rita.approve(rita.post("/v1/reviews/next").json()["id"])
    assert blog.registration(made["id"])["token"] == other


def test_who_is_at_both_already_is_handed_over_to_the_token_that_the_taker_has(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    here, there = approved(chat, rita), approved(blog, rita, handle="erika")
    assert token_at(chat, here, blog) == there


def test_when_two_persons_become_one_so_do_the_tokens_that_a_third_has_of_them(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    news = fresh.provider("news")
    agree(fresh, news, blog)
    card, passport = approved(chat, rita, WEI), approved(news, rita, WEI_BY_PASSPORT)
    tokens = {token_at(chat, card, blog), token_at(news, passport, blog)}
    assert len(tokens) == 2, "they are two persons so far"
    made = chat.registered(WEI_BY_PASSPORT, "zhang")
    shown = rita.reveal(made["id"])
    verdict = [{"id": shown["candidates"][0]["id"], "verdict": "same_person"}]
    rita.approve(made["id"], candidates=verdict, shown=shown["shown"])
    found = {token_at(chat, card, blog), token_at(news, passport, blog)}
    assert len(found) == 1
    assert found <= tokens


def test_an_exchange_can_go_on_only_where_that_was_agreed_too(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    news = fresh.provider("news")
    at_blog = token_at(chat, approved(chat, rita), blog)
    refused(hand_over(blog, at_blog, news), "invalid_target")
    refused(hand_over(blog, at_blog, chat), "invalid_target")
    agree(fresh, blog, news)
    at_news = token_at(blog, at_blog, news)
    assert len({at_blog, at_news}) == 2


def test_a68_whom_a_bound_reviewer_approved_is_exchanged_like_a_stranger(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    bound = fresh.reviewer("bound", chat)
    approved(blog, rita, handle="erika")  # the person is known elsewhere, the stranger is not
    known = approved(chat, bound)
    stranger = approved(chat, bound, person(7), "stranger")
    provisional = chat.registered(person(8), "provisional")["token"]
    answers = [hand_over(chat, token, blog) for token in (known, stranger, provisional, "nym_" + "A" * 50)]
    assert {answer.status_code for answer in answers} == {400}
    assert [answer.json() for answer in answers] == [SUBJECT] * 4
    sizes = {tuple(sorted((n, v) for n, v in answer.headers.items() if n != "date")) for answer in answers}
    assert len(sizes) == 1


def test_a40_no_refusal_leaves_a_token_row_or_event_behind(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    news, closed = fresh.provider("news"), fresh.provider("closed")
    for giver, taker in ((chat, closed), (blog, chat)):
        agree(fresh, giver, taker)
    fresh.run("provider", "allow-exchange", "chat", "news", "--purpose", "consented", "--basis", "consent")
    token, handoff = approved(chat, rita), ""
    handoff = handed(chat, token, blog)
    execute(fresh, "directory", "UPDATE provider SET state = 'suspended' WHERE client = ?", closed.id)
    before = rows(fresh)
    good: dict[str, Any] = {"subject_token": token, "subject_token_type": PSEUDONYM, "audience": blog.id}
    good["scope"] = PURPOSE
    access = chat.token
    wrong: list[tuple[Client, str, dict[str, Any]]] = [
        (blog, "invalid_request", {"audience": blog.id}),
        (blog, "invalid_request", {"audience": chat.id}),  # a's token is no token of b's
        (chat, "invalid_request", {"subject_token": None}),
        (chat, "invalid_request", {"subject_token": ""}),
        (chat, "invalid_request", {"subject_token": [token, token]}),
        (chat, "invalid_request", {"subject_token": "A" * 600}),
        (chat, "invalid_request", {"subject_token": token[:-1] + ("A" if token[-1] != "A" else "B")}),
        (chat, "invalid_request", {"subject_token": access}),
        (chat, "invalid_request", {"subject_token": "é"}),
        (chat, "invalid_request", {"subject_token_type": None}),
        (chat, "invalid_request", {"subject_token_type": HANDOFF}),
        (chat, "invalid_request", {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}),
        (chat, "invalid_request", {"requested_token_type": "urn:ietf:params:oauth:token-type:access_token"}),
        (chat, "invalid_request", {"actor_token": "x", "actor_token_type": PSEUDONYM}),
        (chat, "invalid_request", {"actor_token_type": PSEUDONYM}),
        (chat, "invalid_target", {"resource": "https://blog.example"}),
        (chat, "invalid_target", {"resource": ["https://a.example", "https://b.example"]}),
        (chat, "invalid_target", {"audience": None}),
        (chat, "invalid_target", {"audience": "cli_unknown"}),
        (chat, "invalid_target", {"audience": "é"}),
        (chat, "invalid_target", {"audience": closed.id}),
        (chat, "invalid_target", {"audience": [blog.id, news.id]}),
        (chat, "invalid_target", {"audience": rita.id}),
        (chat, "invalid_target", {"audience": chat.id}),
        (chat, "invalid_scope", {"scope": None}),
        (chat, "invalid_scope", {"scope": "other"}),
        (chat, "invalid_scope", {"scope": f"{PURPOSE} other"}),
        (chat, "invalid_scope", {"scope": "MODERATION"}),
        (chat, "invalid_scope", {"scope": "publish"}),
        (chat, "invalid_request", {"audience": news.id, "scope": "consented"}),
        (news, "invalid_request", {}),
        (rita, "unauthorized_client", {}),
    ]
    for client, code, changes in wrong:
        refused(exchange(client, **{**good, **changes}), code)
    redeemed: list[tuple[Client, str, dict[str, Any]]] = [
        (chat, "invalid_request", {}),
        (news, "invalid_request", {}),
        (rita, "unauthorized_client", {}),
        (blog, "invalid_request", {"subject_token_type": PSEUDONYM}),
        (blog, "invalid_request", {"requested_token_type": HANDOFF}),
        (blog, "invalid_request", {"actor_token": "x"}),
        (blog, "invalid_target", {"audience": news.id}),
        (blog, "invalid_scope", {"scope": "other"}),
        (blog, "invalid_scope", {"scope": "publish"}),
        (blog, "invalid_request", {"subject_token": handoff + "A"}),
        (blog, "invalid_request", {"subject_token": handoff[:-1]}),
        (blog, "invalid_request", {"subject_token": "hnd_"}),
    ]
    for client, code, changes in redeemed:
        refused(redeem(client, **{"handoff": handoff, **changes}), code) if "subject_token" not in changes else refused(
            exchange(client, subject_token_type=HANDOFF, **changes), code
        )
    after = rows(fresh)
    assert after.pop("directory.refusal"), "that they were refused is what stays"
    before.pop("directory.refusal")
    assert after == before
    assert redeem(blog, handoff, audience=blog.id, scope=PURPOSE).status_code == 200


def test_an_expired_hand_off_is_refused_and_removed_by_the_next_one(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    token = approved(chat, rita)
    handoff = handed(chat, token, blog)
    [(expires,)] = execute(fresh, "keys", "SELECT expires FROM handoff")
    # The end is sealed too: moving it is seen, and gains nothing.
    execute(fresh, "keys", "UPDATE handoff SET expires = ?", expires + 9999)
    refused(redeem(blog, handoff), "invalid_request")
    execute(fresh, "keys", "UPDATE handoff SET expires = 1")
    refused(redeem(blog, handoff), "invalid_request")
    handed(chat, token, blog)
    assert len(execute(fresh, "keys", "SELECT 1 FROM handoff")) == 1


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE standing SET inactive_from = 1 WHERE pid = ?",
        "UPDATE standing SET ladder = '4:' WHERE pid = ?",
        "UPDATE standing SET generation = 1 WHERE pid = ?",
        "UPDATE account SET state = 'closed' WHERE pid = ?",
    ],
)
def test_an_inactive_token_hands_nobody_over(fresh: Server, end: str) -> None:
    chat, blog, rita = two_providers(fresh)
    token = approved(chat, rita)
    [(pid,)] = execute(fresh, "directory", "SELECT pid FROM standing")
    handoff = handed(chat, token, blog)
    execute(fresh, "directory", end, pid)
    assert chat.introspect(token) == {"active": False}
    assert hand_over(chat, token, blog).json() == SUBJECT
    if "account" not in end:
        assert redeem(blog, handoff).json() == SUBJECT  # what was handed over just before is void, too


def test_a_superseded_token_hands_nobody_over_and_its_heir_does(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    first = approved(chat, rita)
    again = approved(chat, rita, handle="anna2")
    assert hand_over(chat, again, blog).json() == SUBJECT
    assert token_at(chat, first, blog)


def test_agreements_take_effect_at_once_and_are_shown_with_their_providers(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    token = approved(chat, rita)
    refused(hand_over(chat, token, blog), "invalid_target")
    names = ("chat", "blog", "--purpose", PURPOSE)
    made = fresh.json("provider", "allow-exchange", *names, "--basis", "legal", "--per-hour", "5")
    assert made == {
        "from": chat.id, "to": blog.id, "purpose": PURPOSE, "basis": "legal", "per_hour": 5, "state": "active",
    }  # fmt: skip
    handoff = handed(chat, token, blog)
    assert [fresh.json("provider", "show", name)["agreements"] for name in ("chat", blog.id)] == [[made], [made]]
    assert fresh.json("provider", "revoke-exchange", *names) == {**made, "state": "revoked"}
    refused(hand_over(chat, token, blog), "invalid_target")
    assert redeem(blog, handoff).json() == SUBJECT
    for wrong in (
        ("chat", "nobody", "--purpose", PURPOSE, "--basis", "legal"),
        ("chat", "chat", "--purpose", PURPOSE, "--basis", "legal"),
        ("chat", "blog", "--purpose", "Two Words", "--basis", "legal"),
    ):
        fresh.run("provider", "allow-exchange", *wrong, code=1)
    fresh.run("provider", "revoke-exchange", "blog", "chat", "--purpose", PURPOSE, code=1)
    fresh.run("provider", "allow-exchange", *names, "--basis", "none", code=2)
    kinds = execute(fresh, "directory", "SELECT type FROM audit_outbox WHERE type LIKE 'exchange.%' ORDER BY type")
    assert kinds == [("exchange.allowed",), ("exchange.revoked",)]


def test_the_budget_of_an_agreement_ends_with_429_until_the_hour_is_over(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh, "--per-hour", "2")
    token = approved(chat, rita)
    assert [hand_over(chat, token, blog).status_code for _ in range(3)] == [200, 200, 429]
    refused(hand_over(chat, token, blog), "temporarily_unavailable", 429)


def test_under_lockdown_exchanges_are_closed_and_the_rest_of_oauth_is_open(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    token = approved(chat, rita)
    handoff = handed(chat, token, blog)
    fresh.run("keys", "lockdown")
    refused(hand_over(chat, token, blog), "temporarily_unavailable", 503)
    refused(redeem(blog, handoff), "temporarily_unavailable", 503)
    assert chat.authorise()
    assert chat.introspect(token)["active"] is True
    answer = chat.post("/v1/tokens/exchange", {"items": [{"subject_token": token}]})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:idvault:problem:lockdown")
    assert chat.post("/v1/tokens/introspect", {"tokens": [token]}).json()["items"][0]["active"] is True
    fresh.run("keys", "unseal")
    assert redeem(blog, handoff).status_code == 200


def test_swapped_rows_are_refused_and_open_nothing(fresh: Server) -> None:
    chat, blog, rita = two_providers(fresh)
    one, other = approved(chat, rita), approved(chat, rita, person(1), "other")
    pairs = execute(fresh, "directory", "SELECT pid, link FROM standing ORDER BY created")
    for (pid, _), (_, link) in zip(pairs, reversed(pairs), strict=True):
        execute(fresh, "directory", "UPDATE standing SET link = ? WHERE pid = ?", link, pid)
    for token in (one, other):
        refused(hand_over(chat, token, blog), "server_error", 500)
    for pid, link in pairs:
        execute(fresh, "directory", "UPDATE standing SET link = ? WHERE pid = ?", link, pid)
    assert hand_over(chat, one, blog).status_code == 200


def _cut_off(vault: Vault, blog: Client, handoff: str) -> None:
    client = vault.access.authenticate(blog.id, blog.secret)
    with pytest.raises(VaultError):
        vault.exchanging.exchange(client, [Redeeming(handoff)])


def _fail(*_: object) -> None:
    raise VaultError(Kind.UNAVAILABLE)


def test_an_exchange_cut_off_before_the_commit_point_never_happened(
    fresh: Server, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, blog, rita = two_providers(fresh)
    handoff = handed(chat, approved(chat, rita), blog)
    monkeypatch.setattr("vault.stores.exchanges.add", _fail)
    _cut_off(vault, blog, handoff)
    assert len(execute(fresh, "keys", "SELECT 1 FROM record_key")) == 2
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]
    assert len(execute(fresh, "keys", "SELECT 1 FROM record_key")) == 1
    assert len(execute(fresh, "identity", "SELECT 1 FROM record")) == 1
    assert len(execute(fresh, "keys", "SELECT 1 FROM person")) == 1


def test_an_exchange_cut_off_after_the_commit_point_is_finished_as_verified(
    fresh: Server, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, blog, rita = two_providers(fresh)
    token = approved(chat, rita)
    handoff = handed(chat, token, blog)
    call = vault.exchanging._exchange.call

    def broken(verb: str, *more: Any) -> dict[str, Any]:
        if verb == "exchange.done":
            raise VaultError(Kind.UNAVAILABLE)
        return call(verb, *more)

    monkeypatch.setattr(vault.exchanging._exchange, "call", broken)
    _cut_off(vault, blog, handoff)
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]
    states = execute(fresh, "keys", "SELECT state, assurance FROM record_key")
    assert states == [("verified", "vault")] * 2
    # The taker had no answer: the hand-off is still his, and what he gets is what was made for it.
    assert redeem(blog, handoff).status_code == 200
    assert len(execute(fresh, "directory", "SELECT 1 FROM standing")) == 2
    assert token_at(chat, token, blog)


def test_a_review_of_the_same_person_waits_for_an_exchange_that_was_cut_off(
    fresh: Server, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, blog, rita = two_providers(fresh)
    handoff = handed(chat, approved(chat, rita), blog)
    made = blog.registered(ANNA, "erika")
    with monkeypatch.context() as patch:
        patch.setattr("vault.stores.exchanges.add", _fail)
        _cut_off(vault, blog, handoff)
    execute(fresh, "keys", "UPDATE intent SET not_before = not_before + 60")  # a lease as long as this test
    assert rita.decide(made["id"]).status_code == 409
    execute(fresh, "keys", "UPDATE intent SET not_before = 0")  # its lease is over
    rita.approve(made["id"])
    assert redeem(blog, handoff).json()["access_token"] == made["token"]
