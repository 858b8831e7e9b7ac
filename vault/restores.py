"""A vault that comes back from a backup of all its stores.

It is made in a folder beside, or in empty databases, and is the vault only when it is whole: a kill in its midst leaves
nothing that would be served, and a retry begins anew.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from keys import backups
from keys.backups import KEYS_PART, Keeper
from keys.chains import FILE_NAME as OFFICER_HEAD
from keys.entries import Key
from keys.errors import BackupError, NoteError
from keys.files import replace_durably
from keys.heads import FILE_NAME as LOG_HEAD
from keys.primitives import Secret
from keys.restoring import SHUT, Later, OfficersLater, Restored, put_back_backup_keys
from keys.seals.sealed import FILE_NAME as SEAL
from vault import embedded, running
from vault.backups import COPIED, Backup, Progress, synced
from vault.config import STORES, Settings
from vault.errors import StartError
from vault.log.sources import CHECKPOINT, Read
from vault.log.verify import BadLogError
from vault.services.reading_log import LogReader
from vault.services.refilling import Refilling
from vault.services.restoring import Restoring
from vault.stores import claims, clients, copying, events, log, schema
from vault.stores.copying import STORE_ERRORS
from vault.stores.unit import Store
from vault.unfinished import BUILD, NONCE, PLACED, nonce_in

_REVOKING: Final = ("client.secret_dropped", "client.secret_rotated", "keys.destroyed", "operator.disabled",
                    "operator.removed", "provider.suspended", "reviewer.disabled")  # fmt: skip
"""Acts that took something away which the backup still gives; the log does not say from whom."""
_WHOLE: Final = "whole"


def check_empty(settings: Settings) -> None:
    """Check that there is no vault where one is to come back.

    Raises:
        StartError: there is one, or its agent runs.
        SetupError: the databases hold what no restore left that was cut off here.
    """
    if (settings.home / BUILD / _WHOLE).exists():
        return  # one that was whole, and not yet put in its place
    if running.agent_answers(settings):
        raise StartError("a vault runs here; a backup comes back where there is none")
    names = [*(f"{store}.db" for store in STORES), SEAL, OFFICER_HEAD, LOG_HEAD]
    if any((settings.home / name).exists() for name in names):
        raise StartError("the home folder holds a vault; a backup comes back where there is none")
    _check_own(settings)


def _check_own(settings: Settings, *, filled: bool = False) -> None:
    if not settings.embedded:
        with schema.opened({store: settings.store_url(store) for store in STORES}, settings.busy_seconds) as engines:
            claims.check(engines, nonce_in(settings.home / BUILD / NONCE), filled=filled)


def restore(
    settings: Settings, backup: Backup, keeper: Keeper, root: Key, mirror: Read | None, now: Callable[[], int],
    progress: Progress, officers: OfficersLater,
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
        officers: what there is of that which they did after the backup.

    Raises:
        StartError: there is a vault already.
        BackupError: backup and key file are not of one vault, do not open, or are older than what officers did since.
        ShareError: the officers are others since, and did not give their shares.
        BadLogError: the mirror is not this log.
    """
    with filled_alone(settings):
        return _restored(settings, backup, keeper, root, mirror, now, progress, officers)


@contextmanager
def filled_alone(settings: Settings) -> Iterator[None]:
    """Be the only one who fills the databases of a vault, from whichever home folder; files have theirs alone.

    Raises:
        SetupError: another one does.
    """
    if settings.embedded:
        yield
        return
    urls = {"keys": settings.store_url("keys")}
    with schema.opened(urls, settings.busy_seconds) as engines, schema.filled_alone(engines):
        yield


def _restored(
    settings: Settings, backup: Backup, keeper: Keeper, root: Key, mirror: Read | None, now: Callable[[], int],
    progress: Progress, officers: OfficersLater,
) -> dict[str, Any]:  # fmt: skip
    build = settings.home / BUILD
    if (build / _WHOLE).exists():
        _check_own(settings, filled=True)
        _finish(settings)
        return {**backup.told(), "finished": "an earlier restore that was cut off at its end"}
    check_empty(settings)
    if not backup.whole:
        raise BackupError("this backup is of the key store alone: restore --keys-alone, under stores that lived on")
    part = backup.opened_part(keeper, root)
    _begin(settings)
    try:
        told = _built(settings, backup, keeper, root, part, mirror, now, progress, officers)
        _put_in_place(settings, build)
    except (OSError, *STORE_ERRORS):
        _unbuilt(settings)
        raise StartError("the vault cannot be written: is a disk full, or a store away? Nothing was restored") from None
    except BaseException:
        _unbuilt(settings)
        raise
    return {**backup.told(), **told}


