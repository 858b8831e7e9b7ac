"""Single stores for tests: copies of one that was migrated, files in a folder or databases of the tests' cluster."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from keys import migrating
from keys.engine import open_engine, writing
from tests import serving
from vault.stores import schema

_SQLITE: Final = "sqlite:///"
_REFUSE: Final = """
CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused here'; END $$
"""
_made: dict[str, str] = {}
"""The URL of the store that others are copies of, by its name."""


def fresh_store(folder: Path, name: str) -> str:
    """Make a store without rows for a folder, which remembers where it is; return its URL."""
    if serving.cluster is None:
        template = _made.get(name) or _migrated(name, _file(Path(_temporary()), name))
        url = _file(folder, name)
        shutil.copy(template.removeprefix(_SQLITE), folder / f"{name}.db")
        return url
    template = _made.get(name) or _migrated(name, serving.cluster.database())
    url = serving.cluster.database(template)
    (folder / f"{name}.url").write_text(url)
    return url


def store_url(folder: Path, name: str) -> str:
    """Return the URL of the store that was made for a folder."""
    remembered = folder / f"{name}.url"
    return remembered.read_text() if remembered.exists() else f"{_SQLITE}{folder / name}.db"


def kept(folder: Path, *names: str) -> Callable[[], None]:
    """Keep stores that nobody has open as they are now; return what puts them back so."""
    cluster, urls = serving.cluster, [store_url(folder, name) for name in names]
    if cluster is None:
        files = {Path(url.removeprefix(_SQLITE)): Path(url.removeprefix(_SQLITE)).read_bytes() for url in urls}
    else:
        copies = {url: cluster.database(url) for url in urls}

    def put_back() -> None:
        if cluster is None:
            for path, content in files.items():
                path.write_bytes(content)
        else:
            for url, copy in copies.items():
                cluster.put_back(url, copy)

    return put_back


def _file(folder: Path, name: str) -> str:
    (folder / f"{name}.db").touch(0o600)
    return f"{_SQLITE}{folder / name}.db"


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


@contextmanager
def refusing(engine: Engine, event: str, table: str, rows: str = "TRUE") -> Iterator[None]:
    """Have a store refuse, with the words `refused here`, what would be done to rows of a table.

    Args:
        engine: of the store.
        event: INSERT, UPDATE or DELETE.
        table: its name.
        rows: which rows, by a condition on `old` or `new`, in words of both databases.
    """
    begin = f"CREATE TRIGGER fault BEFORE {event} ON {table}"
    made = {
        "sqlite": [f"{begin} WHEN {rows} BEGIN SELECT RAISE(ABORT, 'refused here'); END"],
        "postgresql": [
            _REFUSE,
            f"{begin} FOR EACH ROW WHEN ({rows}) EXECUTE FUNCTION fault()",
        ],
    }
    dropped = {"sqlite": "DROP TRIGGER fault", "postgresql": f"DROP TRIGGER fault ON {table}"}
    with writing(engine) as connection:
        for statement in made[engine.dialect.name]:
            connection.exec_driver_sql(statement)
    yield
    with writing(engine) as connection:
        connection.exec_driver_sql(dropped[engine.dialect.name])


def in_words_of(engine: Engine, statement: str) -> str:
    """Return a statement with byte strings as SQLite writes them in the words of a store."""
    if engine.dialect.name == "sqlite":
        return statement
    statement = re.sub(r"x'([0-9a-f]*)'", r"CAST('\\x\1' AS bytea)", statement).replace("AS BLOB", "AS bytea")
    return re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", statement)
