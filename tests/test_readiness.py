"""Readiness: what hangs is told in bounded time, and asked for once at a time."""

import threading
import time

import pytest

from vault.services import readiness
from vault.services.readiness import Readiness


def test_a_part_that_hangs_is_unavailable_in_time_and_is_not_asked_again_until_it_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "ANSWER_SECONDS", 0.1)
    hangs, asked = threading.Event(), list[str]()

    def hanging() -> str:
        asked.append("once")
        hangs.wait(30)
        return "ok"

    ready = Readiness({"quick": lambda: "ok", "hanging": hanging, "sealed": lambda: "sealed"})
    started = time.monotonic()
    for _ in range(3):
        assert ready.states() == {"quick": "ok", "hanging": "unavailable", "sealed": "sealed"}
    assert time.monotonic() - started < 5, "and not as long as it hangs"
    assert asked == ["once"]
    hangs.set()
    end = time.monotonic() + 5
    while ready.states()["hanging"] != "ok":
        assert time.monotonic() < end
    before = len(asked)
    ready.states()
    assert len(asked) == before + 1


def test_each_time_every_part_is_asked_anew() -> None:
    answers = iter(["ok", "sealed", "ok"])
    ready = Readiness({"agent": lambda: next(answers)})
    assert [ready.states()["agent"] for _ in "123"] == ["ok", "sealed", "ok"]
