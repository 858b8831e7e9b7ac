"""A guesser of the passphrase waits longer after each wrong one, across restarts; whoever has shares does not (A47)."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from keys.agent.backoff import FILE_NAME, FREE, MOST_SECONDS, BackOff, wait_seconds
from keys.errors import BudgetError, ConflictError, SealError
from tests.keys.agents import Agent
from tests.keys.party import Party
from tests.keys.test_seals_served import WORDS, migrate, migrated

NOW = 1_800_000_000


class Door:
    """A door that one passphrase opens, and its clock."""

    def __init__(self, home: Path) -> None:
        self.home, self.now, self.tried = home, NOW, 0

    def guess(self, *, right: bool = False) -> None:
        with BackOff(self.home, lambda: self.now).attempt():  # as a process that was started anew has it
            self.tried += 1
            if not right:
                raise SealError("passphrase: wrong")


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def wrong(door: Door, times: int) -> None:
    for _ in range(times):
        with pytest.raises(SealError):
            door.guess()


def test_a47_each_wrong_passphrase_doubles_the_wait_and_the_right_one_ends_it(door: Door) -> None:
    wrong(door, FREE)
    for failed in range(FREE, FREE + 12):
        waits = wait_seconds(failed)
        assert waits == min(2 ** (failed - FREE), MOST_SECONDS)
        door.now += waits - 1
        with pytest.raises(BudgetError, match=f"{failed} wrong passphrases in a row: wait 1 seconds"):
            door.guess(right=True)
        door.now += 1
        wrong(door, 1)
    tried = door.tried
    door.now += MOST_SECONDS
    door.guess(right=True)
    assert door.tried == tried + 1
    wrong(door, FREE)


def test_a47_a_clock_that_is_set_back_and_a_try_that_is_cut_off_gain_nothing(door: Door) -> None:
    for _ in range(FREE + 3):
        door.now += MOST_SECONDS
        wrong(door, 1)
    door.now -= 10_000
    with pytest.raises(BudgetError, match="wait 8 seconds"):
        door.guess(right=True)
    door.now += 10_000 + MOST_SECONDS
    with pytest.raises(KeyboardInterrupt), BackOff(door.home, lambda: door.now).attempt():
        raise KeyboardInterrupt
    with pytest.raises(BudgetError, match=f"{FREE + 4} wrong"):
        door.guess(right=True)


def test_a47_a_burst_is_looked_at_one_after_the_other(door: Door) -> None:
    back, refused, seen = BackOff(door.home, lambda: NOW), list[type[Exception]](), list[int]()

    def guess() -> None:
        try:
            with back.attempt():
                seen.append(1)
                raise SealError  # noqa: TRY301 - what a wrong passphrase is
        except (SealError, BudgetError) as error:
            refused.append(type(error))

    threads = [threading.Thread(target=guess) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(seen), refused.count(SealError), refused.count(BudgetError)) == (FREE, FREE, 40 - FREE)


def test_a_passphrase_that_was_right_ends_the_count_whatever_is_wrong_behind_it(door: Door) -> None:
    wrong(door, 2)
    with pytest.raises(ConflictError), BackOff(door.home, lambda: door.now).attempt():
        raise ConflictError
    wrong(door, FREE)


def test_the_wait_has_an_end_that_the_handbook_names() -> None:
    assert [wait_seconds(failed) for failed in (4, 100, 10_000)] == [0, 300, 300]


@pytest.mark.parametrize(
    "said", ["{", '{"failed":1e999,"last":0}', '{"failed":5,"last":1e999}', '{"failed":NaN,"last":0}', "[" * 100_000]
)
def test_a_spoiled_count_is_the_longest_wait_and_not_for_ever(door: Door, said: str) -> None:
    (door.home / FILE_NAME).write_text(said)
    door.now = int((door.home / FILE_NAME).stat().st_mtime)
    with pytest.raises(BudgetError, match=f"wait {MOST_SECONDS} seconds"):
        door.guess(right=True)
    door.now += MOST_SECONDS
    door.guess(right=True)
    assert not (door.home / FILE_NAME).exists()


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    agent = Agent(tmp_path / "home", sealed=False).start()
    yield Party(agent).made()
    agent.stop()


def test_a47_whoever_guesses_the_passphrase_locks_no_officer_out(party: Party) -> None:
    agent = party.agent
    migrated(party, "passphrase", passphrase=WORDS)
    party.seats[0].ask("seal")
    agent.await_state("sealed", "sealed")
    for _ in range(FREE):
        with pytest.raises(SealError):
            agent.officer.call("unseal", {"passphrase": "not these seven words at all"})
    counted = json.loads((agent.home / FILE_NAME).read_text())
    assert counted["failed"] == FREE
    (agent.home / FILE_NAME).write_text(json.dumps(counted | {"failed": FREE + 20}))  # as after a day of it
    agent.restart()
    with pytest.raises(BudgetError, match="unseal with shares"):
        agent.officer.call("unseal", {"passphrase": WORDS})
    assert "passphrase_refused" in agent.log.read_text()
    assert "seven words" not in agent.log.read_text()
    party.unseal(0, 1)
    assert migrate(agent, "shares")
