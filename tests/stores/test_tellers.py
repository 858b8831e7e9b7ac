"""Processes that write a directory on PostgreSQL name the same file of changes, or nobody names one."""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from keys.engine import open_engine, reading
from keys.errors import SetupError, UnavailableError
from tests.fresh import fresh_store
from vault.stores import tellers

pytestmark = pytest.mark.postgresql
NONE = Path()
Opened = Callable[[Path], Engine]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """What opens the directory as a process does that names a file."""
    url, made = fresh_store(tmp_path, "directory"), list[Engine]()

    def open_(file: Path) -> Engine:
        made.append(open_engine(url))
        tellers.bind(made[-1], file)
        return made[-1]

    yield open_
    for engine in made:
        engine.dispose()


def connects(engine: Engine) -> bool:
    try:
        with reading(engine) as connection:
            return bool(connection.exec_driver_sql("SELECT 1").scalar_one())
    except UnavailableError:
        return False


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [("", "", True), ("one", "one", True), ("one", "", False), ("", "one", False), ("one", "two", False)],
)
def test_two_are_connected_at_once_who_name_the_same_file_or_none(
    opened: Opened, tmp_path: Path, first: str, second: str, *, both: bool
) -> None:
    engines = [opened(tmp_path / name if name else NONE) for name in (first, second)]
    assert [connects(engine) for engine in engines] == [True, both]
    assert [connects(engine) for engine in engines] == [True, both], "and it stays so"
    engines[0].dispose()
    assert connects(engines[1]), "who is gone holds nobody up"


def test_of_two_at_once_who_name_different_files_never_both_are_connected(
    opened: Opened, tmp_path: Path, drawn: random.Random
) -> None:
    for _ in range(15):
        engines = [opened(tmp_path / "one"), opened(NONE)]
        drawn.shuffle(engines)
        at_once, found = threading.Barrier(2), list[bool]()

        def connect(engine: Engine, at_once: threading.Barrier = at_once, found: list[bool] = found) -> None:
            at_once.wait()
            found.append(connects(engine))

        threads = [threading.Thread(target=connect, args=(engine,)) for engine in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found.count(True) < 2
        for engine in engines:
            engine.dispose()


def test_a_file_is_named_the_same_when_it_is_made_anew_and_by_whatever_path(tmp_path: Path) -> None:
    file = tmp_path / "changes"
    name = tellers.named(file)
    file.touch()
    assert tellers.named(file) == name
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    assert tellers.named(tmp_path / "link" / "changes") == name
    assert len({name, tellers.named(tmp_path / "others"), tellers.named(NONE)}) == 3
    with pytest.raises(SetupError, match="directory_changes"):
        tellers.named(tmp_path / "no" / "changes")
