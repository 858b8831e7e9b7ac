"""A backup's manifest, its sealed part and its key file: each form, with one fault each; and keys that run out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keys import backups
from keys.agent.acts import backing_up
from keys.backups import Keeper, Manifest, open_part, part_key, seal_part
from keys.entries import root_key
from keys.errors import BackupError
from keys.primitives import Ed25519Signer, Secret, random_bytes
from tests.keys.stores import NOW, KeyStore, dialogue

ID, DEPLOYMENT, KEY = bytes(range(16)), bytes(16), Secret(bytes(range(32)))
DAY: Final = 86_400
IDENTITY: Final = Ed25519Signer(Secret(bytes(range(32))))
SAID: Final[dict[str, Any]] = {
    "v": 1, "id": ID.hex(), "deployment": DEPLOYMENT.hex(), "agent": IDENTITY.public().hex(), "created": NOW,
    "software": "0.1.0", "schema": {"keys": "0007"}, "files": {"log.db": {"sha256": "0" * 64, "bytes": 1}},
    "log": {"size": 3, "root": "0" * 64, "checkpoint": ""}, "generation": 1, "root_id": ID.hex(),
    "key": {"id": ID.hex(), "version": 1}, "pieces": 1,
}  # fmt: skip


def begin(store: KeyStore, now: int = NOW, **limits: int) -> dict[str, Any]:
    with dialogue() as asked:
        return backing_up.begin(store.names(now, **limits), {"id": ID}, asked)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), size=st.integers(1, 64))
def test_the_key_stores_part_comes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, size: int
) -> None:
    folder = tmp_path_factory.mktemp("part")
    (folder / "plain").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backups, "PIECE_BYTES", size)
        pieces = seal_part(KEY, DEPLOYMENT, ID, folder / "plain", folder / "sealed")
    assert pieces == max(1, -(-len(content) // size))
    open_part(KEY, DEPLOYMENT, ID, folder / "sealed", folder / "back", pieces)
    assert (folder / "back").read_bytes() == content
    assert (folder / "back").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return three sealed pieces."""
    monkeypatch.setattr(backups, "PIECE_BYTES", 10)
    (tmp_path / "plain").write_bytes(b"a" * 10 + b"b" * 10 + b"c" * 3)
    assert seal_part(KEY, DEPLOYMENT, ID, tmp_path / "plain", tmp_path / "sealed") == 3
    raw, found = (tmp_path / "sealed").read_bytes(), []
    while raw:
        size = 4 + int.from_bytes(raw[:4], "big")
        found.append(raw[:size])
        raw = raw[size:]
    return found


FAULTS: Final[dict[str, Callable[[list[bytes]], list[bytes]]]] = {
    "first gone": lambda all_: all_[1:], "last gone": lambda all_: all_[:-1], "nothing": lambda _: [],
    "swapped": lambda all_: [all_[1], all_[0], all_[2]], "one twice": lambda all_: [*all_, all_[2]],
    "cut": lambda all_: [all_[0], all_[1], all_[2][:-1]], "bit": lambda all_: [all_[0][:-1] + b"\xff", *all_[1:]],
    "length": lambda all_: [b"\xff\xff\xff\xff" + all_[0][4:], *all_[1:]],
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_part_with_a_fault_does_not_open(tmp_path: Path, pieces: list[bytes], fault: str) -> None:
    (tmp_path / "faulty").write_bytes(b"".join(FAULTS[fault](pieces)))
    with pytest.raises(BackupError, match=r"keys\.sealed: does not open"):
        open_part(KEY, DEPLOYMENT, ID, tmp_path / "faulty", tmp_path / "back", 3)


@pytest.mark.parametrize("other", ["key", "deployment", "backup", "count"])
def test_a_part_opens_under_its_own_key_vault_and_backup_alone(tmp_path: Path, pieces: list[bytes], other: str) -> None:
    (tmp_path / "whole").write_bytes(b"".join(pieces))
    key = Secret(bytes(32)) if other == "key" else KEY
    deployment = b"\1" * 16 if other == "deployment" else DEPLOYMENT
    backup = bytes(16) if other == "backup" else ID
    with pytest.raises(BackupError):
        open_part(key, deployment, backup, tmp_path / "whole", tmp_path / "back", 2 if other == "count" else 3)


CHANGES: Final[list[dict[str, Any]]] = [
    {"v": 2}, {"id": "00"}, {"deployment": 7}, {"agent": "zz"}, {"created": -1}, {"created": True}, {"software": 1},
    {"schema": {"keys": 7}}, {"files": {"../keys.db": SAID["files"]["log.db"]}}, {"files": {"log.db": {"bytes": 1}}},
    {"files": {"log.db": {"sha256": "x", "bytes": 1}}}, {"log": {"size": -1, "root": "0" * 64}}, {"log": {}},
    {"generation": "1"}, {"root_id": ""}, {"key": {"id": "0", "version": 1}}, {"pieces": None}, {"more": 1},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_manifest_with_one_fault_is_none(change: dict[str, Any]) -> None:
    assert Manifest.of(SAID).id == ID
    with pytest.raises(BackupError, match="manifest"):
        Manifest.parse(rfc8785.dumps({**SAID, **change}))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"\xff", rfc8785.dumps(SAID) + b" ", b"[" * 100_000], ids=range(6))
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(BackupError, match="manifest"):
        Manifest.parse(raw)


