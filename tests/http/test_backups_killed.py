"""kill -9 at the writes of a backup and of a restore: there is a whole one or none, and said again it is (F1, I8, I10).

Writes are pages of SQLite, what is sent to PostgreSQL and to the agent, and what else changes files. A few points of
each are drawn; `make test-full` takes them all.
"""

import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import pytest

from keys.backups import Keeper
from keys.errors import BackupError
from keys.restoring import root_of_seal
from tests.forking import in_fork
from tests.http.test_backups import Place, place, run, told
from tests.http.test_backups_of_keys import lost
from tests.http.test_log import await_checkpoint
from tests.http.test_processes import eventually, holders, is_ready
from tests.keys.killing import FILES, PAGES, SENT, Point, at_points, killed_at
from tests.people import person
from tests.serving import Server
from vault.backups import Backup

__all__ = ["place"]

CALLS: Final = (PAGES, SENT, *FILES)
PEOPLE: Final = 3
Whose = tuple[str, ...]
WHOLE: Final[Whose] = ()
KEYS: Final[Whose] = ("--keys-alone",)


def cut(environment: Mapping[str, str], at: Point, output: Path, *arguments: str) -> CompletedProcess[str]:
    """Run a command that is killed as it begins a call, or have its calls counted."""
    done = in_fork([*arguments, "--json"], environment, beside=partial(killed_at, at=at, output=output, calls=CALLS))
    assert at.nth or done.returncode == 0, done.stderr
    return done


def opens(folder: Path, key_file: Path) -> bool:
    """Tell whether restore would take what lies in a folder; what it takes opens with the key file beside it."""
    try:
        found = Backup.read(folder)
    except BackupError:
        return False
    keeper = Keeper.parse(key_file.read_bytes())
    found.opened_part(keeper, root_of_seal(keeper, str))
    return True


@pytest.mark.parametrize("whose", [WHOLE, KEYS])
@pytest.mark.timeout(3600)
def test_a_backup_that_is_killed_at_any_write_is_whole_and_opens_or_is_none(
    place: Place, whose: Whose, drawn: random.Random, *, full: bool
) -> None:
    server = place.server
    _registered(place)
    environment = server.environment | server.databases

    def attempt(at: Point) -> Path:
        """The command is killed; without a key file of before."""
        name, output = f"{at.call}{at.nth}", place.folder / "trace"
        folder, key_file = place.folder / name, place.key_file.with_name(f"{name}.json")
        said = ("backup", str(folder), "--key-file", str(key_file), *whose)
        cut(environment, at, output, *said)
        assert opens(folder, key_file) or at.nth
        _again(place, folder, key_file, whose)
        return output

    at_points(attempt, drawn, full=full)


@pytest.mark.timeout(3600)
def test_a_backup_whose_agent_is_killed_at_any_write_is_whole_or_none(
    fresh: Server, tmp_path: Path, drawn: random.Random, *, full: bool
) -> None:
    place, environment = Place(fresh, tmp_path / "place"), fresh.environment | fresh.databases

    def attempt(at: Point) -> Path:
        folder, output = place.folder / f"{at.call}{at.nth}", place.folder / "trace"
        with killed_at(holders(fresh)["names"], at, output, (PAGES, SENT)):
            done = in_fork(["backup", str(folder), "--key-file", str(place.key_file)], environment)
        assert opens(folder, place.key_file) is (done.returncode == 0), done.stderr
        assert eventually(lambda: is_ready(fresh) and len(holders(fresh)) == 2, 20)
        _again(place, folder, place.key_file, WHOLE)
        return output

    at_points(attempt, drawn, full=full)


def _registered(place: Place) -> list[dict[str, object]]:
    await_checkpoint(place.server)
    chat = place.server.provider("chat")
    made = [chat.registered(person(number), f"name{number}") for number in range(PEOPLE)]
    told(place.server)
    return made


def _again(place: Place, folder: Path, key_file: Path, whose: Whose) -> None:
    again = folder.with_name(f"{folder.name}-again")
    environment = place.server.environment | place.server.databases
    run(environment, "backup", str(again), "--key-file", str(key_file), *whose)
    assert opens(again, key_file)
    assert not (place.server.home / ".backup").exists(), "what a kill left of the key store's copy goes with the next"


@pytest.mark.timeout(3600)
def test_a_restore_that_is_killed_at_any_write_serves_nothing_and_said_again_it_is_whole(
    place: Place, drawn: random.Random, *, full: bool
) -> None:
    server, made = place.server, _registered(place)
    backup, gone = place.backup(), made[0]["id"]
    assert server.clients[0].call("DELETE", f"/v1/registrations/{gone}").is_success
    mirror = str(place.mirrored())
    server.stop()

    def attempt(at: Point) -> Path:
        other, output = place.empty_machine(f"at-{at.call}{at.nth}"), place.folder / "trace"
        environment = other.environment | other.databases
        said = ("restore", str(backup), "--key-file", str(place.key_file), "--mirror", mirror)
        cut(environment, at, output, *said)
        if (other.home / ".restore").exists():
            assert "restore" in run(environment, "fsck", code=1), "nothing is done with what is half there"
        found = run(environment, *said, code=None)
        assert isinstance(found, dict) or "holds a vault" in found or "not empty" in found, found
        _is_whole(environment)
        assert other.sql("keys", "SELECT count(*) FROM record_key") == [(PEOPLE - 1,)], "who was erased is not back"
        left = {path.name for path in other.home.iterdir()} & {".restore", ".restored"}
        assert not left, "what was built is in its place"
        return output

    at_points(attempt, drawn, full=full, sampled=2)


def _is_whole(environment: dict[str, str]) -> None:
    report = run(environment, "fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


@pytest.mark.timeout(3600)
def test_a_restore_of_the_keys_that_is_killed_at_any_write_serves_nothing_and_said_again_it_is_whole(
    place: Place, drawn: random.Random, *, full: bool
) -> None:
    server, made = place.server, _registered(place)
    environment = server.environment | server.databases
    folder, gone = place.folder / "keys", made[0]["id"]
    run(environment, "backup", str(folder), "--key-file", str(place.key_file), *KEYS)
    assert server.clients[0].call("DELETE", f"/v1/registrations/{gone}").is_success
    told(server)
    server.stop()

    def attempt(at: Point) -> Path:
        output = place.folder / "trace"
        lost(server)
        (server.home / "seal.json").unlink()
        said = ("restore", str(folder), "--key-file", str(place.key_file), *KEYS)
        environment = server.environment | server.databases
        cut(environment, at, output, *said)
        found = run(environment, *said, code=None)
        assert isinstance(found, dict) or "where there is none" in found, found
        _is_whole(environment)
        assert server.sql("keys", "SELECT count(*) FROM record_key") == [(PEOPLE - 1,)], "who was erased is not back"
        return output

    at_points(attempt, drawn, full=full, sampled=2)
