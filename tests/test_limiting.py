"""The share of one client: a second's worth at once, then as time brings it; nobody else is touched."""

import threading
from collections import Counter

import pytest

from vault.errors import Kind, VaultError
from vault.services.limiting import Limiting


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _passes(limiting: Limiting, client: str, times: int) -> int:
    """Return how many of so many requests are answered; the others are told when to come again."""
    passed = 0
    for _ in range(times):
        try:
            limiting.count(client)
            passed += 1
        except VaultError as refusal:
            if (refusal.kind, refusal.retry_after_seconds) != (Kind.CLIENT_LIMIT, 1):
                raise
    return passed


def test_a_client_may_use_a_second_at_once_and_then_what_time_brings() -> None:
    clock = Clock()
    limiting = Limiting(8, clock)
    assert _passes(limiting, "cli_a", 20) == 8
    clock.seconds += 0.25
    assert _passes(limiting, "cli_a", 20) == 2
    clock.seconds += 1
    assert _passes(limiting, "cli_a", 20) == 8
    clock.seconds += 3600
    assert _passes(limiting, "cli_a", 20) == 8, "what was not used is not saved"


def test_what_was_refused_does_not_count_and_no_client_uses_up_another_ones_share() -> None:
    clock = Clock()
    limiting = Limiting(4, clock)
    assert _passes(limiting, "cli_a", 1000) == 4
    assert _passes(limiting, "cli_b", 4) == 4
    clock.seconds += 1
    assert _passes(limiting, "cli_a", 4) == 4


@pytest.mark.parametrize("each", [1, 7])
def test_threads_together_have_one_share(each: int) -> None:
    limiting, passed = Limiting(each, Clock()), Counter[int]()

    def ask(number: int) -> None:
        passed[number] = _passes(limiting, "cli_a", 50)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed.total() == each
