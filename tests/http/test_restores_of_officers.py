"""What officers did after a backup is in force again when it comes back: nobody who left is an officer by a restore, no
approval counts twice, and without the file that says so nothing comes back at all."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import rfc8785

from keys.carrying import Carried
from keys.chain import Head
from keys.identity import FILE_NAME, open_identity, words
from tests import serving
from tests.http.test_backups import Place, is_clean, logged, moved, opens, run, told
from tests.http.test_backups_of_keys import lost
from tests.http.test_log import await_checkpoint
from tests.http.test_officers import Machines, citizen
from tests.http.test_rotation import keys
from tests.serving import Server

pytestmark = pytest.mark.sampled

BANK: Final = ("provider", "add", "bank", "--sector", "bank.example")


class Officers(Place):
    """A vault of Anna, Maria and Nikos with a provider and a registration, and where what is kept of it lies."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logged(folder / "home", officers=True), folder / "place")
        self.machines = Machines(self.server, folder / "machines")
        self.machines.init("anna", "maria", "nikos")
        for name in ("anna", "maria", "nikos"):
            self.machines.confirm(name)
        self.old = [*self.paper("anna"), *self.paper("nikos")]
        await_checkpoint(self.server)
        self.approve("provider", "add", "chat", "--sector", "chat.example")
        self.chat = self.server.provider("chat")
        self.made = self.chat.registered(citizen(1), "anna_1")

    def approve(self, *command: str) -> None:
        self.machines.approved(self.server.json(*command)["request"], "anna", "maria")

    def paper(self, name: str, *, new: bool = False) -> list[str]:
        """Have an officer write his share down; return the options by which a restore is given it."""
        paper = self.machines.folder / f"{name}.{'new' if new else 'old'}.paper"
        self.machines.say(name, "confirm", "--paper", str(paper))
        return ["--new-share-file" if new else "--share-file", str(paper)]

    def export(self, name: str = "officers.chain") -> Path:
        self.server.json("keys", "officers", "export", str(self.folder / name))
        return self.folder / name

    def rekeyed(self) -> list[str]:
        """Have Petra in the place of Nikos; return the options that give the new shares."""
        self.machines.say("anna", "rekey", "--remove", "Nikos", "--add", str(self.machines.folder / "petra.card"))
        for name in ("anna", "maria", "petra"):
            self.machines.confirm(name)
        asked = self.machines.say("anna", "request", "rekey", "--yes")
        self.machines.approved(asked["id"], "maria")
        return [*self.paper("maria", new=True), *self.paper("petra", new=True)]

    def unsealed(self, server: Server, *names: str) -> None:
        self.machines.url = server.url
        for name in names:
            self.trust(server, name)
            self.machines.say(name, "unseal")
        opens(server)

    def trust(self, server: Server, name: str) -> None:
        self.machines.url = server.url
        spoken = " ".join(words(open_identity(server.home / FILE_NAME).public()))
        self.machines.say(name, "trust", "--vault", server.url, "--words", spoken)


@dataclass
class Scene:
    """A backup, and what came after it: an approval was used, a budget raised, Nikos left."""

    place: Officers
    backup: Path
    mirror: Path
    early: Path
    file: Path
    """What officers did, up to the budget; and up to the end."""
    new: list[str]
    waits: str
    used: str

    def restore(self, other: Server, *more: str, code: int = 0) -> Any:
        return self.place.restore(other, self.backup, "--mirror", str(self.mirror), *self.place.old, *more, code=code)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    place = Officers(tmp_path_factory.mktemp("scene"))
    server, machines = place.server, place.machines
    waits = server.json("provider", "add", "blog", "--sector", "blog.example")["request"]
    used = server.json(*BANK)["request"]
    machines.approved(used, "anna")
    told(server)
    backup = place.backup()
    machines.approved(used, "maria")
    server.provider("bank")
    asked = machines.say("anna", "request", "raise-budget", "creates_per_hour", "--set", "per_hour=77", "--yes")
    machines.approved(asked["id"], "maria")
    early = place.export("early.chain")
    new = place.rekeyed()
    file = place.export()
    assert "put back to an earlier state" not in str(place.export()), "said again it writes the same over it"
    mirror = place.mirrored()
    server.stop()
    return Scene(place, backup, mirror, early, file, new, waits, used)


