"""Requests and approvals: what M persons signed is done once, exactly, and nothing else is (A17, A57 to A60)."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import rfc8785
from sqlalchemy import text

from keys import ceremonies, leaves, store
from keys.agent.acts import agreeing, asking, draining, enrolling, verifying
from keys.agent.acts.deciding import Deciding
from keys.agent.names import Limits, Names
from keys.agent.wire import Dialogue
from keys.chain import State
from keys.chains import Chain, records
from keys.engine import reading, writing
from keys.errors import (
    ChainError,
    ConflictError,
    KeysError,
    MissingError,
    QuorumError,
    RefusedError,
    ShareError,
)
from keys.keyring import Keyring
from keys.messages import Said
from keys.officers import Officer
from keys.primitives import Secret
from keys.quorum import Approval, Kind, Request
from keys.seals.shares import Ceremony, opened
from tests.fresh import refusing
from tests.keys.stores import BANK, NOW, SHOP, dialogue
from tests.keys.test_ceremonies import Vault
from tests.keys.test_chain import PEOPLE, officer

ANNA, MARIA, NIKOS, PETRA = PEOPLE[:4]
DAY: Final = 86_400
Act = Callable[[Names, Mapping[str, Any], Dialogue], dict[str, Any]]


class Room(Vault):
    """A vault of Anna, Maria and Nikos, two of whom are needed, that is open."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.made()
        self.opened_again()

    def opened_again(self) -> None:
        root_id, root, _ = self.opened[-1]
        self.ring, self.limits = Keyring.under_root(self.engine, root_id, root), Limits()
        self.deciding = Deciding(self.engine, self.ring, self.home, lambda: self.now, self.limits, lambda: None)
        self.names = Names(self.engine, self.ring, lambda: self.now, self.limits, self.deciding)

    def state(self) -> State:
        found = self.deciding.state()
        assert found is not None
        return found

    def say(self, who: Officer, do: str, **args: Any) -> dict[str, Any]:
        return dict(asking.verbs(self.deciding)[do](Said(who.card, do, args, "00" * 16, bytes(32))))

    def request(self, who: Officer, kind: Kind, subject: str = "", **detail: Any) -> Request:
        state = self.state()
        deployment = state.ceremony.deployment
        return Request.of(deployment, state.generation, kind, subject, detail, who.card, self.now, 3600)

    def ask(self, who: Officer, request: Request) -> dict[str, Any]:
        return self.say(who, "ask", request=json.loads(bytes(request)), approval=signed(who, request).plain())

    def approve(self, who: Officer, request: Request, *, of: Request | None = None) -> dict[str, Any]:
        approval = signed(who, of or request)
        return self.say(who, "approve", request=request.digest.hex(), approval=approval.plain())

    def budget(self, limit: int = 7, who: Officer = ANNA) -> Request:
        request = self.request(who, Kind.RAISE_BUDGET, "creates_per_hour", per_hour=limit)
        self.ask(who, request)
        return request

    def act(
        self, act: Callable[[Names, Mapping[str, Any], Dialogue], dict[str, Any]], **args: object
    ) -> dict[str, Any]:
        with dialogue() as talk:
            return act(self.names, args, talk)

    def leaves(self) -> list[str]:
        with dialogue() as talk:
            rows = draining.take(self.names, {"limit": 1000}, talk)["rows"]
        return [leaves.read(row["entry"])["type"] for row in rows]

    def rekey(self, *cards: Officer, threshold: int = 2, **more: Any) -> dict[str, Any]:
        return self.say(ANNA, "rekey", cards=[str(one.card) for one in cards], threshold=threshold, **more)

    def waiting_share(self, who: Officer) -> tuple[Ceremony, str]:
        with reading(self.engine) as connection:
            held = ceremonies.all_of(connection)[-1]
            rows = ceremonies.shares_of(connection, held.record.generation)
        sealed = next(one.sealed for one in rows if one.key == who.card.key_id)
        return held.record, opened(who, held.record, sealed)

    def confirm_next(self, who: Officer, **wrong: Any) -> int:
        record, share = self.waiting_share(who)
        approval = Approval.of(record.digest, who.card, who.signer, self.now + DAY)
        args = {"ceremony": record.digest.hex(), "share": share, "approval": approval.plain(), **wrong}
        return int(self.say(who, "confirm", **args)["needed"])

    def rekey_request(self, who: Officer = ANNA, kind: Kind = Kind.OFFICER_REPLACE) -> Request:
        waiting = self.say(who, "ceremony")
        detail = {name: waiting[name] for name in ("ceremony", "cards", "confirmations")}
        return self.request(who, kind, **detail)


