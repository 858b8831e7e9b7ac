"""Slots of work in tests: who lent his, and took one again."""

from collections.abc import Callable
from typing import TypeVar

from keys import slots

_Result = TypeVar("_Result")


class Lender:
    """The slot of one caller, and what became of it."""

    def __init__(self, slot: int = 0) -> None:
        self.slot, self.said = slot, list[str]()

    def lend(self) -> None:
        self.said.append("lent")

    def take_back(self) -> int:
        self.said.append("taken back")
        return self.slot

    def holds(self, act: Callable[[], _Result]) -> _Result:
        """Do something in this slot."""
        slots.hold(self.slot, self)
        try:
            return act()
        finally:
            slots.leave()
