"""Disclosures and holds inside the agent: what was signed and nothing else is opened, once; a notice keeps its time."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, text

from keys import audit, disclosures, leaves, orders, record_keys, store
from keys.accounts import account_mac
from keys.agent.acts import disclosing, draining, erasing, figures, holding
from keys.agent.names import Limits
from keys.engine import reading, writing
from keys.errors import (
    BudgetError,
    ConflictError,
    EndedError,
    HeldError,
    KeysError,
    MissingError,
    OpenError,
    QuorumError,
    RefusedError,
)
from keys.fields import FieldValue, open_field, seal_field
from keys.officers import Card, Officer
from keys.primitives import Secret
from keys.quorum import Kind, Request
from tests.keys.stores import NOW, SHOP, KeyStore, Registration, at_once, dialogue, registered
from tests.keys.test_chain import PEOPLE
from tests.keys.test_deciding import ANNA, DAY, MARIA, NIKOS, Room

COURT: Final = PEOPLE[4]
ORDER: Final = {
    "case": "4 Js 17/26", "legal_basis": "section 100j StPO", "authority": "Public prosecutor", "ordered_by": "Judge",
    "retrieved_by": "Registry", "fields": ["legal_name"], "recipient": str(COURT.card), "notice_days": 30,
}  # fmt: skip
ACCOUNT: Final = {"client": "prov", "account": bytes(16)}


class House(Room):
    """A vault of officers in which somebody is registered."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        with writing(self.engine) as connection:
            self.ring.add_sector(connection, SHOP, NOW)
        self.ring.reload()
        self.anna = self.registered()

    def registered(self) -> Registration:
        return registered(cast("KeyStore", SimpleNamespace(names=lambda: self.names, keyring=self.ring)))

    def evidence(
        self, made: Registration | None = None, account: bytes = bytes(16), handle: str = "anna"
    ) -> dict[str, Any]:
        own = made or self.anna
        key, place = self.ring.current("account-mac").secret, (self.ring.deployment, "prov", handle, own.pid, account)
        row = {"id": account, "provider": "prov", "handle": handle, "mac": account_mac(key, *place)}
        return own.evidence(cast("KeyStore", SimpleNamespace(keyring=self.ring)), accounts=[row])

    def asked(
        self, subject: str = "dis_1", account: bytes = bytes(16), standing: Any = None, **order: Any
    ) -> dict[str, Any]:
        given = {"id": subject, "standing": standing or self.evidence(), "client": "prov", "account": account}
        return self.act(disclosing.ask, order={**ORDER, **order}, **given)

    def request_of(self, asked: Mapping[str, Any], who: Officer = ANNA, **more: Any) -> Request:
        shown = self.say(who, "show", request=asked["request"])["request"]
        detail = {**shown["detail"], "proposal": asked["request"], **more}
        return self.request(who, Kind(shown["kind"]), shown["subject"], **detail)

    def approved(self, subject: str = "dis_1", **order: Any) -> Request:
        request = self.request_of(self.asked(subject, **order))
        self.ask(ANNA, request)
        self.approve(MARIA, request)
        return request

    def sealed(self, own: Registration) -> dict[str, bytes]:
        place = (self.ring.deployment, own.rid)
        return {
            name: seal_field(Secret(key), *place, name, 1, FieldValue(f'"{name} shown"'.encode()))
            for name, key in own.keys.items()
        }

    def disclose(self, subject: str = "dis_1", made: Registration | None = None, **args: Any) -> bytes:
        own = made or self.anna
        sealed = self.sealed(own)
        own_args = {"id": subject, "standing": self.evidence(made), **ACCOUNT, **args}
        with dialogue(lambda _what, _args: [{"rid": own.rid, "fields": sealed}]) as talk:
            return bytes(disclosing.disclose(self.names, own_args, talk)["package"])

    def after(self, seconds: int) -> None:
        """Let time go by in which the log took what waited for it."""
        self.now += seconds
        with writing(self.engine) as connection:
            connection.execute(text("DELETE FROM audit_outbox"))

    def shown(self, subject: str = "dis_1") -> dict[str, Any]:
        return self.act(disclosing.show, id=subject, client="prov")

    def facts(self) -> list[dict[str, Any]]:
        with dialogue() as talk:
            rows = draining.take(self.names, {"limit": 1000}, talk)["rows"]
        found = [leaves.read(row["entry"]) for row in rows]
        return [leaf for leaf in found if leaf["type"].startswith("disclosure.")]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.engine.dispose()


