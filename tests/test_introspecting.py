"""The line of introspections: who waits too long is told so, and what holds up the first is everyone's."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from keys.errors import SealedError
from vault.config import Settings
from vault.errors import Kind, VaultError
from vault.services.introspecting import Introspecting
from vault.services.remembering import Remembering


class Shut:
    """The keys of a worker whose agent answers late, and is sealed then."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def peek(self, *_sockets: str) -> None:
        self.asked.set()
        assert self.go_on.wait(10)
        raise SealedError


def _line(keys: Shut, milliseconds: int) -> Introspecting:
    settings = Settings(waiting_milliseconds=milliseconds, overload_retry_seconds=7)
    held = cast("Any", keys)
    return Introspecting(settings, cast("Any", None), held, Remembering(0, None, held, lambda: 0), lambda: 0)


def test_who_waits_in_the_line_longer_than_a_request_may_is_told_to_come_again() -> None:
    keys = Shut()
    line = _line(keys, 50)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(line.introspect, "cli_a", "secret", "nym_a", None)
        assert keys.asked.wait(10)
        with pytest.raises(VaultError) as told:
            line.introspect("cli_b", "secret", "nym_b", None)
        assert (told.value.kind, told.value.retry_after_seconds) == (Kind.OVERLOADED, 7)
        keys.go_on.set()
        with pytest.raises(SealedError):
            first.result(10)


def test_that_the_vault_is_sealed_is_told_to_everyone_in_the_line() -> None:
    keys = Shut()
    line = _line(keys, 10_000)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(line.introspect, f"cli_{n}", "secret", "nym_x", None) for n in range(4)]
        assert keys.asked.wait(10)
        keys.go_on.set()
        for call in calls:
            with pytest.raises(SealedError):
                call.result(10)
