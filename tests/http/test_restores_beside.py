"""Restores beside each other, and beside a vault that is made where one comes back: one of them is there, and whole."""

import random
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests import serving
from tests.forking import in_fork
from tests.http.test_backups import Place, place, run, told
from tests.http.test_log import await_checkpoint
from tests.keys.killing import FILES, PAGES, SENT, Point, at_points, errors_of, stopped_at
from tests.people import person
from tests.serving import BIN, Client, Server
from vault import embedded
from vault.unfinished import BUILD

__all__ = ["place"]

CALLS: Final = (PAGES, SENT, *FILES)
PEOPLE: Final = 3
IS_MADE: Final = ("a vault is made", "holds a vault", "a vault runs here", "not empty")
WINS: Final = "wins"
STARTS: Final = (("db", "upgrade"), ("serve",))
"""Commands that make a vault where there is none."""


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