def signed(who: Officer, request: Request, until: int = 0) -> Approval:
    return Approval.of(request.digest, who.card, who.signer, until or request.expires)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.engine.dispose()


def test_a_request_is_done_by_the_approval_that_completes_it_and_once(room: Room) -> None:
    request = room.budget(7)
    assert room.limits.creates_per_hour != 7
    found = room.approve(NIKOS, request)
    assert (found["state"], found["missing"], room.limits.creates_per_hour) == ("done", 0, 7)
    before = room.rows("officer_record")
    for _ in range(2):
        assert room.approve(MARIA, request)["state"] == "done"
        assert room.ask(ANNA, request)["state"] == "done"
    assert room.rows("officer_record") == before == 2
    room.opened_again()
    room.deciding.apply_budgets()
    assert room.limits.creates_per_hour == 7
    assert sorted(room.leaves()) == ["officers.asked", "officers.recorded", "officers.recorded"]


def test_a57_the_asker_alone_does_nothing_and_one_person_has_one_voice(room: Room) -> None:
    request = room.budget()
    for _ in range(3):
        assert room.ask(ANNA, request)["state"] == room.approve(ANNA, request)["state"] == "pending"
    twin = officer(21, ANNA.card.name.upper())
    with pytest.raises(RefusedError, match="only an officer in force"):
        room.approve(twin, request)
    with pytest.raises(ShareError, match="one person"):
        room.rekey(ANNA, MARIA, twin)
    with pytest.raises(RefusedError):
        room.approve(PETRA, request)
    assert room.rows("officer_record") == 1


def test_a57_whoever_became_an_officer_after_a_request_does_not_approve_it(room: Room) -> None:
    room.rekey(ANNA, MARIA, PETRA)
    request = room.budget()
    room.confirm_next(ANNA)
    room.confirm_next(PETRA)
    change = room.rekey_request()
    room.ask(ANNA, change)
    room.now += 60
    assert room.approve(NIKOS, change)["state"] == "done"
    with pytest.raises(QuorumError, match="another generation"):
        room.approve(PETRA, request)
    with pytest.raises(RefusedError):
        room.approve(NIKOS, request)
    # A request by somebody's clock that was before Petra came: her word does not count on it.
    room.now -= 30
    early = room.request(ANNA, Kind.RAISE_BUDGET, "creates_per_hour", per_hour=9)
    room.now += 30
    room.ask(ANNA, early)
    assert room.approve(PETRA, early)["state"] == "pending"
    assert room.approve(MARIA, early)["state"] == "done"


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "exchanges_per_hour"}, {"detail": {"per_hour": 8}}, {"kind": "policy"}, {"by": NIKOS.card.key_id},
        {"expires": NOW + 7200}, {"generation": 2}, {"deployment": "00" * 16}, {"nonce": "11" * 16},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a58_whatever_is_changed_in_a_request_is_another_request_without_approvals(
    room: Room, change: dict[str, Any]
) -> None:
    request = room.budget()
    said = rfc8785.dumps(json.loads(bytes(request)) | change)
    with writing(room.engine) as connection:  # what an administrator of the store could do
        connection.execute(text("UPDATE request SET said = :said"), {"said": said})
    with pytest.raises(QuorumError, match="altered"):
        room.approve(NIKOS, request)
    shown = room.deciding.listed()
    assert {one["state"] for one in shown} <= {"void", "altered"}
    with writing(room.engine) as connection:
        connection.execute(text("UPDATE request SET said = :said"), {"said": bytes(request)})
    with pytest.raises(KeysError):  # an approval of the other request is none of this one
        room.say(NIKOS, "approve", request=request.digest.hex(),
                 approval=Approval.of(bytes(32), NIKOS.card, NIKOS.signer, NOW + DAY).plain())  # fmt: skip
    assert room.rows("officer_record") == 1
    assert room.approve(NIKOS, request)["state"] == "done"


