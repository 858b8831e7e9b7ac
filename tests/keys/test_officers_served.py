"""Officers and a really started agent: who opens, shuts and changes it, and what is left when a part is killed."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from keys.errors import (
    ConflictError,
    KeysError,
    LockdownError,
    MessageError,
    ProtocolError,
    RefusedError,
    SealedError,
    ShareError,
    UnavailableError,
)
from keys.primitives import HybridReceiver, Secret, random_bytes, seal_to
from keys.quorum import Kind
from tests.keys.agents import Agent, until
from tests.keys.killing import Point, at_points, killed_at
from tests.keys.party import Party, Seat
from tests.keys.stores import SHOP
from tests.keys.test_chain import PEOPLE, officer

pytestmark = pytest.mark.sampled


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    started = Agent(tmp_path / "home", sealed=False).start()
    yield started
    started.stop()


def _started(agent: Agent, what: Sequence[Callable[[], None]]) -> list[threading.Thread]:
    """Start each in a thread of its own, with connections of its own."""

    def run(one: Callable[[], None]) -> None:
        try:
            one()
        finally:
            agent.message.close()
            agent.officer.close()

    threads = [threading.Thread(target=run, args=(one,)) for one in what]
    for thread in threads:
        thread.start()
    return threads


def _at_once(agent: Agent, what: Sequence[Callable[[], None]]) -> None:
    for thread in _started(agent, what):
        thread.join(60)


@pytest.fixture
def party(agent: Agent) -> Party:
    return Party(agent).made()


def test_a_new_vault_answers_that_it_is_sealed_until_m_officers_confirmed(agent: Agent) -> None:
    party = Party(agent)
    told = {"seal": "shares", "embedded": True, "shut": "", "names": "sealed", "standing": "sealed"}
    assert agent.status() == told
    assert party.seats[0].stated().names == "new"
    with pytest.raises(RefusedError, match="officers' shares"):
        agent.officer.call("unseal", {})
    party.begin()
    assert party.seats[0].confirm() == 1
    for client in (agent.identity, agent.directory):
        with pytest.raises(SealedError):
            client.call("hello", {})
    assert party.seats[0].confirm() == 1  # said again
    assert party.seats[2].confirm() == 0
    agent.await_state("open", "open")
    assert agent.identity.call("hello", {}) == agent.directory.call("hello", {})
    assert agent.identity.call("hello", {})["development"] is False
    with pytest.raises(RefusedError, match="has officers already"):
        party.begin()


def test_after_a_restart_it_is_sealed_and_any_two_of_three_open_it(party: Party) -> None:
    agent = party.agent
    for pair in ((0, 1), (2, 0), (1, 2)):
        before = agent.holders()
        agent.restart()
        assert agent.status()["names"] == agent.status()["standing"] == "sealed"
        assert set(before).isdisjoint(agent.holders())
        party.unseal(*pair)


def test_seal_and_lockdown_are_any_one_officers_and_opening_is_not(party: Party) -> None:
    agent, (anna, maria, nikos, stranger, _) = party.agent, party.seats
    with pytest.raises(MessageError):
        stranger.ask("seal")
    nikos.ask("lockdown")
    agent.await_state("lockdown", "open")
    with pytest.raises(LockdownError):
        agent.identity.call("hello", {})
    assert agent.directory.call("hello", {})
    agent.restart()
    agent.await_state("lockdown", "sealed")
    maria.ask("seal")
    agent.await_state("sealed", "sealed")
    assert anna.unseal() == 1
    assert anna.stated().names == "sealed"
    with pytest.raises(ShareError, match="already provided"):
        anna.unseal()
    assert maria.unseal() == 0
    agent.await_state("open", "open")
    assert agent.status()["shut"] == ""


def test_standing_alone_is_brought_back_first_and_names_stay_closed(party: Party) -> None:
    agent, (anna, maria, *_) = party.agent, party.seats
    anna.ask("seal")
    agent.await_state("sealed", "sealed")
    assert anna.unseal(directory=True) == 1
    assert maria.unseal() == 1  # for names: counted apart
    assert maria.unseal(directory=True) == 0
    agent.await_state("lockdown", "open")
    assert agent.directory.call("hello", {})
    with pytest.raises(LockdownError):
        agent.identity.call("hello", {})
    assert maria.stated().names == "lockdown"
    party.unseal(0, 2)


def test_a_standing_that_dies_comes_back_and_names_stay_open(party: Party) -> None:
    agent = party.agent
    names = agent.holder("names")
    for _ in range(3):
        before = agent.holder("standing")
        os.kill(before, signal.SIGKILL)
        _replaced(agent, before)
        agent.await_state("open", "open")
        assert agent.directory.call("hello", {})
    assert agent.holder("names") == names


def _replaced(agent: Agent, pid: int) -> None:
    until(lambda: pid not in agent.holders() and len(agent.holders()) == 2, "another holder")


def test_a_names_that_dies_is_sealed_until_two_officers_open_it_and_standing_stays(party: Party) -> None:
    agent = party.agent
    standing = agent.holder("standing")
    os.kill(agent.holder("names"), signal.SIGKILL)
    agent.await_state("sealed", "open")
    with pytest.raises(SealedError):
        agent.identity.call("hello", {})
    os.kill(agent.holder("standing"), signal.SIGKILL)
    agent.await_state("sealed", "sealed")
    party.unseal(0, 1)
    assert agent.holder("standing") != standing


def test_a69_a_message_is_heard_once_by_the_start_that_it_was_said_to(party: Party) -> None:
    agent, anna = party.agent, party.seats[0]
    raw, _, stated = anna.said("look")
    assert agent.message.call("message", {"message": raw})
    with pytest.raises(MessageError, match="heard before"):
        agent.message.call("message", {"message": raw})
    agent.restart()
    assert anna.stated().boot != stated.boot
    assert anna.stated().agent == stated.agent
    with pytest.raises(MessageError, match="another start"):
        agent.message.call("message", {"message": raw})


def _to_another(seat: Seat) -> bytes:
    stated = seat.stated()
    receiver = HybridReceiver(Secret(bytes(96)))
    sealed = seal_to(receiver.public(), b"x" * 200, b"info")
    return b'{"boot":"' + stated.boot.hex().encode() + b'","sealed":"' + sealed.hex().encode() + b'","v":1}'


JUNK: Final[dict[str, Callable[[Seat], bytes]]] = {
    "nothing": lambda _: b"",
    "no JSON": lambda _: b"\xff" * 100,
    "deep": lambda _: b"[" * 30_000,
    "a stranger's": lambda seat: Seat(seat.agent, officer(99)).said("seal")[0],
    "to another key": _to_another,
    "too long": lambda _: b"x" * 70_000,
}


def test_a16_nobody_outside_starts_ends_or_slows_a_ceremony(agent: Agent) -> None:
    """Junk by the thousand, from many at once, while a real ceremony is held: it completes, and nothing is kept."""
    party, over = Party(agent), threading.Event()
    refused, heard = [0], [0]
    kinds = [make(party.seats[0]) for make in JUNK.values()]

    def flood() -> None:
        while not over.is_set():
            try:
                agent.message.call("message", {"message": kinds[refused[0] % len(kinds)]})
                heard[0] += 1
            except MessageError:
                refused[0] += 1
            except UnavailableError:
                continue  # the holder was ended by an officer's seal

    threads = _started(agent, [flood] * 4)
    party.made()
    party.seats[0].ask("seal")
    agent.await_state("sealed", "sealed")
    with suppress(MessageError):
        party.seats[0].unseal()
    until(lambda: refused[0] > 1000, "a flood")
    over.set()
    for thread in threads:
        thread.join(30)
    with suppress(ShareError):
        party.seats[0].unseal()
    assert party.seats[1].unseal() == 0
    agent.await_state("open", "open")
    assert heard == [0]
    assert party.seats[0].ask("look")["requests"] == []


VERBS: Final = (
    "look", "share", "proved", "seal", "lockdown", "confirm", "unseal", "ask", "approve", "object", "withdraw", "show",
    "rekey", "ceremony", "nonsense", "begin", "enrol", "statement",
)  # fmt: skip
OPEN_ALONE: Final = {"ask", "approve", "object", "withdraw", "show", "rekey", "ceremony"}


@pytest.mark.parametrize("state", ["new", "sealed", "lockdown", "open"])
def test_a18_what_an_officer_a_future_one_and_a_stranger_may_say_in_each_state(agent: Agent, state: str) -> None:
    """Verb by role by state: refused unheard, refused by the state or for want of arguments, or done."""
    party = Party(agent)
    if state == "new":
        party.begin()
    else:
        party.made()
    if state not in ("new", "open"):
        party.seats[0].ask("seal" if state == "sealed" else "lockdown")
        agent.await_state(state, "sealed" if state == "sealed" else "open")
    inside, outside = party.seats[0], party.seats[4]
    for verb in set(VERBS) - {"seal", "lockdown"}:
        with pytest.raises(MessageError):
            outside.ask(verb)
        told = _told(inside, verb)
        if (verb in OPEN_ALONE and state != "open") or verb in ("nonsense", "begin", "enrol", "statement"):
            assert "not while the vault is" in told, (verb, told)
        elif verb == "unseal" and state == "open":
            assert "not while the vault is" in told
        else:
            assert "not while the vault is" not in told, (verb, told)
    for verb in ("seal", "lockdown"):
        with pytest.raises(MessageError):
            outside.ask(verb)
    if state == "new":  # who is to be an officer is none yet
        for verb in ("seal", "lockdown", "proved"):
            assert "only an officer in force" in _told(inside, verb)
    assert agent.status()["names"] == ("sealed" if state == "new" else state)


def _told(seat: Seat, verb: str) -> str:
    try:
        return str(seat.ask(verb))
    except KeysError as error:
        return str(error)


def test_two_ceremonies_at_once_leave_one_and_the_shares_of_the_other_are_void(agent: Agent) -> None:
    party = Party(agent)
    results: list[str] = []

    def begin() -> None:
        try:
            results.append(party.begin()["ceremony"])
        except ConflictError:
            results.append("refused")

    _at_once(agent, [begin] * 6)
    assert results.count("refused") == 5
    record, _ = party.seats[0].fetched(waiting=True)
    assert record.digest.hex() in results
    old = party.seats[0].share
    with pytest.raises(ConflictError, match="--replace"):
        party.begin()
    party.begin(replace=True)
    with pytest.raises(ConflictError, match="no such ceremony waits"):
        party.seats[0].ask("confirm", ceremony=record.digest.hex(), share=old, approval={})
    assert [party.seats[1].confirm(), party.seats[2].confirm()] == [1, 0]
    agent.await_state("open", "open")


def test_many_confirm_at_the_same_moment_and_one_vault_comes_of_it(agent: Agent) -> None:
    party = Party(agent)
    party.begin(people=5, threshold=3)
    needed: list[int] = []

    def confirm(seat: Seat) -> None:
        with suppress(ConflictError, RefusedError):  # who comes late finds it in force
            needed.append(seat.confirm())

    _at_once(agent, [partial(confirm, seat) for seat in party.seats for _ in range(3)])
    agent.await_state("open", "open")
    assert needed.count(0) == 1
    assert party.seats[0].stated().generation == 1


# kill -9 at the writes of each act, by strace's injection: what there is afterwards is the state before or after it.


class Init:
    """Begin a ceremony."""

    development = False
    """Whether the vault has the development seal."""

    def prepare(self, party: Party) -> None:
        """There is nothing yet."""

    def act(self, party: Party) -> None:
        party.begin()

    def check(self, party: Party) -> None:
        with suppress(ConflictError):
            party.begin()
        assert [party.seats[0].confirm(), party.seats[1].confirm()] == [1, 0]


class Confirm(Init):
    """Complete a ceremony: all keys are made."""

    def prepare(self, party: Party) -> None:
        party.begin()
        assert party.seats[0].confirm() == 1

    def act(self, party: Party) -> None:
        party.seats[1].confirm()

    def check(self, party: Party) -> None:
        if party.seats[0].stated().names == "new":
            party.seats[0].confirm()
            assert party.seats[1].confirm() == 0
        elif party.seats[0].stated().names != "open":
            for seat in party.seats[:2]:
                seat.fetched()
            party.unseal(0, 1)


class Unseal(Init):
    """Open a sealed vault."""

    def prepare(self, party: Party) -> None:
        party.made()
        party.seats[0].ask("seal")
        party.agent.await_state("sealed", "sealed")
        assert party.seats[0].unseal() == 1

    def act(self, party: Party) -> None:
        party.seats[1].unseal()

    def check(self, party: Party) -> None:
        if party.seats[0].stated().names != "open":
            with suppress(ShareError):
                party.seats[0].unseal()
            party.unseal(1)


class Approve(Init):
    """Complete a request: it is carried out."""

    def prepare(self, party: Party) -> None:
        party.made()
        self.request = party.seats[0].request(Kind.RAISE_BUDGET, "creates_per_hour", per_hour=77)
        party.seats[0].sign("ask", self.request)

    def act(self, party: Party) -> None:
        party.seats[1].sign("approve", self.request)

    def check(self, party: Party) -> None:
        if party.seats[0].stated().names != "open":
            party.unseal(0, 2)
        assert party.seats[1].sign("approve", self.request)["state"] == "done"
        found = party.seats[2].ask("look")
        assert (found["budgets"], found["record"]) == ({"creates_per_hour": 77}, 1)


class Rekey(Init):
    """Put another root key in force."""

    def prepare(self, party: Party) -> None:
        self.begin(party.made())

    def begin(self, party: Party) -> None:
        cards = [str(PEOPLE[place].card) for place in (0, 1, 3)]
        party.seats[0].ask("rekey", cards=cards, threshold=2)
        self.old = {place: party.seats[place].share for place in (0, 1, 2)}
        for place in (0, 3):
            party.seats[place].confirm()
        waiting = party.seats[0].ask("ceremony")
        detail = {name: waiting[name] for name in ("ceremony", "cards", "confirmations")}
        self.request = party.seats[0].request(Kind.OFFICER_REPLACE, **detail)
        party.seats[0].sign("ask", self.request)

    def act(self, party: Party) -> None:
        party.seats[2].sign("approve", self.request)

    def check(self, party: Party) -> None:
        anna, maria, nikos, petra, _ = party.seats
        generation = anna.stated().generation
        if anna.stated().names != "open":
            if generation == 1:
                anna.share, maria.share = self.old[0], self.old[1]
                party.unseal(0, 1)
            else:
                anna.share = self.old[0]
                with pytest.raises(ShareError, match="generation 1"):
                    anna.unseal()
                anna.fetched()
                party.unseal(0, 3)
        if generation == 1:
            assert nikos.sign("approve", self.request)["state"] == "done"
        assert petra.ask("look")["generation"] == 2
        with pytest.raises(MessageError):
            nikos.ask("look")


class TakeOver(Init):
    """Officers take a vault over from the development seal."""

    development = True

    def prepare(self, party: Party) -> None:
        party.begin()
        assert party.seats[0].confirm() == 1

    def act(self, party: Party) -> None:
        party.seats[1].confirm()

    def check(self, party: Party) -> None:
        until(lambda: "seal" in party.agent.status(), "answering again")
        if party.agent.status()["seal"] == "development":
            party.agent.await_state("open", "open")
            assert party.seats[1].confirm() == 0
        until(lambda: party.agent.status().get("names") == "sealed", "sealed")
        assert not (party.agent.home / "seal.json").exists()
        for seat in party.seats[:2]:
            seat.fetched()
        party.unseal(0, 1)


ACTS: Final[tuple[type[Init], ...]] = (Init, Confirm, Unseal, Approve, Rekey, TakeOver)


@pytest.mark.costly
@pytest.mark.parametrize("kind", ACTS)
@pytest.mark.timeout(3600)
def test_an_officers_act_that_is_killed_at_any_write_is_done_or_not_and_shares_of_one_generation_open_all(
    tmp_path: Path, kind: type[Init], drawn: random.Random, *, full: bool
) -> None:
    at_points(lambda at: run_killed(tmp_path / f"at{at.call}{at.nth}", kind, at), drawn, full=full)


def run_killed(folder: Path, kind: type[Init], at: Point) -> Path:
    folder.mkdir()
    agent = Agent(folder / "home", sealed=kind.development).start()
    try:
        party, what = Party(agent), kind()
        what.prepare(party)
        names, output = agent.holder("names"), folder / "trace"
        with killed_at(names, at, output), suppress(UnavailableError):
            what.act(party)
        until(lambda: agent.status().get("names") not in (None, "starting"), "a holder stands")
        for client in (agent.message, agent.officer):
            client.close()
        what.check(party)
        agent.await_state("open", "open")
        # A record that was made before, or now, opens.
        assert agent.identity.call("hello", {})["deployment"] == party.seats[0].stated().deployment
        agent.restart()
        if party.seats[0].stated().generation == 1:
            party.unseal(0, 1)
        return output
    finally:
        agent.stop()


def test_a_vault_that_is_sealed_amid_a_rekey_opens_by_the_old_shares_and_the_rekey_goes_on(party: Party) -> None:
    agent, (anna, maria, nikos, petra, _) = party.agent, party.seats
    cards = [str(PEOPLE[place].card) for place in (0, 1, 3)]
    anna.ask("rekey", cards=cards, threshold=2)
    old_anna, old_maria = anna.share, maria.share
    assert anna.confirm() == 1
    maria.ask("seal")
    agent.await_state("sealed", "sealed")
    agent.restart()
    anna.share = old_anna
    anna.unseal()
    maria.unseal()
    agent.await_state("open", "open")
    assert petra.confirm() == 0
    waiting = anna.ask("ceremony")
    detail = {name: waiting[name] for name in ("ceremony", "cards", "confirmations")}
    request = anna.request(Kind.OFFICER_REPLACE, **detail)
    anna.sign("ask", request)
    assert nikos.sign("approve", request)["state"] == "done"
    maria.ask("seal")
    agent.await_state("sealed", "sealed")
    maria.share = old_maria
    with pytest.raises(ShareError, match="generation 1"):
        maria.unseal()
    for seat in (maria, petra):
        seat.fetched()
        seat.unseal()
    agent.await_state("open", "open")


def test_what_was_made_before_a_rekey_opens_after_it(party: Party) -> None:
    agent = party.agent
    asked = agent.officer.call("enrol", {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"})
    shown = party.seats[0].ask("show", request=asked["pending"])["request"]
    request = party.seats[0].request(
        Kind.PROVIDER_ADD, shown["subject"], **shown["detail"], proposal=asked["pending"]
    )  # fmt: skip
    party.seats[0].sign("ask", request)
    party.seats[1].sign("approve", request)
    agent.officer.call("enrol", {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"})
    pid = random_bytes(16)
    made: dict[str, Any] = agent.identity.call(
        "create", {"sector": SHOP, "items": [{"pid": pid, "fields": ["legal_name"]}]}
    )["items"][0]
    rekey = Rekey()
    rekey.begin(party)
    rekey.act(party)
    agent.restart()
    for place in (0, 3):
        party.seats[place].fetched()
    party.unseal(0, 3)
    agent.identity.call("create.done", {"items": [{"sector": SHOP, "pid": pid, "link": made["link"]}]})
    found = agent.officer.call("verify.own", {})["tables"]
    assert (found["record_key"], found["key"]["bad"]) == ({"rows": 1, "bad": 0}, 0)


def test_officers_take_a_vault_over_and_what_was_in_it_opens(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "home").start()
    try:
        enrolled = {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"}
        assert agent.officer.call("enrol", enrolled) == {"client": "cli_s"}
        pid = random_bytes(16)
        items = [{"pid": pid, "fields": ["legal_name"]}]
        made: dict[str, Any] = agent.identity.call("create", {"sector": SHOP, "items": items})["items"][0]
        party, deployment = Party(agent), agent.identity.call("hello", {})["deployment"]
        party.begin()
        assert party.seats[0].confirm() == 1
        assert agent.status()["seal"] == "development"
        with pytest.raises(MessageError):
            party.seats[3].ask("look")
        seal = (agent.home / "seal.json").read_bytes()
        assert party.seats[1].confirm() == 0
        agent.await_state("sealed", "sealed")
        assert not (agent.home / "seal.json").exists()
        party.unseal(0, 1)
        found = agent.identity.call("hello", {})
        assert (found["deployment"], found["development"]) == (deployment, False)
        agent.identity.call("create.done", {"items": [{"sector": SHOP, "pid": pid, "link": made["link"]}]})
        assert agent.officer.call("verify.own", {})["tables"]["record_key"] == {"rows": 1, "bad": 0}
        assert set(agent.officer.call("enrol", {**enrolled, "name": "Other"})) == {"pending"}
        # Whoever puts the old seal back opens nothing by it, and it goes again.
        (agent.home / "seal.json").write_bytes(seal)
        agent.restart()
        agent.await_state("sealed", "sealed")
        assert not (agent.home / "seal.json").exists()
    finally:
        agent.stop()


def test_the_socket_of_messages_has_its_acts_alone(party: Party) -> None:
    for verb in ("hello", "status", "seal", "unseal", "begin", "enrol", "look", "create"):
        with pytest.raises(ProtocolError):
            party.agent.message.call(verb, {})
