"""Events of a provider are numbered as they are committed: who has read one has read all before it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keys.engine import open_engine
from vault.stores import clients, events, schema
from vault.stores.unit import Store

if TYPE_CHECKING:
    from tests.databases import Cluster

NOW = 1_800_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        (tmp_path / "directory.db").touch()
        url = f"sqlite:///{tmp_path / 'directory.db'}"
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        url = cluster.vault()["IDVAULT_DIRECTORY_URL"]
    engine = open_engine(url)
    schema.upgrade_all({"directory": engine})
    made = Store(engine)
    with made.writing() as unit:
        for name in ("chat", "blog"):
            clients.add_provider(unit, client_id=f"cli_{name}", name=name, sector=f"{name}.example", policy={})
    yield made
    made.close()


def test_a_number_that_is_committed_late_is_no_lower_than_one_that_was_read(store: Store) -> None:
    begun, seen = threading.Event(), list[int]()

    def late() -> None:
        with store.writing() as unit:
            events.add(unit, "cli_chat", events.DECIDED, bytes(16), NOW)
            begun.set()
            time.sleep(0.5)

    slow = threading.Thread(target=late)
    slow.start()
    begun.wait(5)
    with store.writing() as unit:
        events.add(unit, "cli_chat", events.DECIDED, bytes(16), NOW)
    with store.reading() as unit:
        seen = [row.number for row in events.page(unit, "cli_chat", 0, 10)]
    slow.join()
    assert len(seen) == 2, "whoever sees the second sees the first"
    assert seen == sorted(set(seen))


def test_numbers_go_on_with_the_clock_after_all_went_and_never_back_with_it(store: Store) -> None:
    with store.writing() as unit:
        for now in (NOW, NOW, NOW - 100):
            events.add(unit, "cli_chat", events.RESYNC, None, now)
        events.add(unit, "cli_blog", events.RESYNC, None, NOW)
    with store.reading() as unit:
        before = [row.number for row in events.page(unit, "cli_chat", 0, 10)]
    assert before == [NOW * 1000, NOW * 1000 + 1, NOW * 1000 + 2]
    with store.writing() as unit:
        events.expire(unit, NOW + 1, 10)
        events.add(unit, "cli_chat", events.RESYNC, None, NOW + 30 * 86_400)
    with store.reading() as unit:
        after = events.page(unit, "cli_chat", before[-1], 10)
        assert len(events.page(unit, "cli_blog", 0, 10)) == 0
    assert [events.minute_of(row.number) * 60 for row in after] == [NOW + 30 * 86_400]
