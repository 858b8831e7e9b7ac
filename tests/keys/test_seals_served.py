"""Seals and a really started agent: what opens it, what a change leaves when it is killed, and what stays shut."""

import os
import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import pytest

from keys.agent.acts import resealing
from keys.agent.client import AgentClient
from keys.errors import (
    BudgetError,
    ConflictError,
    KeysError,
    OfficerError,
    RefusedError,
    SealedError,
    SealError,
    SealUnreachableError,
    UnavailableError,
)
from keys.passphrases import LOW_MEMORY
from keys.primitives import random_bytes
from keys.quorum import Kind
from tests.keys.agents import Agent, until
from tests.keys.backends import SoftHsm, Transit, kms
from tests.keys.killing import FILES, Point, at_points, killed_at, to_store
from tests.keys.party import Party
from tests.keys.stores import SHOP, KeyStore, dialogue
from tests.keys.test_officers_served import Rekey
from tests.openbao import Bao

pytestmark = pytest.mark.sampled

WORDS, OTHER_WORDS = "correct horse battery staple", "quite another set of words"
ENROLLED: Final = {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Agent]:
    """A vault with the development seal, a provider and a record."""
    started = Agent(tmp_path / "home").start()
    started.officer.call("enrol", ENROLLED)
    yield started
    started.stop()


@pytest.fixture
def party(tmp_path: Path, hsm: SoftHsm) -> Iterator[Party]:
    """A vault of officers, two of three; its agent finds the token."""
    assert hsm.pin_file.exists()
    agent = Agent(tmp_path / "home", sealed=False).start()
    yield Party(agent).made()
    agent.stop()


