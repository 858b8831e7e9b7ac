"""Restores beside each other, and beside a vault that is made where one comes back: one of them is there, and whole."""

import random
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tests import serving
from tests.forking import in_fork
from tests.http.test_backups import Place, place, run, told
from tests.http.test_log import await_checkpoint
from tests.keys.killing import FILES, PAGES, SENT, Point, at_points, errors_of, killed_at, stopped_at
from tests.people import person
from tests.serving import BIN, Client, Server
from vault import embedded
from vault.unfinished import BUILD, FILLING, KEYS_BUILD

__all__ = ["place"]

CALLS: Final = (PAGES, SENT, *FILES)
PEOPLE: Final = 3
IS_MADE: Final = ("a vault is made", "holds a vault", "a vault runs here", "not empty")
WINS: Final = "wins"
UPGRADE: Final = ("db", "upgrade")
STARTS: Final = (UPGRADE, ("serve",))
"""Commands that make a vault where there is none."""
pytestmark = pytest.mark.timeout(3600)  # whole commands, traced, several times a case


class Scene:
    """A backup, and who is to be in the vault that comes back from it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        await_checkpoint(place.server)
        self.chat = place.server.provider("chat")
        self.made = [self.chat.registered(person(number), f"name{number}") for number in range(PEOPLE)]
        told(place.server)
        self.backup = place.backup()
        place.server.stop()
        self.said = ("restore", str(self.backup), "--key-file", str(place.key_file), "--no-mirror", "--json")

    def is_whole(self, server: Server) -> None:
        """Check that what came back opens, with everybody."""
        if serving.cluster is not None:
            server.go_under_roles()
        server.start()
        again = Client(server, self.chat.id, self.chat.secret)
        assert all(again.introspect(one["token"])["active"] is True for one in self.made)
        assert server.stop() == 0
        report = run(server.environment, "fsck", "--grace-minutes", "0")
        assert report["clean"], report["findings"]
        assert report["checked"]["records"] == PEOPLE


@pytest.fixture
def scene(place: Place) -> Scene:
    return Scene(place)


def of_stores(server: Server) -> dict[str, str]:
    """Return the environment of who restores, who owns the databases."""
    return server.environment | server.databases


def outcome(code: int, errors: str) -> str:
    """Return `WINS`, or the line by which a command was refused."""
    assert code in {0, 1}, errors[-600:]
    return errors if code else WINS


@pytest.mark.parametrize("elsewhere", [False, pytest.param(True, marks=pytest.mark.postgresql)])
def test_of_two_restores_at_once_one_is_there_and_the_other_is_told_to_wait(
    scene: Scene, drawn: random.Random, *, elsewhere: bool, full: bool
) -> None:
    """The first stands still at a write; two are drawn, on PostgreSQL one; all with --full. The second is said in the
    same home folder, or in another one for the same databases."""

    def attempt(at: Point) -> Path:
        place, output = scene.place, scene.place.folder / "trace"
        first = second = place.empty_machine(f"at-{at.call}{at.nth}")
        if elsewhere:
            second = Server(place.folder / f"elsewhere-{at.call}{at.nth}")
            second.databases = first.databases
        with stopped_at([BIN / "idvault", *scene.said], of_stores(first), at, output, CALLS) as standing:
            done = in_fork(scene.said, of_stores(second))
        told = outcome(standing.wait(), errors_of(output).read_text()), outcome(done.returncode, done.stderr)
        assert told.count(WINS) == 1, told
        [refused] = [one for one in told if one != WINS]
        assert any(words in refused for words in ("wait until it", *IS_MADE)), refused
        scene.is_whole(first if told[0] == WINS else second)
        return output

    at_points(attempt, drawn, full=full)


@pytest.mark.sqlite  # a database has its vault from elsewhere
def test_a_vault_that_is_made_amid_a_restore_is_refused(scene: Scene, drawn: random.Random, *, full: bool) -> None:
    """The restore stands still at a write; two are drawn; all with --full."""

    def attempt(at: Point) -> Path:
        place, output = scene.place, scene.place.folder / "trace"
        other = place.empty_machine(f"restored-{at.call}{at.nth}")
        with stopped_at([BIN / "idvault", *scene.said], other.environment, at, output, CALLS) as first:
            made = [in_fork(said, other.environment) for said in STARTS] if _stands(first, other) else []
        assert first.wait() == 0, errors_of(output).read_text()
        for one in made:
            assert one.returncode == 1, "nothing is made, or served"
            assert "say idvault restore again" in one.stderr
        scene.is_whole(other)
        return output

    at_points(attempt, drawn, full=full)


def _stands(restore: subprocess.Popen[bytes], server: Server) -> bool:
    """Tell whether a restore stands still that has begun."""
    return restore.poll() is None and (server.home / BUILD).exists()


@pytest.mark.sqlite  # a database has its vault from elsewhere
def test_a_restore_amid_which_a_vault_is_made_is_not_written_over(
    scene: Scene, drawn: random.Random, *, full: bool
) -> None:
    """What makes it stands still at a write; two are drawn; all with --full."""

    def attempt(at: Point) -> Path:
        place, output = scene.place, scene.place.folder / "trace"
        other = place.empty_machine(f"made-{at.call}{at.nth}")
        with stopped_at([BIN / "idvault", "db", "upgrade"], other.environment, at, output, CALLS):
            restored = in_fork(scene.said, other.environment)
        if restored.returncode == 0:
            scene.is_whole(other)
        else:
            assert any(words in restored.stderr for words in IS_MADE), restored.stderr
            assert run(other.environment, "fsck")["clean"], "the new one is whole"
        return output

    at_points(attempt, drawn, full=full)


@pytest.mark.sqlite  # a database has its vault from elsewhere
def test_what_is_left_of_a_vault_that_was_never_put_in_its_place_is_not_put_over_one_that_came_back(
    scene: Scene,
) -> None:
    """Whoever made it was killed when it was whole, and before the first of its files was moved."""
    other = scene.place.empty_machine("left")
    other.home.mkdir(mode=0o700)
    embedded._build(other.home / embedded._BUILD, 1_800_000_000, officers=False)
    run(other.environment, *scene.said[:-1])
    scene.is_whole(other)


@pytest.mark.postgresql  # files have their one home folder
@pytest.mark.parametrize("whose", ["made", "restored"])
def test_a_restore_that_was_cut_off_is_not_said_again_over_a_vault_that_another_home_put_there_since(
    scene: Scene, whose: str, drawn: random.Random
) -> None:
    first = cut_off(scene, scene.said, lambda number: scene.place.empty_machine(f"first-{number}"), BUILD, drawn)
    for url in first.databases.values():
        emptied_by_hand(url)
    other = Server(scene.place.folder / "second")
    other.databases = first.databases
    run(of_stores(other), *(("db", "upgrade") if whose == "made" else scene.said[:-1]))
    is_not_written_over(scene.said, first, other)
    if whose == "restored":
        scene.is_whole(other)
    else:
        assert run(of_stores(other), "fsck")["clean"]


@pytest.mark.postgresql  # files have their one home folder
def test_a_restore_of_the_keys_that_was_cut_off_is_not_said_again_over_those_that_another_home_put_there_since(
    scene: Scene, drawn: random.Random
) -> None:
    server, url = scene.place.server, scene.place.server.databases["IDVAULT_KEYS_URL"]
    said = ("restore", str(scene.backup), "--key-file", str(scene.place.key_file), "--keys-alone", "--json")

    def lost(_: int) -> Server:
        emptied_by_hand(url)
        return server

    cut_off(scene, said, lost, f"{KEYS_BUILD}/{FILLING}", drawn)
    emptied_by_hand(url)
    other = Server(scene.place.folder / "second")
    other.databases = server.databases
    run(of_stores(other), *said[:-1])
    is_not_written_over(said, server, other)


def cut_off(
    scene: Scene, said: tuple[str, ...], machine: Callable[[int], Server], left: str, drawn: random.Random
) -> Server:
    """Kill restores at a statement that is drawn, until one leaves a database half filled; return whose it is."""
    output = scene.place.folder / "trace"
    for number in range(40):
        server, at = machine(number), Point(SENT, drawn.randrange(40, 600))
        in_fork(said, of_stores(server), beside=partial(killed_at, at=at, output=output, calls=(SENT,)))
        if (server.home / left).exists():
            print("killed at", at)  # noqa: T201 - pytest shows it with a failure
            return server
    raise AssertionError("none of the kills left an unfinished restore")


def emptied_by_hand(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def is_not_written_over(said: tuple[str, ...], first: Server, other: Server) -> None:
    """Check that a restore which was cut off in one home is refused, and leaves the other home's keys as they are."""
    before = other.sql("keys", "SELECT id, sealed FROM key ORDER BY id")
    again = in_fork(said, of_stores(first))
    assert again.returncode == 1, again.stderr
    assert "another" in again.stderr, again.stderr
    assert other.sql("keys", "SELECT id, sealed FROM key ORDER BY id") == before


