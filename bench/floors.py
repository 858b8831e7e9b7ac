"""The floor programs as they are served and called: on PostgreSQL or on SQLite."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from bench import floor, floor_postgresql, floor_sqlite
from tests.databases import Cluster
from tests.ports import free_port
from tests.serving import BIN

WORKERS, BLOCKING_THREADS = 2, 1
"""What a bare Flask application answers most requests with on two cores."""
_START_SECONDS: Final = 20.0
_MODULES: Final = {"sqlite": floor_sqlite, "postgresql": floor_postgresql}


@dataclass(frozen=True, slots=True)
class Floor:
    """A served floor program; `write` is one durable insert without HTTP."""

    url: str
    write: Callable[[], None]


@contextmanager
def served(folder: Path, cluster: Cluster | None) -> Iterator[Floor]:
    """Serve the floor program over 100,000 rows, in the cluster or else in a SQLite file."""
    database = "sqlite" if cluster is None else "postgresql"
    where = str(folder / "floor.db") if cluster is None else cluster.uri
    module = _MODULES[database]
    module.load(where)
    port = free_port()
    command = [
        str(BIN / "granian"), "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", str(WORKERS), "--blocking-threads", str(BLOCKING_THREADS),
        "--no-ws", "--no-log", f"bench.floor_{database}:app",
    ]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, "FLOOR_DB": where})
    connection = module.connect(where)
    try:
        url = f"http://127.0.0.1:{port}"
        _await(url + "/read", process)
        yield Floor(url, lambda: module.insert(connection, floor.fresh(bytes(40))))
    finally:
        connection.close()
        process.terminate()
        process.wait(20)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    sys.exit("bench: the floor program did not start")
