"""What is kept between pieces of work: by the slot that a thread holds, else by thread."""

import threading

from keys import slots
from keys.slots import Kept
from tests.keys.lending import Lender


def _in_thread(kept: Kept, slot: int | None, value: str | None) -> str | None:
    """Look into a place from a thread of its own, and put a value there if one is given; return what was there."""
    found: list[str | None] = []

    def work() -> None:
        if slot is not None:
            slots.hold(slot)
        found.append(getattr(kept.here(), "thing", None))
        if value is not None:
            kept.here().thing = value
        if slot is not None:
            slots.leave()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def test_the_next_thread_in_a_slot_finds_what_the_last_one_kept_and_no_other_does() -> None:
    kept = Kept()
    assert _in_thread(kept, 0, "first") is None
    assert _in_thread(kept, 0, None) == "first"
    assert _in_thread(kept, 1, None) is None
    assert _in_thread(kept, None, None) is None


def test_without_a_slot_each_thread_has_its_own() -> None:
    kept = Kept()
    assert _in_thread(kept, None, "mine") is None
    assert _in_thread(kept, None, None) is None


def test_owners_do_not_share() -> None:
    one, other = Kept(), Kept()
    _in_thread(one, 0, "ones")
    assert _in_thread(other, 0, None) is None


def test_a_thread_that_left_its_slot_keeps_by_thread_again() -> None:
    kept = Kept()
    kept.here().thing = "of the thread"
    slots.hold(3)
    assert getattr(kept.here(), "thing", None) is None
    slots.leave()
    assert kept.here().thing == "of the thread"


def test_for_a_span_a_thread_may_work_in_another_slot_and_is_then_back_in_its_own() -> None:
    kept = Kept()
    slots.hold(3)
    kept.here().thing = "of the slot"
    with slots.held("line"):
        kept.here().thing = "of the line"
    assert kept.here().thing == "of the slot"
    slots.leave()
    with slots.held("line"):
        assert kept.here().thing == "of the line"
    assert getattr(kept.here(), "thing", None) is None


def test_who_lent_his_slot_takes_one_again_at_the_first_thing_that_is_kept() -> None:
    kept, lender = Kept(), Lender(slot=7)
    slots.hold(7, lender)
    kept.here().thing = "of the slot"
    slots.hold(3, lender)
    slots.lend()
    slots.lend()
    assert lender.said == ["lent"], "a slot is lent once"
    assert kept.here().thing == "of the slot"
    assert kept.here().thing == "of the slot"
    slots.take_back()
    assert lender.said == ["lent", "taken back"], "who has a slot takes none"
    slots.leave()


def test_who_lent_his_slot_works_in_that_of_a_line_for_a_span_and_has_none_afterwards() -> None:
    kept, lender = Kept(), Lender()
    slots.hold(3, lender)
    slots.lend()
    with slots.held("line"):
        kept.here().thing = "of the line"
    assert lender.said == ["lent"]
    slots.leave()


def test_without_a_lender_a_slot_is_kept() -> None:
    kept = Kept()
    slots.hold(3)
    kept.here().thing = "of the slot"
    slots.lend()
    assert kept.here().thing == "of the slot"
    slots.leave()
    slots.lend()
    slots.take_back()
