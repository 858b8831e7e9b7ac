"""A plan that somebody carries out once more, after what came later, changes nothing any more."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.http.test_going import counts, delete
from tests.people import ANNA, WEI, WEI_BY_PASSPORT, person
from tests.serving import Client, Server
from vault.wiring import Vault

Late = Callable[[], None]


@pytest.fixture
def approve(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Late]:
    """Approve a registration, and return what carries its plan out once more: what somebody slow still has to do."""
    linking, held = vault.reviewing._linking, list[Late]()
    carry_out = linking.carry_out

    def hold(kind: str, intent: bytes, plan: Mapping[str, Any], *_: object) -> None:
        held.append(lambda: carry_out(kind, intent, plan))
        carry_out(kind, intent, plan)

    monkeypatch.setattr(linking, "carry_out", hold)

    def act(reviewer: Client, reg: str, candidates: str = "") -> Late:
        shown = reviewer.reveal(reg)
        verdicts = [{"id": one["id"], "verdict": candidates} for one in shown["candidates"]]
        body = {"decision": "approved", "method": "document_checked", "candidates": verdicts, "shown": shown["shown"]}
        client = vault.access.authenticate(reviewer.id, reviewer.secret)
        assert vault.reviewing.decide(client, reg, body, None)[0] == 200
        return held.pop()

    return act


def test_who_was_parted_meanwhile_stays_parted(fresh: Server, approve: Callable[..., Late]) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    card, passport = chat.registered(WEI, "wei"), chat.registered(WEI_BY_PASSPORT, "zhang")
    approve(rita, card["id"])
    late = approve(rita, passport["id"], "same_person")
    assert chat.introspect(passport["token"]) == {"active": False}, "they are one"
    assert rita.post(f"/v1/reviews/{passport['id']}/split", {"reason": "wrong_verdict"}).status_code == 200
    apart = counts(fresh)
    late()
    assert counts(fresh) == apart
    for made in (card, passport):
        assert chat.introspect(made["token"], account=made["account"])["scope"] == "read publish"
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]


def test_of_who_was_erased_meanwhile_nothing_comes_back(fresh: Server, approve: Callable[..., Late]) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    before = counts(fresh)
    made = chat.registered(ANNA, "anna")
    late = approve(rita, made["id"])
    assert counts(fresh) != before
    assert delete(chat, made["id"]) == 204
    late()
    assert counts(fresh) == before
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]


def test_housekeeping_forgets_plans_that_nobody_can_have_in_hand_and_no_other(fresh: Server, vault: Vault) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    tables = {"identity": "record_fence", "directory": "standing_fence"}
    for number, long_ago in ((1, True), (2, False)):
        rita.approve(chat.registered(person(number), f"user_{number}")["id"])
        for store, table in tables.items():
            if long_ago:
                fresh.sql(store, f"UPDATE {table} SET day = day - 3")  # noqa: S608 - our own names
    vault.housekeeping.once()
    for store, table in tables.items():
        assert fresh.sql(store, f"SELECT count(*) FROM {table}") == [(1,)], table  # noqa: S608 - our own names
