"""A backup of all four stores, or of the key store alone.

    folder     identity.db, directory.db, log.db: copies; keys.sealed: the key store's, sealed; manifest.json and .sig
    key file   what opens keys.sealed, for whoever has the root key: kept elsewhere, in its newest form alone

The manifest is written last, when the key file has what opens it: a backup that was cut off has none.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keys import backups
from keys.agent.client import AgentClient
from keys.backups import KEYS_PART, MANIFEST, SIGNATURE, Keeper, Manifest
from keys.engine import open_engine
from keys.entries import Key
from keys.errors import BackupError
from keys.files import replace_durably
from keys.identity import words
from keys.primitives import Secret, random_bytes
from vault import running
from vault.config import STORES, Settings
from vault.errors import StartError
from vault.services.reading_log import LogReader
from vault.stores import copying, log, schema
from vault.stores.copying import STORE_ERRORS
from vault.stores.unit import Store

_PLAIN: Final = ".backup"
_MAKING: Final = ".backing-up"
COPIED: Final = ("identity", "directory", "log")
Progress = Callable[[int], None]
"""Is told how many rows were copied."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made."""

    manifest: Manifest
    rows: int


def make(
    settings: Settings, officer: AgentClient, folder: Path, key_file: Path, now: int, progress: Progress,
    stores: Sequence[str] = STORES,
) -> Made:  # fmt: skip
    """Make a backup of a vault that is being used, in a new folder.

    Args:
        settings: of the vault; its URLs are of roles that may read all.
        officer: the agent's socket, of the open vault.
        folder: new or empty; on another disk than the vault, if it is to be of use.
        key_file: written over; to be kept apart from the folder.
        now: seconds since 1970.
        progress: is told of rows.
        stores: all, or the key store alone.

    Raises:
        StartError: the folder is not empty, lies where the key file does, or cannot be written; or another backup runs.
        KeysError: the agent is sealed, or refused; nothing is left.
    """
    _check_apart(folder, key_file)
    # The key store's copy has one place, and the key file should be the newest.
    with running.alone(settings.home / _MAKING, "another backup is made here; say it again when it has ended"):
        return _made(settings, officer, folder, key_file, now, progress, stores)


def _made(
    settings: Settings, officer: AgentClient, folder: Path, key_file: Path, now: int, progress: Progress,
    stores: Sequence[str],
) -> Made:  # fmt: skip
    backup_id, plain = random_bytes(backups.ID_BYTES), settings.home / _PLAIN
    begun = officer.call("backup.begin", {"id": backup_id})
    rows = [0]

    def copied(count: int) -> None:
        rows[0] += count
        progress(rows[0])

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(plain, ignore_errors=True)
        plain.mkdir(mode=0o700)
        urls, head = {store: settings.store_url(store) for store in stores}, {}
        if "log" not in stores:
            # Before the copy: what comes between is told of as later, though the copy has it.
            with schema.opened({"log": settings.store_url("log")}, settings.busy_seconds) as engines:
                head = _log_of(Store(engines["log"]))
        with schema.opened(urls, settings.busy_seconds) as engines, copying.one_moment(engines) as moment:
            for store in stores:
                target = plain / "keys.db" if store == "keys" else folder / f"{store}.db"
                copying.copy_out(moment[store], store, target, copied)
        part = Secret(begun["key"])
        pieces = backups.seal_part(part, begun["deployment"], backup_id, plain / "keys.db", folder / KEYS_PART)
        head = head or _log_copied(folder)
        names = (KEYS_PART, *(f"{store}.db" for store in COPIED if store in stores))
        manifest = Manifest.of(_said(begun, backup_id, folder, now, pieces, head, names))
        signature = officer.call("backup.sign", {"manifest": manifest.raw})["signature"]
        for name in manifest.files:
            synced(folder / name)
        replace_durably(folder / SIGNATURE, signature, 0o600)
        replace_durably(key_file, begun["key_file"], 0o600)
        replace_durably(folder / MANIFEST, manifest.raw, 0o600)  # last: without it, it is no backup
    except (OSError, *STORE_ERRORS):
        _emptied(folder)
        raise StartError("the backup cannot be made: is a disk full, the folder another's, or a store away?") from None
    except BaseException:
        _emptied(folder)
        raise
    finally:
        shutil.rmtree(plain, ignore_errors=True)
    return Made(manifest, rows[0])


