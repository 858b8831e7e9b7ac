"""A vault is backed up while it is being used, and comes back on an empty machine: nothing acknowledged is lost, who
was erased stays erased, and what is not whole, not the newest or not this vault's is refused (A64, A62)."""

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import httpx
import pytest

from keys.errors import BackupError
from keys.identity import FILE_NAME, open_identity, words
from tests import serving
from tests.forking import in_fork
from tests.http.test_log import await_checkpoint, await_size, key_of
from tests.http.test_officers import Machines, citizen
from tests.http.test_processes import eventually, is_ready
from tests.http.test_rotation import keys
from tests.http.test_seals import secret
from tests.people import person
from tests.serving import Client, Server
from vault.backups import Backup
from vault.domain.clock import SystemClock

WORDS: Final = "correct horse battery staple"


def logged(home: Path, *, officers: bool = False) -> Server:
    """Return a vault with its sequencer."""
    server = Server(home)
    server.for_officers = officers
    server.environment |= {"IDVAULT_SEQUENCER": "yes", "IDVAULT_LOG_MILLISECONDS": "100"}
    return server.start(httpx.codes.SERVICE_UNAVAILABLE if officers else httpx.codes.OK)


def run(environment: dict[str, str], *arguments: str, code: int | None = 0) -> Any:
    """Run a command of `idvault` as the stores' owner; return its JSON, or what it refused with.

    Where `code` is None it may end as it likes.
    """
    done = in_fork([*arguments, "--json"], environment, forks=True)
    assert code in (None, done.returncode), done.stderr[-800:] + done.stdout[-800:]
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def told(server: Server) -> None:
    """Wait until all that was done stands in the log, and is signed."""
    end = time.monotonic() + 20
    while any(server.sql(store, "SELECT count(*) FROM audit_outbox")[0][0] for store in ("keys", "directory")):
        assert time.monotonic() < end
        time.sleep(0.05)
    await_size(server, key_of(server), server.sql("log", "SELECT count(*) FROM leaf")[0][0])


