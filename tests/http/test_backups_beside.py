"""Backups beside each other and beside what changes keys: each is whole and opens with its key file, or is refused."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from keys.agent.client import AgentClient, Answers
from keys.backups import Keeper
from keys.errors import BackupError
from keys.restoring import root_of_seal
from tests.http.test_backups import WORDS, Place, opens, place, run, told
from tests.http.test_log import await_checkpoint
from tests.http.test_rotation import keys
from tests.http.test_seals import secret
from tests.people import person
from tests.serving import Server
from vault import backups
from vault.backups import Backup
from vault.config import STORES, load

__all__ = ["place"]

KEYS: Final = ("keys",)
NOW: Final = 1_800_000_000


class Between(AgentClient):
    """A client who lets something happen once a backup has its key."""

    meanwhile: Callable[[], object]

    def call(self, verb: str, args: Mapping[str, Any], answers: Answers = lambda *_: None) -> dict[str, Any]:
        answer = super().call(verb, args, answers)
        if verb == "backup.begin":
            self.meanwhile()
        return answer


def backed_up(
    place: Place, name: str, *, begun: Callable[[], object] = bool, copying: Callable[[], object] = bool,
    stores: Sequence[str] = STORES,
) -> Path:  # fmt: skip
    """Make a backup, within which something happens once: when it has its key, and amid its copies."""
    settings = load(place.server.environment | place.server.databases)
    officer, moments = Between(str(settings.sockets / "officer.sock")), [copying]
    officer.meanwhile = begun

    def progress(_: int) -> None:
        if moments:
            moments.pop()()

    try:
        backups.make(settings, officer, place.folder / name, place.key_file, NOW, progress, stores)
    finally:
        officer.close()
    return place.folder / name


def assert_opens(place: Place, folder: Path) -> None:
    """Check that what was made opens with the key file that there is now."""
    keeper = Keeper.parse(place.key_file.read_bytes())
    Backup.read(folder).opened_part(keeper, root_of_seal(keeper, lambda: WORDS))


def restored(place: Place, folder: Path, *more: str) -> dict[str, str]:
    """Have a vault come back, whose keys all open; return the environment of its commands."""
    other = place.empty_machine(f"from-{folder.name}")
    environment = other.environment | other.databases
    run(environment, "restore", str(folder), "--key-file", str(place.key_file), "--no-mirror", *more)
    return environment


def comes_back(place: Place, folder: Path, people: Sequence[Mapping[str, Any]]) -> None:
    """Check that a vault comes back with everybody, whose records open."""
    environment = restored(place, folder)
    report = run(environment, "fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]
    assert report["checked"]["records"] == len(people)


def registered(server: Server) -> list[dict[str, Any]]:
    await_checkpoint(server)
    chat = server.provider("chat")
    people = [chat.registered(person(number), f"name{number}") for number in range(5)]
    told(server)
    return people


def test_of_two_backups_at_once_one_is_refused_and_the_other_is_whole(place: Place) -> None:
    people = registered(place.server)
    environment = place.server.environment | place.server.databases
    for whose in ((), ("--keys-alone",)):
        refused: list[str] = []

        def another(whose: Sequence[str] = whose, refused: list[str] = refused) -> None:
            said = ("backup", str(place.folder / "second"), "--key-file", str(place.key_file), *whose)
            refused.append(run(environment, *said, code=1))

        folder = backed_up(place, f"first{len(whose)}", copying=another)
        assert "another backup" in refused[0]
        assert not (place.folder / "second").exists()
        assert_opens(place, folder)
    comes_back(place, place.folder / "first0", people)
    comes_back(place, place.backup("third"), people)


def test_a_backup_beside_rotation_sealing_anew_and_destruction_is_whole(place: Place) -> None:
    server = place.server
    people = registered(server)
    sealed_anew = backed_up(
        place, "sealed anew", begun=lambda: keys(server, "rotate", "kek"), copying=lambda: keys(server, "rewrap")
    )
    destroyed = backed_up(
        place, "destroyed", begun=lambda: keys(server, "destroy", "kek", "--version", "1", "--yes"),
        copying=lambda: keys(server, "rotate", "kek"),
    )  # fmt: skip
    for folder in (sealed_anew, destroyed):
        assert_opens(place, folder)
        comes_back(place, folder, people)


@pytest.mark.parametrize("stores", [STORES, KEYS], ids=["whole", "keys alone"])
def test_a_backup_beside_which_the_seal_was_changed_is_none_and_is_begun_anew(
    place: Place, tmp_path: Path, stores: Sequence[str]
) -> None:
    server, words = place.server, secret(tmp_path, WORDS)
    registered(server)

    def change() -> None:
        keys(server, "migrate-seal", "passphrase", "--passphrase-file", words)
        keys(server, "unseal", "--passphrase-file", words)

    with pytest.raises(BackupError, match="begin anew"):
        backed_up(place, "before", begun=change, stores=stores)
    with pytest.raises(BackupError, match="begin anew"):
        backed_up(place, "amid", copying=change, stores=stores)
    for name in ("before", "amid"):
        assert not list((place.folder / name).iterdir())
    opens(server)
    folder = backed_up(place, "after", stores=stores)
    assert_opens(place, folder)
    if stores is STORES:
        restored(place, folder, "--passphrase-file", words)
