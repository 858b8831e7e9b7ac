"""The embedded vault: made once, whole or not at all, and never over anything of a vault."""

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from keys.engine import open_engine
from keys.errors import SetupError
from keys.seals import development
from vault import embedded
from vault.config import STORES, Settings
from vault.errors import StartError
from vault.stores import schema

NOW = 1_800_000_000
OWN = [*(f"{store}.db" for store in STORES), "seal.json"]


def check(home: Path) -> None:
    engines = {store: open_engine(f"sqlite:///{home / store}.db") for store in STORES}
    try:
        schema.check_all(engines)
    finally:
        for engine in engines.values():
            engine.dispose()
    development.open_seal(home / "seal.json")


def content(home: Path) -> dict[str, bytes]:
    return {name: (home / name).read_bytes() for name in OWN if (home / name).exists()}


def test_it_is_made_in_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    assert embedded.ensure(Settings(home=home), NOW) is True
    check(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert not (home / ".new").exists()


def test_its_files_are_the_owner_s_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    embedded.ensure(Settings(home=home), NOW)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in home.iterdir()} == dict.fromkeys(
        [".lock", *OWN], 0
    )


def test_it_is_made_beside_files_that_are_not_a_vault_s(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    assert embedded.ensure(Settings(home=tmp_path), NOW) is True
    check(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    embedded.ensure(Settings(home=tmp_path), NOW)
    before = content(tmp_path)
    assert embedded.ensure(Settings(home=tmp_path), NOW + 1) is False
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", OWN)
def test_nothing_is_made_over_a_single_file_of_a_vault(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"old")
    assert embedded.ensure(Settings(home=tmp_path), NOW) is False
    assert content(tmp_path) == {name: b"old"}


@pytest.mark.parametrize("name", OWN)
def test_a_file_that_got_lost_is_never_made_anew(tmp_path: Path, name: str) -> None:
    embedded.ensure(Settings(home=tmp_path), NOW)
    (tmp_path / name).unlink()
    assert embedded.ensure(Settings(home=tmp_path), NOW) is False
    assert not (tmp_path / name).exists()
    with pytest.raises(SetupError, match=r"missing|no seal"):
        check(tmp_path)


@pytest.mark.parametrize("store", STORES)
def test_a_lost_table_is_found_and_named(tmp_path: Path, store: str) -> None:
    embedded.ensure(Settings(home=tmp_path), NOW)
    table = min(schema.METADATA[store].tables)
    with sqlite3.connect(tmp_path / f"{store}.db") as connection:
        connection.execute(f'drop table "{table}"')
    connection.close()
    with pytest.raises(SetupError, match=rf"the store {store} lacks tables \({table}\)"):
        check(tmp_path)


def test_nothing_is_made_where_a_store_url_is_set(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, keys_url="sqlite:////srv/keys.db")
    assert embedded.ensure(settings, NOW) is False
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_a_folder_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(StartError, match=r"^home: "):
            embedded.ensure(Settings(home=home), NOW)


def test_a_half_made_folder_is_made_anew(tmp_path: Path) -> None:
    build = tmp_path / ".new"
    build.mkdir()
    for name in ("identity.db", "seal.json"):
        (build / name).write_bytes(b"half")
    assert embedded.ensure(Settings(home=tmp_path), NOW) is True
    check(tmp_path)
    assert not build.exists()


@pytest.mark.parametrize("moved", range(len(OWN) + 1))
def test_a_whole_folder_is_moved_in_wherever_the_move_stopped(tmp_path: Path, moved: int) -> None:
    home, made = tmp_path / "home", tmp_path / "made"
    embedded.ensure(Settings(home=made), NOW)
    expected = content(made)
    home.mkdir()
    made.rename(home / ".new")
    (home / ".new" / "whole").touch()
    for name in OWN[:moved]:
        (home / ".new" / name).rename(home / name)
    assert embedded.ensure(Settings(home=home), NOW) is True
    assert content(home) == expected
    check(home)
    assert not (home / ".new").exists()


def test_a_move_that_stopped_after_the_last_removal_step_does_no_harm(tmp_path: Path) -> None:
    """Everything is moved in, `whole` is gone, the folder is still there: what is left of it is removed."""
    embedded.ensure(Settings(home=tmp_path), NOW)
    expected = content(tmp_path)
    (tmp_path / ".new").mkdir()
    assert embedded.ensure(Settings(home=tmp_path), NOW) is False
    assert content(tmp_path) == expected


def test_a_crash_while_making_leaves_nothing_that_looks_like_a_vault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "create_development", fail)
        with pytest.raises(KeyboardInterrupt):
            embedded.ensure(Settings(home=tmp_path), NOW)
    assert content(tmp_path) == {}
    assert embedded.ensure(Settings(home=tmp_path), NOW) is True
    check(tmp_path)


def test_many_at_once_make_one(tmp_path: Path) -> None:
    made: list[bool] = []
    threads = [
        threading.Thread(target=lambda: made.append(embedded.ensure(Settings(home=tmp_path), NOW))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, False, True]
    check(tmp_path)
