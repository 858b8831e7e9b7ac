"""Single stores for tests: copies of one that was migrated, files in a folder or databases of the tests' cluster."""

import atexit
import shutil
import tempfile
from pathlib import Path

from keys import migrating
from keys.engine import open_engine
from tests import serving
from vault.stores import schema

_made: dict[str, str] = {}
"""The URL of the store that others are copies of, by its name."""


def fresh_store(folder: Path, name: str) -> str:
    """Make a store without rows for a folder, which remembers where it is; return its URL."""
    if serving.cluster is None:
        template = _made.get(name) or _migrated(name, _file(Path(_temporary()), name))
        url = _file(folder, name)
        shutil.copy(template.removeprefix("sqlite:///"), folder / f"{name}.db")
        return url
    template = _made.get(name) or _migrated(name, serving.cluster.database())
    url = serving.cluster.database(template)
    (folder / f"{name}.url").write_text(url)
    return url


def store_url(folder: Path, name: str) -> str:
    """Return the URL of the store that was made for a folder."""
    remembered = folder / f"{name}.url"
    return remembered.read_text() if remembered.exists() else f"sqlite:///{folder / name}.db"


def _file(folder: Path, name: str) -> str:
    (folder / f"{name}.db").touch(0o600)
    return f"sqlite:///{folder / name}.db"


def _temporary() -> str:
    folder = tempfile.mkdtemp(prefix="idvault-made-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _migrated(name: str, url: str) -> str:
    engine = open_engine(url)
    migrating.upgrade(engine, schema.HISTORIES[name])
    engine.dispose()
    _made[name] = url
    return url