def test_a59_an_approval_is_of_one_request_of_its_time_its_officers_and_its_vault(room: Room, tmp_path: Path) -> None:
    one, other = room.budget(7), room.budget(8)
    with pytest.raises(QuorumError, match="not this officer's"):
        room.approve(NIKOS, one, of=other)
    approval = signed(NIKOS, one)
    with pytest.raises(QuorumError, match="not this officer's"):  # another's signature in one's own name
        room.say(MARIA, "approve", request=one.digest.hex(), approval=approval.plain())
    assert room.approve(NIKOS, one)["state"] == "done"
    again = Request.parse(bytes(one))
    assert room.ask(ANNA, again)["state"] == "done"
    assert room.rows("officer_record") == 2
    (tmp_path / "other").mkdir()
    elsewhere = Room(tmp_path / "other")
    with pytest.raises(QuorumError, match="another vault"):
        elsewhere.ask(ANNA, other)
    room.now += 3600
    with pytest.raises(QuorumError, match="expired"):
        room.approve(NIKOS, other)
    assert {one["state"] for one in room.deciding.listed()} == set()


def test_a60_many_at_once_complete_a_request_and_it_is_done_once(room: Room) -> None:
    request = room.budget(7)
    answers: list[str] = []

    def approve(who: Officer) -> None:
        answers.append(room.approve(who, request)["state"])

    threads = [threading.Thread(target=approve, args=(who,)) for _ in range(25) for who in (MARIA, NIKOS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == ["done"] * 50
    assert room.rows("officer_record") == 2
    assert room.leaves().count("officers.recorded") == 2


@pytest.mark.parametrize("table", ["officer_record", "officer_head", "request", "audit_outbox"])
def test_a60_what_fails_in_the_midst_leaves_a_request_to_be_completed_again(room: Room, table: str) -> None:
    request = room.budget(7)
    event = "UPDATE" if table in ("officer_head", "request") else "INSERT"
    with refusing(room.engine, event, table), pytest.raises(Exception, match="refused here"):
        room.approve(NIKOS, request)
    assert (room.rows("officer_record"), room.limits.creates_per_hour == 7) == (1, False)
    assert room.approve(NIKOS, request)["state"] == "done"
    assert (room.rows("officer_record"), room.limits.creates_per_hour) == (2, 7)


def test_who_is_against_says_so_and_ends_nothing_and_only_the_asker_withdraws(room: Room) -> None:
    request = room.budget()
    name = request.digest.hex()[:8]
    found = room.say(MARIA, "object", request=name, reason="too many")
    assert found["against"] == [{"name": MARIA.card.name, "reason": "too many"}]
    with pytest.raises(RefusedError, match="who asked may withdraw"):
        room.say(MARIA, "withdraw", request=name)
    assert room.approve(MARIA, request)["state"] == "done"  # she thought again; her word is one
    other = room.budget(9, who=NIKOS)
    room.say(NIKOS, "withdraw", request=other.digest.hex())
    with pytest.raises(QuorumError, match="withdrawn"):
        room.approve(ANNA, other)
    with pytest.raises(MissingError):
        room.say(ANNA, "show", request="ffffffff")
    assert room.leaves().count("officers.objected") == 2


def test_what_cannot_be_done_is_refused_before_anybody_is_asked_to_sign(room: Room) -> None:
    wrong: list[tuple[Kind, str, dict[str, Any]]] = [
        (Kind.RAISE_BUDGET, "nonsense", {"per_hour": 1}), (Kind.RAISE_BUDGET, "creates_per_hour", {}),
        (Kind.RAISE_BUDGET, "creates_per_hour", {"per_hour": -1}), (Kind.POLICY, "", {"threshold": 3, "more": {}}),
        (Kind.POLICY, "", {"threshold": 2, "more": {"disclose": 9}}), (Kind.REKEY, "", {}),
        (Kind.DISCLOSE, "reg_1", {}), (Kind.RESTORE, "", {}), (Kind.END_LOCKDOWN, "", {}),
    ]  # fmt: skip
    for kind, subject, detail in wrong:
        with pytest.raises(QuorumError):
            room.ask(ANNA, room.request(ANNA, kind, subject, **detail))
    with pytest.raises(QuorumError, match="in his own name"):
        room.ask(MARIA, room.request(ANNA, Kind.RAISE_BUDGET, "creates_per_hour", per_hour=1))
    assert (room.rows("request"), room.rows("approval")) == (0, 0)


def test_a_policy_asks_for_more_persons_and_lowering_it_asks_those_again(room: Room) -> None:
    raised = room.request(ANNA, Kind.POLICY, threshold=2, more={"raise-budget": 3})
    room.ask(ANNA, raised)
    assert room.approve(MARIA, raised)["state"] == "done"
    request = room.budget()
    assert room.approve(MARIA, request)["state"] == "pending"
    lowered = room.request(ANNA, Kind.POLICY, threshold=2, more={})
    room.ask(ANNA, lowered)
    assert room.approve(MARIA, lowered)["state"] == "pending"
    assert room.approve(NIKOS, lowered)["state"] == "done"
    assert room.approve(MARIA, request)["state"] == "done"  # two signed it, and two are enough again


def test_officers_clocks_may_be_a_day_apart(room: Room) -> None:
    for clock in (-DAY + 60, DAY - 60):
        request = Request.of(
            room.state().ceremony.deployment, 1, Kind.RAISE_BUDGET, "creates_per_hour", {"per_hour": 7 + clock % 5},
            ANNA.card, room.now, 3 * DAY,
        )  # fmt: skip
        room.ask(ANNA, request)
        approval = signed(NIKOS, request, until=room.now + clock + 2 * DAY)
        found = room.say(NIKOS, "approve", request=request.digest.hex(), approval=approval.plain())
        assert found["state"] == "done"


PROVIDER: Final[dict[str, Any]] = {
    "what": "provider", "sector": "new.example", "name": "New", "terms": {"scopes": "register", "policy": {"caps": 1}},
}  # fmt: skip


def test_a_provider_is_enrolled_once_two_officers_signed_just_that(room: Room) -> None:
    asked = room.act(enrolling.enrol, **PROVIDER, client="cli_1")
    assert set(asked) == {"pending"}
    assert room.act(enrolling.enrol, **PROVIDER, client="cli_2") == asked
    assert not [row for row in _keys(room) if row == "new.example"]
    other = room.act(enrolling.enrol, **{**PROVIDER, "terms": {"scopes": "register sanction"}}, client="cli_3")
    assert other != asked
    found = room.say(ANNA, "show", request=asked["pending"])
    assert (found["state"], found["missing"]) == ("proposed", 2)
    request = _taken_up(room, ANNA, found)
    assert room.act(enrolling.enrol, **PROVIDER, client="cli_4") == asked
    assert room.approve(MARIA, request)["state"] == "approved"
    changed = {**PROVIDER, "terms": {**PROVIDER["terms"], "scopes": "register sanction review"}}
    others: list[dict[str, Any]] = [changed, {**PROVIDER, "sector": "other.example"}, {**PROVIDER, "name": "Newer"}]
    for more in others:
        assert set(room.act(enrolling.enrol, **more, client="cli_5")) == {"pending"}
    assert room.act(enrolling.enrol, **PROVIDER, client="cli_6") == {"client": "cli_1"}
    assert _keys(room).count("new.example") == 2
    assert room.act(enrolling.enrol, **PROVIDER, client="cli_7") == {"client": "cli_1"}  # a retry
    assert (room.rows("officer_record"), _keys(room).count("new.example")) == (2, 2)
    assert room.say(ANNA, "show", request=asked["pending"])["state"] == "done"


def test_a_reviewer_is_enrolled_by_officers_and_his_sector_is_signed_for(room: Room) -> None:
    wanted = {"what": "reviewer", "sector": None, "name": "Rita"}
    asked = room.act(enrolling.enrol, **wanted, client="cli_r")
    request = _taken_up(room, NIKOS, room.say(NIKOS, "show", request=asked["pending"]))
    room.approve(MARIA, request)
    assert room.act(enrolling.enrol, **wanted, client="cli_x") == {"client": "cli_r"}
    assert [(row.client, row.sector) for row in _reviewers(room)] == [("cli_r", None)]
    assert room.act(enrolling.enrol, **wanted, client="cli_y") == {"client": "cli_r"}
    assert len(_reviewers(room)) == 1


def test_an_agreement_that_was_revoked_needs_officers_anew(room: Room) -> None:
    for sector in (SHOP, BANK):
        with writing(room.engine) as connection:
            room.ring.add_sector(connection, sector, NOW)
    room.ring.reload()
    wanted = {
        "giver": "cli_s", "giver_sector": SHOP, "taker": "cli_b", "taker_sector": BANK, "purpose": "loans",
        "basis": "legal",
    }  # fmt: skip
    first = room.act(agreeing.allow, **wanted)
    room.approve(MARIA, _taken_up(room, ANNA, room.say(ANNA, "show", request=first["pending"])))
    made = room.act(agreeing.allow, **wanted)
    assert made["state"] == "active"
    assert room.act(agreeing.allow, **wanted) == made
    room.act(agreeing.revoke, **{name: wanted[name] for name in ("giver", "taker", "purpose")})
    second = room.act(agreeing.allow, **wanted)
    assert set(second) == {"pending"}
    assert second != first


def _taken_up(room: Room, who: Officer, found: dict[str, Any]) -> Request:
    """The first officer who approves a proposal becomes the one who asks."""
    said = found["request"]
    request = room.request(who, Kind(said["kind"]), said["subject"], **said["detail"], proposal=found["id"])
    assert room.ask(who, request)["id"] == found["id"]
    return request


def _keys(room: Room) -> list[str]:
    with reading(room.engine) as connection:
        return list(connection.execute(text("SELECT scope FROM key WHERE purpose IN ('token', 'link')")).scalars())


def _reviewers(room: Room) -> list[Any]:
    with reading(room.engine) as connection:
        return list(connection.execute(store.reviewer.select()).all())


def test_a17_another_root_key_is_in_force_when_m_confirmed_and_m_approved_and_the_old_shares_are_worthless(
    room: Room,
) -> None:
    old = {who.card.key_id: room.share(place)[1] for place, who in enumerate((ANNA, MARIA, NIKOS))}
    room.rekey(ANNA, MARIA, PETRA)
    with pytest.raises(ConflictError, match="--replace"):
        room.rekey(ANNA, MARIA)
    assert room.confirm_next(ANNA) == 1
    assert room.confirm_next(ANNA) == 1  # said again
    with pytest.raises(ShareError):
        room.confirm_next(PETRA, share=old[ANNA.card.key_id])
    with pytest.raises(QuorumError, match="more officers must confirm"):
        room.ask(ANNA, room.rekey_request())
    assert room.confirm_next(PETRA) == 0
    request = room.rekey_request()
    assert room.ask(ANNA, request)["state"] == "pending"
    root_id, root, _ = room.opened[-1]
    assert Keyring.under_root(room.engine, root_id, root)  # until then the old one opens all
    assert room.approve(NIKOS, request)["state"] == "done"
    with pytest.raises(KeysError):
        Keyring.under_root(room.engine, root_id, root)
    assert room.ring.current("kek").secret  # the open holder goes on
    room.ring.reload()
    room.ring.verify()
    room.started()
    for place, who in enumerate((ANNA, MARIA, NIKOS)):
        with pytest.raises(ShareError, match="generation 1, and generation 2 is in force"):
            room.unsealing.unseal(PEOPLE[place].card, {"share": old[who.card.key_id]})
    assert [room.unsealing.unseal(who.card, {"share": room.waiting_share(who)[1]})["needed"]
            for who in (MARIA, PETRA)] == [1, 0]  # fmt: skip
    room.opened_again()
    state = room.state()
    assert (state.generation, {one.card.name for one in state.officers}) == (
        2, {one.card.name for one in (ANNA, MARIA, PETRA)},
    )  # fmt: skip
    with pytest.raises(RefusedError):
        room.budget(who=NIKOS)
    assert room.rows("share") == 3


@pytest.mark.parametrize("until", ["begun", "confirmed", "asked"])
def test_a17_until_it_is_in_force_the_old_shares_unseal(room: Room, until: str) -> None:
    room.rekey(ANNA, MARIA, PETRA)
    if until != "begun":
        room.confirm_next(ANNA)
        room.confirm_next(PETRA)
    if until == "asked":
        room.ask(ANNA, room.rekey_request())
    room.started()  # the holder was killed
    with reading(room.engine) as connection:
        record = ceremonies.all_of(connection)[0].record
        rows = {one.key: one.sealed for one in ceremonies.shares_of(connection, 1)}
    for who, needed in ((NIKOS, 1), (MARIA, 0)):
        share = opened(who, record, rows[who.card.key_id])
        assert room.unsealing.unseal(who.card, {"share": share})["needed"] == needed
    room.opened_again()
    assert room.state().generation == 1
    if until == "asked":  # and it can be completed
        assert room.approve(NIKOS, _only(room))["state"] == "done"


def _only(room: Room) -> Request:
    with reading(room.engine) as connection:
        [said] = connection.execute(text("SELECT said FROM request")).scalars()
    return Request.parse(bytes(said))


@pytest.mark.parametrize("table", ["key", "officer_record", "officer_head", "ceremony", "share", "audit_outbox"])
def test_a17_a_rekey_that_fails_in_the_midst_leaves_the_old_one_in_force(room: Room, table: str) -> None:
    room.rekey(ANNA, MARIA, PETRA)
    room.confirm_next(ANNA)
    room.confirm_next(PETRA)
    request = room.rekey_request()
    room.ask(ANNA, request)
    event = {"officer_record": "INSERT", "audit_outbox": "INSERT", "share": "DELETE"}.get(table, "UPDATE")
    with refusing(room.engine, event, table), pytest.raises(Exception, match="refused here"):
        room.approve(NIKOS, request)
    root_id, root, _ = room.opened[-1]
    assert Keyring.under_root(room.engine, root_id, root)
    room.ring.reload()
    assert room.ring.current("kek")
    assert (room.state().generation, room.rows("share")) == (1, 6)
    assert room.approve(NIKOS, request)["state"] == "done"
    assert (room.state().generation, room.rows("share")) == (2, 3)


def test_a17_a_ceremony_that_took_the_place_of_one_that_was_asked_for_voids_the_request(room: Room) -> None:
    room.rekey(ANNA, MARIA, PETRA)
    room.confirm_next(ANNA)
    room.confirm_next(PETRA)
    request = room.rekey_request()
    room.ask(ANNA, request)
    room.rekey(ANNA, MARIA, PEOPLE[4], replace=True)
    with pytest.raises(ConflictError, match="replaced by another"):
        room.approve(NIKOS, request)
    assert room.state().generation == 1
    assert room.leaves().count("ceremony.begun") == 2  # and everybody can see that there were two


def test_a_root_key_that_waits_lies_in_the_store_sealed(room: Room) -> None:
    room.rekey(ANNA, MARIA, PETRA)
    with reading(room.engine) as connection:
        held = ceremonies.all_of(connection)[-1]
    assert held.root is not None
    assert len(held.root) > 32
    for place in range(len(held.root) - 31):
        assert not held.record.commits_to(Secret(held.root[place : place + 32]))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO approval SELECT digest, :key, said FROM approval",
        "UPDATE approval SET key = :key",
        "UPDATE request SET state = 'pending', expires = 99999999999",
        "UPDATE request SET state = 'done'",
        "DELETE FROM approval",
    ],
)
def test_what_an_administrator_writes_into_requests_approves_nothing(room: Room, statement: str) -> None:
    request = room.budget()
    with writing(room.engine) as connection:
        connection.execute(text(statement), {"key": MARIA.card.key_id} if ":key" in statement else {})
    assert room.deciding.listed()[0]["state"] != "approved"
    assert room.act(enrolling.enrol, **PROVIDER, client="cli_1").keys() == {"pending"}
    assert (room.rows("officer_record"), room.limits.creates_per_hour == 7) == (1, False)
    assert request.digest


