"""The key store alone, brought back from a backup under stores that lived on.

What came back is older than the directory and identity stores beside it. The log, which lived on too, tells what came
between: who was erased is erased again, what may have been revoked or used is taken back. What acts on records made
since is lost with their keys, so that nothing is brought back before somebody said that it may be.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from keys import backups
from keys.agent.client import AgentClient
from keys.backups import KEYS_PART, Keeper
from keys.chains import FILE_NAME as OFFICER_HEAD
from keys.engine import open_engine
from keys.entries import Key
from keys.errors import BackupError, SetupError
from keys.files import replace_durably
from keys.heads import FILE_NAME as LOG_HEAD
from keys.restoring import SHUT, OfficersLater, Restored, backup_keys, put_back_backup_keys
from keys.seals.sealed import FILE_NAME as SEAL
from vault import running
from vault.backups import Backup, Progress
from vault.config import Settings
from vault.errors import StartError, VaultError
from vault.restores import filled_alone, later_acts, told_to_resync
from vault.services.reading_log import LogReader
from vault.stores import claims, copying, log, schema
from vault.stores.copying import STORE_ERRORS
from vault.stores.unit import Store
from vault.unfinished import FILLING, KEYS_BUILD, nonce_in

KEYS: Final = "keys"
_FILE: Final = "keys.db"
_MADE: Final = frozenset({
    "registration.created", "registration.revised", "review.decided", "evidence.sealed", "evidence.dropped",
    "exchange.redeemed", "person.split", "import.chunk", "keys.rotated", "keys.destroyed", "keys.resealed",
    "hold.set", "hold.lifted",
})  # fmt: skip
"""Acts that changed the key store, and that an older one does not know."""


def check_empty(settings: Settings) -> None:
    """Check that there is no key store where one is to come back, and nobody who uses one.

    Raises:
        StartError: there is one, or its agent runs.
        SetupError: the database holds what no restore left that was cut off here.
    """
    if running.agent_answers(settings):
        raise StartError("a vault runs here; stop it before its key store comes back")
    if settings.embedded:
        if (settings.home / _FILE).exists():
            raise StartError(f"{_FILE} is there; a key store comes back where there is none")
        return
    with schema.opened({KEYS: settings.store_url(KEYS)}, settings.busy_seconds) as engines:
        claims.check(engines, nonce_in(settings.home / KEYS_BUILD / FILLING))


def restore(
    settings: Settings, backup: Backup, keeper: Keeper, root: Key, now: Callable[[], int], progress: Progress,
    officers: OfficersLater, *, lose_later: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Bring the key store back from a backup, its own or a whole one; return what became of it.

    Args:
        settings: of the vault, whose other stores are there.
        backup: read.
        keeper: the key file.
        root: the root key, of its generation.
        now: the clock.
        progress: is told of rows.
        officers: what there is of that which they did after the backup.
        lose_later: go on though acts on records came after it.

    Raises:
        StartError: there is a key store, or the other stores are not there.
        BackupError: backup, key file and log are not of one vault, or what came after it would be lost.
        ShareError: the officers are others since, and did not give their shares.
    """
    with filled_alone(settings):
        return _restored(settings, backup, keeper, root, now, progress, officers, lose_later=lose_later)


def _restored(
    settings: Settings, backup: Backup, keeper: Keeper, root: Key, now: Callable[[], int], progress: Progress,
    officers: OfficersLater, *, lose_later: bool,
) -> dict[str, Any]:  # fmt: skip
    check_empty(settings)
    manifest, build = backup.manifest, settings.home / KEYS_BUILD
    part = backup.opened_part(keeper, root)
    try:
        _cleared(build)
        build.mkdir(mode=0o700, parents=True, exist_ok=True)
        backups.open_part(part, manifest.deployment, manifest.id, backup.folder / KEYS_PART, build / _FILE,
                          manifest.said["pieces"])  # fmt: skip
        engine = open_engine(f"sqlite:///{(build / _FILE).resolve()}")
        try:
            schema.upgrade_all({KEYS: engine})
            put_back_backup_keys(engine, keeper.keys)
            restored = Restored.opened(engine, root, build, now)
            told = _brought_up(settings, manifest.said["log"], restored, officers, lose_later=lose_later)
            restored.write_seal(keeper)
        finally:
            engine.dispose()
        told["resync_required"] = _told_to_resync(settings, now())
        _put_in_place(settings, build, progress)
    except (OSError, *STORE_ERRORS):
        _cleared(build)
        raise StartError("the key store cannot be written, or the log not be read; say it again") from None
    except BaseException:
        _cleared(build)
        raise
    return {**backup.told(), **told}