def migrate(agent: Agent, seal: str, config: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return agent.officer.call("keys.migrate_seal", {"seal": seal, "config": dict(config or {}), **more})


def approve(party: Party, asked: Mapping[str, Any], *signing: int) -> None:
    """Have officers, the first of whom asks, sign what a command on the host proposed."""
    seats = [party.seats[place] for place in signing or (0, 1)]
    shown = seats[0].ask("show", request=asked["pending"])["request"]
    request = seats[0].request(Kind(shown["kind"]), shown["subject"], **shown["detail"], proposal=asked["pending"])
    seats[0].sign("ask", request)
    for seat in seats[1:]:
        seat.sign("approve", request)


def migrated(party: Party, seal: str, config: Mapping[str, str] | None = None, **more: Any) -> None:
    """Change the seal, with the officers' approval."""
    asked = migrate(party.agent, seal, config, **more)
    assert set(asked) == {"pending"}
    before = party.agent.status()["seal"]
    approve(party, asked)
    assert party.agent.status()["seal"] == before, "an approval changes nothing by itself"
    assert migrate(party.agent, seal, config, **more) == {"seal": seal, "sealed": False}
    assert party.agent.status()["seal"] == seal


def registered(agent: Agent) -> dict[str, Any]:
    pid = random_bytes(16)
    args = {"sector": SHOP, "items": [{"pid": pid, "fields": ["legal_name"]}]}
    return {"sector": SHOP, "pid": pid, "link": agent.identity.call("create", args)["items"][0]["link"]}


def opens(agent: Agent, *people: Mapping[str, Any]) -> None:
    """Check that all keys are sound, and that records that were made open."""
    tables = agent.officer.call("verify.own", {})["tables"]
    assert all(table["bad"] == 0 for table in tables.values()), tables
    for person in people:
        agent.identity.call("create.done", {"items": [person]})


def test_a_vault_of_one_person_is_kept_by_a_passphrase_and_the_seal_before_opens_nothing(alone: Agent) -> None:
    person, former = registered(alone), (alone.home / "seal.json").read_bytes()
    assert migrate(alone, "passphrase", passphrase=WORDS) == {"seal": "passphrase", "sealed": True}
    alone.await_state("sealed", "sealed")
    assert alone.status()["seal"] == "passphrase"
    for wrong in ("", OTHER_WORDS, WORDS.upper()):
        with pytest.raises(SealError, match="passphrase: wrong"):
            alone.officer.call("unseal", {"passphrase": wrong})
    alone.officer.call("unseal", {"passphrase": WORDS})
    alone.await_state("open", "open")
    assert alone.identity.call("hello", {})["development"] is False
    opens(alone, person)
    alone.restart()
    alone.await_state("sealed", "sealed")
    alone.officer.call("unseal", {"passphrase": WORDS})
    alone.await_state("open", "open")
    kept = (alone.home / "seal.json").read_bytes()
    assert WORDS.encode() not in kept
    # The development seal, put back, opens nothing, and says so.
    alone.stop()
    (alone.home / "seal.json").write_bytes(former)
    process = alone.spawn()
    assert process.wait(20) == 1
    assert process.stdout is not None
    process.stdout.close()
    assert "agent_cannot_start" in alone.log.read_text()
    (alone.home / "seal.json").write_bytes(kept)
    alone.start()
    alone.officer.call("unseal", {"passphrase": WORDS})


def test_another_passphrase_takes_the_place_of_the_one_before_and_a_bad_one_changes_nothing(alone: Agent) -> None:
    migrate(alone, "passphrase", passphrase=WORDS)
    alone.await_state("sealed", "sealed")
    alone.officer.call("unseal", {"passphrase": WORDS})
    alone.await_state("open", "open")
    person, kept = registered(alone), (alone.home / "seal.json").read_bytes()
    with pytest.raises(OfficerError, match="at least 12 characters"):
        migrate(alone, "passphrase", passphrase="short")
    assert (alone.home / "seal.json").read_bytes() == kept
    migrate(alone, "passphrase", passphrase=OTHER_WORDS)
    alone.await_state("sealed", "sealed")
    with pytest.raises(SealError):
        alone.officer.call("unseal", {"passphrase": WORDS})
    alone.officer.call("unseal", {"passphrase": OTHER_WORDS})
    alone.await_state("open", "open")
    opens(alone, person)


def test_a23_passphrases_that_are_guessed_at_once_take_the_memory_of_one(alone: Agent) -> None:
    migrate(alone, "passphrase", passphrase=WORDS)
    alone.await_state("sealed", "sealed")
    refused: list[KeysError] = []

    def guess(number: int) -> None:
        client = AgentClient(str(alone.sockets / "officer.sock"), 60)
        try:
            client.call("unseal", {"passphrase": f"{OTHER_WORDS} {number}"})
        except KeysError as error:
            refused.append(error)
        client.close()

    names = alone.holder("names")
    before = _most_bytes(names)
    guesses = [Thread(target=guess, args=(number,)) for number in range(64)]
    for one in guesses:
        one.start()
    for one in guesses:
        one.join()
    assert len(refused) == 64
    assert {type(error) for error in refused} == {SealError, BudgetError}, "most are not even tried"
    assert _most_bytes(names) - before < 2 * LOW_MEMORY.memory_kib * 1024


def _most_bytes(pid: int) -> int:
    """Return how much memory a process had at most."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def test_a_seal_that_opens_by_itself_stands_beside_officers_shares_alone(alone: Agent, hsm: SoftHsm) -> None:
    with pytest.raises(RefusedError, match="idvault-keys init"):
        migrate(alone, "pkcs11", hsm.config())
    with pytest.raises(RefusedError, match="idvault-keys init"):
        migrate(alone, "shares")
    with pytest.raises(SealError, match="seal: one of"):
        migrate(alone, "development")
    assert alone.status()["seal"] == "development"


def test_officers_take_a_vault_over_from_a_passphrase_which_opens_nothing_then(alone: Agent) -> None:
    person = registered(alone)
    migrate(alone, "passphrase", passphrase=WORDS)
    alone.await_state("sealed", "sealed")
    alone.officer.call("unseal", {"passphrase": WORDS})
    alone.await_state("open", "open")
    former = (alone.home / "seal.json").read_bytes()
    party = Party(alone)
    party.begin()
    party.seats[0].confirm()
    party.seats[1].confirm()
    alone.await_state("sealed", "sealed")
    assert alone.status()["seal"] == "shares"
    (alone.home / "seal.json").write_bytes(former)
    alone.restart()
    assert alone.status()["seal"] == "shares"
    with pytest.raises(RefusedError, match="officers' shares"):
        alone.officer.call("unseal", {"passphrase": WORDS})
    party.unseal(0, 1)
    opens(alone, person)


def test_a22_shares_to_token_to_transit_and_back_and_each_opens_after_a_restart(
    party: Party, hsm: SoftHsm, transit: Transit
) -> None:
    agent = party.agent
    migrated(party, "pkcs11", hsm.config(), create=True)
    agent.restart()
    agent.await_state("open", "open")
    migrated(party, "transit", transit.config())
    agent.restart()
    agent.await_state("open", "open")
    assert agent.status()["seal"] == "transit"
    # Said once more, it takes the key's newest version; nobody needs to approve that again.
    transit.rotate()
    assert migrate(agent, "transit", transit.config()) == {"seal": "transit", "sealed": False}
    assert b"vault:v2:" in (agent.home / "seal.json").read_bytes()
    transit.refuse_before(2)
    agent.restart()
    agent.await_state("open", "open")
    migrated(party, "shares")
    agent.restart()
    agent.await_state("sealed", "sealed")
    party.unseal(1, 2)
    assert not (agent.home / "seal.json").exists()
    opens(agent)


def test_after_an_officer_sealed_it_an_automatic_seal_opens_nothing_until_m_officers_did(
    party: Party, transit: Transit
) -> None:
    agent = party.agent
    migrated(party, "transit", transit.config())
    party.seats[2].ask("seal")
    agent.await_state("sealed", "sealed")
    agent.restart()
    agent.await_state("sealed", "sealed")
    with pytest.raises(RefusedError, match="officers' shares"):
        agent.officer.call("unseal", {})
    party.unseal(0, 1)
    party.seats[0].ask("lockdown")
    agent.await_state("lockdown", "open")
    agent.restart()
    assert agent.status()["names"] == "lockdown"
    party.unseal(0, 1)
    agent.restart()
    agent.await_state("open", "open")


def test_a_holder_that_dies_is_opened_again_by_its_automatic_seal(party: Party, transit: Transit) -> None:
    agent = party.agent
    migrated(party, "transit", transit.config())
    before = agent.holder("names")
    os.kill(before, signal.SIGKILL)
    until(lambda: before not in agent.holders(), "replaced")
    agent.await_state("open", "open")


def test_a_backend_that_is_away_leaves_it_shut_officers_open_it_and_it_opens_when_the_backend_is_back(
    party: Party, transit: Transit
) -> None:
    agent = party.agent
    migrated(party, "transit", transit.config())
    transit.bao.seal()
    try:
        agent.restart()
        agent.await_state("sealed", "sealed")
        assert any(event["event"] == "seal_did_not_open" for event in agent.events())
        with pytest.raises(SealError, match="sealed itself"):
            agent.officer.call("unseal", {})
        party.unseal(0, 2)
        agent.restart()
        agent.await_state("sealed", "sealed")
    finally:
        transit.bao.unseal()
    agent.await_state("open", "open")


def test_a_backend_that_refuses_is_not_tried_again_by_itself(party: Party, hsm: SoftHsm) -> None:
    agent = party.agent
    migrated(party, "pkcs11", hsm.config(), create=True)
    hsm.pin_file.write_text("000000\n")
    agent.restart()
    agent.await_state("sealed", "sealed")
    told = [event for event in agent.events() if event["event"] == "seal_did_not_open"]
    assert len(told) == 1
    assert "PIN" in told[0]["reason"]
    assert "000000" not in agent.log.read_text()
    party.unseal(0, 1)


def test_a_seal_that_cannot_be_made_is_never_asked_for(party: Party, transit: Transit) -> None:
    transit.token_file.write_text("expired\n")
    with pytest.raises(SealError, match="not allowed"):
        migrate(party.agent, "transit", transit.config())
    assert party.seats[0].ask("look")["requests"] == []
    assert not (party.agent.home / "seal.next").exists()


def test_kms_opens_a_vault_of_officers(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = party.agent
    with kms(monkeypatch) as config:
        agent.restart()  # with the specimen credentials
        party.unseal(0, 1)
        migrated(party, "aws-kms", config)
        agent.restart()
        agent.await_state("open", "open")


def test_a_passphrase_beside_shares_opens_too_and_a_rekey_asks_for_it_to_go_first(party: Party) -> None:
    agent = party.agent
    migrated(party, "passphrase", passphrase=WORDS)
    agent.restart()
    agent.await_state("sealed", "sealed")
    agent.officer.call("unseal", {"passphrase": WORDS})
    agent.await_state("open", "open")
    # Who is beside the agent sets no other passphrase by what was approved for this one.
    assert set(migrate(agent, "passphrase", passphrase=OTHER_WORDS)) == {"pending"}
    rekey = Rekey()
    rekey.begin(party)
    with pytest.raises(ConflictError, match="migrate-seal shares first"):
        rekey.act(party)
    agent.restart()
    for place in (0, 1):
        party.seats[place].fetched()
    party.unseal(0, 1)
    migrated(party, "shares")
    (agent.home / "seal.json").write_bytes((agent.home / "seal.stale").read_bytes())
    agent.restart()
    assert agent.status()["seal"] == "shares"
    with pytest.raises(RefusedError, match="officers' shares"):
        agent.officer.call("unseal", {"passphrase": WORDS})


def test_a_rekey_takes_the_automatic_seal_along_and_the_former_file_opens_nothing(
    party: Party, transit: Transit
) -> None:
    agent = party.agent
    migrated(party, "transit", transit.config())
    former = (agent.home / "seal.json").read_bytes()
    rekey = Rekey()
    rekey.begin(party)
    rekey.act(party)
    assert party.seats[0].stated().generation == 2
    agent.restart()
    agent.await_state("open", "open")
    opens(agent)
    (agent.home / "seal.json").write_bytes(former)
    agent.restart()
    agent.await_state("sealed", "sealed")
    assert (agent.home / "seal.stale").read_bytes() == former
    for place in (0, 3):
        party.seats[place].fetched()
    party.unseal(0, 3)


def test_a_rekey_whose_seal_cannot_be_made_changes_nothing(party: Party, transit: Transit) -> None:
    agent = party.agent
    migrated(party, "transit", transit.config())
    rekey = Rekey()
    rekey.begin(party)
    good = transit.token_file.read_text()
    transit.token_file.write_text("expired\n")
    with pytest.raises(SealError, match="not allowed"):
        rekey.act(party)
    assert party.seats[0].stated().generation == 1
    transit.token_file.write_text(good)
    agent.restart()
    agent.await_state("open", "open")
    assert party.seats[2].sign("approve", rekey.request)["state"] == "done"
    assert party.seats[0].stated().generation == 2


def test_a_seal_that_officers_did_not_approve_is_put_aside(
    party: Party, transit: Transit, bao: Bao, tmp_path: Path
) -> None:
    agent = party.agent
    migrated(party, "transit", transit.config())
    earlier = (agent.home / "seal.json").read_bytes()
    migrated(party, "transit", Transit(bao, tmp_path, f"k{random_bytes(4).hex()}").config())
    later = (agent.home / "seal.json").read_bytes()
    agent.stop()
    (agent.home / "seal.json").write_bytes(earlier)
    agent.start()
    agent.await_state("sealed", "sealed")
    assert agent.status()["seal"] == "shares"
    assert (agent.home / "seal.stale").read_bytes() == earlier
    agent.stop()
    (agent.home / "seal.json").write_bytes(later)
    (agent.home / "seal.json").chmod(0o600)
    agent.start()
    agent.await_state("open", "open")


# kill -9 at the writes of a change.


class Change:
    """One change of the seal: what stands before, the change, and what opens the vault by either."""

    officers = True

    def __init__(self, hsm: SoftHsm, transit: Transit) -> None:
        self.hsm, self.transit = hsm, transit

    def prepare(self, party: Party) -> None:
        """Shares stand alone."""

    def act(self, party: Party) -> None:
        migrate(party.agent, "pkcs11", self.hsm.config(), create=True)

    def asked(self, party: Party) -> None:
        approve(party, migrate(party.agent, "pkcs11", self.hsm.config(), create=True))

    def open(self, party: Party) -> None:
        """Open by whichever seal is in force."""
        if party.agent.status()["seal"] == "shares":
            party.unseal(0, 1)

    def check(self, party: Party) -> None:
        self.act(party)
        assert party.agent.status()["seal"] == "pkcs11"


class TokenToTransit(Change):
    def prepare(self, party: Party) -> None:
        super().asked(party)
        super().act(party)

    def act(self, party: Party) -> None:
        migrate(party.agent, "transit", self.transit.config())

    def asked(self, party: Party) -> None:
        approve(party, migrate(party.agent, "transit", self.transit.config()))

    def check(self, party: Party) -> None:
        self.act(party)
        assert party.agent.status()["seal"] == "transit"


class TransitToShares(TokenToTransit):
    def prepare(self, party: Party) -> None:
        super().prepare(party)
        super().asked(party)
        super().act(party)

    def act(self, party: Party) -> None:
        migrate(party.agent, "shares")

    def asked(self, party: Party) -> None:
        approve(party, migrate(party.agent, "shares"))

    def check(self, party: Party) -> None:
        self.act(party)
        assert party.agent.status()["seal"] == "shares"


class RekeyBesideTransit(TokenToTransit):
    def prepare(self, party: Party) -> None:
        super().prepare(party)
        super().asked(party)
        super().act(party)
        self.rekey = Rekey()
        self.rekey.begin(party)

    def asked(self, party: Party) -> None:
        """It was asked for as it was begun."""

    def act(self, party: Party) -> None:
        self.rekey.act(party)

    def check(self, party: Party) -> None:
        if party.seats[0].stated().generation == 1:
            party.seats[2].sign("approve", self.rekey.request)
        assert party.seats[0].stated().generation == 2
        assert party.agent.status()["seal"] == "transit"


class DevelopmentToPassphrase(Change):
    officers = False

    def asked(self, party: Party) -> None:
        """There are no officers."""

    def act(self, party: Party) -> None:
        migrate(party.agent, "passphrase", passphrase=WORDS)

    def open(self, party: Party) -> None:
        agent = party.agent
        if agent.status()["seal"] == "passphrase":
            until(lambda: agent.status().get("names") == "sealed", "sealed")
            agent.officer.call("unseal", {"passphrase": WORDS})

    def check(self, party: Party) -> None:
        self.act(party)
        self.open(party)


class AnotherPassphrase(DevelopmentToPassphrase):
    def prepare(self, party: Party) -> None:
        super().act(party)
        super().open(party)
        party.agent.await_state("open", "open")

    def act(self, party: Party) -> None:
        migrate(party.agent, "passphrase", passphrase=OTHER_WORDS)

    def open(self, party: Party) -> None:
        agent = party.agent
        until(lambda: agent.status().get("names") == "sealed", "sealed")
        try:
            agent.officer.call("unseal", {"passphrase": WORDS})
        except SealError:
            agent.officer.call("unseal", {"passphrase": OTHER_WORDS})


CHANGES: Final[tuple[type[Change], ...]] = (
    Change, TokenToTransit, TransitToShares, RekeyBesideTransit, DevelopmentToPassphrase, AnotherPassphrase,
)  # fmt: skip


@pytest.mark.costly
@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.timeout(3600)
def test_a22_a_change_of_the_seal_that_is_killed_at_any_write_leaves_one_that_opens(
    tmp_path: Path, kind: type[Change], hsm: SoftHsm, bao: Bao, drawn: random.Random, *, full: bool
) -> None:
    def run(at: Point) -> Path:
        folder = tmp_path / f"at{at.call}{at.nth}"
        folder.mkdir()
        return _run(folder, kind(hsm, Transit(bao, folder, f"k{random_bytes(4).hex()}")), at)

    at_points(run, drawn, full=full)


def _run(folder: Path, what: Change, at: Point) -> Path:
    agent = Agent(folder / "home", sealed=not what.officers).start()
    try:
        party, people = Party(agent), []
        if what.officers:
            party.made()
        else:
            agent.officer.call("enrol", ENROLLED)
            people = [registered(agent)]
        what.prepare(party)
        what.asked(party)
        names, output = agent.holder("names"), folder / "trace"
        # Whose write is counted may be the driver of the other seal, which is a process of its own.
        lost = suppress(UnavailableError, SealUnreachableError)
        with killed_at(names, at, output, (to_store(), *FILES)), lost:
            what.act(party)
        until(lambda: agent.status().get("names") not in (None, "starting"), "a holder stands")
        for client in (agent.message, agent.officer, agent.identity, agent.directory):
            client.close()
        agent.restart()
        what.open(party)
        agent.await_state("open", "open")
        assert not (agent.home / "seal.next").exists()
        what.check(party)
        agent.await_state("open", "open")
        opens(agent, *people)
        return output
    finally:
        agent.stop()


def test_a_kind_can_wait_for_a_vault_that_shares_opened_and_not_its_other_seal(party: Party) -> None:
    agent, anna, maria = party.agent, party.seats[0], party.seats[1]
    migrated(party, "passphrase", passphrase=WORDS)
    policy = anna.request(Kind.POLICY, threshold=2, more={}, by_officers=["rotate"])
    anna.sign("ask", policy)
    maria.sign("approve", policy)
    assert anna.ask("look")["policy"]["by_officers"] == ["rotate"]
    anna.ask("seal")
    agent.await_state("sealed", "sealed")
    agent.officer.call("unseal", {"passphrase": WORDS})
    agent.await_state("open", "open")
    assert anna.ask("look")["by_officers"] is False
    rotate = {"purpose": "kek", "sector": "", "from": 1}
    approve(party, agent.officer.call("keys.rotate", rotate))
    with pytest.raises(ConflictError, match="shares opened the vault"):
        agent.officer.call("keys.rotate", rotate)
    anna.ask("seal")
    agent.await_state("sealed", "sealed")
    party.unseal(0, 1)
    assert maria.ask("look")["by_officers"] is True
    assert agent.officer.call("keys.rotate", rotate)["version"] == 2


def test_of_two_changes_of_the_seal_at_once_one_is_made_and_told_and_opens(alone: Agent) -> None:
    person, told = registered(alone), list[str]()

    def change(words: str) -> None:
        client = AgentClient(str(alone.sockets / "officer.sock"), 30)
        args = {"seal": "passphrase", "config": {}, "passphrase": words}
        with suppress(UnavailableError, SealedError):  # the vault is shut for the other one
            client.call("keys.migrate_seal", args)
            told.append(words)
        client.close()

    changes = [Thread(target=change, args=(words,)) for words in (WORDS, OTHER_WORDS)]
    for one in changes:
        one.start()
    for one in changes:
        one.join()
    assert len(told) == 1, "a second passphrase is not set unseen by whoever set the first"
    alone.officer.close()
    until(lambda: alone.status().get("names") == "sealed", "sealed")
    (other,) = {WORDS, OTHER_WORDS} - {*told}
    with pytest.raises(SealError, match="wrong"):
        alone.officer.call("unseal", {"passphrase": other})
    alone.officer.call("unseal", {"passphrase": told[0]})
    alone.await_state("open", "open")
    alone.identity.close()
    opens(alone, person)


def test_a_vault_that_is_to_be_shut_for_another_seal_takes_no_third(store: KeyStore) -> None:
    names, args = store.names(), {"seal": "passphrase", "config": {}, "passphrase": WORDS}
    with dialogue() as asked:
        assert resealing.migrate_seal(names, args, asked)["sealed"]
        kept = (store.home / "seal.json").read_bytes()
        with pytest.raises(SealedError):
            resealing.migrate_seal(names, {**args, "passphrase": OTHER_WORDS}, asked)
    assert (store.home / "seal.json").read_bytes() == kept


def test_a_change_of_the_seal_beside_sealing_anew_leaves_every_record_whole_and_it_goes_on(alone: Agent) -> None:
    people, over = [registered(alone) for _ in range(20)], Event()
    alone.officer.call("keys.rotate", {"purpose": "kek", "sector": "", "from": 1})
    failed: list[KeysError] = []

    def rewrap() -> None:
        client, after = AgentClient(str(alone.sockets / "officer.sock"), 30), b""
        try:
            while not over.is_set():
                found = client.call("keys.rewrap", {"after": after, "until": b"", "batch": 1})
                after = found["after"]
        except KeysError as error:
            failed.append(error)
        client.close()

    sweep = Thread(target=rewrap)
    sweep.start()
    migrate(alone, "passphrase", passphrase=WORDS)
    until(lambda: alone.status().get("names") == "sealed", "sealed")
    over.set()
    sweep.join()
    assert all(isinstance(error, (UnavailableError, SealedError)) for error in failed), failed
    alone.officer.call("unseal", {"passphrase": WORDS})
    alone.await_state("open", "open")
    after, left = b"", -1
    while after or left:
        found = alone.officer.call("keys.rewrap", {"after": after, "until": b"", "batch": 7})
        after, left = found["after"], found["left"]
    assert alone.officer.call("keys.destroy", {"purpose": "kek", "version": 1, "sure": True})["state"] == "destroyed"
    alone.identity.close()
    opens(alone, *people)