def test_the_fields_that_were_signed_for_are_opened_and_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = open_field

    def counting(key: Secret, deployment: bytes, rid: bytes, field: str, revision: int, sealed: bytes) -> FieldValue:
        opened.append(field)
        return real(key, deployment, rid, field, revision, sealed)

    monkeypatch.setattr(record_keys, "open_field", counting)
    house.approved(fields=["birth_date", "legal_name"])
    package = house.disclose()
    assert opened == ["legal_name"], "the record has no birth date, and its phone was not asked for"
    found = disclosures.open_package(package, COURT)
    assert found["fields"] == {"birth_date": None, "legal_name": "legal_name shown"}
    assert house.disclose() == package
    assert opened == ["legal_name"]


def test_a60_a_grant_is_used_once_with_one_row_and_whoever_asks_again_gets_the_same(house: House) -> None:
    request = house.approved()
    first = house.disclose()
    assert request.digest in house.state().used
    assert house.disclose() == first
    assert len([leaf for leaf in house.facts() if leaf["type"] == "disclosure.granted"]) == 1
    with writing(house.engine) as connection:
        connection.execute(text("DELETE FROM disclosure"))
    with pytest.raises(ConflictError):
        house.disclose()  # A59: whoever takes the row away has not the approvals back


@pytest.mark.parametrize(("seconds", "allowed"), [(3599, True), (3600, False), (3601, False)])
def test_a56_an_approval_is_good_until_its_end_and_not_beyond(house: House, seconds: int, allowed: bool) -> None:  # noqa: FBT001
    house.approved()
    house.after(seconds)
    if allowed:
        assert house.disclose()
        return
    with pytest.raises(ConflictError, match="not enough officers"):
        house.disclose()
    assert house.act(disclosing.due) == {"told": 0}
    house.now -= 3000
    with pytest.raises(ConflictError):
        house.disclose()  # a clock that is set back does not bring it back
    assert house.shown()["state"] == "expired"


def test_a57_and_a58_approvals_are_of_these_words_by_two_persons(house: House) -> None:
    asked = house.asked()
    request = house.request_of(asked)
    house.ask(ANNA, request)
    with pytest.raises(ConflictError):
        house.disclose()
    for change in ({"fields": ["legal_name", "phone"]}, {"case": "5 Js 1/26"}, {"recipient": str(NIKOS.card)}):
        other = house.request_of(asked, MARIA, **change)
        house.ask(MARIA, other)
        with pytest.raises(ConflictError):
            house.disclose()
    house.approve(NIKOS, request)
    found = disclosures.open_package(house.disclose(), COURT)
    assert found["request"]["detail"]["fields"] == ["legal_name"]


def test_rows_that_do_not_agree_disclose_nothing(house: House) -> None:
    other = house.registered()
    house.approved()
    swapped = house.evidence() | {"link": other.link}
    for standing in (swapped, house.evidence(other), house.evidence() | {"accounts": []}):
        with pytest.raises((RefusedError, ConflictError)):
            house.disclose(standing=standing)
    for wrong in ({"client": "another"}, {"account": bytes(15) + b"\1"}, {"id": "dis_2"}):
        with pytest.raises((RefusedError, MissingError)):
            house.disclose(**wrong)
    with pytest.raises(RefusedError):
        house.act(disclosing.ask, id="dis_3", standing=swapped, order=ORDER, **ACCOUNT)
    assert house.rows("disclosure") == 0
    assert house.disclose()
    with writing(house.engine) as connection:
        connection.execute(text("UPDATE disclosure SET notice_due = notice_due + 1"))
    with pytest.raises(OpenError):
        house.disclose()