def _brought_up(
    settings: Settings, told_log: Mapping[str, Any], restored: Restored, officers: OfficersLater, *, lose_later: bool,
) -> dict[str, Any]:  # fmt: skip
    """Carry out or take back what the log tells of later; refuse what would be lost unsaid."""
    with schema.opened({"log": settings.store_url("log")}, settings.busy_seconds) as engines:
        store, size = Store(engines["log"]), int(told_log["size"])
        reader = LogReader(store, AgentClient(""), settings.origin)
        last = reader.size()
        if last < size or reader.tree(size).root().hex() != told_log["root"]:
            raise BackupError("the log store is not that of this backup, or is older: idvault log refill")
        later = later_acts(store, size, last)
        with store.reading() as unit:
            newest = log.newest(unit)
    made = {kind: count for kind, count in sorted(later.counts.items()) if kind in _MADE}
    if made and not lose_later:
        acts = ", ".join(f"{count} {kind}" for kind, count in made.items())
        raise BackupError(
            f"acts came after this backup whose keys it has not: {acts}; restore a later one, or say --lose-later: "
            "whom they concern has no record any more, and fsck names him"
        )
    gone = restored.erased(later)
    restored.destroy(gone)
    revoked = restored.revoke_agreements(later)
    if last > size:
        restored.drop_told()
    of_officers = restored.bring_officers_up(later, officers)
    if newest is not None and not (settings.home / LOG_HEAD).exists():
        replace_durably(restored.home / LOG_HEAD, newest[1])
    return {
        "log_now": last, "erased": len(gone), "agreements_revoked": revoked, **of_officers,
        "acts_lost": sum(made.values()),
    }  # fmt: skip


def _told_to_resync(settings: Settings, now: int) -> list[str] | None:
    """Have events tell providers to compare; return their names, or None where the directory cannot be written here.

    Before the key store is in its place: a kill in between tells them once too often, not once too seldom.
    """
    try:
        with schema.opened({"directory": settings.store_url("directory")}, settings.busy_seconds) as engines:
            return told_to_resync(Store(engines["directory"]), now)
    except (SetupError, VaultError, *STORE_ERRORS):
        return None


def _cleared(build: Path) -> None:
    """Remove what a restore left, but what says that it was filling a database."""
    for path in build.glob("*"):
        if path.name != FILLING:
            path.unlink()
    if build.exists() and not (build / FILLING).exists():
        build.rmdir()


def _backup_keys(path: Path) -> list[dict[str, Any]]:
    engine = open_engine(f"sqlite:///{path.resolve()}")
    try:
        return backup_keys(engine)
    finally:
        engine.dispose()


def _put_in_place(settings: Settings, build: Path, progress: Progress) -> None:
    """Make what was built the key store; what a kill leaves of it is begun anew."""
    names = [OFFICER_HEAD, LOG_HEAD, SHUT]
    if not (settings.home / SEAL).exists():
        names.append(SEAL)
    copying.merged(build / _FILE)
    if settings.embedded:
        names.append(_FILE)  # last: with it there is a key store
    else:
        with schema.opened({KEYS: settings.store_url(KEYS)}, settings.busy_seconds) as engines:
            if not (build / FILLING).exists():
                replace_durably(build / FILLING, claims.nonce(), 0o600)
            claims.claim(engines, nonce_in(build / FILLING))
            schema.emptied(engines[KEYS], KEYS)
            copying.copy_in(engines[KEYS], KEYS, build / _FILE, progress)
            put_back_backup_keys(engines[KEYS], _backup_keys(build / _FILE))
    for name in names:
        if (build / name).exists():
            (build / name).rename(settings.home / name)
    _cleared(build)  # no copy of the key store is left
    (build / FILLING).unlink(missing_ok=True)  # from now on there is a key store, which nothing writes over
    _cleared(build)
