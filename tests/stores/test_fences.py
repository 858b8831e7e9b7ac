"""A store takes a plan once, whoever brings it and however often, and forgets it when nobody can have it in hand."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keys.engine import open_engine
from tests.fresh import fresh_store
from vault.stores import fences, people, plans
from vault.stores.unit import Store, Unit

DAY = 20_000
INTENT, OTHER = b"i" * 16, b"o" * 16
ENTER: dict[str, Callable[[Unit, bytes, int], bool]] = {"identity": people.enter, "directory": plans.enter}
FORGET: dict[str, Callable[[Unit, int, int], None]] = {"identity": people.forget_plans, "directory": plans.forget}


@pytest.fixture(params=ENTER)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(name: str, tmp_path: Path) -> Iterator[Store]:
    made = Store(open_engine(fresh_store(tmp_path, name)))
    yield made
    made.close()


def entered(store: Store, name: str, intent: bytes, day: int = DAY) -> bool:
    with store.writing() as unit:
        return ENTER[name](unit, intent, day)


def test_a_plan_is_the_first_ones_and_nobody_elses(store: Store, name: str) -> None:
    assert [entered(store, name, one) for one in (INTENT, OTHER, INTENT, OTHER)] == [True, True, False, False]


def test_what_was_rolled_back_is_still_to_be_done(store: Store, name: str) -> None:
    def cut_off(unit: Unit) -> None:
        assert ENTER[name](unit, INTENT, DAY)
        raise RuntimeError

    with pytest.raises(RuntimeError), store.writing() as unit:
        cut_off(unit)
    assert entered(store, name, INTENT)


def test_who_comes_beside_another_waits_for_his_end(store: Store, name: str) -> None:
    told = list[Any]()

    def second() -> None:
        told.append(entered(store, name, INTENT))

    beside = threading.Thread(target=second)
    with store.writing() as unit:
        assert ENTER[name](unit, INTENT, DAY)
        beside.start()
        beside.join(0.3)
        assert told == []
    beside.join(30)
    assert told == [False]


def test_it_is_forgotten_after_its_days_and_not_before(store: Store, name: str) -> None:
    for later, known in ((fences.KEPT_DAYS, True), (fences.KEPT_DAYS + 1, False)):
        entered(store, name, INTENT)
        with store.writing() as unit:
            FORGET[name](unit, DAY + later, 100)
        assert entered(store, name, INTENT) is not known
