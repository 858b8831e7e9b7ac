"""Waiting in a line: who waits too long is refused as one of too many, and nobody else is."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from keys.grouping import Group
from vault.config import Settings
from vault.errors import Kind, VaultError
from vault.services.waiting import Patience

PATIENCE = Patience.of(Settings(waiting_milliseconds=50, overload_retry_seconds=7))


def test_whose_turn_does_not_come_in_time_is_refused_with_nothing_done_and_told_when_to_come_again() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), list[int]()

    def carry_out(items: Sequence[int]) -> list[int]:
        begun.set()
        assert go_on.wait(10)
        done.extend(items)
        return list(items)

    line = Group[int, int](carry_out, ())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(PATIENCE.turn, line, 1)
        assert begun.wait(10)
        with pytest.raises(VaultError) as told:
            PATIENCE.turn(line, 2)
        go_on.set()
        assert first.result(10) == 1
    assert (told.value.kind, told.value.retry_after_seconds, done) == (Kind.OVERLOADED, 7, [1])


def test_work_that_takes_too_long_itself_is_not_told_as_a_turn_that_did_not_come() -> None:
    def late(_: Sequence[int]) -> list[int]:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        PATIENCE.turn(Group[int, int](late, ()), 1)