def test_a61_more_disclosures_than_an_hour_may_have_wait_until_officers_raise_it(house: House) -> None:
    house.limits.disclosures_per_hour = 1
    house.approved("dis_1")
    house.approved("dis_2", fields=["phone"])
    house.disclose("dis_1")
    with pytest.raises(BudgetError):
        house.disclose("dis_2")
    assert house.rows("disclosure") == 1
    raised = house.request(ANNA, Kind.RAISE_BUDGET, "disclosures_per_hour", per_hour=2)
    house.ask(ANNA, raised)
    house.approve(MARIA, raised)
    assert house.disclose("dis_2")
    with dialogue() as talk:
        told = figures.figures(house.engine, Limits(), lambda: house.now, {}, talk)["budgets"]["disclosures"]
    assert told == {"used": 2, "fullest": 1.0}, "of what officers raised it to, not of the settings"


def test_a61_a_second_subject_of_a_case_is_refused_though_both_were_approved(house: House) -> None:
    second: dict[str, Any] = {"account": b"\1" * 16, "standing": house.evidence(account=b"\1" * 16)}
    asked = [house.asked("dis_1"), house.asked("dis_2", **second)]
    for request in [house.request_of(one) for one in asked]:
        house.ask(ANNA, request)
        house.approve(MARIA, request)
    house.disclose("dis_1")
    with pytest.raises(ConflictError, match="one case is about one"):
        house.disclose("dis_2", **second)
    with pytest.raises(ConflictError, match="one case is about one"):
        house.asked("dis_3", case="4 JS  17/26", **second)
    assert house.asked("dis_3", case="4 Js 18/26", **second)


def test_a_disclosure_can_need_a_vault_that_officers_shares_opened(house: House) -> None:
    policy = house.request(ANNA, Kind.POLICY, threshold=2, more={}, by_officers=["disclose"])
    house.ask(ANNA, policy)
    house.approve(MARIA, policy)
    house.approved()
    with pytest.raises(ConflictError, match="only while their shares opened the vault"):
        house.disclose()
    assert house.rows("disclosure") == 0
    house.deciding.by_officers = True
    assert house.disclose()
    house.deciding.by_officers = False
    assert house.disclose(), "what was disclosed is fetched as before"


@pytest.mark.parametrize("by_officers", [["nonsense"], ["disclose", "disclose"], ["rotate", "disclose"], "disclose", 1])
def test_a_policy_that_names_no_kinds_in_their_order_is_refused(house: House, by_officers: object) -> None:
    with pytest.raises(QuorumError):
        house.ask(ANNA, house.request(ANNA, Kind.POLICY, threshold=2, more={}, by_officers=by_officers))


def test_lifting_that_rule_asks_as_many_as_its_kind_needs(house: House) -> None:
    strict = house.request(ANNA, Kind.POLICY, threshold=2, more={"disclose": 3}, by_officers=["disclose"])
    house.ask(ANNA, strict)
    house.approve(MARIA, strict)
    lifted = house.request(ANNA, Kind.POLICY, threshold=2, more={"disclose": 3})
    house.ask(ANNA, lifted)
    assert house.approve(MARIA, lifted)["state"] == "pending", "three disclose, so three lift it"
    assert house.approve(NIKOS, lifted)["state"] == "done"
    assert house.state().policy.by_officers == frozenset()


