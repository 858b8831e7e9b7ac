"""A68: whether a person is known elsewhere shows at a provider neither in bytes nor in time.

Known and unknown people are registered, and decided by the provider's own reviewer, in random order; beside them goes a
third group, unknown too, so that the difference between two equal groups calibrates the test (A/A). The measure is
Cliff's delta over the request times: 0 for equal distributions, 1 where every time of one group is longer. Its standard
deviation for n and m equal samples is sqrt((n + m + 1) / (3 n m)). The default takes groups of 100 people, `make
test-full` of 1,000: then a third of that difference is found.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import httpx
import pytest

from tests.http.test_imports import begin, row, stands
from tests.people import person
from tests.serving import Server

GROUPS = ("known", "unknown", "unknown too")
DEVIATIONS = 4.5
"""Chance of a false alarm at each comparison: 7 in a million."""


@pytest.fixture
def each(full: bool) -> int:  # noqa: FBT001 - a fixture
    """People in each group."""
    return 1000 if full else 100


@dataclass
class Seen:
    """What a provider sees of one group: times, and everything about the answers that is not random by design."""

    seconds: list[float] = field(default_factory=list)
    shapes: set[tuple[object, ...]] = field(default_factory=set)


def shape(answer: httpx.Response) -> tuple[object, ...]:
    """Return status, headers but for the time, body length, and members with their types."""
    headers = {name: value for name, value in answer.headers.items() if name != "date"}
    body: dict[str, Any] = answer.json()
    lengths = {name: len(value) if isinstance(value, (str, list)) else value for name, value in body.items()}
    return answer.status_code, tuple(sorted(headers.items())), len(answer.content), tuple(sorted(lengths.items()))


def timed(seen: Seen, call: Any) -> httpx.Response:
    started = time.perf_counter()
    answer: httpx.Response = call()
    seen.seconds.append(time.perf_counter() - started)
    seen.shapes.add(shape(answer))
    return answer


def cliffs_delta(one: list[float], other: list[float]) -> float:
    """Return (pairs where one is longer - pairs where it is shorter) / pairs, by ranks."""
    ranked = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    rank_sum = sum(rank for rank, (_, group) in enumerate(ranked, 1) if group == 0)
    more = rank_sum - len(one) * (len(one) + 1) / 2
    return 2 * more / (len(one) * len(other)) - 1


def deviation(one: int, other: int) -> float:
    """Return that of Cliff's delta between as many and as many equal samples."""
    return sqrt((one + other + 1) / (3 * one * other))


def people(each: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return (group, person) in random order; numbers below `each` are those known elsewhere."""
    drawn = [(group, person(number + each * at)) for at, group in enumerate(GROUPS) for number in range(each)]
    random.Random(2026).shuffle(drawn)  # noqa: S311 - an order, not a key
    yield from drawn


@pytest.mark.timeout(900)
def test_a68_a_known_and_an_unknown_person_differ_in_neither_bytes_nor_time(fresh: Server, each: int) -> None:
    elsewhere, vault = fresh.provider("elsewhere"), fresh.reviewer("vault")
    imported = begin(elsewhere)["id"]
    for number, first in enumerate(range(0, each, 100), 1):
        rows = [row(at) for at in range(first, first + 100)]
        assert stands(elsewhere, imported, number, rows, first + 1)["accepted"] == len(rows)
    decision = {"decision": "approved", "method": "provider_attested"}
    assert vault.post(f"/v1/imports/{imported}/decision", decision).json() == {"approved": each, "left": []}
    here = fresh.provider("here")
    bound = fresh.reviewer("bound", here)
    registering, deciding = ({group: Seen() for group in GROUPS} for _ in range(2))
    made: list[tuple[str, str]] = []
    for at, (group, who) in enumerate(people(each)):
        answer = timed(registering[group], lambda who=who, at=at: here.register(who, f"h{at:05d}"))
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        made.append((group, answer.json()["id"]))
    random.Random(2027).shuffle(made)  # noqa: S311
    for group, reg in made:
        assert timed(deciding[group], lambda reg=reg: bound.decide(reg)).status_code == httpx.codes.OK
    shown: dict[str, set[tuple[object, ...]]] = {group: set() for group in GROUPS}
    for group, reg in made:
        shown[group].add(shape(here.get(f"/v1/registrations/{reg}")))
    _same_bytes([{group: seen.shapes for group, seen in act.items()} for act in (registering, deciding)] + [shown])
    for act in (registering, deciding):
        _same_times({group: seen.seconds for group, seen in act.items()}, each)


def _same_bytes(acts: list[dict[str, set[tuple[object, ...]]]]) -> None:
    for shapes in acts:
        assert shapes["known"] == shapes["unknown"] == shapes["unknown too"]


def _same_times(seconds: dict[str, list[float]], each: int) -> None:
    equal = cliffs_delta(seconds["unknown"], seconds["unknown too"])
    most = DEVIATIONS * deviation(each, each)
    assert abs(equal) < most, "the machine is too unsteady to tell: the equal groups differ"
    delta = cliffs_delta(seconds["known"], seconds["unknown"] + seconds["unknown too"])
    most = DEVIATIONS * deviation(each, 2 * each)
    assert abs(delta) < most, f"Cliff's delta {delta:.3f}, of equal groups {equal:.3f}"


def test_the_measure_finds_a_difference_of_a_twentieth() -> None:
    drawn = random.Random(1)  # noqa: S311
    one = [drawn.gauss(10, 1) for _ in range(1000)]
    other = [drawn.gauss(10.5, 1) for _ in range(1000)]
    assert abs(cliffs_delta(one, other)) > DEVIATIONS * deviation(1000, 1000)
    assert abs(cliffs_delta(one, [drawn.gauss(10, 1) for _ in range(1000)])) < DEVIATIONS * deviation(1000, 1000)
    assert cliffs_delta([1.0], [2.0]) == -1
