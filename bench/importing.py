"""`python -m bench.importing 200000`: import so many invented people, and what that costs.

Measures people a second, the memory of the client and of the service, processor time by part, and the bytes that a
person takes over all stores. `--kill` ends client and service with -9 on the way, so often, and goes on.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import psycopg

from bench.costs import Costs
from bench.people import People
from tests import serving
from tests.databases import Cluster
from tests.serving import BIN, Server

RESULTS: Final = Path(__file__).with_name("results")
_PROVIDER: Final = "bench"
_STEP_SECONDS: Final = 2
"""Between two looks at what the processes cost: each look costs some milliseconds of a core itself."""
_LATIN: Final = ("de_DE", "es_ES", "pl_PL", "pt_BR")
_PARTS: Final = """
    SELECT relname, pg_table_size(oid) FROM pg_class
    WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace
"""


@dataclass(slots=True)
class Figures:
    """What one import cost."""

    people: int
    database: str
    settings: dict[str, str]
    seconds: float = 0.0
    people_per_second: float = 0.0
    kills: int = 0
    accounts: int = 0
    peak_mib: dict[str, float] = field(default_factory=dict)
    cpu_us_per_person: dict[str, float] = field(default_factory=dict)
    bytes_per_person: dict[str, float] = field(default_factory=dict)
    of_which: dict[str, float] = field(default_factory=dict)
    """tables and indexes that take a byte a person or more"""


def write(file: Path, count: int, seed: int = 1, first: int = 1) -> None:
    """Write so many people as JSON Lines: names of six countries, numbers whose check characters hold.

    Their handles and external ids count from `first` on.
    """
    people = People(seed)
    with file.open("w") as stream:
        for number in range(first, first + count):
            identity = people.identity(people.locale())
            stream.write(json.dumps({
                "handle": f"user{number}", "kind": "public", "external_id": f"u-{number}",
                "accepts": {"terms": "2026-01", "truthful": True}, "identity": identity,
            }, ensure_ascii=False) + "\n")  # fmt: skip


@contextmanager
def stores_of(folder: Path, database: str, settings: Mapping[str, str] | None = None) -> Iterator[Cluster | None]:
    """Have a durable PostgreSQL of its own for the run, set so; without one the stores are SQLite files."""
    if database == "sqlite":
        yield None
        return
    serving.cluster = Cluster(folder / "postgresql", durable=True, settings=settings)
    try:
        yield serving.cluster
    finally:
        serving.cluster.stop()
        serving.cluster, Server.made = None, None  # what was made beforehand lay in it


def _sizes(server: Server) -> dict[str, float]:
    """Return the bytes of each store."""
    if not server.databases:
        return {file.stem: file.stat().st_size for file in server.home.glob("*.db")}
    found = {}
    for name, url in server.databases.items():
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
        found[name.removeprefix("IDVAULT_").removesuffix("_URL").lower()] = size
    return found


def _parts(server: Server) -> dict[str, float]:
    """Return the bytes of each table and index; none of files."""
    found: dict[str, float] = {}
    for url in server.databases.values():
        with psycopg.connect(url, autocommit=True) as connection:
            found |= dict(connection.execute(_PARTS).fetchall())
    return found


class Run:
    """One import of a file, killed and gone on with."""

    def __init__(self, server: Server, file: Path, options: list[str]) -> None:
        self._server = server
        self._command = [str(BIN / "idvault"), "import", str(file), "--provider", _PROVIDER, "--json", *options]
        self.costs = Costs(server)

    def whole(self, kills: int, rows: int) -> float:
        """Import the file; return how many seconds that took, starts after kills included."""
        started = time.monotonic()
        for number in range(1, kills + 1):
            with self._importing() as client:
                self._until(client, rows * number // (kills + 1))
                client.kill()
            self._kill_server()
            self._server.start()
        with self._importing() as client:
            while client.poll() is None:
                self.costs.look(client.pid)
                with suppress(subprocess.TimeoutExpired):
                    client.wait(_STEP_SECONDS)
        if client.returncode:
            raise SystemExit("bench: the import failed; its lines are above")
        return time.monotonic() - started

    @contextmanager
    def _importing(self) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(self._command, env=self._server.environment, stdout=subprocess.DEVNULL) as client:
            yield client

    def _until(self, client: subprocess.Popen[bytes], rows: int) -> None:
        """Wait until so many rows stand."""
        while client.poll() is None and stands(self._server) < rows:
            self.costs.look(client.pid)
            time.sleep(_STEP_SECONDS)

    def _kill_server(self) -> None:
        self.costs.look(0)
        process = self._server.process
        if process is None:
            return
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        while any(pid != process.pid for pid in self._server.processes()):
            time.sleep(0.05)  # the agent sees the end of its pipe


def stands(server: Server) -> int:
    """Return how many rows of imports stand."""
    return int(
        server.sql("directory", "SELECT coalesce(sum(rows), 0) FROM import_chunk WHERE refused IS NOT NULL")[0][0]
    )


def measure(
    folder: Path, count: int, database: str, kills: int, options: list[str], settings: Mapping[str, str]
) -> Figures:
    """Import so many people into a fresh vault."""
    figures = Figures(count, database, dict(settings), kills=kills)
    file = folder / "people.jsonl"
    write(file, count)
    with stores_of(folder, database, settings) as cluster:
        server = Server(folder / "home", IDVAULT_WORKERS=str(max(2, os.cpu_count() or 1)), IDVAULT_LOG_URL="",
                        IDVAULT_SEQUENCER="yes")  # fmt: skip
        if server.databases:
            server.environment["IDVAULT_LOG_URL"] = server.databases["IDVAULT_LOG_URL"]
        server.start()
        try:
            server.provider(_PROVIDER)
            before, parts = _sizes(server), _parts(server)
            run = Run(server, file, options)
            figures.seconds = run.whole(kills, count)
            _tell(figures, run.costs, {name: size - before[name] for name, size in _sizes(server).items()}, server)
            each = {name: (size - parts.get(name, 0)) / count for name, size in _parts(server).items()}
            figures.of_which = {name: size for name, size in sorted(each.items()) if size >= 1}
        finally:
            server.stop()
        del cluster
    return figures


def _tell(figures: Figures, costs: Costs, grown: dict[str, float], server: Server) -> None:
    count = figures.people
    figures.people_per_second = count / figures.seconds
    figures.accounts = int(server.sql("directory", "SELECT count(*) FROM account")[0][0])
    figures.peak_mib = costs.peak_mib
    figures.cpu_us_per_person = {part: seconds / count * 1e6 for part, seconds in costs.cpu_seconds().items()}
    figures.bytes_per_person = {name: size / count for name, size in grown.items()}
    figures.bytes_per_person["all"] = sum(grown.values()) / count


@click.command()
@click.argument("counts", nargs=-1, type=click.IntRange(1), required=True)
@click.option("--database", type=click.Choice(["postgresql", "sqlite"]), default="postgresql", show_default=True)
@click.option("--kill", "kills", default=0, show_default=True, help="How often client and service end by -9.")
@click.option("--chunk-rows", type=click.IntRange(1, 1000))
@click.option("--connections", type=click.IntRange(1, 64))
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Of PostgreSQL; may be repeated.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where the figures go.")
def main(
    counts: tuple[int, ...], database: str, kills: int, settings: tuple[str, ...], target: Path | None,
    **more: int | None,
) -> None:  # fmt: skip
    """Import COUNTS invented people, each into a fresh vault."""
    RESULTS.mkdir(exist_ok=True)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in more.items() if value is not None]
    if not all("=" in setting for setting in settings):
        raise click.BadParameter("as in shared_buffers=6GB", param_hint="--set")
    given = dict(setting.split("=", 1) for setting in settings)
    told: list[dict[str, Any]] = []
    for count in counts:
        # On the disk of the working copy: a folder in memory would make durable commits free.
        with tempfile.TemporaryDirectory(dir=RESULTS) as name:
            figures = measure(Path(name), count, database, kills, options, given)
        told.append(asdict(figures))
        click.echo(json.dumps(told[-1], indent=1))
        if figures.accounts != count:
            raise SystemExit(f"bench: {figures.accounts} accounts of {count} people")
    target = target or RESULTS / time.strftime("import-%Y%m%d-%H%M%S.json")
    target.write_text(json.dumps(told))


if __name__ == "__main__":
    main()
