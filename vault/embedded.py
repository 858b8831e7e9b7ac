"""The embedded vault: four SQLite files and a development seal in one home folder, made by the first command.

`idvault db upgrade --officers` makes it without a seal: it has no keys until officers held their first ceremony.

Made in a folder beside and moved in when whole: a kill in the middle leaves nothing that looks like a vault, and the
next start goes on. In every other case a missing file stops the start (`vault.stores.schema`).
"""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

from keys.engine import open_engine
from keys.seals import development
from keys.setup import create_development
from vault import unfinished
from vault.config import STORES, Settings
from vault.errors import StartError
from vault.stores import schema

LOCK: Final = ".lock"
"""Had by whoever makes a vault in a home folder, or begins to bring one back there."""
_BUILD: Final = ".new"
_WHOLE: Final = "whole"


def ensure(settings: Settings, now: int, *, officers: bool = False) -> bool:
    """Create the embedded vault if the home folder holds none of a vault's own files; return whether it did.

    Args:
        settings: of the vault.
        now: seconds since 1970.
        officers: whether it gets no seal, but is to be opened by officers.

    Raises:
        StartError: the home folder cannot be used, or a restore was cut off in it.
    """
    unfinished.check(settings.home)
    if not settings.embedded:
        return False
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.fdopen(os.open(home / LOCK, os.O_WRONLY | os.O_CREAT, 0o600), "w")
    except OSError:
        raise StartError("home: the folder cannot be made or written") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unfinished.check(home)  # a restore may have begun until the lock was had
        build = home / _BUILD
        if not (build / _WHOLE).exists():
            shutil.rmtree(build, ignore_errors=True)
            if any((home / name).exists() for name in _own_files()):
                return False
            _build(build, now, officers=officers)
        for name in _own_files():
            if (build / name).exists():
                (build / name).rename(home / name)
        shutil.rmtree(build)
    return True


def forget_unmade(home: Path) -> None:
    """Remove what is left of a vault of which nothing is in its place; whoever calls this has the lock."""
    shutil.rmtree(home / _BUILD, ignore_errors=True)


def _own_files() -> list[str]:
    return [*(f"{store}.db" for store in STORES), development.FILE_NAME]


def _build(build: Path, now: int, *, officers: bool) -> None:
    umask = os.umask(0o077)
    try:
        build.mkdir(mode=0o700)
        for store in STORES:
            (build / f"{store}.db").touch(mode=0o600)
        engines = {store: open_engine(f"sqlite:///{build.resolve() / store}.db") for store in STORES}
        schema.upgrade_all(engines)
        if not officers:
            create_development(engines["keys"], build / development.FILE_NAME, now)
        for engine in engines.values():
            # The last connection to close writes the WAL back and removes it.
            engine.dispose()
        (build / _WHOLE).touch()
    finally:
        os.umask(umask)
