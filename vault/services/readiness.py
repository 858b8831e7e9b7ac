"""Whether each part of the vault can be used: told in bounded time, whatever hangs.

Each part is asked in a thread of its own, and at most one question to a part is under way: a store that hangs costs one
thread, however often it is asked for.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

ANSWER_SECONDS: Final = 2
"""How long all parts together have for their answers."""
UNAVAILABLE: Final = "unavailable"


class _Question(threading.Thread):
    """One question to one part."""

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        super().__init__(name=f"ready-{name}", daemon=True)
        self._ask, self.answer = ask, UNAVAILABLE

    def run(self) -> None:
        """Ask."""
        self.answer = self._ask()


class Readiness:
    """The parts of one process's vault, each with the question that it is asked."""

    def __init__(self, parts: Mapping[str, Callable[[], str]]) -> None:
        self._parts, self._asked, self._lock = parts, dict[str, _Question](), threading.Lock()

    def states(self) -> dict[str, str]:
        """Return what each part answers, and `unavailable` for one that does not in time."""
        end = time.monotonic() + ANSWER_SECONDS
        with self._lock:
            asked = {name: self._question(name) for name in self._parts}
        for question in asked.values():
            question.join(max(0.0, end - time.monotonic()))
        return {name: UNAVAILABLE if one.is_alive() else one.answer for name, one in asked.items()}

    def _question(self, name: str) -> _Question:
        question = self._asked.get(name)
        if question is None or not question.is_alive():
            question = self._asked[name] = _Question(name, self._parts[name])
            question.start()
        return question
