"""A backup of all four stores, and a vault that comes back from one.

    folder     identity.db, directory.db, log.db: copies; keys.sealed: the key store's, sealed; manifest.json and .sig
    key file   what opens keys.sealed, for whoever has the root key: kept elsewhere, in its newest form alone

A restore is made in a folder beside, or in empty databases, and is the vault only when it is whole: a kill in its midst
leaves nothing that would be served, and a retry begins anew.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keys import backups
from keys.agent.client import AgentClient
from keys.backups import KEYS_PART, MANIFEST, SIGNATURE, Keeper, Manifest
from keys.chains import FILE_NAME as OFFICER_HEAD
from keys.engine import open_engine
from keys.entries import Key
from keys.errors import BackupError, NoteError
from keys.files import replace_durably
from keys.heads import FILE_NAME as LOG_HEAD
from keys.identity import words
from keys.primitives import Secret, random_bytes
from keys.restoring import Later, Restored, put_back_backup_keys
from keys.seals.sealed import FILE_NAME as SEAL
from vault import running
from vault.config import STORES, Settings
from vault.errors import StartError
from vault.log.sources import CHECKPOINT, Read
from vault.log.verify import BadLogError
from vault.services.reading_log import LogReader
from vault.services.refilling import Refilling
from vault.services.restoring import Restoring
from vault.stores import clients, copying, log, schema
from vault.stores.copying import STORE_ERRORS
from vault.stores.unit import Store

_PLAIN: Final = ".backup"
_BUILD: Final = ".restore"
_WHOLE: Final = "whole"
SHUT: Final = "agent.shut"
_COPIED: Final = ("identity", "directory", "log")
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
        StartError: the folder is not empty, lies where the key file does, or cannot be written.
        KeysError: the agent is sealed, or refused; nothing is left.
    """
    _check_apart(folder, key_file)
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
        names = (KEYS_PART, *(f"{store}.db" for store in _COPIED if store in stores))
        manifest = Manifest.of(_said(begun, backup_id, folder, now, pieces, head, names))
        signature = officer.call("backup.sign", {"manifest": manifest.raw})["signature"]
        for name in manifest.files:
            _synced(folder / name)
        replace_durably(folder / SIGNATURE, signature, 0o600)
        replace_durably(folder / MANIFEST, manifest.raw, 0o600)  # last: without it, it is no backup
        replace_durably(key_file, begun["key_file"], 0o600)
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
    for name in (MANIFEST, SIGNATURE, KEYS_PART, *(f"{store}.db" for store in _COPIED)):
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


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Bringing a vault back.


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
        if manifest.said["schema"] != schema.heads():
            raise BackupError(
                "manifest: of another schema; restore it with the version of idvault that made it, "
                f"{manifest.said['software']}, and upgrade then"
            )
        return cls(folder, manifest, signature)

    @property
    def whole(self) -> bool:
        """Whether it is of all stores."""
        return set(self.manifest.files) == {KEYS_PART, *(f"{store}.db" for store in _COPIED)}

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


def check_empty(settings: Settings) -> None:
    """Check that there is no vault where one is to come back.

    Raises:
        StartError: there is one, or its agent runs.
    """
    if (settings.home / _BUILD / _WHOLE).exists():
        return  # one that was whole, and not yet put in its place
    if running.agent_answers(settings):
        raise StartError("a vault runs here; a backup comes back where there is none")
    names = [*(f"{store}.db" for store in STORES), SEAL, OFFICER_HEAD, LOG_HEAD]
    if any((settings.home / name).exists() for name in names):
        raise StartError("the home folder holds a vault; a backup comes back where there is none")
    if not settings.embedded and not (settings.home / _BUILD).exists():
        with schema.opened({store: settings.store_url(store) for store in STORES}, settings.busy_seconds) as engines:
            if not schema.are_empty(engines):
                raise StartError("the databases are not empty; a backup comes back where there is no vault")