def test_a_request_that_an_administrator_planted_as_done_enrols_nobody(room: Room) -> None:
    """What was used stands in the chain: a row that says so, or one that took the digest of another, says nothing."""
    wanted: dict[str, Any] = {"what": "reviewer", "sector": None, "name": "Mallory"}
    request = room.request(ANNA, Kind.REVIEWER_ADD, "Mallory", sector=None, made={"client": "cli_m"})
    room.approve(MARIA, room.budget())
    with reading(room.engine) as connection:
        [used] = connection.execute(text("SELECT digest FROM request")).scalars()
    for digest in (request.digest, used):
        with writing(room.engine) as connection:
            connection.execute(text("DELETE FROM request"))
            connection.execute(
                text("INSERT INTO request (digest, said, state, expires) VALUES (:digest, :said, 'done', 99999999999)"),
                {"digest": bytes(digest), "said": bytes(request)},
            )
        assert set(room.act(enrolling.enrol, **wanted, client="cli_x")) == {"pending"}
        assert _reviewers(room) == []
        assert "done" not in {one["state"] for one in room.deciding.listed()}


def test_a_use_that_an_administrator_took_back_stops_every_decision(room: Room) -> None:
    request = room.budget()
    room.approve(MARIA, request)
    with writing(room.engine) as connection:
        connection.execute(text("DELETE FROM officer_record WHERE number = 1"))
    with pytest.raises(ChainError):
        room.budget(9)
    with pytest.raises(ChainError):
        room.act(enrolling.enrol, **PROVIDER, client="cli_1")


