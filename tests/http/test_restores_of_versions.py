"""A backup that an earlier version of idvault made comes back, brought up to this one; one of a newer is refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text

from keys import backups, migrating
from keys.backups import KEYS_PART, MANIFEST, SIGNATURE, Keeper, Manifest
from keys.engine import open_engine, reading, writing
from keys.identity import FILE_NAME, open_identity
from keys.restoring import root_of_seal
from tests.http.test_backups import Place, is_clean, moved, place, run, told
from tests.http.test_backups_of_keys import back, lost
from tests.http.test_log import await_checkpoint
from tests.people import person
from vault.backups import Backup
from vault.stores import schema

pytestmark = pytest.mark.sampled

__all__ = ["place"]
EARLIER: Final = {"directory": "0006", "identity": "0001", "keys": "0009", "log": "0003"}
"""Of version 0.1.0 of an autumn day, before providers had events."""
WRAPPED_APART: Final = "UPDATE record_key SET commitment_key = record_key"


def made_earlier(place: Place, folder: Path, revisions: Mapping[str, str] = EARLIER, keys_sql: str = "") -> Path:
    """Have a backup as a version made it whose stores were at earlier revisions; signed by its agent, under its key."""
    keeper = Keeper.parse(place.key_file.read_bytes())
    backup = Backup.read(folder)
    part = backup.opened_part(keeper, root_of_seal(keeper, str))
    said, plain = dict(backup.manifest.said), place.folder / "plain.db"
    backups.open_part(part, backup.manifest.deployment, backup.manifest.id, folder / KEYS_PART, plain, said["pieces"])
    for name, revision in revisions.items():
        file = plain if name == "keys" else folder / f"{name}.db"
        if file.exists():
            _downgraded(file, name, revision, keys_sql if name == "keys" else "")
    (folder / KEYS_PART).unlink()
    said["pieces"] = backups.seal_part(part, backup.manifest.deployment, backup.manifest.id, plain, folder / KEYS_PART)
    plain.unlink()
    said |= {"schema": dict(revisions), "files": {name: backups.digest_of(folder / name) for name in said["files"]}}
    manifest = Manifest.of(said)
    (folder / MANIFEST).write_bytes(manifest.raw)
    (folder / SIGNATURE).write_bytes(manifest.signed(open_identity(place.server.home / FILE_NAME), part))
    return folder


def _downgraded(file: Path, name: str, revision: str, sql: str) -> None:
    engine = open_engine(f"sqlite:///{file.resolve()}")
    migrating.downgrade(engine, schema.HISTORIES[name], revision)
    if sql:
        with writing(engine) as connection:
            connection.execute(text(sql))
    with reading(engine) as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("PRAGMA journal_mode=DELETE")
    engine.dispose()


def test_a_backup_of_an_earlier_version_comes_back_in_this_one(place: Place) -> None:
    await_checkpoint(place.server)
    chat, rita = place.server.provider("chat"), place.server.reviewer("rita")
    people = [chat.registered(person(number), f"name{number}") for number in range(3)]
    for made in people:
        rita.reveal(made["id"])
        rita.approve(made["id"])
    told(place.server)
    backup = made_earlier(place, place.backup())
    assert chat.call("DELETE", f"/v1/registrations/{people[2]['id']}").is_success
    mirror = place.mirrored()
    place.server.stop()
    other = place.empty_machine()
    found = place.restore(other, backup, "--mirror", str(mirror))
    assert (found["erased"], found["resync_required"]) == (1, ["chat"])
    other.start()
    again = moved(chat, other)
    assert [again.introspect(made["token"])["active"] for made in people] == [True, True, False]
    again.registered(person(7), "name7")
    assert [one["type"] for one in again.get("/v1/events").json()["items"]] == ["resync-required"]
    told(other)
    assert run(other.environment, "log", "verify")["verified"] is True
    other.stop()
    is_clean(other)


def test_a_key_store_alone_of_an_earlier_version_comes_back_in_this_one(place: Place) -> None:
    server = place.server
    await_checkpoint(server)
    chat = server.provider("chat")
    made = chat.registered(person(1), "anna_1")
    told(server)
    backup = made_earlier(place, place.backup())
    server.stop()
    lost(server)
    assert back(place, backup)["acts_lost"] == 0
    server.start()
    assert moved(chat, server).introspect(made["token"])["active"] is True
    is_clean(server)


def test_where_a_migration_refuses_nothing_is_written(place: Place) -> None:
    chat = place.server.provider("chat")
    chat.registered(person(1), "anna_1")
    refused, whole = made_earlier(place, place.backup(), keys_sql=WRAPPED_APART), place.backup("whole")
    other = place.empty_machine()
    assert "an earlier version wrapped apart" in place.restore(other, refused, "--no-mirror", code=1)
    assert not [path.name for path in other.home.glob("*.db")]
    assert not (other.home / ".restore").exists()
    assert place.restore(other, whole, "--no-mirror")["erased"] == 0


@pytest.mark.parametrize("store", ["keys", "directory", "elsewhere"])
def test_a_backup_of_a_newer_version_is_refused_by_name(place: Place, store: str) -> None:
    backup = place.backup()
    said = json.loads((backup / MANIFEST).read_bytes())
    manifest = Manifest.of({**said, "schema": {**said["schema"], store: "4711"}, "software": "9.9.9"})
    (backup / MANIFEST).write_bytes(manifest.raw)
    keeper = Keeper.parse(place.key_file.read_bytes())
    key = keeper.backup_key(root_of_seal(keeper, str), said["key"]["version"], bytes.fromhex(said["key"]["id"]))
    signed = manifest.signed(open_identity(place.server.home / FILE_NAME), backups.part_key(key, manifest.id))
    (backup / SIGNATURE).write_bytes(signed)
    told_so = place.restore(place.empty_machine(), backup, "--no-mirror", code=4)
    assert f"of a newer version of idvault than this one, 9.9.9: its schema of {store} is" in told_so