def test_a_person_is_told_when_his_notice_is_due_and_not_before(house: House) -> None:
    house.approved()
    house.disclose()
    due = house.shown()["notice_due"] * 60
    assert due == house.now // 60 * 60 + 30 * DAY
    house.now = due - 1
    assert house.act(disclosing.due) == {"told": 0}
    house.now = due
    assert [house.act(disclosing.due)["told"] for _ in range(2)] == [1, 0]
    assert house.shown()["notified"] == due // 60
    granted, told = sorted(house.facts(), key=lambda leaf: leaf["minute"])
    assert (granted["type"], told["type"]) == ("disclosure.granted", "disclosure.notified")
    assert (granted["disclosure"], granted["notice_due"]) == (told["disclosure"], due // 60)


def test_a_row_that_another_hand_altered_keeps_no_other_notice_waiting(house: House) -> None:
    for subject in ("dis_1", "dis_2"):
        house.approved(subject, case=f"case {subject}", fields=["phone"])
        house.disclose(subject)
    with writing(house.engine) as connection:
        connection.execute(text("UPDATE disclosure SET notice_due = 0 WHERE id = 'dis_1'"))
    house.now += 30 * DAY
    assert house.act(disclosing.due) == {"told": 1}
    with reading(house.engine) as connection:
        told = connection.execute(text("SELECT id FROM disclosure WHERE notified IS NOT NULL")).scalars().all()
    assert told == ["dis_2"]
    house.now += 90 * DAY
    assert house.act(disclosing.due) == {"told": 0}
    _erase(house)


def test_officers_defer_a_notice_by_ninety_days_at_a_time_and_say_who_ordered_it(house: House) -> None:
    order: dict[str, Any] = {"ordered_by": "Judge", "law": "section 101 StPO"}
    house.approved(notice_days=90, defer=order)
    house.disclose()
    first = house.shown()["notice_due"]
    for step in (1, 2):
        request = house.request(ANNA, Kind.DEFER_NOTICE, "dis_1", days=90, **order)
        house.ask(ANNA, request)
        assert house.shown()["notice_due"] == first + (step - 1) * 90 * DAY // 60
        house.approve(MARIA, request)
        assert house.shown()["notice_due"] == first + step * 90 * DAY // 60
    assert sorted(leaf["notice_due"] for leaf in house.facts()) == [first + n * 90 * DAY // 60 for n in range(3)]
    for days in (0, 91):
        with pytest.raises(QuorumError, match="days: 1 to 90"):
            house.ask(ANNA, house.request(ANNA, Kind.DEFER_NOTICE, "dis_1", days=days, **order))
    house.now = (first + 180 * DAY // 60) * 60
    house.act(disclosing.due)
    late = house.request(ANNA, Kind.DEFER_NOTICE, "dis_1", days=1, **order)
    with pytest.raises(QuorumError, match="no disclosure of this id"):
        house.ask(ANNA, late)


def test_a_package_has_its_time_and_all_words_go_at_the_end_of_the_year_after(house: House) -> None:
    house.approved()
    made = datetime.fromtimestamp(house.now, UTC)
    house.disclose()
    house.now += 91 * DAY
    house.act(disclosing.due)
    with pytest.raises(EndedError):
        house.disclose()
    assert house.shown()["package"] is False
    house.now = int(datetime(made.year + 2, 1, 1, tzinfo=UTC).timestamp()) - 1
    house.act(disclosing.due)
    assert (house.rows("disclosure"), house.rows("request")) == (1, 2)
    house.now += 1
    house.act(disclosing.due)
    assert [house.rows(name) for name in ("disclosure", "request", "approval")] == [0, 0, 0]
    assert house.state().used, "the chain knows what was used, and no words of it"


def test_an_erased_record_closes_its_notice_and_a_held_one_is_not_erased(house: House) -> None:
    house.approved()
    house.disclose()
    until = house.now + DAY
    order = {name: ORDER[name] for name in ("case", "legal_basis", "authority", "ordered_by")} | {"until": until}
    hold = {"id": "acc_1", "standing": house.evidence(), "order": order, **ACCOUNT}
    pending = house.act(holding.put, **hold)
    request = house.request_of({"request": pending["pending"]})
    house.ask(ANNA, request)
    house.approve(MARIA, request)
    assert house.act(holding.put, **hold) == house.act(holding.put, **hold) == {
        "case": "4 js 17/26", "until": until, "held": True,
    }  # fmt: skip
    assert house.act(holding.listed, standing=house.evidence(), **ACCOUNT)["holds"][0]["until"] == until
    with pytest.raises(HeldError):
        _erase(house)
    with pytest.raises(HeldError):
        house.act(holding.check, standing=house.evidence())
    with writing(house.engine) as connection:
        connection.execute(text("UPDATE hold SET case_number = 'another'"))
    with pytest.raises(HeldError):
        _erase(house)  # an altered row holds all the same
    house.now = until
    house.act(holding.check, standing=house.evidence())  # its time is over, whether or not its row went
    assert house.act(holding.expire) == {"gone": 1}
    _erase(house)
    assert {leaf["type"] for leaf in house.facts()} == {"disclosure.granted", "disclosure.notified"}
    with reading(house.engine) as connection:
        (row,) = connection.execute(text("SELECT package, notified FROM disclosure")).all()
    assert (row.package, row.notified) == (None, until // 60)


def test_a60_two_who_fetch_at_once_get_one_package_that_was_made_and_counted_once(house: House) -> None:
    for number in range(8):
        house.approved(f"dis_{number}", case=f"case {number}")
        answers = at_once([partial(house.disclose, f"dis_{number}")] * 3)
        packages = {one for one in answers if isinstance(one, bytes)}
        assert len(packages) == 1
        assert all(isinstance(one, bytes | ConflictError) for one in answers), answers
        assert house.disclose(f"dis_{number}") in packages
    assert len([leaf for leaf in house.facts() if leaf["type"] == "disclosure.granted"]) == 8
    with dialogue() as talk:
        told = figures.figures(house.engine, Limits(), lambda: house.now, {}, talk)["budgets"]["disclosures"]
    assert told["used"] == 8


def test_a_client_has_so_many_disclosures_waiting_and_no_more_until_one_is_decided(house: House) -> None:
    asked = [house.asked(f"dis_{number}")["request"] for number in range(disclosing.MOST_OPEN)]
    with pytest.raises(BudgetError, match="wait for officers"):
        house.asked("dis_more")
    assert house.asked("dis_0")["request"] == asked[0], "one that waits is asked for again"
    request = house.request_of({"request": asked[0]})
    house.ask(ANNA, request)
    with pytest.raises(BudgetError):
        house.asked("dis_more")  # a request with one approval waits like its proposal, and counts once
    house.approve(MARIA, request)
    house.disclose("dis_0")
    assert house.asked("dis_more")["request"]
    house.now += 31 * DAY
    house.act(disclosing.due)
    assert house.asked("dis_later")["request"]


def test_a_hold_is_lengthened_by_officers_alone_and_by_a_year_at_most(house: House) -> None:
    order = {name: ORDER[name] for name in ("case", "legal_basis", "authority", "ordered_by")}

    def put(until: int) -> dict[str, Any]:
        args = {"id": "acc_1", "standing": house.evidence(), "order": {**order, "until": until}}
        return house.act(holding.put, **args, **ACCOUNT)

    until = house.now + DAY
    request = house.request_of({"request": put(until)["pending"]})
    house.ask(ANNA, request)
    house.approve(MARIA, request)
    assert put(until)["held"] is True
    for other in (until + DAY, until - 3600):
        assert "pending" in put(other), "neither longer nor shorter by one command"
    held = house.act(holding.listed, standing=house.evidence(), **ACCOUNT)["holds"]
    assert [one["until"] for one in held] == [until]
    since = held[0]["since"]
    house.after(3600)
    longer = house.request_of({"request": put(until + DAY)["pending"]})
    house.ask(ANNA, longer)
    house.approve(MARIA, longer)
    assert put(until + DAY)["held"] is True
    held = house.act(holding.listed, standing=house.evidence(), **ACCOUNT)["holds"]
    assert [(one["since"], one["until"]) for one in held] == [(since, until + DAY)], "it runs since it began"
    put(house.now + orders.HOLD_DAYS * DAY)
    for wrong in (house.now + 367 * DAY, house.now):
        with pytest.raises(QuorumError, match="until"):
            put(wrong)


def test_a32_nothing_is_asked_approved_or_disclosed_while_what_was_done_does_not_reach_the_log(house: House) -> None:
    first, waiting = house.approved(), house.request_of(house.asked("dis_2"))
    house.ask(ANNA, waiting)
    another = house.request_of(house.asked("dis_3"))
    house.now += 60 * (house.names.limits.unlogged_minutes + 1)
    for act in (partial(house.ask, ANNA, another), partial(house.approve, MARIA, waiting), house.disclose):
        with pytest.raises(ConflictError, match="the public log is more than 10 minutes behind"):
            act()
    assert first.digest not in house.state().used
    house.after(0)
    house.approve(MARIA, waiting)
    assert house.disclose()
    assert house.disclose("dis_2")


@pytest.mark.parametrize("minutes_back", [11, 60, 60 * 24])
def test_a32_a_clock_that_is_set_back_does_not_hide_what_waits_for_the_log(house: House, minutes_back: int) -> None:
    house.approved()
    house.now -= 60 * minutes_back
    with pytest.raises(ConflictError, match="minutes behind"):
        house.disclose()
    house.after(60 * minutes_back)
    assert house.disclose()


def test_a32_rows_of_a_time_to_come_hide_nothing_either(house: House) -> None:
    """Whoever can write the key store's outbox can hold decisions up so, and let none pass."""
    house.approved()
    row = {"id": bytes(16), "type": "x", "address": b"", "detail": b""}
    with writing(house.engine) as connection:
        connection.execute(insert(store.audit_outbox).values(minute=house.now // 60 + 600, **row))
    with pytest.raises(ConflictError, match="minutes behind"):
        house.disclose()
    with writing(house.engine) as connection:
        connection.execute(delete(store.audit_outbox).where(store.audit_outbox.c.id == bytes(16)))
    house.now += 60 * 9
    assert house.disclose(), "minutes that the log may take"


def test_what_was_approved_is_void_once_the_account_leads_to_another_record_or_has_another_name(house: House) -> None:
    house.approved()
    rid, pid = house.registered().rid, house.anna.pid
    other = replace(house.anna, rid=rid, link=house.ring.links(SHOP).link(rid, pid))
    for standing in (house.evidence(other), house.evidence(handle="berta")):
        with pytest.raises(ConflictError, match="not so any more"):
            house.disclose(standing=standing)
    assert house.disclose()


def test_an_order_that_takes_anothers_place_while_fields_are_fetched_is_not_carried_out_as_the_other(
    house: House,
) -> None:
    first = house.approved()
    second = house.request(ANNA, Kind.DISCLOSE, "dis_1", **{**first.detail, "fields": ["phone"]})
    args = {"id": "dis_1", "standing": house.evidence(), **ACCOUNT}

    def taken(_what: str, _args: Mapping[str, Any]) -> list[dict[str, Any]]:
        house.say(ANNA, "withdraw", request=first.digest.hex())
        house.ask(ANNA, second)
        house.approve(MARIA, second)
        return [{"rid": house.anna.rid, "fields": house.sealed(house.anna)}]

    with dialogue(taken) as talk, pytest.raises(ConflictError):
        disclosing.disclose(house.names, args, talk)
    assert house.rows("disclosure") == 0
    assert house.disclose()


def test_a_disclosure_and_an_erasure_at_once_leave_no_package_and_no_notice_open(house: House) -> None:
    for number in range(8):
        made, subject = house.registered(), f"dis_{number}"
        request = house.request_of(house.asked(subject, standing=house.evidence(made), case=f"case {number}"))
        house.ask(ANNA, request)
        house.approve(MARIA, request)

        def disclose(made: Registration = made, subject: str = subject) -> bytes:
            return house.disclose(subject, made)

        def erase(made: Registration = made) -> None:
            _erase(house, made)

        answers = at_once([disclose, erase])
        assert answers[1] is None, "nothing keeps a record that no case holds"
        assert isinstance(answers[0], bytes | ConflictError | MissingError | RefusedError)
        with reading(house.engine) as connection:
            rows = connection.execute(text("SELECT package, notified FROM disclosure WHERE id = :id"), {"id": subject})
            found = [(row.package, row.notified is None) for row in rows]
        assert found == ([(None, False)] if isinstance(answers[0], bytes) else []), answers
        assert (request.digest in house.state().used) == isinstance(answers[0], bytes)


def _erase(house: House, made: Registration | None = None) -> None:
    args = {"standing": house.evidence(made), "by": "prov", "reviewer": False, "why": "withdrawn", "legacy": bytes(16),
            "memo": {}}  # fmt: skip
    with dialogue(lambda _what, _args: []) as talk:
        erasing.erase(house.names, args, talk)


NAMED: Final = {"client": "prov", "account": "00" * 16, "handle": "anna", "link": "ab"}


@pytest.mark.parametrize("change", [
    {"case": ""}, {"case": "1;2"}, {"case": "1, 2"}, {"case": "%"}, {"case": "1\n2"}, {"case": 7}, {"fields": []},
    {"fields": ["*"]}, {"fields": "legal_name"}, {"fields": ["phone", "legal_name"]}, {"fields": ["phone", "phone"]},
    {"recipient": ""}, {"recipient": None}, {"recipient": str(COURT.card)[:-1]}, {"notice_days": 31},
    {"notice_days": -1}, {"notice_days": True}, {"notice_days": "30"}, {"more": 1}, {"handle": ""}, {"link": None},
    {"defer": {}}, {"defer": {"ordered_by": "a"}}, {"defer": {"ordered_by": "a", "law": ""}}, {"until": 1},
    {"notice_days": 91, "defer": {"ordered_by": "a", "law": "b"}}, {"ordered_by": "x" * 501}, {"authority": "\u202ea"},
])  # fmt: skip
def test_an_order_that_says_more_or_less_than_one_disclosure_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(QuorumError):
        orders.Disclosure.of({**NAMED, **ORDER, **change})
    assert orders.Disclosure.of({**NAMED, **ORDER}).recipient == COURT.card


_ANYTHING: Final[st.SearchStrategy[object]] = st.none() | st.integers() | st.text() | st.lists(st.text()) | st.just({})


@given(st.dictionaries(st.sampled_from([*NAMED, *ORDER, "defer", "until"]), _ANYTHING, max_size=4))
def test_an_order_of_any_form_is_one_or_refused_in_words(change: dict[str, Any]) -> None:
    try:
        found = orders.Disclosure.of({**NAMED, **ORDER, **change})
    except QuorumError:
        return
    assert set(found.fields) <= set(orders.FIELDS)
    assert found.notice_days <= orders.DEFERRED_DAYS


@given(st.binary(max_size=400))
def test_what_is_no_package_is_told_as_such(raw: bytes) -> None:
    with pytest.raises(KeysError, match="package"):
        disclosures.open_package(raw, COURT)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32), st.integers(0, 2**40))
def test_the_address_of_a_disclosure_reads_back(rid: bytes, digest: bytes, due: int) -> None:
    address = audit.disclosure_address(rid, digest, due)
    rids, facts = audit.read_address("disclosure.granted", address)
    assert rids == [rid]
    assert facts.get("notice_due", 0) == due
    assert leaves.subject_of(facts["disclosure"]) == digest


def test_a_package_is_padded_so_that_its_length_tells_little() -> None:
    request = json.dumps({"detail": {}}).encode()
    sizes = {
        len(disclosures.seal_package("dis_1", bytes(16), request, Card.parse(str(COURT.card)).receives,
                                     {"made": "", "state": "", "assurance": "", "fields": {"legal_name": "x" * n}}))
        for n in (1, 40, 400)
    }  # fmt: skip
    assert len(sizes) == 1