def restore(
    settings: Settings, backup: Backup, keeper: Keeper, root: Key, mirror: Read | None, now: Callable[[], int],
    progress: Progress, *, lose_officer_changes: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Bring a vault back from a backup, and up to what the log tells of later; return what became of it.

    Args:
        settings: of the vault to come.
        backup: read.
        keeper: the key file.
        root: the root key, of its generation.
        mirror: reads a copy of the log that is newer than the backup; None where nothing came after it.
        now: the clock.
        progress: is told of rows.
        lose_officer_changes: go on though officers changed, or approvals were used, after the backup.

    Raises:
        StartError: there is a vault already.
        BackupError: backup and key file are not of one vault, do not open, or are older than what officers did since.
        BadLogError: the mirror is not this log.
    """
    build = settings.home / _BUILD
    if (build / _WHOLE).exists():
        _finish(settings)
        return {**backup.told(), "finished": "an earlier restore that was cut off at its end"}
    check_empty(settings)
    if not backup.whole:
        raise BackupError("this backup is of the key store alone: restore --keys-alone, under stores that lived on")
    part = backup.opened_part(keeper, root)
    try:
        told = _built(settings, backup, keeper, root, part, mirror, now, progress,
                      lose_officer_changes=lose_officer_changes)  # fmt: skip
        _put_in_place(settings, build, keeper)
    except (OSError, *STORE_ERRORS):
        _unbuilt(settings)
        raise StartError("the vault cannot be written: is a disk full, or a store away? Nothing was restored") from None
    except BaseException:
        _unbuilt(settings)
        raise
    return {**backup.told(), **told}


def _unbuilt(settings: Settings) -> None:
    """Leave nothing of a restore that failed, but what says that the databases are its own to be filled again."""
    build = settings.home / _BUILD
    if (build / _WHOLE).exists():
        return
    shutil.rmtree(build, ignore_errors=True)
    if not settings.embedded:
        build.mkdir(mode=0o700)


def _built(
    settings: Settings, backup: Backup, keeper: Keeper, root: Key, part: Secret, mirror: Read | None,
    now: Callable[[], int], progress: Progress, *, lose_officer_changes: bool,
) -> dict[str, Any]:  # fmt: skip
    """Have everything in its place in the build folder, or in the databases; return what became of it."""
    manifest, build = backup.manifest, settings.home / _BUILD
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(mode=0o700)
    for name in _COPIED:
        shutil.copyfile(backup.folder / f"{name}.db", build / f"{name}.db")
        (build / f"{name}.db").chmod(0o600)
    backups.open_part(part, manifest.deployment, manifest.id, backup.folder / KEYS_PART, build / "keys.db",
                      manifest.said["pieces"])  # fmt: skip
    urls = {store: settings.store_url(store) for store in STORES}
    if settings.embedded:
        urls = {store: f"sqlite:///{build.resolve() / store}.db" for store in STORES}
    with schema.opened(urls, settings.busy_seconds) as engines:
        if not settings.embedded:
            _filled(engines, build, progress)
        put_back_backup_keys(engines["keys"], keeper)
        restored = Restored.opened(engines["keys"], root, build, now)
        stores = {name: Store(engine) for name, engine in engines.items()}
        told = _brought_up(settings, restored, stores, mirror, now, lose_officer_changes=lose_officer_changes)
        with stores["directory"].reading() as unit:
            providers = [row.name for row in clients.listed(unit, "provider")]
    return {**told, "resync_required": providers}


def _filled(engines: Mapping[str, Any], build: Path, progress: Progress) -> None:
    """Fill the databases; what an earlier try left in them goes first."""
    rows = [0]

    def copied(count: int) -> None:
        rows[0] += count
        progress(rows[0])

    for name, engine in engines.items():
        schema.emptied(engine, name)
        copying.copy_in(engine, name, build / f"{name}.db", copied)


def _brought_up(
    settings: Settings, restored: Restored, stores: Mapping[str, Store], mirror: Read | None, now: Callable[[], int],
    *, lose_officer_changes: bool,
) -> dict[str, Any]:  # fmt: skip
    """Fill the log up from the mirror, and carry out or take back what it tells of later."""
    with restored.serving() as agent:
        reader = LogReader(stores["log"], agent["log"], settings.origin)
        before = reader.size()
        if mirror is None:
            restored.trust_own_head()
            return {"log_now": before, "erased": 0, "agreements_revoked": 0, "requests_withdrawn": 0}
        replace_durably(restored.home / LOG_HEAD, mirror(CHECKPOINT))
        refilling = Refilling(stores["directory"], stores["log"], agent["outbox"], agent["log"], origin=settings.origin)
        filled = refilling.refill(mirror, now() // 60, lambda _: None)
        try:
            later = Later.of(entries(stores["log"], before, filled.after))
        except NoteError as error:
            raise BadLogError(str(error)) from None
        lost = restored.officer_records_after(later)
        if lost and not lose_officer_changes:
            raise BackupError(
                f"officers changed something, or approvals were used, {lost} times after this backup; restore a later "
                "one, or say --lose-officer-changes, and hold a rekey at once"
            )
        gone = restored.erased(later)
        erased = Restoring(settings, stores, agent["identity"], now).erase(gone, restored.rid_behind)
        taken = restored.take_back(later)
    return {
        "log_now": filled.after, "erased": erased, "agreements_revoked": taken["agreements"],
        "requests_withdrawn": taken["requests"], "officer_records_lost": lost,
    }  # fmt: skip


def entries(store: Store, first: int, last: int) -> Iterator[bytes]:
    """Yield the entries of a log store from one number up to another."""
    while first < last:
        with store.reading() as unit:
            some = log.entries(unit, first, 1000)
        yield from some
        first += len(some)


def _put_in_place(settings: Settings, build: Path, keeper: Keeper) -> None:
    """Make what was built the vault: all of it, or after a kill what is missing by the next try."""
    if keeper.seal:
        (build / SEAL).touch(0o600)
        (build / SEAL).write_bytes(keeper.seal)
        _synced(build / SEAL)
    if keeper.ceremony:
        replace_durably(build / SHUT, b"sealed")
    if settings.embedded:
        for store in STORES:
            copying.merged(build / f"{store}.db")
            _synced(build / f"{store}.db")
    (build / _WHOLE).touch()
    _finish(settings)


def _finish(settings: Settings) -> None:
    """Move what was built into the home folder, and forget the rest."""
    names: list[str] = [f"{store}.db" for store in STORES] if settings.embedded else []
    for name in (*names, SEAL, OFFICER_HEAD, LOG_HEAD, SHUT):
        if (settings.home / _BUILD / name).exists():
            (settings.home / _BUILD / name).rename(settings.home / name)
    shutil.rmtree(settings.home / _BUILD)