def test_a_manifest_holds_by_the_agents_signature_and_by_the_backup_key() -> None:
    manifest = Manifest.of(SAID)
    signed = manifest.signed(IDENTITY, KEY)
    manifest.check_signature(signed)
    manifest.check_mac(signed, KEY)
    other = Manifest.of({**SAID, "created": NOW + 1})
    for wrong in (signed.replace(b"0", b"1"), b"{}", b"", json.dumps({"signature": 7, "mac": 7}).encode()):
        with pytest.raises(BackupError):
            manifest.check_signature(wrong)
    with pytest.raises(BackupError):
        other.check_signature(signed)
    with pytest.raises(BackupError):
        other.check_mac(signed, KEY)
    with pytest.raises(BackupError):
        manifest.check_mac(signed, Secret(bytes(32)))


def test_the_key_file_opens_under_its_root_key_and_says_what_has_run_out(store: KeyStore) -> None:
    begun = begin(store)
    keeper = Keeper.parse(begun["key_file"])
    root = store.keyring.wrapping
    key = keeper.backup_key(root, begun["version"], begun["key_id"])
    assert part_key(key, ID).expose_cleartext() == begun["key"]
    assert root.secret.expose_cleartext() not in begun["key_file"]
    with pytest.raises(BackupError, match="does not open by these shares"):
        keeper.backup_key(root_key(root.id, Secret.random(32)), begun["version"], begun["key_id"])
    for version, key_id in ((begun["version"] + 1, begun["key_id"]), (begun["version"], random_bytes(16))):
        with pytest.raises(BackupError, match="it has run out"):
            keeper.backup_key(root, version, key_id)
    for fault in (b"", b"{}", begun["key_file"][:-1], begun["key_file"] + b" ", b"[" * 100_000):
        with pytest.raises(BackupError, match="key file: not of its form"):
            Keeper.parse(fault)


KEEPER_FAULTS: Final[dict[str, dict[str, Any]]] = {
    "a generation without end": {"generation": float("inf")}, "a generation below": {"generation": -1},
    "half a deployment": {"deployment": "00" * 8}, "another spelling": {"root_id": "AB" * 16}, "no keys": {"keys": {}},
    "no version": {"version": ...}, "a version that is a text": {"version": "1"}, "a version below": {"version": -1},
    "a version without end": {"version": float("inf")}, "a state that is none": {"state": "open"},
    "a purpose of its own": {"purpose": "kek"}, "an unknown member": {"more": 1}, "no time": {"created": None},
    "a short id": {"id": "00"}, "sealed as a number": {"sealed": 1},
}  # fmt: skip


@pytest.mark.parametrize("fault", KEEPER_FAULTS.values(), ids=KEEPER_FAULTS)
def test_a_key_file_with_one_fault_is_none(store: KeyStore, fault: dict[str, Any]) -> None:
    """What it says of keys becomes rows of the key store that comes back, so that it has no members of its own."""
    said = json.loads(begin(store)["key_file"])
    for name, value in fault.items():
        holder = said if name in said else said["keys"][0]
        if value is ...:
            del holder[name]
        else:
            holder[name] = value
    raw = json.dumps(said, separators=(",", ":"), sort_keys=True).replace("Infinity", "1e999").encode()
    with pytest.raises(BackupError, match="key file: not of its form"):
        Keeper.parse(raw)


def test_a_key_file_that_names_a_key_twice_is_none(store: KeyStore) -> None:
    said = json.loads(begin(store)["key_file"])
    with pytest.raises(BackupError, match="key file: not of its form"):
        Keeper.parse(rfc8785.dumps({**said, "keys": said["keys"] * 2}))


def test_the_backup_key_is_replaced_each_month_and_destroyed_once_its_backups_have_run_out(store: KeyStore) -> None:
    first = begin(store)
    assert begin(store, NOW + 29 * DAY)["version"] == first["version"]
    second = begin(store, NOW + 30 * DAY)
    assert second["version"] == first["version"] + 1
    assert {key["version"] for key in Keeper.parse(second["key_file"]).keys} == {1, 2}
    kept = begin(store, NOW + 59 * DAY, backup_keep_days=30)
    assert {key["version"] for key in Keeper.parse(kept["key_file"]).keys} == {1, 2}
    last = begin(store, NOW + 60 * DAY, backup_keep_days=30)
    assert {key["version"] for key in Keeper.parse(last["key_file"]).keys} == {2, 3}, "version 1 is no more"
    states = {row.version: row.state for row in store.rows("key") if row.purpose == "backup"}
    assert states == {1: "destroyed", 2: "deactivated", 3: "active"}
    with pytest.raises(BackupError, match="it has run out"):
        Keeper.parse(last["key_file"]).backup_key(store.keyring.wrapping, 1, first["key_id"])


def test_the_agent_signs_a_backup_of_its_own_that_it_gave_the_key_for_and_notes_it(store: KeyStore) -> None:
    begun = begin(store)
    own = {
        **SAID, "deployment": begun["deployment"].hex(), "agent": begun["agent"].hex(),
        "root_id": begun["root_id"].hex(), "key": {"id": begun["key_id"].hex(), "version": begun["version"]},
    }  # fmt: skip
    with dialogue() as asked:
        signed = backing_up.sign(store.names(), {"manifest": rfc8785.dumps(own)}, asked)["signature"]
        Manifest.of(own).check_signature(signed)
        Manifest.of(own).check_mac(signed, Secret(begun["key"]))
        changes: list[dict[str, Any]] = [
            {"deployment": "ff" * 16}, {"agent": "ff" * 32}, {"key": {"id": ID.hex(), "version": 1}},
            {"root_id": ID.hex()},
        ]  # fmt: skip
        for change in changes:
            with pytest.raises(BackupError, match="begin anew"):
                backing_up.sign(store.names(), {"manifest": rfc8785.dumps({**own, **change})}, asked)
    assert [row.type for row in store.rows("audit_outbox")].count("backup.made") == 1