@pytest.mark.postgresql
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_upgrade_amid_a_restore_into_databases_waits_or_is_refused(
    scene: Scene, drawn: random.Random, *, elsewhere: bool, full: bool
) -> None:
    """The restore stands still at a write; one is drawn; all with --full. The upgrade is said there or elsewhere."""

    def attempt(at: Point) -> Path:
        output, first, second = homes(scene, at, elsewhere=elsewhere)
        with stopped_at([BIN / "idvault", *scene.said], of_stores(first), at, output, CALLS) as restore:
            stands = _stands(restore, first)
            upgraded = in_fork(UPGRADE, of_stores(second))
        if stands:
            assert upgraded.returncode == 1, upgraded.stderr
            assert any(words in upgraded.stderr for words in ("wait until it", "say idvault restore again"))
            assert restore.wait() == 0, errors_of(output).read_text()
        told = outcome(restore.wait(), errors_of(output).read_text()), outcome(upgraded.returncode, upgraded.stderr)
        is_one_vault(scene, told, first, second)
        return output

    at_points(attempt, drawn, full=full)


@pytest.mark.postgresql
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_restore_amid_an_upgrade_of_its_databases_waits_or_is_refused(
    scene: Scene, drawn: random.Random, *, elsewhere: bool, full: bool
) -> None:
    """The upgrade, which makes a vault, stands still at a write; one is drawn; all with --full."""

    def attempt(at: Point) -> Path:
        output, first, second = homes(scene, at, elsewhere=elsewhere)
        with stopped_at([BIN / "idvault", *UPGRADE], of_stores(first), at, output, CALLS) as upgrade:
            restored = in_fork(scene.said, of_stores(second))
        told = outcome(restored.returncode, restored.stderr), outcome(upgrade.wait(), errors_of(output).read_text())
        is_one_vault(scene, told, second, first)
        return output

    at_points(attempt, drawn, full=full)


def homes(scene: Scene, at: Point, *, elsewhere: bool) -> tuple[Path, Server, Server]:
    """Return where a trace goes, an empty machine, and a home for its databases: the same, or another one."""
    name = f"{at.call}{at.nth}"
    first = scene.place.empty_machine(f"first-{name}")
    second = first
    if elsewhere:
        second = Server(scene.place.folder / f"second-{name}")
        second.databases = first.databases
    return scene.place.folder / "trace", first, second


def is_one_vault(scene: Scene, told: tuple[str, str], restored: Server, upgraded: Server) -> None:
    """Check that what a restore, or an upgrade, said it had made is there, and whole."""
    assert WINS in told, told
    if told[0] == WINS:
        scene.is_whole(restored)
        return
    assert any(words in told[0] for words in ("wait until it", "nothing is used", *IS_MADE)), told
    assert run(of_stores(upgraded), "fsck")["clean"], "the new one is whole"
