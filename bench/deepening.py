"""`python -m bench.deepening 20000`: records' fields under other keys, a vault that opens, introspections beside.

People are imported into a fresh vault. Then: how long it takes from `unseal` to the first answer; how many records a
second `idvault-keys rewrap --deep` seals anew; what introspections keep beside that, and beside backups, in turn with
and without.
"""

import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import httpx
import orjson

from bench import load
from bench.importing import RESULTS, Run, stores_of, write
from bench.served import Vault
from tests.http.test_backups import Place
from tests.serving import Server

_ROUNDS: Final = 3


def unsealed(vault: Vault) -> float:
    """Return the seconds from `unseal` to the first introspection that is answered, the sealing before not counted."""
    server, token = vault.server, vault.introspection(1).bodies[0].removeprefix("token=")
    server.json("keys", "seal")
    begun = time.monotonic()
    server.run("keys", "unseal")
    while True:
        try:
            if vault.provider.introspect(token)["active"]:
                return time.monotonic() - begun
        except (httpx.HTTPError, KeyError, AssertionError):
            time.sleep(0.01)


@contextmanager
def again_and_again(what: Callable[[], None]) -> Iterator[list[int]]:
    """Do something over and over meanwhile; yield how often it was done."""
    over, failed, done = threading.Event(), list[Exception](), [0]

    def run() -> None:
        try:
            while not over.is_set():
                what()
                done[0] += 1
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield done
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def kept(vault: Vault, folder: Path, seconds: int, what: Callable[[], None]) -> float:
    """Return which part of their rate introspections keep beside something."""
    target, ratios = vault.introspection(1), []
    load.run(target, seconds, folder)
    for _ in range(_ROUNDS):
        alone = load.run(target, seconds, folder).per_second
        with again_and_again(what):
            ratios.append(load.run(target, seconds, folder).per_second / alone)
    return statistics.median(ratios)


def _backup(place: Place, name: str) -> None:
    place.backup(name)


def measure(folder: Path, count: int, database: str, seconds: int) -> dict[str, Any]:
    """Return the figures of one size."""
    file = folder / "people.jsonl"
    write(file, count)
    with stores_of(folder, database):
        server = Server(folder / "home", IDVAULT_WORKERS=str(max(2, os.cpu_count() or 1)))
        server.start()
        try:
            vault = Vault(server)
            Run(server, file, []).whole(0, count)
            opened = statistics.median(unsealed(vault) for _ in range(_ROUNDS))
            begun = time.monotonic()
            sealed = server.json("keys", "rewrap", "--deep")["sealed"]
            took = time.monotonic() - begun
            beside_deep = kept(vault, folder, seconds, lambda: server.json("keys", "rewrap", "--deep"))
            place, numbers = Place(server, folder / "place"), itertools.count()
            beside_backup = kept(vault, folder, seconds, lambda: _backup(place, f"backup{next(numbers)}"))
        finally:
            server.stop()
    return {
        "people": count, "database": database, "unseal_to_first_answer_seconds": opened, "sealed": sealed,
        "deep_seconds": took, "deep_records_per_second": sealed / took, "introspect_beside_deep": beside_deep,
        "introspect_beside_backup": beside_backup,
    }  # fmt: skip


@click.command()
@click.argument("count", type=click.IntRange(100))
@click.option("--database", type=click.Choice(["postgresql", "sqlite"]), default="postgresql", show_default=True)
@click.option("--seconds", default=5, show_default=True, help="Length of each load.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where the figures go; default: bench/results.")
def main(count: int, database: str, seconds: int, target: Path | None) -> None:
    """Measure what `rewrap --deep`, unsealing and backups take in a vault of COUNT people."""
    load.check_installed()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        found = measure(Path(name), count, database, seconds)
    told = orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    click.echo(told.decode(), nl=False)
    (target or RESULTS / time.strftime("deepening-%Y%m%d-%H%M%S.json")).write_bytes(told)


if __name__ == "__main__":
    main()