def test_without_the_newest_officers_file_and_their_shares_nothing_comes_back(scene: Scene) -> None:
    other = scene.place.empty_machine("refused")
    assert "3 times after this backup" in scene.restore(other, code=4)
    cut_off = scene.restore(other, "--officers", str(scene.early), code=4)
    assert "1 times after the officers' file was written" in cut_off, "the log knows of what is missing at its end"
    altered = json.loads(scene.file.read_bytes())
    altered["sealed"] = altered["sealed"][:-8] + "AAAAAAA="
    forged = scene.file.with_name("forged.chain")
    forged.write_bytes(rfc8785.dumps(altered))
    assert "altered" in scene.restore(other, "--officers", str(forged), code=4)
    file = ("--officers", str(scene.file))
    old = scene.restore(other, *file, *("--new-share-file", scene.place.old[1]) * 2, code=1)
    assert "of another set" in old, "shares of who was an officer before open nothing that is in force since"
    assert "--mirror is needed" in scene.place.restore(other, scene.backup, "--no-mirror", *file, code=1)
    assert not (other.home / "keys.db").exists()


def test_who_left_after_the_backup_is_no_officer_of_the_vault_that_comes_back(scene: Scene) -> None:
    place, machines, other = scene.place, scene.place.machines, scene.place.empty_machine()
    found = scene.restore(other, "--officers", str(scene.file), *scene.new)
    assert (found["officer_records_carried"], found["officer_records_lost"]) == (3, 0)
    assert found["officer_acts_to_repeat"] == ["provider-add bank"]
    assert found["requests_withdrawn"] == 2, "what was proposed and used is used, and what waited waits"
    other.start(httpx.codes.SERVICE_UNAVAILABLE)
    place.trust(other, "anna")
    old = machines.done("anna", "unseal", "--share-file", place.old[1])
    assert "of generation 1, and generation 2 is in force" in old.stderr
    assert machines.done("nikos", "unseal", "--vault", other.url).exit_code == 1
    place.unsealed(other, "maria", "petra")  # by their own files: the shares that are sealed to them came along
    again = moved(place.chat, other)
    assert again.introspect(place.made["token"])["active"] is True
    seen = machines.say("petra", "status")
    assert (seen["generation"], seen["budgets"]) == (2, {"creates_per_hour": 77})
    assert {one["name"] for one in seen["officers"]} == {"Anna", "Maria", "Petra"}
    assert machines.say("maria", "show", scene.waits)["state"] == "proposed"
    once_more = other.json(*BANK)
    assert (once_more["state"], once_more["request"] == scene.used) == ("pending", False), "an approval is used once"
    machines.approved(once_more["request"], "maria", "petra")
    assert "client_id" in other.json(*BANK)
    await_checkpoint(other)
    told(other)
    assert run(other.environment, "log", "verify")["verified"] is True
    following, key_file = str(place.folder / "next"), str(place.folder / "next.keys")
    run(other.environment | other.databases, "backup", following, "--key-file", key_file)
    is_clean(other)
    other.stop()


def test_the_key_store_alone_comes_back_to_the_newest_officers(tmp_path: Path) -> None:
    place = Officers(tmp_path)
    server, folder = place.server, place.folder / "keys"
    told(server)
    environment = server.environment | server.databases
    run(environment, "backup", str(folder), "--key-file", str(place.key_file), "--keys-alone")
    new = place.rekeyed()
    file = place.export()
    made = Carried.parse(file.read_bytes())
    for head, why in ((Head(made.head.number + 1, made.head.digest), "put back to an earlier state"), (None, "never")):
        there = place.folder / "there.chain"
        there.write_bytes(b"mine" if head is None else bytes(Carried(made.deployment, head, made.sealed)))
        refused = keys(server, "officers", "export", str(there), code=1)
        assert why in refused, "what is newer, or another's, is never written over"
    told(server)
    server.stop()
    lost(server)
    server.environment |= server.databases
    arguments = ("keys", "restore", str(folder), "--key-file", str(place.key_file), *place.old)
    server.run(*arguments, code=4)
    found = server.json(*arguments, "--officers", str(file), *new)
    assert (found["officer_records_carried"], found["officer_records_lost"]) == (1, 0)
    if serving.cluster is not None:
        server.go_under_roles()
    server.start(httpx.codes.SERVICE_UNAVAILABLE)
    assert place.machines.done("nikos", "unseal").exit_code == 1
    for name in ("maria", "petra"):
        place.machines.say(name, "unseal")
    opens(server)
    assert moved(place.chat, server).introspect(place.made["token"])["active"] is True
    place.backup("next")
    is_clean(server)
    server.stop()
