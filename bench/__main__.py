"""`python -m bench`: the vault beside the floor program and beside OpenBao, measured in turn in one run."""

import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from bench import baseline, floors, load, memory, openbao, sockets
from bench.figures import Measure, Run, alternate, show
from bench.floors import Floor
from bench.load import BATCH_CONNECTIONS, CONNECTIONS, MANY_CONNECTIONS, Sample, Target
from bench.openbao import OpenBao
from bench.served import (
    BATCH,
    EXCHANGED_TOGETHER,
    PEOPLE,
    REGISTERED_TOGETHER,
    Vault,
    cluster_of,
    served_vault,
)

RESULTS: Final = Path(__file__).with_name("results")
ECHO_SECONDS: Final = 1
PARTS: Final = ("introspections", "registrations", "changes", "batches", "acts")
_READ, _BATCH_READ, _WRITE = "floor /read", "floor /batch/read", "floor /write"
_DECRYPT, _BATCH_DECRYPT = "OpenBao decrypt", "OpenBao decrypt in batches"


class Bench:
    """The measures of one run, each with its own rounds."""

    def __init__(self, floor: Floor, vault: Vault, bao: OpenBao, folder: Path, seconds: int, rounds: int) -> None:
        self._floor, self._vault, self._bao = floor, vault, bao
        self._folder, self._seconds, self._rounds = folder, seconds, rounds

    def measures(self, parts: Collection[str]) -> Iterator[Measure]:
        """Measure these parts."""
        for part in PARTS:
            if part in parts:
                yield from getattr(self, f"_{part}")()

    def _beside(
        self, name: str, beside: str, floor: Callable[[], Sample], target: Callable[[], Target], items: int = 1
    ) -> Measure:
        click.echo(f"{name} beside {beside} …", err=True)
        return alternate(name, beside, self._rounds, floor, lambda: self._load(target()).times(items))

    def _load(self, target: Target) -> Sample:
        return load.run(target, self._seconds, self._folder)

    def _read(self) -> Sample:
        return self._load(Target(self._floor.url + "/read"))

    def _read_all(self) -> Sample:
        return self._load(Target(f"{self._floor.url}/batch/read/{BATCH}", connections=BATCH_CONNECTIONS)).times(BATCH)

    def _write(self, connections: int = CONNECTIONS) -> Sample:
        bodies, headers = self._vault.registrations(self._seconds).bodies, {"Content-Type": "application/json"}
        return self._load(Target(self._floor.url + "/write", "POST", bodies, headers, connections))

    def _beside_write(self, name: str, target: Callable[[], Target]) -> Iterator[Measure]:
        """Measure what writes a row and more for each request, with as many callers as all have, and with many."""
        yield self._beside(name, _WRITE, self._write, target)
        yield self._beside(
            f"{name}, {MANY_CONNECTIONS} callers", _WRITE, lambda: self._write(MANY_CONNECTIONS),
            lambda: replace(target(), connections=MANY_CONNECTIONS),
        )  # fmt: skip

    def _introspections(self) -> Iterator[Measure]:
        alone, many = self._vault.introspection(1), self._vault.introspection(PEOPLE)
        sealed = self._bao.decryption()
        yield self._beside("introspect, one person", _READ, self._read, lambda: alone)
        yield self._beside(f"introspect, {PEOPLE} people", _READ, self._read, lambda: many)
        yield self._beside(f"introspect, {PEOPLE} people", _DECRYPT, lambda: self._load(sealed), lambda: many)

    def _registrations(self) -> Iterator[Measure]:
        yield from self._beside_write("register", lambda: self._vault.registrations(self._seconds))
        yield self._beside(
            "register in batches", _WRITE, self._write,
            lambda: self._vault.batches_of_registrations(self._seconds), REGISTERED_TOGETHER,
        )  # fmt: skip

    def _changes(self) -> Iterator[Measure]:
        yield from self._beside_write("exchange, opening", self._vault.openings)
        yield from self._beside_write("exchange, redeeming", lambda: self._vault.redemptions(self._seconds))
        yield self._beside("sanction", _WRITE, self._write, self._vault.sanctions)

    def _batches(self) -> Iterator[Measure]:
        sealed = self._bao.batch(BATCH)
        introspections, translations = self._vault.batch("introspect"), self._vault.batch("translate")
        exchanges = self._vault.batch("exchange")
        yield self._beside("introspect in batches", _BATCH_READ, self._read_all, lambda: introspections, BATCH)
        yield self._beside(
            "introspect in batches", _BATCH_DECRYPT, lambda: self._load(sealed).times(BATCH), lambda: introspections,
            BATCH,
        )  # fmt: skip
        yield self._beside("translate in batches", _BATCH_READ, self._read_all, lambda: translations, BATCH)
        yield self._beside("exchange in batches", _WRITE, self._write, lambda: exchanges, EXCHANGED_TOGETHER)

    def _acts(self) -> Iterator[Measure]:
        click.echo("acts on the socket …", err=True)
        acts = sockets.Acts(self._vault.server.home, "bench.example")

        def commits() -> None:
            self._floor.write()
            self._floor.write()

        with sockets.echo() as echo:
            for name, beside, floor, act in (
                ("act hello", "bare echo", echo, acts.hello),
                ("acts create and create.done", "two bare commits", commits, acts.create),
            ):
                yield alternate(
                    name, beside, self._rounds,
                    lambda floor=floor: sockets.timed(floor, ECHO_SECONDS),  # type: ignore[misc]
                    lambda act=act: sockets.timed(act, ECHO_SECONDS),  # type: ignore[misc]
                )  # fmt: skip


def run(database: str, seconds: int, rounds: int, parts: Collection[str] = PARTS) -> Run:
    """Serve everything that is compared, and measure these parts of it."""
    RESULTS.mkdir(exist_ok=True)
    # On the disk of the working copy: a folder in memory would make durable commits free.
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        folder = Path(name)
        with (
            cluster_of(folder, database) as cluster,
            floors.served(folder, cluster) as floor,
            openbao.served(folder) as bao,
            served_vault(folder, cluster) as vault,
        ):
            pss = memory.pss_bytes(vault.server.processes())
            measures = list(Bench(floor, vault, bao, folder, seconds, rounds).measures(parts))
    return Run(database, seconds, rounds, pss, measures)


@click.command()
@click.option("--database", default="postgresql", show_default=True, type=click.Choice(["postgresql", "sqlite"]))
@click.option("--seconds", default=3, show_default=True, type=click.IntRange(1), help="Length of each load.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Pairs that are counted.")
@click.option(
    "--only", "parts", multiple=True, type=click.Choice(PARTS), help="Measure this part alone; may be said again."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the samples go; default: bench/results.")
@click.option("--check", is_flag=True, help="Fail where a ratio fell by more than a tenth below the recorded one.")
def main(database: str, seconds: int, rounds: int, parts: tuple[str, ...], file: Path | None, *, check: bool) -> None:
    """Measure the vault beside the floor and OpenBao in turn; print a table and write all samples as JSON."""
    load.check_installed()
    found = run(database, seconds, rounds, parts or PARTS)
    show(found)
    file = file or RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    found.write(file)
    click.echo(f"samples: {file}", err=True)
    if check:
        baseline.compare(found)


if __name__ == "__main__":
    main()