def _begin(settings: Settings) -> None:
    """Make the build folder, beside which no vault is made, where there is none and none is being made.

    Raises:
        StartError: there is one, or one is.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with running.alone(settings.home / embedded.LOCK, "a vault is made here; a backup comes back where there is none"):
        check_empty(settings)
        embedded.forget_unmade(settings.home)
        (settings.home / BUILD).mkdir(mode=0o700, exist_ok=True)


def _unbuilt(settings: Settings) -> None:
    """Leave nothing of a restore that failed, but what says that the databases are its own to be filled again."""
    build = settings.home / BUILD
    if (build / _WHOLE).exists():
        return
    with suppress(OSError):  # the next try does
        _cleared(build)
        if not (build / NONCE).exists():
            build.rmdir()


def _cleared(build: Path) -> None:
    """Remove what an earlier try built, but what says whose the databases are."""
    for left in build.iterdir():
        if left.name != NONCE:
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def _built(
    settings: Settings, backup: Backup, keeper: Keeper, root: Key, part: Secret, mirror: Read | None,
    now: Callable[[], int], progress: Progress, officers: OfficersLater,
) -> dict[str, Any]:  # fmt: skip
    """Have everything in its place in the build folder, or in the databases; return what became of it."""
    manifest, build = backup.manifest, settings.home / BUILD
    _cleared(build)
    for name in COPIED:
        shutil.copyfile(backup.folder / f"{name}.db", build / f"{name}.db")
        (build / f"{name}.db").chmod(0o600)
    backups.open_part(part, manifest.deployment, manifest.id, backup.folder / KEYS_PART, build / "keys.db",
                      manifest.said["pieces"])  # fmt: skip
    built = {store: f"sqlite:///{build.resolve() / store}.db" for store in STORES}
    with schema.opened(built, settings.busy_seconds) as engines:
        schema.upgrade_all(engines)  # what an earlier version made; where a migration refuses, no database is touched
    urls = built if settings.embedded else {store: settings.store_url(store) for store in STORES}
    with schema.opened(urls, settings.busy_seconds) as engines:
        if not settings.embedded:
            if not (build / NONCE).exists():
                replace_durably(build / NONCE, claims.nonce(), 0o600)
            claims.claim(engines, nonce_in(build / NONCE))
            _filled(engines, build, progress)
        put_back_backup_keys(engines["keys"], keeper.keys)
        restored = Restored.opened(engines["keys"], root, build, now)
        stores = {name: Store(engine) for name, engine in engines.items()}
        told = _brought_up(settings, restored, stores, mirror, now, officers)
        told["resync_required"] = told_to_resync(stores["directory"], now())
        restored.write_seal(keeper)
    return told


def told_to_resync(directory: Store, now: int) -> list[str]:
    """Have an event tell each provider to compare what he holds with what the vault says; return their names."""
    with directory.writing() as unit:
        providers = clients.listed(unit, "provider")
        for row in providers:
            events.add(unit, row.id, events.RESYNC, None, now)
    return [row.name for row in providers]


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
    officers: OfficersLater,
) -> dict[str, Any]:  # fmt: skip
    """Fill the log up from the mirror, and carry out or take back what it tells of later."""
    with restored.serving() as agent:
        reader = LogReader(stores["log"], agent["log"], settings.origin)
        before = reader.size()
        if mirror is None:
            restored.trust_own_head()
            return {"log_now": before, "erased": 0, "sanctions_lifted": 0, "agreements_revoked": 0,
                    "requests_withdrawn": 0}  # fmt: skip
        replace_durably(restored.home / LOG_HEAD, mirror(CHECKPOINT))
        refilling = Refilling(stores["directory"], stores["log"], agent["outbox"], agent["log"], origin=settings.origin)
        filled = refilling.refill(mirror, now() // 60, lambda _: None)
        later = later_acts(stores["log"], before, filled.after)
        of_officers = restored.bring_officers_up(later, officers)
        owed = Restoring(settings, stores, agent["identity"], now)
        lifted = owed.lift(partial(restored.lifted, later)) if later.lifted else 0  # before who bore them is erased
        erased = owed.erase(restored.erased(later), restored.rid_behind)
        revoked = restored.revoke_agreements(later)
    return {
        "log_now": filled.after, "erased": erased, "sanctions_lifted": lifted,
        "sanctions_lost": later.counts.get("sanction.set", 0), "agreements_revoked": revoked, **of_officers,
        "revocations_lost": [f"{later.counts[kind]} {kind}" for kind in _REVOKING if kind in later.counts],
    }  # fmt: skip


def later_acts(store: Store, first: int, last: int) -> Later:
    """Return what the entries of a log store tell, from one number up to another.

    Raises:
        BadLogError: one is no entry.
    """
    try:
        return Later.of(_entries(store, first, last))
    except NoteError as error:
        raise BadLogError(str(error)) from None


def _entries(store: Store, first: int, last: int) -> Iterator[bytes]:
    while first < last:
        with store.reading() as unit:
            some = log.entries(unit, first, 1000)
        yield from some
        first += len(some)


def _put_in_place(settings: Settings, build: Path) -> None:
    """Make what was built the vault: all of it, or after a kill what is missing by the next try."""
    if settings.embedded:
        for store in STORES:
            copying.merged(build / f"{store}.db")
            synced(build / f"{store}.db")
    (build / _WHOLE).touch()
    _finish(settings)


def _finish(settings: Settings) -> None:
    """Move what was built into the home folder, and forget the rest."""
    names: list[str] = [f"{store}.db" for store in STORES] if settings.embedded else []
    for name in (*names, SEAL, OFFICER_HEAD, LOG_HEAD, SHUT):
        if (settings.home / BUILD / name).exists():
            (settings.home / BUILD / name).rename(settings.home / name)
    shutil.rmtree(settings.home / PLACED, ignore_errors=True)
    (settings.home / BUILD).rename(settings.home / PLACED)  # from now on there is a vault, which nothing writes over
    shutil.rmtree(settings.home / PLACED, ignore_errors=True)