def test_the_chain_says_what_was_used_and_by_whom_it_was_signed(room: Room) -> None:
    request = room.budget()
    room.say(MARIA, "object", request=request.digest.hex(), reason="no")
    room.approve(NIKOS, request)
    with reading(room.engine) as connection:
        last = records(connection)[-1]
    assert {one.key for one in last.signatures} == {ANNA.card.key_id, NIKOS.card.key_id}
    assert Chain(room.engine, room.ring, room.home).state() == room.state()
    assert request.digest in room.state().used


@pytest.mark.parametrize(
    ("statement", "table", "why"),
    [
        ("INSERT INTO officer_record SELECT 2, said, signatures FROM officer_record WHERE number = 1", "officer_record",
         "record 2: not a record, or not the one that follows"),
        ("UPDATE officer_record SET signatures = '[]' WHERE number = 1", "officer_record",
         "record 1: request: another person than who asked must approve it"),
        ("DELETE FROM officer_record WHERE number = 1", "officer_record",
         "record 1: the end of the chain was cut off: a later record was in force"),
        ("UPDATE officer_head SET number = 0", "officer_record", "the head of the chain was altered"),
        pytest.param("UPDATE request SET said = replace(said, '7', '8')", "request", None, marks=pytest.mark.sqlite),
    ],
)  # fmt: skip
def test_what_an_administrator_wrote_into_officers_records_is_named_by_fsck(
    room: Room, statement: str, table: str, why: str | None
) -> None:
    room.approve(MARIA, room.budget())
    before = room.act(verifying.verify_own)["tables"]
    assert (before["officer_record"], before["request"]) == ({"rows": 2, "bad": 0}, {"rows": 1, "bad": 0})
    with writing(room.engine) as connection:
        connection.execute(text(statement))
    found = room.act(verifying.verify_own)["tables"][table]
    assert (found["bad"], found.get("why")) == (1, why)
