"""Figures for the operator's monitoring, read from the directory and asked of the agent; of nobody in particular."""

from collections.abc import Callable
from typing import Any, Final

from keys.errors import KeysError
from vault.errors import VaultError
from vault.services.held_keys import HeldKeys
from vault.stores import queues
from vault.stores.unit import Store

KEPT_SECONDS: Final = 2
"""How long an answer is kept: counting long queues is not free."""
Values = dict[tuple[str, ...], float]


class Figures:
    """Open reviews, audit rows that wait, budgets and intents, in numbers."""

    def __init__(self, directory: Store, keys: HeldKeys, now: Callable[[], int]) -> None:
        self._directory, self._keys, self._now = directory, keys, now
        self._until, self._kept = 0, dict[str, Values]()

    def read(self) -> dict[str, Values]:
        """Return name → (label values) → number; what cannot be read now is left out."""
        now = self._now()
        if now >= self._until:
            self._kept = self._of_directory(now) | self._of_agent(now)
            self._until = now + KEPT_SECONDS
            for name in ("outbox_rows", "outbox_oldest_seconds"):
                self._kept[name] = self._kept.pop(f"directory_{name}", {}) | self._kept.pop(f"keys_{name}", {})
        return self._kept

    def _of_directory(self, now: int) -> dict[str, Values]:
        try:
            with self._directory.reading() as unit:
                waiting, (rows, minute) = queues.open_reviews(unit), queues.outbox(unit)
        except VaultError:
            return {}
        return {
            "reviews_open": {(kind,): count for kind, count, _ in waiting},
            "review_oldest_seconds": {(kind,): max(0, now - oldest) for kind, _, oldest in waiting},
            **_outbox("directory", rows, minute, now),
        }

    def _of_agent(self, now: int) -> dict[str, Values]:
        try:
            told: dict[str, Any] = self._keys.figures()
        except KeysError:
            return {}
        budgets, oldest = told["budgets"], told["intent_oldest"]
        return {
            "budget_used": {(kind,): one["used"] for kind, one in budgets.items()},
            "budget_fullest_ratio": {(kind,): one["fullest"] for kind, one in budgets.items()},
            "kek_uses": {(str(version),): used for version, used in told["kek"].items()},
            "kek_uses_ratio": {(str(version),): used / told["kek_limit"] for version, used in told["kek"].items()},
            "intents_open": {(): told["intents"]},
            "intent_oldest_seconds": {(): max(0, now - oldest) if oldest else 0},
            **_outbox("keys", told["outbox"], told["outbox_minute"], now),
        }


def _outbox(store: str, rows: int, minute: int, now: int) -> dict[str, Values]:
    return {
        f"{store}_outbox_rows": {(store,): rows},
        f"{store}_outbox_oldest_seconds": {(store,): max(0, now - minute * 60) if rows else 0},
    }
