"""Equal acts leave equal leaves: the log says the same of a person who is known elsewhere and of one who is not.

Known and unknown people are registered, revealed and decided in random order; the log is drained after each act, so
that it is known which leaves an act left. What can be read of them is compared: types, sizes, places, and what else
they say. The log itself is drained once a second, shuffled: a stranger sees less than is compared here.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from keys.leaves import read
from tests.people import person
from tests.serving import Client, Server
from vault import config
from vault.stores import log
from vault.wiring import build_sequencer

pytestmark = pytest.mark.sampled

Leaves = tuple[tuple[Any, ...], ...]
GROUPS = ("known", "unknown")


@pytest.fixture
def each(full: bool) -> int:  # noqa: FBT001 - a fixture
    """People in each group."""
    return 500 if full else 15


class Told:
    """The log of a vault, drained when it is asked for what an act left."""

    def __init__(self, server: Server) -> None:
        self._sequencer, self._store = build_sequencer(config.load(server.environment))
        self._size = 0
        self.news()

    def news(self) -> Leaves:
        """Return what the leaves say that are new: all but their minute and the bytes of their subjects."""
        while self._sequencer.once():
            pass
        with self._store.reading() as unit:
            entries = log.entries(unit, self._size, 10_000)
        self._size += len(entries)
        return tuple(sorted(signature(entry) for entry in entries))

    def of(self, act: Callable[[], httpx.Response | dict[str, Any]]) -> Leaves:
        """Return what an act left."""
        act()
        return self.news()

    def close(self) -> None:
        self._sequencer.close()


def signature(entry: bytes) -> tuple[Any, ...]:
    """Return what anybody can tell of a leaf."""
    said = read(entry)
    distinct = len(set(said["subjects"]))
    others = sorted((name, value) for name, value in said.items() if name not in {"subjects", "minute", "pad", "type"})
    return said["type"], len(entry), len(said["subjects"]), distinct, tuple(others)


def check_equal(left: dict[str, Counter[Any]]) -> None:
    assert left["known"] == left["unknown"], "what the log says of the two groups differs"


@pytest.fixture
def told(fresh: Server) -> Iterator[Told]:
    made = Told(fresh)
    yield made
    made.close()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("of_vault", [False, True], ids=["provider's reviewer", "vault's reviewer"])
def test_known_and_unknown_registrations_through_review_leave_equal_leaves(
    fresh: Server, told: Told, each: int, *, of_vault: bool
) -> None:
    elsewhere, vault, here = fresh.provider("elsewhere"), fresh.reviewer("vault"), fresh.provider("here")
    for number in range(each):
        vault.approve(elsewhere.registered(person(number), f"e{number:05d}")["id"])
    reviewer = vault if of_vault else fresh.reviewer("bound", here)
    told.news()
    drawn = [(group, person(number + each * at)) for at, group in enumerate(GROUPS) for number in range(each)]
    random.Random(2026).shuffle(drawn)  # noqa: S311 - an order, not a key
    left: dict[str, Counter[Any]] = {group: Counter() for group in GROUPS}
    for at, (group, who) in enumerate(drawn):
        left[group][through_review(told, here, reviewer, who, f"h{at:05d}")] += 1
    assert sum(left["known"].values()) == each
    check_equal(left)
    [(acts, _)] = left["known"].items()
    types = [kind for leaves in acts for kind, *_ in leaves]
    assert Counter(types) == {"registration.created": 1, "account.bound": 1, "review.opened": 1, "review.decided": 1}


def through_review(
    told: Told, provider: Client, reviewer: Client, who: dict[str, Any], handle: str
) -> tuple[Leaves, ...]:
    made: dict[str, Any] = {}
    created = told.of(lambda: made.update(provider.registered(who, handle)) or made)
    opened = told.of(lambda: reviewer.reveal_answer(made["id"], "legal_name", "birth_date"))
    decided = told.of(lambda: reviewer.decide(made["id"]))
    return created, opened, decided


def test_the_comparison_sees_one_leaf_more_and_one_place_less() -> None:
    one = (("review.decided", 256, 2, 2, ()),)
    same = {"known": Counter({one: 30}), "unknown": Counter({one: 30})}
    check_equal(same)
    for other in ((*one, ("person.united", 256, 2, 2, ())), (("review.decided", 256, 1, 1, ()),)):
        with pytest.raises(AssertionError, match="differs"):
            check_equal(same | {"known": Counter({one: 29, other: 1})})
