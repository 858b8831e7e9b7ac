"""`python -m bench.rewrapping`: how fast wrapped keys are sealed anew, by number, and what it costs introspections.

At each size: the key encryption key is rotated (how long that takes), all records' keys are sealed anew, and the former
version is destroyed; the memory is that of the holder `names` and of the processes that seal anew, each at its
largest. Beside a load of introspections, in turn with and without: what these lose.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import load
from bench.log import RESULTS
from bench.served import Vault, cluster_of, served_vault
from keys import record_keys, records
from keys.agent import rewrapper
from keys.agent.client import AgentClient
from keys.agent.settings import socket_folder
from keys.cli.rotation import batches
from keys.engine import open_engine, writing
from keys.keyring import Keyring
from keys.primitives import random_bytes
from keys.records import State
from keys.seals import development
from tests.http.test_processes import holders
from vault import config

BATCH: Final = 2_000
_FILL: Final = 5_000
_LOOK_SECONDS: Final = 0.1
_FIELDS: Final = {"legal_name": 1, "birth_date": 1, "document": 1}


class Keys:
    """The keys of a served vault, from beside its agent."""

    def __init__(self, vault: Vault) -> None:
        self._server = vault.server
        home = vault.server.home
        self._agent = AgentClient(str(socket_folder(home) / "officer.sock"))
        self._engine = open_engine(config.load(vault.server.environment).store_url("keys"), busy_seconds=60)
        self._root = development.open_seal(home / development.FILE_NAME)

    def fill(self, size: int) -> None:
        """Draw records until there are so many; they have keys, and no fields."""
        keyring, minute = Keyring.under_root(self._engine, *self._root), int(time.time()) // 60
        held = sum(key.get("records", 0) for key in self._agent.call("keys.list", {})["keys"])
        for place in track(range(held, size, _FILL), f"{size:,} records", console=Console(stderr=True)):
            drawn = [
                record_keys.draw(keyring, "bench.example", random_bytes(16), _FIELDS, minute, State.IN_REVIEW)[0]
                for _ in range(min(_FILL, size - place))
            ]
            with writing(self._engine) as connection:
                records.add_rows(connection, [one.record.values(keyring) for one in drawn])

    def rotate(self) -> float:
        """Return how long it took, in seconds."""
        begun = time.perf_counter()
        self._agent.call("keys.rotate", {"purpose": "kek", "sector": "", "from": 0})
        return time.perf_counter() - begun

    def rewrap(self) -> int:
        """Seal all anew; return how many keys that were."""
        told = list(batches(self._agent, BATCH))
        sealed, found = sum(int(one["sealed"]) for one in told), told[-1]
        if found["left"]:
            raise load.LoadError("keys are left under a former version")
        self._agent.call("keys.destroy", {"purpose": "kek", "version": found["version"] - 1, "sure": True})
        return sealed

    @contextmanager
    def memory(self) -> Iterator[dict[int, int]]:
        """Yield the largest memory of the holder `names` and of each rewrapper meanwhile, by process, in bytes."""
        names, peaks, over = holders(self._server)["names"], dict[int, int](), threading.Event()

        def watch() -> None:
            while not over.wait(_LOOK_SECONDS):
                for pid in (names, *_named(rewrapper.NAME)):
                    peaks[pid] = max(peaks.get(pid, 0), _peak_bytes(pid))

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield peaks
        finally:
            over.set()
            thread.join()

    @contextmanager
    def rewrapping(self) -> Iterator[None]:
        """Rotate and seal anew again and again meanwhile."""
        over, failed = threading.Event(), []

        def run() -> None:
            try:
                while not over.is_set():
                    self.rotate()
                    self.rewrap()
            except Exception as error:  # noqa: BLE001 - told by the thread that waits
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if failed:
            raise failed[0]


def _named(name: str) -> list[int]:
    """Return the processes that show a name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if (folder / "comm").read_text().strip() == name:
                found.append(int(folder.name))
    return found


def _peak_bytes(pid: int) -> int:
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].partition("kB")[0] or 0)
    return 0


def at_size(keys: Keys, size: int) -> dict[str, Any]:
    """Return the figures of one size."""
    keys.fill(size)
    rotated = keys.rotate()
    with keys.memory() as peaks:
        begun = time.perf_counter()
        sealed = keys.rewrap()
        seconds = time.perf_counter() - begun
    return {
        "records": size, "keys": sealed, "rotate_seconds": rotated, "seconds": seconds,
        "keys_per_second": sealed / seconds, "peak_bytes": sum(peaks.values()), "processes": len(peaks),
    }  # fmt: skip


def beside(vault: Vault, keys: Keys, folder: Path, seconds: int, rounds: int) -> dict[str, Any]:
    """Return what introspections lose."""
    target, alone, together = vault.introspection(1), [], []
    load.run(target, seconds, folder)
    for _ in range(rounds):
        alone.append(load.run(target, seconds, folder).per_second)
        with keys.rewrapping():
            together.append(load.run(target, seconds, folder).per_second)
    ratio = statistics.median(b / a for a, b in zip(alone, together, strict=True))
    return {"introspect_alone": alone, "introspect_beside": together, "ratio": ratio}


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title=f"keys sealed anew, {found['database']}")
    for title in ("records", "rotate ms", "keys", "seconds", "keys/s", "peak MiB"):
        table.add_column(title, justify="right")
    for one in found["sizes"]:
        table.add_row(
            f"{one['records']:,}", f"{one['rotate_seconds'] * 1000:.1f}", f"{one['keys']:,}", f"{one['seconds']:.1f}",
            f"{one['keys_per_second']:,.0f}", f"{one['peak_bytes'] / 2**20:,.0f}",
        )  # fmt: skip
    console = Console(width=130)
    console.print(table)
    console.print(f"beside it introspections have {found['beside']['ratio']:.2f} of their rate alone")


@click.command()
@click.option("--database", default="postgresql", show_default=True, type=click.Choice(["postgresql", "sqlite"]))
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(1),
    default=(5_000, 50_000, 500_000),
    show_default=True,
    help="Records; each has two keys.",
)
@click.option("--seconds", default=5, show_default=True, help="Length of each load.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the figures go; default: bench/results.")
def main(database: str, sizes: tuple[int, ...], seconds: int, rounds: int, file: Path | None) -> None:
    """Measure how fast keys are sealed anew at several sizes, and beside introspections."""
    load.check_installed()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        folder = Path(name)
        with cluster_of(folder, database) as cluster, served_vault(folder, cluster) as vault:
            keys = Keys(vault)
            at = [at_size(keys, size) for size in sorted(sizes)]
            cost = beside(vault, keys, folder, seconds, rounds)
    found = {"database": database, "sizes": at, "beside": cost}
    show(found)
    file = file or RESULTS / time.strftime("rewrapping-%Y%m%d-%H%M%S.json")
    file.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    click.echo(f"figures: {file}", err=True)


if __name__ == "__main__":
    main()
