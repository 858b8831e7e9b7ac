"""What is kept between pieces of work, such as a connection: by the slot of work that a thread holds, else by thread.

A server may have many threads that wait and few that work. Kept by thread, each would have connections of its own;
kept by slot, there are as many as work at once.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

_thread = threading.local()


def hold(slot: int) -> None:
    """Have this thread work in a slot; no other thread may hold it meanwhile."""
    _thread.slot = slot


def leave() -> None:
    """Have this thread work in no slot any more."""
    del _thread.slot


@contextmanager
def held(slot: int | str) -> Iterator[None]:
    """Have this thread work in another slot for a span; no other thread may hold it meanwhile."""
    before = getattr(_thread, "slot", None)
    _thread.slot = slot
    try:
        yield
    finally:
        if before is None:
            del _thread.slot
        else:
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
            return self._by_thread
        space = self._by_slot.get(slot)
        if space is None:
            space = self._by_slot[slot] = SimpleNamespace()
        return space
