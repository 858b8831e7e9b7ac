"""Exchange inside the agent: agreements, what may be opened, single use, the person's lock, and what a crash leaves."""

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgpack
import pytest

from keys import intents, records
from keys.agent.acts import agreeing, exchanging, redeeming, registering, reviewing, verifying
from keys.agent.names import Names
from keys.engine import reading, writing
from keys.errors import BusyError, ConflictError, MissingError, OpenError, ProtocolError
from keys.frame import HEADER_BYTES, SALT_BYTES
from keys.primitives import random_bytes
from keys.records import Assurance, State
from keys.tokens import handoff_hash
from tests.keys.stores import BANK, NOW, SHOP, KeyStore, Registration, at_once, dialogue, put_in, registered

AGREED = {
    "giver": "shop", "giver_sector": SHOP, "taker": "bank", "taker_sector": BANK, "purpose": "moderation",
    "basis": "legal",
}  # fmt: skip


def _opening(names: Names, args: Mapping[str, Any], talk: Any) -> dict[str, Any]:
    return exchanging.Openings(names)(args, talk)


class Directory:
    """What the directory holds, and answers when an act asks; it writes what redeeming gives it."""

    def __init__(self, store: KeyStore, **limits: int) -> None:
        self.store, self.now, self.limits = store, NOW, limits
        self.tokens: dict[bytes, int] = {}
        self.tags: dict[bytes, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.run(agreeing.allow, **AGREED)

    def names(self) -> Names:
        return self.store.names(self.now, **self.limits)

    def run(self, act: Any, **args: object) -> dict[str, Any]:
        with dialogue(self.answer) as talk:
            found: dict[str, Any] = act(self.names(), args, talk)
            return found

    def answer(self, what: str, args: Mapping[str, Any]) -> object:
        self.asked.append(what)
        if what == "exchange":
            good = [{"pid": pid, "generation": self.tokens[pid]} for pid in args["tokens"] if pid in self.tokens]
            return {"tokens": good, "tags": {sector: self.tagged(tags) for sector, tags in args["tags"].items()}}
        return self.tagged(args["values"])

    def tagged(self, values: list[bytes]) -> list[dict[str, Any]]:
        return [{"tag": tag, "standing": self.tags[tag]} for tag in values if tag in self.tags]

    def known(self) -> tuple[Registration, dict[str, Any]]:
        """Return a person whom a vault reviewer approved at the shop, with the evidence of his standing."""
        made = registered(self.store)
        put_in(self.store, made.rid, state=State.VERIFIED, assurance=Assurance.VAULT)
        self.tokens[made.pid] = 0
        tag = self.store.keyring.links(SHOP).tag(self.uid(made.rid))
        return made, made.evidence(self.store, tags=[tag])

    def record(self, rid: bytes) -> records.Record:
        with reading(self.store.engine) as connection:
            return records.load(connection, self.store.keyring, rid)

    def uid(self, rid: bytes) -> bytes:
        return records.uid_of(self.store.keyring, self.record(rid))

    def open(self, *evidence: object, **more: object) -> list[dict[str, Any]]:
        items = [
            {"audience": "bank", "purpose": "moderation", "generation": 0, "standing": at, **more}
            for at in range(len(evidence))
        ]
        answers: list[dict[str, Any]] = self.run(_opening, giver="shop", standings=list(evidence), items=items)["items"]
        return answers

    def opened(self, evidence: object) -> str:
        [answer] = self.open(evidence)
        text: str = answer["handoff"]
        return text

    def redeem(self, *handoffs: str, taker: str = "bank", **more: object) -> dict[str, Any]:
        items = [{"hash": handoff_hash(text), **more} for text in handoffs]
        return self.run(redeeming.redeem, taker=taker, items=items)

    def place(self, item: Mapping[str, Any]) -> None:
        """Write the standing that redeeming gave: the commit point."""
        self.tokens[item["pid"]] = 0
        self.tags[item["tags"][0]] = {
            "sector": item["sector"], "pid": item["pid"], "link": item["link"], "tags": item["tags"], "created": NOW,
            "accounts": [], "aliases": [], "sanctions": [],
        }  # fmt: skip

    def redeemed(self, *handoffs: str) -> list[dict[str, Any]]:
        """Redeem as the service does."""
        answer = self.redeem(*handoffs)
        for item in answer["items"]:
            if "link" in item:
                self.place(item)
        if "intent" in answer:
            self.run(redeeming.done, intent=answer["intent"])
        items: list[dict[str, Any]] = answer["items"]
        return items

    def spent(self) -> list[int]:
        return [row.used for row in self.store.rows("budget") if row.name.startswith("exchange/")]

    def audit(self) -> list[str]:
        return [row.type for row in self.store.rows("audit_outbox") if row.type.startswith("exchange.")]


@pytest.fixture
def directory(store: KeyStore) -> Directory:
    return Directory(store)


def test_a_hand_off_becomes_the_takers_own_standing_of_the_same_person(directory: Directory) -> None:
    made, evidence = directory.known()
    text = directory.opened(evidence)
    assert len(text) == 47
    [item] = directory.redeemed(text)
    assert set(item) == {"pid", "rid", "link", "tags", "sector", "purpose"}
    assert (item["sector"], item["purpose"]) == (BANK, "moderation")
    fresh = directory.record(item["rid"])
    assert (fresh.state, fresh.assurance, fresh.origin, fresh.revisions) == (State.VERIFIED, Assurance.VAULT, None, {})
    assert directory.uid(item["rid"]) == directory.uid(made.rid)
    assert directory.audit() == ["exchange.opened", "exchange.redeemed"]
    assert (
        directory.store.rows("handoff") == directory.store.rows("intent_lock") == directory.store.rows("intent") == []
    )


def test_whom_the_taker_has_is_redeemed_without_a_new_record(directory: Directory) -> None:
    _, evidence = directory.known()
    [first] = directory.redeemed(directory.opened(evidence))
    again = directory.redeem(directory.opened(evidence))
    assert again == {"items": [{"pid": first["pid"], "purpose": "moderation"}]}
    assert len(directory.store.rows("record_key")) == 2


def test_who_was_united_with_another_since_it_was_opened_is_redeemed_as_whom_he_is_now(directory: Directory) -> None:
    (one, evidence), (other, others), (_, thirds) = directory.known(), directory.known(), directory.known()
    [there] = directory.redeemed(directory.opened(others))
    of_one, of_third = directory.opened(evidence), directory.opened(thirds)
    uid = records.seal_uid(directory.store.keyring, one.rid, directory.uid(other.rid))
    put_in(directory.store, one.rid, uid=uid)
    directory.asked.clear()
    answers = directory.redeem(of_third, of_one)["items"]
    assert answers[1] == {"pid": there["pid"], "purpose": "moderation"}
    assert answers[0]["pid"] != there["pid"]
    assert directory.asked[:2] == ["exchange"] * 2
    assert directory.audit().count("exchange.redeemed") == 2


def test_a_hand_off_of_an_earlier_version_which_names_nobody_is_answered_as_unknown(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, evidence = directory.known()

    class Former(msgpack.Packer):  # type: ignore[misc]
        def pack(self, said: Any) -> bytes:
            former = {name: value for name, value in said.items() if name != "uid"} if isinstance(said, dict) else said
            packed: bytes = super().pack(former)
            return packed

    with monkeypatch.context() as patch:
        patch.setattr(msgpack, "Packer", Former)
        text = directory.opened(evidence)
    assert directory.redeem(text) == {"items": [{"error": "subject"}]}
    assert len(directory.store.rows("handoff")) == 1


def test_nothing_of_a_hand_off_stands_in_clear(directory: Directory) -> None:
    made, evidence = directory.known()
    text = directory.opened(evidence)
    [row] = directory.store.rows("handoff")
    assert row.hash == handoff_hash(text)
    for value in (text.encode(), made.rid, directory.uid(made.rid), made.pid, b"shop", b"bank", b"moderation"):
        assert value not in row.sealed


@pytest.mark.parametrize(
    "changes",
    [
        {"assurance": Assurance.PROVIDER},
        {"state": State.IN_REVIEW},
        {"state": State.FROZEN},
        {"state": State.CONTESTED},
    ],
)
def test_a68_only_whom_a_vault_reviewer_approved_is_exchanged(directory: Directory, changes: dict[str, Any]) -> None:
    made, evidence = directory.known()
    put_in(directory.store, made.rid, **changes)
    assert directory.open(evidence) == [{"error": "subject"}]
    assert directory.store.rows("handoff") == []


def test_a_provisional_person_is_refused_like_one_of_a_bound_reviewer(directory: Directory) -> None:
    made = registered(directory.store)
    assert directory.open(made.evidence(directory.store)) == [{"error": "subject"}]


def test_without_an_agreement_there_is_no_target_and_beside_it_no_purpose(directory: Directory) -> None:
    _, evidence = directory.known()
    assert directory.open(evidence, audience="nobody") == [{"error": "target"}]
    assert directory.open(evidence, purpose="other") == [{"error": "scope"}]
    directory.run(agreeing.revoke, **AGREED)
    assert directory.open(evidence) == [{"error": "target"}]
    assert directory.store.rows("handoff") == directory.spent() == []
    assert directory.audit() == []


def test_consent_cannot_be_given_yet_so_nothing_is_handed_over_on_it(directory: Directory) -> None:
    directory.run(agreeing.allow, **{**AGREED, "basis": "consent"})
    _, evidence = directory.known()
    assert directory.open(evidence) == [{"error": "subject"}]


def test_a_standing_of_another_sector_is_not_the_givers_to_hand_over(directory: Directory) -> None:
    _, evidence = directory.known()
    directory.run(agreeing.allow, **{**AGREED, "giver_sector": BANK, "taker_sector": SHOP})
    assert directory.open(evidence) == [{"error": "refused"}]


@pytest.mark.parametrize("swap", [{"tags": [bytes(33)]}, {"pid": bytes(16)}, {"link": bytes(33)}])
def test_a4_evidence_that_does_not_agree_opens_nothing(directory: Directory, swap: dict[str, Any]) -> None:
    _, evidence = directory.known()
    assert directory.open({**evidence, **swap}) == [{"error": "refused"}]


@pytest.mark.parametrize(
    "edit", ["per_hour = 99", "taker_sector = 'shop.example'", "basis = 'consent'", "purpose = 'other'"]
)
def test_a4_an_agreement_that_was_edited_opens_nothing_and_is_counted(directory: Directory, edit: str) -> None:
    _, evidence = directory.known()
    directory.store.execute(f"UPDATE agreement SET {edit}")  # noqa: S608
    assert directory.open(evidence) == [{"error": "refused"}]
    with pytest.raises(OpenError):
        directory.run(agreeing.listed, client="shop")
    assert directory.run(verifying.verify_own)["tables"]["agreement"] == {"rows": 1, "bad": 1}


@pytest.mark.parametrize("edit", ["expires = expires + 9999", "sealed = zeroblob(200)", "hash = zeroblob(32)"])
def test_a4_a_hand_off_that_was_edited_is_counted_and_redeems_nothing(directory: Directory, edit: str) -> None:
    _, evidence = directory.known()
    text = directory.opened(evidence)
    directory.store.execute(f"UPDATE handoff SET {edit}")  # noqa: S608
    assert directory.redeem(text) == {"items": [{"error": "subject"}]}
    assert directory.run(verifying.verify_own)["tables"]["handoff"] == {"rows": 1, "bad": 1}


def test_another_taker_an_expired_an_unknown_and_a_used_one_are_alike_and_consume_nothing(directory: Directory) -> None:
    _, evidence = directory.known()
    text = directory.opened(evidence)
    nothing = {"items": [{"error": "subject"}]}
    assert directory.redeem(text, taker="shop") == nothing
    assert directory.redeem("hnd_unknown") == nothing
    directory.now = NOW + 300
    assert directory.redeem(text) == nothing
    directory.now = NOW + 299
    assert directory.redeem(text, purpose="other") == {"items": [{"error": "scope"}]}
    assert "pid" in directory.redeemed(text)[0]
    assert directory.redeem(text) == nothing


def test_a_revoked_agreement_voids_what_was_handed_over_even_when_it_comes_back(directory: Directory) -> None:
    _, evidence = directory.known()
    text = directory.opened(evidence)
    directory.run(agreeing.revoke, **AGREED)
    assert directory.redeem(text) == {"items": [{"error": "subject"}]}
    directory.run(agreeing.allow, **AGREED)
    assert directory.redeem(text) == {"items": [{"error": "subject"}]}


def test_a42_a_token_given_up_between_opening_and_redeeming_hands_over_nobody(directory: Directory) -> None:
    made, evidence = directory.known()
    text = directory.opened(evidence)
    directory.tokens[made.pid] = 1
    assert directory.redeem(text) == {"items": [{"error": "subject"}]}
    del directory.tokens[made.pid]
    assert directory.redeem(text) == {"items": [{"error": "subject"}]}
    assert len(directory.store.rows("handoff")) == 1


def test_a_person_who_lost_the_vaults_word_meanwhile_is_not_redeemed(directory: Directory) -> None:
    made, evidence = directory.known()
    text = directory.opened(evidence)
    put_in(directory.store, made.rid, state=State.FROZEN)
    assert directory.redeem(text) == {"items": [{"error": "subject"}]}


def test_an_agreements_budget_of_the_hour_is_spent_for_as_many_of_a_batch_as_it_holds(directory: Directory) -> None:
    directory.run(agreeing.allow, **AGREED, per_hour=3)
    _, evidence = directory.known()
    assert ["error" in item for item in directory.open(evidence, evidence)] == [False, False]
    assert directory.open(evidence, evidence)[1] == {"error": "budget"}
    assert directory.open(evidence) == [{"error": "budget"}]
    assert directory.spent() == [3]
    directory.now = NOW - 3600
    assert directory.open(evidence) == [{"error": "budget"}]
    directory.now = NOW + 3600
    assert "handoff" in directory.open(evidence)[0]


def test_refusals_spend_no_budget(directory: Directory) -> None:
    directory.run(agreeing.allow, **AGREED, per_hour=1)
    assert directory.open(registered(directory.store).evidence(directory.store)) == [{"error": "subject"}]
    _, evidence = directory.known()
    assert "handoff" in directory.open(evidence)[0]


def test_opening_removes_what_has_expired(directory: Directory) -> None:
    _, evidence = directory.known()
    directory.opened(evidence)
    directory.now = NOW + 300
    directory.opened(evidence)
    assert [row.expires for row in directory.store.rows("handoff")] == [NOW + 600]


def test_a_batch_answers_each_item_at_its_place(directory: Directory) -> None:
    _, one = directory.known()
    _, two = directory.known()
    stranger = registered(directory.store).evidence(directory.store)
    opened = directory.open(one, stranger, two)
    assert ["handoff" in item for item in opened] == [True, False, True]
    texts = [opened[0]["handoff"], "hnd_unknown", opened[2]["handoff"], opened[0]["handoff"]]
    items = directory.redeemed(*texts)
    assert ["pid" in item for item in items] == [True, False, True, False]
    assert items[0]["pid"] != items[2]["pid"]
    assert directory.audit().count("exchange.redeemed") == 2


def test_two_hand_offs_of_a_new_person_in_one_batch_make_one_standing(directory: Directory) -> None:
    _, evidence = directory.known()
    first, second = directory.opened(evidence), directory.opened(evidence)
    items = directory.redeemed(first, second)
    assert items[1] == {"error": "busy"}
    assert directory.redeemed(second)[0]["pid"] == items[0]["pid"]


def test_an_open_exchange_holds_the_person_against_others_until_it_is_done(directory: Directory) -> None:
    made, evidence = directory.known()
    first, second = directory.opened(evidence), directory.opened(evidence)
    answer = directory.redeem(first)
    assert directory.redeem(second) == {"items": [{"error": "busy"}]}
    uid = directory.uid(made.rid)
    with (
        pytest.raises(BusyError),
        intents.taken(directory.store.engine, directory.store.keyring, "review", [uid], NOW),
    ):
        pass
    directory.place(answer["items"][0])
    # The standing stands, but the exchange is not done: nothing else is redeemed by it yet.
    assert directory.redeem(second) == {"items": [{"error": "busy"}]}
    assert directory.run(redeeming.done, intent=answer["intent"]) == {"consumed": [handoff_hash(first)]}
    assert directory.redeem(second)["items"][0]["pid"] == answer["items"][0]["pid"]


def test_a_review_of_the_person_holds_an_exchange(directory: Directory) -> None:
    made, evidence = directory.known()
    text = directory.opened(evidence)
    with intents.taken(directory.store.engine, directory.store.keyring, "review", [directory.uid(made.rid)], NOW):
        assert directory.redeem(text) == {"items": [{"error": "busy"}]}
    assert "pid" in directory.redeemed(text)[0]


def test_of_many_parallel_redemptions_of_one_hand_off_one_wins(directory: Directory) -> None:
    _, evidence = directory.known()
    directory.redeemed(directory.opened(evidence))
    text = directory.opened(evidence)
    answers: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: answers.extend(directory.redeem(text)["items"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("pid" in answer for answer in answers) == [False] * 7 + [True]
    assert directory.audit().count("exchange.redeemed") == 2


def test_an_exchange_cut_off_after_the_standing_was_written_is_finished_as_verified(directory: Directory) -> None:
    made, evidence = directory.known()
    text = directory.opened(evidence)
    answer = directory.redeem(text)
    [item] = answer["items"]
    directory.place(item)
    assert directory.run(registering.create_open, older_minutes=0, limit=9) == {
        "open": [{"rid": item["rid"], "sector": BANK, "pid": item["pid"]}]
    }
    done = {"sector": BANK, "pid": item["pid"], "link": item["link"], "rid": item["rid"]}
    assert directory.run(registering.create_done, items=[done]) == {}
    record = directory.record(item["rid"])
    assert (record.state, record.assurance) == (State.VERIFIED, Assurance.VAULT)
    assert directory.audit() == ["exchange.opened", "exchange.made"]
    directory.now = NOW + 10
    [due] = directory.run(reviewing.intents_due)["due"]
    assert (due["kind"], due["plan"]["fresh"][0][:2]) == ("exchange", [item["rid"], item["pid"]])
    assert directory.run(reviewing.unite, intent=due["intent"]) == {}
    with pytest.raises(ConflictError):
        directory.run(redeeming.done, intent=answer["intent"])
    # The taker got no answer: his hand-off is still good.
    assert directory.redeem(text)["items"][0]["pid"] == item["pid"]
    assert directory.uid(item["rid"]) == directory.uid(made.rid)


def test_an_exchange_that_never_reached_the_directory_is_undone_and_its_person_lives_on(directory: Directory) -> None:
    made, evidence = directory.known()
    answer = directory.redeem(directory.opened(evidence))
    persons = directory.store.rows("person")
    directory.run(registering.create_undo, rids=[answer["items"][0]["rid"]])
    assert directory.store.rows("person") == persons
    assert directory.record(made.rid).state is State.VERIFIED
    with pytest.raises(ConflictError):
        directory.run(redeeming.done, intent=answer["intent"])


def test_done_closes_exchanges_alone(directory: Directory) -> None:
    ring = directory.store.keyring
    with (
        intents.taken(directory.store.engine, ring, "review", [random_bytes(16)], NOW) as intent,
        writing(directory.store.engine) as connection,
    ):
        intents.plan(connection, ring, intent, {"fresh": []}, NOW)
    for unknown in (intent, random_bytes(16)):
        with pytest.raises(ConflictError):
            directory.run(redeeming.done, intent=unknown)


@pytest.mark.parametrize(
    "wrong",
    [
        {"purpose": "Moderation"}, {"purpose": ""}, {"purpose": "a" * 33}, {"basis": "none"}, {"per_hour": 0},
        {"per_hour": "many"}, {"taker": "shop"}, {"taker_sector": SHOP}, {"giver": 7},
    ],
)  # fmt: skip
def test_agreements_are_of_the_form_or_not_made(directory: Directory, wrong: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        directory.run(agreeing.allow, **{**AGREED, **wrong})
    assert len(directory.store.rows("agreement")) == 1


def test_agreements_need_enrolled_sectors_and_are_revoked_only_if_there(directory: Directory) -> None:
    with pytest.raises(MissingError):
        directory.run(agreeing.allow, **{**AGREED, "taker": "x", "taker_sector": "x.example"})
    with pytest.raises(MissingError):
        directory.run(agreeing.revoke, **{**AGREED, "purpose": "other"})
    [listed] = directory.run(agreeing.listed, client="bank")["agreements"]
    assert (listed["per_hour"], listed["state"], listed["basis"]) == (10_000, "active", "legal")
    [same] = directory.store.rows("agreement")
    directory.run(agreeing.allow, **AGREED, per_hour=5)
    assert [(row.id, row.per_hour) for row in directory.store.rows("agreement")] == [(same.id, 5)]


@pytest.mark.parametrize("items", [None, [7], [{}], [{"audience": "bank"}] * 1001])
def test_malformed_batches_are_refused_whole(directory: Directory, items: object) -> None:
    for act, who in ((_opening, "giver"), (redeeming.redeem, "taker")):
        with pytest.raises(ProtocolError):
            directory.run(act, **{who: "shop", "items": items})


def _asking(evidence: object, giver: str = "shop", **more: object) -> dict[str, Any]:
    """Return the arguments by which one hand-off is asked for."""
    item = {"audience": "bank", "purpose": "moderation", "generation": 0, "standing": 0, **more}
    return {"giver": giver, "standings": [evidence], "items": [item]}


def test_openings_that_come_together_never_spend_more_than_the_hour_holds(directory: Directory) -> None:
    directory.run(agreeing.allow, **AGREED, per_hour=5)
    _, evidence = directory.known()
    openings = exchanging.Openings(directory.names())

    def opened() -> dict[str, Any]:
        answer: dict[str, Any] = openings(_asking(evidence), None)["items"][0]  # type: ignore[arg-type]
        return answer

    answers = at_once([opened] * 12)
    assert sorted(answer.get("error", "given") for answer in answers) == ["budget"] * 7 + ["given"] * 5
    assert directory.spent() == [5]
    assert len(directory.store.rows("handoff")) == directory.audit().count("exchange.opened") == 5


def test_of_openings_carried_out_together_one_that_is_refused_fails_alone(directory: Directory) -> None:
    _, evidence = directory.known()
    openings = exchanging.Openings(directory.names())
    asked = [
        _asking(evidence), _asking({**evidence, "pid": bytes(16)}), _asking(evidence, giver="other"),
        _asking(evidence, purpose="research"), _asking(evidence),
    ]  # fmt: skip
    answers = openings._carry_out([exchanging.Call(**args) for args in asked])
    found = [answer["items"][0].get("error", "given") for answer in answers]
    assert found == ["given", "refused", "target", "scope", "given"]
    assert directory.spent() == [2]
    assert len(directory.store.rows("handoff")) == directory.audit().count("exchange.opened") == 2


def test_one_person_is_checked_once_for_all_his_hand_offs_and_each_item_has_its_own_outcome(
    directory: Directory,
) -> None:
    (_, one), (made, other) = directory.known(), directory.known()
    purposes = ["moderation", "research", "moderation", "moderation"]
    items = [
        {"audience": "bank", "purpose": purpose, "generation": 0, "standing": place}
        for purpose, place in zip(purposes, [1, 0, 0, 1], strict=True)
    ]
    answers = directory.run(_opening, giver="shop", standings=[one, {**other, "link": one["link"]}], items=items)[
        "items"
    ]
    assert [answer.get("error", "given") for answer in answers] == ["refused", "scope", "given", "refused"]
    answers = directory.run(_opening, giver="shop", standings=[one, other], items=items)["items"]
    assert [answer.get("error", "given") for answer in answers] == ["given", "scope", "given", "given"]
    redeemed = directory.redeemed(answers[0]["handoff"], answers[2]["handoff"])
    assert len({item["pid"] for item in redeemed}) == 2
    assert directory.redeemed(answers[3]["handoff"]) == [{"pid": redeemed[0]["pid"], "purpose": "moderation"}]
    rids = [row.address for row in directory.store.rows("audit_outbox") if row.type == "exchange.opened"]
    assert (len(rids), rids.count(made.rid)) == (4, 2)


def test_hand_offs_drawn_together_share_neither_secret_nor_salt(directory: Directory) -> None:
    _, evidence = directory.known()
    texts = {answer["handoff"] for answer in directory.open(*[evidence] * 50)}
    handoffs = directory.store.rows("handoff")
    audited = [row for row in directory.store.rows("audit_outbox") if row.type == "exchange.opened"]
    sealed = [row.sealed for row in handoffs] + [row.detail for row in audited]
    assert len(texts) == len({row.id for row in audited}) == 50
    assert len({one[HEADER_BYTES : HEADER_BYTES + SALT_BYTES] for one in sealed}) == 100


def test_a_call_that_is_malformed_does_not_fail_those_it_came_with(directory: Directory) -> None:
    _, evidence = directory.known()
    openings = exchanging.Openings(directory.names())

    def asked(args: dict[str, Any]) -> str:
        try:
            answer: dict[str, Any] = openings(args, None)["items"][0]  # type: ignore[arg-type]
        except ProtocolError:
            return "malformed"
        return str(answer.get("error", "given"))

    wrong = [_asking({}), _asking(7), *(_asking(evidence, standing=place) for place in (1, -1, "x"))]
    shown = [_asking(evidence), *wrong, _asking(evidence), _asking(evidence, generation="x")]
    found = at_once([partial(asked, args) for args in shown])
    assert found == ["given", *["malformed"] * len(wrong), "given", "malformed"]
    assert len(directory.store.rows("handoff")) == directory.audit().count("exchange.opened") == 2


def test_a_hand_off_that_calls_consume_together_goes_to_one_of_them(directory: Directory) -> None:
    _, evidence = directory.known()
    directory.redeemed(directory.opened(evidence))
    texts = [directory.opened(evidence) for _ in range(3)]
    redemptions = redeeming.Redemptions(directory.names())

    def redeemed(text: str) -> list[str]:
        with dialogue(directory.answer) as talk:
            items = [{"hash": handoff_hash(text)}]
            found = redemptions({"taker": "bank", "items": items}, talk)["items"]
        return [item.get("error", "given") for item in found]

    answers = at_once([partial(redeemed, text) for text in texts * 4])
    assert sorted(one for answer in answers for one in answer) == ["given"] * 3 + ["subject"] * 9
    assert directory.store.rows("handoff") == []
    assert directory.audit().count("exchange.redeemed") == 4