class Place:
    """Where backups of a vault lie: a folder for each, the key file elsewhere, and a mirror of the log."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder, self.mirror = server, folder, folder / "mirror"
        self.key_file = folder / "officers" / "backup-keys.json"
        self.key_file.parent.mkdir(parents=True)

    def backup(self, name: str = "backup") -> Path:
        environment = self.server.environment | self.server.databases
        made = run(environment, "backup", str(self.folder / name), "--key-file", str(self.key_file))
        assert made["rows"] > 0
        return self.folder / name

    def mirrored(self) -> Path:
        """Copy the log once it has what was done until now."""
        told(self.server)
        self.server.json("log", "mirror", str(self.mirror))
        return self.mirror

    def empty_machine(self, name: str = "other") -> Server:
        """Return where nothing is yet."""
        server = Server(self.folder / name)
        server.environment |= {"IDVAULT_SEQUENCER": "yes", "IDVAULT_LOG_MILLISECONDS": "100"}
        if serving.cluster is not None:
            server.databases = serving.cluster.vault()
        return server

    def restore(self, server: Server, backup: Path, *more: str, code: int = 0) -> Any:
        arguments = ["restore", str(backup), "--key-file", str(self.key_file), *more]
        found = run(server.environment | server.databases, *arguments, code=code)
        if code == 0 and serving.cluster is not None:
            server.go_under_roles()
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    server = logged(tmp_path / "home")
    yield Place(server, tmp_path / "place")
    server.stop()


def moved(client: Client, server: Server) -> Client:
    """Return a client, who goes on with the vault that came back."""
    return Client(server, client.id, client.secret)


def opens(server: Server) -> None:
    """Wait until a vault that was unsealed answers."""
    assert eventually(lambda: is_ready(server))


def is_clean(server: Server) -> None:
    report = run(server.environment, "fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


class Registering:
    """Four who register for as long as they are let; what was acknowledged is kept, with the time."""

    def __init__(self, client: Client) -> None:
        self.client, self.made = client, list[tuple[float, dict[str, Any]]]()
        self.wrong: list[int] = []
        self._over, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(first,)) for first in range(4)]

    def _run(self, first: int) -> None:
        number = first
        while not self._over.is_set():
            answer = self.client.register(person(1000 + number), f"name{number}")
            if answer.status_code == httpx.codes.ACCEPTED:
                with self._lock:
                    self.made.append((time.monotonic(), answer.json()))
            else:
                self.wrong.append(answer.status_code)
            number += 4

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)


def test_a64_a_backup_under_load_comes_back_on_an_empty_machine_with_all_that_was_acknowledged(place: Place) -> None:
    key = await_checkpoint(place.server)
    chat, rita = place.server.provider("chat"), place.server.reviewer("rita")
    first = chat.registered(person(1), "anna_1")
    rita.reveal(first["id"])
    rita.approve(first["id"])
    with Registering(chat) as load:
        while len(load.made) < 20:
            time.sleep(0.05)
        begun = time.monotonic()
        backup = place.backup()
        time.sleep(0.3)
    heard = chat.get("/v1/events").json()["next"]
    assert not load.wrong, "nobody was refused for the backup's sake"
    said = json.loads((backup / "manifest.json").read_bytes())
    mirror = place.mirrored()
    place.server.stop()
    other = place.empty_machine()
    found = place.restore(other, backup, "--mirror", str(mirror))
    assert (found["erased"], found["resync_required"]) == (0, ["chat"])
    assert found["log_now"] >= said["log"]["size"]
    other.start()
    again = moved(chat, other)
    told = again.get("/v1/events", params={"after": heard}).json()["items"]
    assert [one["type"] for one in told] == ["resync-required"], "whoever listened before is told, by his own cursor"
    assert again.introspect(first["token"])["active"] is True
    before = [made for at, made in load.made if at < begun]
    assert len(before) >= 20
    for made in before:
        assert again.introspect(made["token"])["active"] is True, "what was acknowledged before the backup is there"
    # The log goes on where it was: the mirror's checkpoint is continued.
    again.registered(person(2), "maria_2")
    await_size(other, key, found["log_now"] + 1)
    verified = run(other.environment, "log", "verify", "--key", key, "--since", str(mirror / "checkpoint"))
    assert verified["verified"] is True
    other.stop()
    is_clean(other)


def test_a62_who_was_erased_after_the_backup_is_erased_again_before_anybody_is_served(place: Place) -> None:
    await_checkpoint(place.server)
    chat, rita = place.server.provider("chat"), place.server.reviewer("rita")
    bank = place.server.provider("bank")
    people = [chat.registered(person(number), f"name{number}") for number in range(4)]
    for made in people[:3]:
        rita.reveal(made["id"])
        rita.approve(made["id"])
    known = bank.registered(person(0), "elsewhere")
    order = ("--case", "4 Js 1/26", "--legal-basis", "law", "--authority", "court", "--ordered-by", "judge")
    until = (SystemClock().now() + timedelta(days=9)).date().isoformat()
    for held in (people[0], people[1]):
        place.server.json("hold", "put", held["account"], *order, "--until", until)
    told(place.server)
    backup = place.backup()
    place.server.json("hold", "lift", people[0]["account"], *order)
    assert chat.call("DELETE", f"/v1/registrations/{people[0]['id']}").status_code == httpx.codes.NO_CONTENT
    assert chat.call("DELETE", f"/v1/registrations/{people[3]['id']}").status_code == httpx.codes.NO_CONTENT
    rita.reveal(known["id"])
    mirror = place.mirrored()
    place.server.stop()
    other = place.empty_machine()
    found = place.restore(other, backup, "--mirror", str(mirror))
    assert found["erased"] == 2
    other.start()
    again, theirs = moved(chat, other), moved(bank, other)
    for gone in (people[0], people[3]):
        assert again.introspect(gone["token"])["active"] is False
        assert again.get(f"/v1/registrations/{gone['id']}").json().get("state") in {"withdrawn", None}
    for there in (people[1], people[2]):
        assert again.introspect(there["token"])["active"] is True
    assert theirs.introspect(known["token"])["active"] is True, "another provider's registration is his own affair"
    records = other.sql("keys", "SELECT count(*) FROM record_key")[0][0]
    assert records == 3
    refused = again.call("DELETE", f"/v1/registrations/{people[1]['id']}")
    assert refused.json()["type"] == "urn:idvault:problem:held", "who was not erased is held as before"
    other.stop()
    is_clean(other)


def test_a_sanction_that_was_lifted_after_the_backup_does_not_run_again_and_no_other_is_lifted(place: Place) -> None:
    await_checkpoint(place.server)
    chat, rita, blog = place.server.provider("chat"), place.server.reviewer("rita"), place.server.provider("blog")
    people = [chat.registered(person(number), f"name{number}") for number in range(4)]
    for made in people:
        rita.reveal(made["id"])
        rita.approve(made["id"])
    theirs = blog.registered(person(9), "elsewhere")

    def limited(client: Client, made: dict[str, Any], **more: str) -> str:
        until = (SystemClock().now() + timedelta(days=9)).strftime("%Y-%m-%dT00:00:00Z")
        body = {"rung": "limit_publish", "until": until, "ground": "spam", "facts": "Hundreds of messages.", **more}
        answer = client.post("/v1/sanctions", body if "account" in more else {**body, "token": made["token"]})
        assert answer.status_code == httpx.codes.CREATED, answer.text
        return str(answer.json()["id"])

    lifted, account, kept = (
        limited(chat, people[0]), limited(chat, people[1], account=people[1]["account"]), limited(chat, people[2]),
    )  # fmt: skip
    before, elsewhere = limited(chat, people[3]), limited(blog, theirs)
    assert chat.post(f"/v1/sanctions/{before}/lift", {"reason": "mistake"}).status_code == httpx.codes.OK
    told(place.server)
    backup = place.backup()
    for one in (lifted, account):
        assert chat.post(f"/v1/sanctions/{one}/lift", {"reason": "appeal"}).status_code == httpx.codes.OK
    later = limited(chat, people[3])
    assert chat.post(f"/v1/sanctions/{later}/lift", {"reason": "served"}).status_code == httpx.codes.OK
    mirror = place.mirrored()
    place.server.stop()
    other = place.empty_machine()
    found = place.restore(other, backup, "--mirror", str(mirror))
    assert (found["sanctions_lifted"], found["sanctions_lost"]) == (2, 1)
    other.start()
    again, also = moved(chat, other), moved(blog, other)
    shown = {one: again.get(f"/v1/sanctions/{one}").json() for one in (lifted, account, kept, before)}
    assert {one: told["state"] for one, told in shown.items()} == {
        lifted: "lifted", account: "lifted", kept: "running", before: "lifted",
    }  # fmt: skip
    assert (shown[lifted]["lift_reason"], shown[before]["lift_reason"]) == ("other", "mistake")
    assert also.get(f"/v1/sanctions/{elsewhere}").json()["state"] == "running"
    for made, scope in zip(people, ("read publish", "read publish", "read", "read publish"), strict=True):
        assert again.introspect(made["token"], account=made["account"])["scope"] == scope
    await_checkpoint(other)
    told(other)
    other.stop()
    is_clean(other)


def test_an_agreement_that_may_have_been_revoked_since_is_revoked(place: Place) -> None:
    await_checkpoint(place.server)
    for name in ("chat", "bank"):
        place.server.provider(name)
    for purpose in ("age", "fraud"):
        place.server.json("provider", "allow-exchange", "chat", "bank", "--purpose", purpose, "--basis", "consent")
    told(place.server)
    backup = place.backup()
    place.server.json("provider", "revoke-exchange", "chat", "bank", "--purpose", "age")
    place.server.json("provider", "suspend", "bank")
    mirror = place.mirrored()
    place.server.stop()
    other = place.empty_machine()
    found = place.restore(other, backup, "--mirror", str(mirror))
    assert (found["agreements_revoked"], found["revocations_lost"]) == (2, ["1 provider.suspended"])
    states = other.sql("keys", "SELECT state FROM agreement")
    assert [row[0] for row in states] == ["revoked", "revoked"]


def test_a64_what_is_altered_cut_missing_or_not_of_this_vault_is_refused_and_leaves_nothing(
    place: Place, tmp_path: Path
) -> None:
    chat = place.server.provider("chat")
    chat.registered(person(1), "anna_1")
    backup, other = place.backup(), place.empty_machine()
    later = place.backup("later")

    def refused(folder: Path, words: str, *more: str) -> None:
        told = place.restore(other, folder, *(more or ("--no-mirror",)), code=4)
        assert words in told, told
        assert not any((other.home / name).exists() for name in ("keys.db", "seal.json", "identity.db"))

    names = sorted(one.name for one in backup.iterdir())
    assert names == ["directory.db", "identity.db", "keys.sealed", "log.db", "manifest.json", "manifest.sig"]
    for number, name in enumerate(names):
        for what in ("flipped", "cut", "missing", "other"):
            folder = tmp_path / f"{what}{number}"
            shutil.copytree(backup, folder)
            raw = bytearray((folder / name).read_bytes())
            if what == "flipped":
                raw[len(raw) // 2] ^= 1
                (folder / name).write_bytes(raw)
            elif what == "cut":
                (folder / name).write_bytes(raw[: len(raw) // 2])
            elif what == "missing":
                (folder / name).unlink()
            else:
                (folder / name).write_bytes((later / name).read_bytes())
            if what == "other" and (later / name).read_bytes() == (backup / name).read_bytes():
                continue
            with pytest.raises(BackupError, match="manifest" if name.startswith("manifest") else re.escape(name)):
                Backup.read(folder)
    refused(tmp_path / "flipped1", "identity.db: missing, or not what the manifest says")
    stranger = Place(Server(tmp_path / "stranger"), tmp_path / "strange")
    stranger.server.first_run = True  # with a root key of its own
    stranger.server.start()
    stranger.backup()
    stranger.server.stop()
    own, place.key_file = place.key_file, stranger.key_file
    refused(backup, "key file: of another vault")
    place.key_file.write_text("{}")
    refused(backup, "key file: not of its form")
    place.key_file = own
    assert "--mirror or --no-mirror" in place.restore(other, backup, code=1)
    assert "no folder" in place.restore(other, backup, "--mirror", str(tmp_path / "none"), code=4)
    assert place.restore(other, backup, "--no-mirror")["erased"] == 0


def test_a64_a_vault_that_runs_or_that_is_there_is_not_written_over(place: Place) -> None:
    place.server.provider("chat")
    backup = place.backup()
    assert "a vault runs here" in place.restore(place.server, backup, "--no-mirror", code=1)
    place.server.stop()
    there = place.restore(place.server, backup, "--no-mirror", code=1)
    assert "holds a vault" in there or "not empty" in there
    other = place.empty_machine()
    place.restore(other, backup, "--no-mirror")
    assert "holds a vault" in place.restore(other, backup, "--no-mirror", code=1)
    place.server.start()


def test_a_backup_is_written_to_a_folder_of_its_own_and_its_keys_apart(place: Place, tmp_path: Path) -> None:
    environment = place.server.environment | place.server.databases
    backup = place.backup()
    again = run(environment, "backup", str(backup), "--key-file", str(place.key_file), code=1)
    assert "not empty" in again
    inside = run(environment, "backup", str(tmp_path / "b"), "--key-file", str(tmp_path / "b" / "k"), code=1)
    assert "apart" in inside
    (tmp_path / "mine").write_text("not a key file")
    mine = run(environment, "backup", str(tmp_path / "b"), "--key-file", str(tmp_path / "mine"), code=1)
    assert "never written over" in mine
    assert (tmp_path / "mine").read_text() == "not a key file"
    assert not (tmp_path / "b").exists() or not list((tmp_path / "b").iterdir())
    assert not (place.server.home / ".backup").exists()
    modes = {one.stat().st_mode & 0o777 for one in (*backup.iterdir(), place.key_file)}
    assert modes == {0o600}
    shown = run(environment, "restore", str(backup), "--check")
    assert len(shown["agent"]) == 10
    keys(place.server, "seal")
    assert "sealed" in run(environment, "backup", str(tmp_path / "b"), "--key-file", str(place.key_file), code=3)


def test_a_backup_holds_no_key_that_opens_it_and_nothing_of_what_was_deleted(place: Place) -> None:
    chat = place.server.provider("chat")
    gone, there = (chat.registered(person(number), f"name{number}") for number in (1, 2))
    wrapped = [bytes(row[0]) for row in place.server.sql("keys", "SELECT wrapped FROM record_key")]
    assert len(wrapped) == 2
    chat.call("DELETE", f"/v1/registrations/{gone['id']}")
    left = [bytes(row[0]) for row in place.server.sql("keys", "SELECT wrapped FROM record_key")]
    backup_keys = [bytes(row[0]) for row in place.server.sql("keys", "SELECT sealed FROM key WHERE purpose = 'backup'")]
    assert (len(left), len(backup_keys)) == (1, 1)
    backup = place.backup()
    other = place.empty_machine()
    place.restore(other, backup, "--no-mirror")
    everything = b"".join(one.read_bytes() for one in backup.iterdir())
    assert not any(key in everything for key in (*wrapped, *backup_keys)), "what the key store holds is sealed"
    if serving.cluster is None:
        restored = (other.home / "keys.db").read_bytes()
        assert left[0] in restored
        assert not any(key in restored for key in wrapped if key not in left), "a deleted key is in no copy"
    place.server.stop()
    other.start()
    assert moved(chat, other).introspect(there["token"])["active"] is True
    assert moved(chat, other).introspect(gone["token"])["active"] is False
    other.stop()


def test_a_vault_of_a_passphrase_comes_back_by_it(place: Place, tmp_path: Path) -> None:
    words, wrong = secret(tmp_path, WORDS), secret(tmp_path, WORDS + "s")
    chat = place.server.provider("chat")
    made = chat.registered(person(1), "anna_1")
    keys(place.server, "migrate-seal", "passphrase", "--passphrase-file", words)
    keys(place.server, "unseal", "--passphrase-file", words)
    backup, other = place.backup(), place.empty_machine()
    refused = place.restore(other, backup, "--no-mirror", "--passphrase-file", wrong, code=1)
    assert "passphrase: wrong" in refused
    place.restore(other, backup, "--no-mirror", "--passphrase-file", words)
    place.server.stop()
    other.start(httpx.codes.SERVICE_UNAVAILABLE)
    keys(other, "unseal", "--passphrase-file", words)
    again = moved(chat, other)
    opens(other)
    assert again.introspect(made["token"])["active"] is True
    other.stop()


def test_the_officers_drill_from_an_empty_machine_with_paper_shares(tmp_path: Path) -> None:
    server = logged(tmp_path / "home", officers=True)
    machines = Machines(server, tmp_path / "machines")
    machines.init("anna", "maria", "nikos")
    papers = {name: tmp_path / f"{name}.paper" for name in ("anna", "maria", "nikos")}
    for name, paper in papers.items():
        machines.confirm(name, "--paper", str(paper))
    await_checkpoint(server)
    place = Place(server, tmp_path / "place")
    machines.approved(server.json("provider", "add", "chat", "--sector", "chat.example")["request"], "anna", "maria")
    chat = server.provider("chat")
    made = chat.registered(citizen(1), "anna_1")
    gone = chat.registered(citizen(2), "maria_2")
    waiting = server.json("provider", "add", "bank", "--sector", "bank.example")["request"]
    told(server)
    backup = place.backup()
    chat.call("DELETE", f"/v1/registrations/{gone['id']}")
    before = place.mirrored().with_name("before")
    shutil.copytree(place.mirror, before)
    machines.approved(waiting, "anna", "maria")
    server.provider("bank")
    after = place.mirrored()
    server.stop()

    other = place.empty_machine()
    one = ("--share-file", str(papers["anna"]))
    two = (*one, "--share-file", str(papers["nikos"]))
    few = place.restore(other, backup, "--mirror", str(before), *one, *one, code=1)
    assert "already provided" in few
    stale = place.restore(other, backup, "--mirror", str(after), *two, code=4)
    assert "--lose-officer-changes" in stale
    assert not (other.home / "keys.db").exists()
    found = place.restore(other, backup, "--mirror", str(after), *two, "--lose-officer-changes")
    assert (found["erased"], found["officer_records_lost"]) == (1, 1)
    assert found["requests_withdrawn"] >= 1, "an approval that may have been used is good for nothing"
    other.start(httpx.codes.SERVICE_UNAVAILABLE)
    for name in ("anna", "nikos"):
        machines.url = other.url
        stated = machines.say(name, "trust", "--vault", other.url, "--words", " ".join(_words(other)))
        assert stated["vault"] == other.url
        machines.say(name, "unseal")
    again = moved(chat, other)
    opens(other)
    assert again.introspect(made["token"])["active"] is True
    assert again.introspect(gone["token"])["active"] is False
    other.stop()


def _words(server: Server) -> list[str]:
    """Return the words of the agent's identity, as whoever stands beside it reads them out."""
    return words(open_identity(server.home / FILE_NAME).public())
