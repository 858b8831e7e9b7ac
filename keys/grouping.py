"""Group commit: what several threads ask for at the same time is carried out together, in one transaction.

The first thread that comes leads: it takes whatever waits by then and carries it out, while others come and wait for
the next group. So a group costs no waiting: where nobody else comes, it is a group of one. An owner may have the leader
wait a moment for those of the last group, if there were several: callers who are answered together come back together,
and would else find that one of them has gone ahead alone. Where they come back at once, those who came meanwhile wait
for them: the two would else be carried out in turns, in groups of half the size.

Guarantees: each caller gets the result of its own item, or the error that concerns it; one item that is refused does
not fail the others. Leaves to its owner: that carrying out is all or nothing when it raises a refusal.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from keys import slots

DEFAULT_MOST: Final = 64
"""Items in a group: a bound on how long the first of them waits for the last."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class LateError(TimeoutError):
    """An item's turn did not come in time, and nothing of it was done."""


def _taken() -> threading.Lock:
    """Return a lock that is released once: an Event is made of several and costs many times as much."""
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class _Asked(Generic[_Item, _Result]):
    """One caller's item, and what became of it."""

    item: _Item
    turn: threading.Lock = field(default_factory=_taken)
    """Released once there is an outcome, or once this caller is to lead."""
    results: tuple[_Result, ...] = ()
    error: BaseException | None = None

    @property
    def settled(self) -> bool:
        return bool(self.results) or self.error is not None


class Group(Generic[_Item, _Result]):
    """Joins the callers of one process."""

    def __init__(
        self,
        carry_out: Callable[[Sequence[_Item]], Sequence[_Result]],
        refusals: tuple[type[Exception], ...],
        *,
        most: int = DEFAULT_MOST,
        gather_seconds: float = 0,
        prompt: bool = False,
        lends: bool = False,
    ) -> None:
        """Take what carries items out, and the errors that say: nothing of this happened, an item was at fault.

        After such an error each item of the group is carried out by itself; any other error is everyone's. A leader
        waits for up to `gather_seconds` until as many wait as the last group had; where callers are `prompt`, which is
        to come back as soon as they are answered, as many more as waited when it was done. Where the line `lends`, who
        waits lets others have his slot of work meanwhile, so that a group may be larger than there are slots.
        """
        self._carry_out, self._refusals, self._most, self._lends = carry_out, refusals, most, lends
        self._lock = threading.Lock()
        self._waiting: list[_Asked[_Item, _Result]] = []
        self._led = False
        self._gather_seconds, self._prompt = gather_seconds, prompt
        self._expected, self._enough = 1, _taken()

    def do(self, item: _Item, seconds: float = -1) -> _Result:
        """Have an item carried out, with those of others that wait; return its own result.

        Args:
            item: what is asked for.
            seconds: how long it may wait for its turn; negative for as long as it takes.

        Raises:
            LateError: its turn did not come in that time; nothing of it was done.
            Exception: what carrying out this item raised.
        """
        mine = _Asked[_Item, _Result](item)
        with self._lock:
            self._waiting.append(mine)
            leads, self._led = not self._led, True
            if len(self._waiting) == self._expected and self._enough.locked():
                self._enough.release()
        if not leads:
            self._wait(mine, seconds)
        if self._lends and not mine.results:  # who has a result only tells it: that needs nothing that is kept
            slots.take_back()
        if not mine.settled:
            self._lead(mine)
        if mine.error is not None:
            raise mine.error
        return mine.results[0]

    def _wait(self, mine: _Asked[_Item, _Result], seconds: float) -> None:
        """Wait until there is an outcome, or until it is this caller's to lead.

        Raises:
            LateError: see `do`.
        """
        if self._lends:
            slots.lend()
        if not mine.turn.acquire(timeout=seconds):
            self._give_up(mine)

    def _give_up(self, mine: _Asked[_Item, _Result]) -> None:
        """Leave the line; whose turn has come after all stays until there is an outcome.

        Raises:
            LateError: it stood in the line to the end.
        """
        with self._lock:
            came = mine.turn.acquire(blocking=False)
            if not came and mine in self._waiting:
                self._waiting.remove(mine)
                raise LateError
        if not came:
            mine.turn.acquire()

    def _lead(self, mine: _Asked[_Item, _Result]) -> None:
        """Carry out what waits, the leader's own item first, and hand the lead on."""
        if len(self._waiting) < self._expected:
            self._enough.acquire(timeout=self._gather_seconds)
        with self._lock:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._enough.acquire(blocking=False)  # of this group: the next has its own
        try:
            self._settle(group)
        except BaseException as error:  # the leader's own end too: nobody may wait for ever
            for asked in group:
                asked.error = asked.error if asked.settled else error
            if not isinstance(error, Exception):
                raise
        finally:
            with self._lock:
                self._led = bool(self._waiting)
                if self._gather_seconds:
                    others = len(self._waiting) if self._prompt else 0
                    self._expected = min(len(group) + others, self._most)
                    self._enough.acquire(blocking=False)  # who came meanwhile counted up to another number
                if self._led:
                    self._waiting[0].turn.release()
            for asked in group:
                if asked is not mine:
                    asked.turn.release()

    def _settle(self, group: Sequence[_Asked[_Item, _Result]]) -> None:
        try:
            for asked, result in zip(group, self._carry_out([asked.item for asked in group]), strict=True):
                asked.results = (result,)
        except self._refusals as error:
            if len(group) == 1:
                group[0].error = error
                return
            for asked in group:
                self._settle([asked])
