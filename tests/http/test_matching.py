"""Who is recognised by whom: across providers by a vault reviewer alone, in the order and with the verdicts given."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.people import ANNA, WEI, WEI_BY_PASSPORT
from tests.serving import Client, Server

MISTYPED = ANNA | {"birth_date": "1974-08-21"}


@pytest.fixture(autouse=True)
def _clean_afterwards(fresh: Server) -> Iterator[None]:
    yield
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def verdict_on_all(shown: dict[str, Any], verdict: str) -> dict[str, Any]:
    return {
        "candidates": [{"id": candidate["id"], "verdict": verdict} for candidate in shown["candidates"]],
        "shown": shown["shown"],
    }


def counts(server: Server) -> int:
    """Return how many persons the vault knows."""
    [[count]] = server.sql("keys", "SELECT count(*) FROM person")
    return int(count)


def approve_same(reviewer: Client, reg: str) -> None:
    shown = reviewer.reveal(reg)
    assert [candidate["kind"] for candidate in shown["candidates"]] == ["same_document"]
    reviewer.approve(reg, **verdict_on_all(shown, "same_person"))


def test_one_document_with_two_birth_dates_is_a_conflict_for_a_vault_reviewer_across_providers(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    one, other = chat.registered(ANNA, "anna"), blog.registered(MISTYPED, "anna")
    rita.approve(one["id"])
    assert rita.decide(other["id"]).status_code == 409
    approve_same(rita, other["id"])
    assert counts(fresh) == 1
    assert blog.registration(other["id"])["token"] == other["token"]
    # Her right birth date at the second provider finds the standing that the first union gave her there.
    again = blog.registered(ANNA, "anna3")
    shown = rita.reveal(again["id"])
    rita.approve(again["id"], **verdict_on_all(shown, "same_person"))
    assert blog.registration(again["id"])["supersedes"] == again["token"]
    assert blog.registration(again["id"])["token"] == other["token"]
    assert counts(fresh) == 1


def test_a_bound_reviewer_sees_nothing_of_another_provider(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    bound = fresh.reviewer("bound", blog)
    one = chat.registered(ANNA, "anna")
    rita.approve(one["id"])
    known, unknown = blog.registered(MISTYPED, "anna"), blog.registered(WEI, "wei")
    shown = [bound.reveal(made["id"]) for made in (known, unknown)]
    assert [s["candidates"] for s in shown] == [[], []]
    assert [s["returner"] for s in shown] == [False, False]
    bound.approve(known["id"])
    assert counts(fresh) == 3


def test_two_people_known_to_the_vault_become_one_by_a_third_registration(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    card, passport = chat.registered(WEI, "wei"), blog.registered(WEI_BY_PASSPORT, "wei")
    rita.approve(card["id"])
    rita.approve(passport["id"])
    assert counts(fresh) == 2
    # At chat he registers with the passport: exact with the person of blog, and a look-alike of chat's own.
    third = chat.registered(WEI_BY_PASSPORT, "wei2")
    shown = rita.reveal(third["id"])
    assert [candidate["kind"] for candidate in shown["candidates"]] == ["look_alike"]
    rita.approve(third["id"], **verdict_on_all(shown, "same_person"))
    assert counts(fresh) == 1
    assert chat.registration(third["id"])["token"] == card["token"]
    # The other document of the one person is now found at blog, too.
    fourth = blog.registered(WEI, "wei4")
    shown = rita.reveal(fourth["id"])
    rita.approve(fourth["id"], **verdict_on_all(shown, "same_person"))
    assert blog.registration(fourth["id"])["token"] == passport["token"]
    assert counts(fresh) == 1


def test_a_match_that_is_rejected_leaves_two_people(fresh: Server) -> None:
    chat, blog = fresh.provider("chat"), fresh.provider("blog")
    bound, rita = fresh.reviewer("bound", chat), fresh.reviewer("rita")
    there, here = blog.registered(ANNA, "anna"), chat.registered(ANNA, "anna")
    rita.approve(there["id"])
    bound.approve(here["id"])
    match = rita.post("/v1/reviews/next").json()
    assert rita.decide(match["id"], "rejected", reason="another_person").status_code == 200
    assert chat.introspect(here["token"])["assurance"] == "provider"
    assert rita.post("/v1/reviews/next").status_code == 204
    assert counts(fresh) == 2
