"""What is kept between pieces of work, such as a connection: by the slot of work that a thread holds, else by thread.

A server may have many threads that wait and few that work. Kept by thread, each would have connections of its own;
kept by slot, there are as many as work at once. Who waits for others in the midst of his work lends his slot meanwhile.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol

_thread = threading.local()


class Lender(Protocol):
    """Who gave a slot, and takes it back for a while."""

    def lend(self) -> None:
        """Let others have the slot."""

    def take_back(self) -> int:
        """Return a slot for the one that was lent, which may be another; waits until there is one."""


def hold(slot: int, lender: Lender | None = None) -> None:
    """Have this thread work in a slot; no other thread may hold it meanwhile, unless it is lent."""
    _thread.slot, _thread.lender = slot, lender


def leave() -> None:
    """Have this thread work in no slot any more."""
    _thread.slot = _thread.lender = None


def lend() -> None:
    """Let others have this thread's slot while it waits; does nothing where there is none, or no lender."""
    lender = _lender()
    if lender is not None and getattr(_thread, "slot", None) is not None:
        _thread.slot = None
        lender.lend()


def take_back() -> None:
    """Have this thread work in a slot again after it lent its own; `Kept.here` does so too."""
    lender = _lender()
    if lender is not None and getattr(_thread, "slot", None) is None:
        _thread.slot = lender.take_back()


def _lender() -> Lender | None:
    lender: Lender | None = getattr(_thread, "lender", None)
    return lender


@contextmanager
def held(slot: int | str) -> Iterator[None]:
    """Have this thread work in another slot for a span; no other thread may hold it meanwhile."""
    before = getattr(_thread, "slot", None)
    _thread.slot = slot
    try:
        yield
    finally:
        _thread.slot = before


class Kept:
    """A place for one owner's kept things, such as `kept.here().connection`."""

    __slots__ = ("_by_slot", "_by_thread")

    def __init__(self) -> None:
        self._by_thread, self._by_slot = threading.local(), dict[int | str, SimpleNamespace]()

    def here(self) -> Any:  # noqa: ANN401 - what is kept is the owner's affair
        """Return what is kept here: the attributes of a namespace."""
        slot = getattr(_thread, "slot", None)
        if slot is None:
            take_back()  # one that is lent has nothing that is kept
            slot = getattr(_thread, "slot", None)
        if slot is None:
            return self._by_thread
        space = self._by_slot.get(slot)
        if space is None:
            space = self._by_slot[slot] = SimpleNamespace()
        return space
