"""The key store alone comes back under stores that lived on, and nothing is lost that was not said before."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from keys.uses import RESTORED
from tests import serving
from tests.http.test_backups import Place, is_clean, logged, moved, run, told
from tests.http.test_log import await_checkpoint
from tests.http.test_officers import Machines, citizen
from tests.people import person
from tests.serving import Server

pytestmark = pytest.mark.sampled


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    server = logged(tmp_path / "home")
    yield Place(server, tmp_path / "place")
    server.stop()


def backed_up(place: Place) -> Path:
    told(place.server)
    environment = place.server.environment | place.server.databases
    made = run(environment, "backup", str(place.folder / "keys"), "--key-file", str(place.key_file), "--keys-alone")
    assert sorted(path.name for path in (place.folder / "keys").iterdir()) == [
        "keys.sealed", "manifest.json", "manifest.sig",
    ]  # fmt: skip
    assert made["rows"] > 0
    return place.folder / "keys"


def lost(server: Server) -> None:
    """Lose the key store, and what lies beside it, of a vault that was stopped."""
    if serving.cluster is None:
        for path in server.home.glob("keys.db*"):
            path.unlink()
        return
    server.databases["IDVAULT_KEYS_URL"] = serving.cluster.vault()["IDVAULT_KEYS_URL"]
    server.environment |= server.databases


def back(place: Place, folder: Path, *more: str, code: int = 0) -> Any:
    environment = place.server.environment | place.server.databases
    arguments = ["restore", str(folder), "--key-file", str(place.key_file), "--keys-alone", *more]
    found = run(environment, *arguments, code=code)
    if code == 0 and serving.cluster is not None:
        place.server.go_under_roles()
    return found


def test_a_lost_key_store_comes_back_and_who_was_erased_since_stays_erased(place: Place) -> None:
    server = place.server
    await_checkpoint(server)
    chat, rita = server.provider("chat"), server.reviewer("rita")
    people = [chat.registered(person(number), f"name{number}") for number in range(4)]
    for made in people[:2]:
        rita.approve(made["id"])
    server.provider("bank")
    for purpose in ("age", "fraud"):
        server.json("provider", "allow-exchange", "chat", "bank", "--purpose", purpose, "--basis", "consent")
    folder, [(used,)] = backed_up(place), server.sql("keys", "SELECT used FROM key_use")
    server.json("provider", "revoke-exchange", "chat", "bank", "--purpose", "age")
    assert chat.call("DELETE", f"/v1/registrations/{people[0]['id']}").status_code == httpx.codes.NO_CONTENT
    assert chat.call("DELETE", f"/v1/registrations/{people[2]['id']}").status_code == httpx.codes.NO_CONTENT
    told(server)
    assert "runs here" in back(place, folder, code=1)
    server.stop()
    assert "where there is none" in back(place, folder, code=1)
    lost(server)
    found = back(place, folder)
    assert (found["erased"], found["acts_lost"], sorted(found["resync_required"])) == (2, 0, ["bank", "chat"])
    assert found["agreements_revoked"] == 2, "the log does not say which one it was"
    server.start()
    chat, rita = moved(chat, server), moved(rita, server)
    assert [one["type"] for one in chat.get("/v1/events").json()["items"]][-1] == "resync-required"
    assert chat.introspect(people[1]["token"])["assurance"] == "vault"
    assert rita.reveal(people[3]["id"], "legal_name")["fields"]["legal_name"] == person(3)["legal_name"]
    assert chat.introspect(people[0]["token"]) == {"active": False}
    assert server.sql("keys", "SELECT count(*) FROM record_key") == [(2,)]
    assert server.sql("keys", "SELECT used FROM key_use") == [(used + RESTORED,)], "what was sealed since is not known"
    rita.approve(people[3]["id"])
    chat.registered(person(9), "name9")
    told(server)
    assert server.json("log", "verify")["verified"]
    is_clean(server)


def test_what_came_after_the_backup_is_said_before_it_is_lost(place: Place) -> None:
    server = place.server
    await_checkpoint(server)
    chat, rita = server.provider("chat"), server.reviewer("rita")
    kept = chat.registered(person(1), "kept")
    folder = backed_up(place)
    later = chat.registered(person(2), "later")
    rita.approve(kept["id"])
    told(server)
    server.stop()
    lost(server)
    refused = back(place, folder, code=4)
    for act in ("1 registration.created", "1 review.decided", "--lose-later"):
        assert act in refused
    assert back(place, folder, "--lose-later")["acts_lost"] == 2
    server.start()
    chat, rita = moved(chat, server), moved(rita, server)
    assert rita.reveal_answer(later["id"], "legal_name").status_code != httpx.codes.OK
    assert chat.registered(person(3), "after")["state"] == "in_review"
    findings = server.json("fsck", "--grace-minutes", "0", code=4)["findings"]
    assert findings, "whom it concerns is named"


def test_what_waited_for_the_log_when_the_backup_was_made_is_not_told_twice(place: Place) -> None:
    server = place.server
    await_checkpoint(server)
    chat, made, over = server.provider("chat"), list[int](), threading.Event()

    def register() -> None:
        while not over.is_set():
            chat.registered(person(len(made)), f"name{len(made)}")
            made.append(1)

    beside = threading.Thread(target=register)
    beside.start()
    environment = server.environment | server.databases
    try:
        for number in range(3):  # one of them meets rows that wait, which are drained about once a second
            folder = place.folder / f"keys{number}"
            run(environment, "backup", str(folder), "--key-file", str(place.key_file), "--keys-alone")
            if waiting(server):
                break
    finally:
        over.set()
        beside.join()
    told(server)
    server.stop()
    lost(server)
    back(place, folder, "--lose-later")
    server.start()
    told(server)
    assert server.json("log", "verify")["types"]["registration.created"] == len(made)


def waiting(server: Server) -> int:
    """Return how many audit rows of the key store wait."""
    count: int = server.sql("keys", "SELECT count(*) FROM audit_outbox")[0][0]
    return count


def test_it_is_never_put_over_a_key_store_that_came_back(place: Place) -> None:
    server = place.server
    await_checkpoint(server)
    chat = server.provider("chat")
    chat.registered(person(1), "anna")
    folder = backed_up(place)
    server.stop()
    lost(server)
    back(place, folder)
    server.start()
    chat = moved(chat, server)
    later = chat.registered(person(2), "berta")
    server.stop()
    (server.home / ".restore-keys").mkdir()  # as a kill leaves it, once the store was in its place
    assert "where there is none" in back(place, folder, "--lose-later", code=1)
    server.start()
    assert moved(chat, server).introspect(later["token"])["active"]
    is_clean(server)


def test_a_backup_of_the_keys_is_no_whole_one_and_another_vaults_log_is_refused(place: Place, tmp_path: Path) -> None:
    server = place.server
    await_checkpoint(server)
    chat = server.provider("chat")
    chat.registered(person(1), "anna")
    folder, whole = backed_up(place), place.backup("whole")
    server.stop()
    other = place.empty_machine()
    assert "key store alone" in place.restore(other, folder, "--no-mirror", code=4)
    lost(server)
    (folder / "keys.sealed").write_bytes((folder / "keys.sealed").read_bytes()[:-1] + b"x")
    assert "keys.sealed" in back(place, folder, code=4)
    assert "no --mirror" in back(place, whole, "--no-mirror", code=1)
    stranger = logged(tmp_path / "stranger")
    await_checkpoint(stranger)
    stranger.stop()
    urls = {"IDVAULT_LOG_URL": stranger.databases.get("IDVAULT_LOG_URL", f"sqlite:///{stranger.home / 'log.db'}")}
    if serving.cluster is not None:
        environment = server.environment | server.databases | urls
        arguments = ["restore", str(whole), "--key-file", str(place.key_file), "--keys-alone"]
        assert "not that of this backup" in run(environment, *arguments, code=4)
    assert back(place, whole)["acts_lost"] == 0, "the part of a whole backup does as well"
    server.start()
    assert moved(chat, server).registered(person(2), "berta")["state"] == "in_review"
    is_clean(server)


def test_officers_bring_the_key_store_back_by_their_own_command_and_shares_from_paper(tmp_path: Path) -> None:
    server = logged(tmp_path / "home", officers=True)
    machines = Machines(server, tmp_path / "machines").ceremony()
    place = Place(server, tmp_path / "place")
    machines.approved(server.json("provider", "add", "chat", "--sector", "chat.example")["request"], "anna", "maria")
    chat = server.provider("chat")
    made = chat.registered(citizen(1), "anna_1")
    papers = []
    for name in ("anna", "maria"):
        papers += ["--share-file", str(machines.folder / f"{name}.paper")]
        machines.say(name, "confirm", "--paper", papers[-1])
    await_checkpoint(server)
    told(server)
    server.environment |= server.databases  # of the stores' owner, who may read all
    server.json("keys", "backup", str(place.folder / "keys"), "--key-file", str(place.key_file))
    server.stop()
    lost(server)
    arguments = ("keys", "restore", str(place.folder / "keys"), "--key-file", str(place.key_file))
    assert server.json(*arguments, *papers)["officer_records_lost"] == 0
    if serving.cluster is not None:
        server.go_under_roles()
    server.start(httpx.codes.SERVICE_UNAVAILABLE)
    for name in ("anna", "maria"):
        machines.say(name, "unseal")
    assert moved(chat, server).introspect(made["token"])["active"]
    is_clean(server)
    server.stop()
