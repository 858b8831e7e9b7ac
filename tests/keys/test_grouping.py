"""Group commit: callers at the same time share one carrying out, and nobody gets another's result or error."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from keys.errors import ConflictError, UnavailableError
from keys.grouping import Group, LateError
from tests.keys.lending import Lender


class Carrier:
    """Carries out numbers; the first group waits until the others stand in line."""

    def __init__(self, refused: frozenset[int] = frozenset()) -> None:
        self.groups: list[list[int]] = []
        self.refused = refused
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.groups.append(list(items))
        self.begun.set()
        assert self.go_on.wait(10)
        if self.refused & set(items):
            raise ConflictError
        return [item * 2 for item in items]


def joined(
    group: Group[int, int], carrier: Carrier, items: Sequence[int], pool: ThreadPoolExecutor
) -> list[Future[int]]:
    """Have the first item carried out, and all others come while it is."""
    futures = [pool.submit(group.do, items[0])]
    assert carrier.begun.wait(10)
    futures += [pool.submit(group.do, item) for item in items[1:]]
    while len(group._waiting) < len(items) - 1:
        pass
    carrier.go_on.set()
    return futures


def test_those_who_come_meanwhile_are_carried_out_together() -> None:
    carrier = Carrier()
    group = Group[int, int](carrier, (ConflictError,))
    with ThreadPoolExecutor(8) as pool:
        futures = joined(group, carrier, [1, 2, 3, 4], pool)
        assert [future.result(10) for future in futures] == [2, 4, 6, 8]
    assert [len(one) for one in carrier.groups] == [1, 3]


def test_one_who_comes_alone_does_not_wait_for_others() -> None:
    carrier = Carrier()
    carrier.go_on.set()
    assert Group[int, int](carrier, (ConflictError,)).do(5) == 10
    assert carrier.groups == [[5]]


def test_a_leader_waits_for_as_many_as_the_last_group_had_and_no_longer_than_it_was_told() -> None:
    carrier = Carrier()
    group = Group[int, int](carrier, (ConflictError,), gather_seconds=10)
    with ThreadPoolExecutor(8) as pool:
        assert [future.result(10) for future in joined(group, carrier, [1, 2, 3, 4], pool)] == [2, 4, 6, 8]
        first = pool.submit(group.do, 5)
        with pytest.raises(FutureTimeoutError):
            first.result(0.05)  # three were answered together: it waits for two more
        others = [pool.submit(group.do, item) for item in (6, 7)]
        assert [future.result(5) for future in (first, *others)] == [10, 12, 14]
        group._gather_seconds = 0.05
        assert group.do(8) == 16
        group._gather_seconds = 10
        assert group.do(9) == 18, "the last group was of one: nobody is waited for"
    assert [sorted(one) for one in carrier.groups] == [[1], [2, 3, 4], [5, 6, 7], [8], [9]]


def test_where_callers_come_back_at_once_those_who_came_meanwhile_wait_for_them() -> None:
    carrier = Carrier()
    group = Group[int, int](carrier, (ConflictError,), gather_seconds=10, prompt=True)
    with ThreadPoolExecutor(8) as pool:
        one, *others = joined(group, carrier, [1, 2, 3], pool)
        assert one.result(10) == 2
        with pytest.raises(FutureTimeoutError):
            others[0].result(0.05)  # the first is waited for: it was answered, and may come back
        others.append(pool.submit(group.do, 4))
        assert [future.result(5) for future in others] == [4, 6, 8]
    assert [sorted(one) for one in carrier.groups] == [[1], [2, 3, 4]]


def test_nobody_is_waited_for_beyond_the_bound_of_a_group() -> None:
    carrier = Carrier()
    group = Group[int, int](carrier, (ConflictError,), most=2, gather_seconds=10, prompt=True)
    with ThreadPoolExecutor(8) as pool:
        futures = joined(group, carrier, [1, 2, 3], pool)
        assert [future.result(5) for future in futures] == [2, 4, 6]
    assert [len(one) for one in carrier.groups] == [1, 2]


def test_one_that_is_refused_fails_alone() -> None:
    carrier = Carrier(refused=frozenset({3}))
    group = Group[int, int](carrier, (ConflictError,))
    with ThreadPoolExecutor(8) as pool:
        futures = joined(group, carrier, [1, 2, 3, 4], pool)
        assert [futures[at].result(10) for at in (0, 1, 3)] == [2, 4, 8]
        with pytest.raises(ConflictError):
            futures[2].result(10)


def test_an_error_that_leaves_the_outcome_open_is_everyones_and_nothing_is_tried_again() -> None:
    def fails(items: Sequence[int]) -> list[int]:
        if items != [1]:
            raise UnavailableError
        return carrier(items)

    carrier = Carrier()
    tried: list[list[int]] = []

    def counted(items: Sequence[int]) -> list[int]:
        tried.append(list(items))
        return fails(items)

    group = Group[int, int](counted, (ConflictError,))
    with ThreadPoolExecutor(8) as pool:
        futures = joined(group, carrier, [1, 2, 3], pool)
        assert futures[0].result(10) == 2
        for future in futures[1:]:
            with pytest.raises(UnavailableError):
                future.result(10)
    assert [len(one) for one in tried] == [1, 2]


def test_a_group_is_bounded_and_the_rest_goes_next() -> None:
    carrier = Carrier()
    group = Group[int, int](carrier, (ConflictError,), most=2)
    with ThreadPoolExecutor(8) as pool:
        futures = joined(group, carrier, [1, 2, 3, 4, 5, 6], pool)
        assert [future.result(10) for future in futures] == [2, 4, 6, 8, 10, 12]
    assert [len(one) for one in carrier.groups] == [1, 2, 2, 1]


def test_who_waits_longer_than_he_may_leaves_the_line_and_nothing_of_his_is_done() -> None:
    carrier = Carrier()
    group = Group[int, int](carrier, (ConflictError,))
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(group.do, 1)
        assert carrier.begun.wait(10)
        patient = pool.submit(group.do, 2)
        with pytest.raises(LateError):
            group.do(3, 0.01)
        carrier.go_on.set()
        assert (first.result(10), patient.result(10)) == (2, 4)
    assert carrier.groups == [[1], [2]]


def test_who_is_being_carried_out_when_his_time_is_over_gets_his_result() -> None:
    carrier = Carrier()
    again = threading.Event()

    def second(items: Sequence[int]) -> list[int]:
        if items != [1]:
            again.set()
            assert go_on.wait(10)
        return carrier(items)

    go_on = threading.Event()
    group = Group[int, int](second, (ConflictError,))
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(group.do, 1)
        assert carrier.begun.wait(10)
        leader = pool.submit(group.do, 2)
        while len(group._waiting) < 1:
            pass
        late = pool.submit(group.do, 3, 0.05)
        while len(group._waiting) < 2:
            pass
        carrier.go_on.set()
        assert again.wait(10)
        with pytest.raises(FutureTimeoutError):
            late.result(0.2)
        go_on.set()
        assert [one.result(10) for one in (first, leader, late)] == [2, 4, 6]
    assert carrier.groups == [[1], [2, 3]]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_leader_that_is_ended_leaves_nobody_waiting(error: Callable[[], BaseException]) -> None:
    def ends(_: Sequence[int]) -> list[int]:
        raise error()

    group = Group[int, int](ends, (ConflictError,))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        group.do(1)
    assert not group._led


def test_many_threads_get_each_their_own_and_the_lead_is_never_lost() -> None:
    def doubles(items: Sequence[int]) -> list[int]:
        if any(item % 7 == 0 for item in items):
            raise ConflictError
        return [item * 2 for item in items]

    group = Group[int, int](doubles, (ConflictError,), most=5)

    def one(item: int) -> int | None:
        try:
            return group.do(item)
        except ConflictError:
            return None

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, range(2000), timeout=60))
    assert found == [None if item % 7 == 0 else item * 2 for item in range(2000)]


def test_who_waits_lends_his_slot_and_has_one_again_if_he_leads_or_is_refused() -> None:
    carrier = Carrier(refused=frozenset({4}))
    group = Group[int, int](carrier, (ConflictError,), most=2, lends=True)
    lenders = [Lender(slot=number) for number in range(5)]

    def called(item: int) -> int:
        return lenders[item].holds(lambda: group.do(item))

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(called, 0)
        assert carrier.begun.wait(10)
        others = []
        for item in (1, 2, 3, 4):
            others.append(pool.submit(called, item))
            while len(group._waiting) < item:
                pass
        carrier.go_on.set()
        assert first.result(10) == 0
        assert [future.result(10) for future in others[:3]] == [2, 4, 6]
        with pytest.raises(ConflictError):
            others[3].result(10)
    # 0 leads at once; then 1 with 2, who only takes his result; then 3 with 4, who is refused.
    assert [one.said for one in lenders] == [[], *[["lent", "taken back"], ["lent"]], *[["lent", "taken back"]] * 2]


def test_who_leaves_a_line_since_his_turn_does_not_come_has_no_slot() -> None:
    carrier, late = Carrier(), Lender()
    group = Group[int, int](carrier, (ConflictError,), lends=True)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(group.do, 1)
        assert carrier.begun.wait(10)
        with pytest.raises(LateError):
            late.holds(lambda: group.do(2, 0.01))
        carrier.go_on.set()
        assert first.result(10) == 2
    assert (late.said, carrier.groups) == (["lent"], [[1]])


def test_a_line_that_does_not_lend_leaves_slots_alone() -> None:
    carrier, lender = Carrier(), Lender()
    group = Group[int, int](carrier, (ConflictError,))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lender.holds, lambda: group.do(1))
        assert carrier.begun.wait(10)
        second = pool.submit(lender.holds, lambda: group.do(2))
        while not group._waiting:
            pass
        carrier.go_on.set()
        assert (first.result(10), second.result(10)) == (2, 4)
    assert lender.said == []