def _check_apart(folder: Path, key_file: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StartError("the folder is there and not empty; each backup has a folder of its own")
    if folder.resolve() in key_file.resolve().parents:
        raise StartError("--key-file: kept apart from the backup, not in its folder")
    if key_file.exists():
        with suppress(BackupError):
            Keeper.parse(key_file.read_bytes())
            return
        raise StartError("--key-file: there is another file of this name; it is never written over")


def _emptied(folder: Path) -> None:
    for name in (MANIFEST, SIGNATURE, KEYS_PART, *(f"{store}.db" for store in COPIED)):
        (folder / name).unlink(missing_ok=True)


def _said(
    begun: Mapping[str, Any], backup_id: bytes, folder: Path, now: int, pieces: int, log_head: Mapping[str, Any],
    names: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    return {
        "v": 1, "id": backup_id.hex(), "deployment": begun["deployment"].hex(), "agent": begun["agent"].hex(),
        "created": now, "software": begun["software"], "schema": schema.heads(),
        "files": {name: backups.digest_of(folder / name) for name in names}, "log": log_head,
        "generation": begun["generation"], "root_id": begun["root_id"].hex(),
        "key": {"id": begun["key_id"].hex(), "version": begun["version"]}, "pieces": pieces,
    }  # fmt: skip


def _log_copied(folder: Path) -> dict[str, Any]:
    engine = open_engine(f"sqlite:///{(folder / 'log.db').resolve()}")
    try:
        return _log_of(Store(engine))
    finally:
        engine.dispose()


def _log_of(store: Store) -> dict[str, Any]:
    """Return {size, root, checkpoint} of a log store: up to where erasures are in the backup."""
    reader = LogReader(store, AgentClient(""), "")
    size = reader.size()
    with reader.store.reading() as unit:
        newest = log.newest(unit)
    note = newest[1].decode() if newest else ""
    return {"size": size, "root": reader.tree(size).root().hex(), "checkpoint": note}


def synced(path: Path) -> None:
    """Have a file on its disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup whose files are those of its manifest."""

    folder: Path
    manifest: Manifest
    signature: bytes

    @classmethod
    def read(cls, folder: Path) -> "Backup":
        """Return a backup, checked without any key: its files, and the signature of the agent that it names.

        Raises:
            BackupError: it is not whole, or is not what it says.
        """
        try:
            manifest = Manifest.parse((folder / MANIFEST).read_bytes())
            signature = (folder / SIGNATURE).read_bytes()
        except OSError:
            raise BackupError(f"{MANIFEST}: cannot be read; a backup that was cut off has none") from None
        manifest.check_signature(signature)
        manifest.check_files(folder)
        newer = schema.beyond(manifest.said["schema"])
        if newer:
            raise BackupError(
                f"manifest: of a newer version of idvault than this one, {manifest.said['software']}: its schema of "
                f"{', '.join(newer)} is not known here"
            )
        return cls(folder, manifest, signature)

    @property
    def whole(self) -> bool:
        """Whether it is of all stores."""
        return set(self.manifest.files) == {KEYS_PART, *(f"{store}.db" for store in COPIED)}

    def opened_part(self, keeper: Keeper, root: Key) -> Secret:
        """Return the key of the key store's part.

        Raises:
            BackupError: backup and key file are not of one vault, or do not open.
        """
        said = self.manifest.said
        if (self.manifest.deployment.hex(), said["root_id"]) != (keeper.deployment.hex(), keeper.root_id.hex()):
            raise BackupError("key file: of another vault, or of another generation of officers than the backup")
        key = keeper.backup_key(root, said["key"]["version"], bytes.fromhex(said["key"]["id"]))
        part = backups.part_key(key, self.manifest.id)
        self.manifest.check_mac(self.signature, part)
        return part

    def told(self) -> dict[str, Any]:
        """Return what it says of itself, for people; `agent` in words, to be compared with those that officers know."""
        said = self.manifest.said
        return {
            "backup": said["id"], "created": said["created"], "software": said["software"],
            "generation": said["generation"], "log": said["log"]["size"], "agent": words(self.manifest.agent),
            "bytes": sum(one["bytes"] for one in self.manifest.files.values()),
        }  # fmt: skip
