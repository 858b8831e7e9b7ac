"""A full disk amid what officers and operators do to keys: one line that says so, all as before, and a safe retry."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from keys.backups import Keeper
from keys.restoring import root_of_seal
from tests.http.test_backups import Place, is_clean, moved, opens, run
from tests.http.test_rotation import keys
from tests.http.test_seals import secret
from tests.http.test_store_faults import fill
from tests.people import person
from tests.serving import BIN, Server
from vault.backups import Backup

pytestmark = pytest.mark.sqlite  # the disk is that of the stores' files

DISK_BYTES: Final = 16 * 1024 * 1024
WORDS: Final = "correct horse battery staple"


@contextmanager
def disk(folder: Path, size: int = DISK_BYTES) -> Iterator[Path]:
    """Have a small disk of its own at a folder; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "idvault-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    """A vault on a small disk."""
    with disk(tmp_path / "disk") as folder:
        server = Server(folder / "home").start()
        yield server
        server.stop()


def migrate(server: Server, words: str) -> None:
    keys(server, "migrate-seal", "passphrase", "--passphrase-file", words)


def rotate(server: Server, _: str) -> None:
    keys(server, "rotate", "kek", "--from", "1")


def rewrap(server: Server, _: str) -> None:
    keys(server, "rewrap")


def destroy(server: Server, _: str) -> None:
    keys(server, "destroy", "kek", "--version", "1", "--yes")


COMMANDS: Final = {
    "migrate-seal": ((), ["migrate-seal", "passphrase"]),
    "rotate": ((), ["rotate", "kek", "--from", "1"]),
    "rewrap": ((rotate,), ["rewrap"]),
    "destroy": ((rotate, rewrap), ["destroy", "kek", "--version", "1", "--yes"]),
}


@pytest.mark.costly
@pytest.mark.parametrize("name", COMMANDS)
def test_on_a_full_disk_an_act_on_keys_is_refused_and_done_when_there_is_room(
    served: Server, tmp_path: Path, name: str
) -> None:
    before: tuple[Callable[[Server, str], None], ...]
    before, command = COMMANDS[name]
    chat, words = served.provider("chat"), secret(tmp_path, WORDS)
    made = [chat.registered(person(number), f"name{number}") for number in range(3)]
    for step in before:
        step(served, words)
    more = ["--passphrase-file", words] if name == "migrate-seal" else []
    filler = fill(served.home)
    try:
        told = keys(served, *command, *more, code=1)
    finally:
        filler.unlink()
    assert told.startswith("idvault-keys: ")
    assert len(told.splitlines()) == 1
    assert WORDS not in told
    assert keys(served, "status")["seal"] == "development"
    served.stop()
    served.start()
    again = moved(chat, served)
    for one in made:
        assert again.introspect(one["token"])["active"] is True
    keys(served, *command, *more)
    if name == "migrate-seal":
        keys(served, "unseal", "--passphrase-file", words)
        opens(served)
    is_clean(served)


def test_a_backup_to_a_full_disk_says_so_and_leaves_nothing(served: Server, tmp_path: Path) -> None:
    chat = served.provider("chat")
    made = chat.registered(person(1), "anna_1")
    place = Place(served, tmp_path / "place")
    with disk(tmp_path / "target", 256 * 1024) as target:
        arguments = ["backup", str(target / "backup"), "--key-file", str(place.key_file), "--json"]
        done = subprocess.run(
            [BIN / "idvault", *arguments], env=served.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "is a disk full" in done.stderr
        assert not list((target / "backup").iterdir())
    assert not (served.home / ".backup").exists()
    assert chat.introspect(made["token"])["active"] is True
    place.backup()


@pytest.mark.costly
@pytest.mark.parametrize("whose", [(), ("--keys-alone",)], ids=["whole", "keys alone"])
@pytest.mark.parametrize("full", ["home", "key file"])
def test_a_backup_is_refused_where_the_homes_disk_or_the_key_files_is_full_and_the_former_key_file_stays(
    served: Server, tmp_path: Path, whose: tuple[str, ...], full: str
) -> None:
    made, place = served.provider("chat").registered(person(1), "anna_1"), Place(served, tmp_path / "place")
    with disk(tmp_path / "officers", 64 * 1024) as officers:
        place.key_file = officers / "backup-keys.json"
        place.backup("first")
        former, folder = place.key_file.read_bytes(), tmp_path / "place" / "second"
        said = ("backup", str(folder), "--key-file", str(place.key_file), *whose)
        filler = fill(served.home if full == "home" else officers)
        try:
            assert "disk" in run(served.environment, *said, code=1)
        finally:
            filler.unlink()
        assert not folder.exists() or not list(folder.iterdir())
        assert not (served.home / ".backup").exists()
        assert place.key_file.read_bytes() == former
        run(served.environment, *said)
        keeper = Keeper.parse(former)
        assert Backup.read(folder).opened_part(keeper, root_of_seal(keeper, str))
    assert moved(served.clients[0], served).introspect(made["token"])["active"] is True


def test_a_restore_on_a_full_disk_says_so_and_is_said_again_where_there_is_room(served: Server, tmp_path: Path) -> None:
    chat = served.provider("chat")
    made = chat.registered(person(1), "anna_1")
    place = Place(served, tmp_path / "place")
    backup = place.backup()
    with disk(tmp_path / "small", 8 * 1024 * 1024) as small:
        other = Server(small / "home")
        for room in (20_000, 200_000, 500_000):
            filler = fill(small, leave_bytes=room)
            told = place.restore(other, backup, "--no-mirror", code=1)
            assert "disk" in told
            assert "Traceback" not in told
            assert not (other.home / "keys.db").exists()
            filler.unlink()
        place.restore(other, backup, "--no-mirror")
        other.start()
        assert moved(chat, other).introspect(made["token"])["active"] is True
        other.stop()


def test_a_key_store_that_finds_no_room_leaves_nothing_and_comes_back_when_there_is_some(
    served: Server, tmp_path: Path
) -> None:
    chat, place = served.provider("chat"), Place(served, tmp_path / "place")
    made, folder = chat.registered(person(1), "anna_1"), tmp_path / "place" / "keys"
    run(served.environment, "backup", str(folder), "--key-file", str(place.key_file), "--keys-alone")
    served.stop()
    for path in served.home.glob("keys.db*"):
        path.unlink()
    restore = ("restore", str(folder), "--key-file", str(place.key_file), "--keys-alone")
    filler = fill(served.home)
    try:
        refused = run(served.environment, *restore, code=1)
    finally:
        filler.unlink()
    assert "cannot be written" in refused
    assert not (served.home / ".restore-keys").exists()
    assert run(served.environment, *restore)["acts_lost"] == 0
    served.start()
    assert moved(chat, served).introspect(made["token"])["active"] is True
    is_clean(served)
