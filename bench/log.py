"""`python -m bench.log`: how fast the log takes rows, shows proofs and is verified, by size; and what it costs others.

At each size: rows from both outboxes to a signed checkpoint, proofs of random entries, a mirror and its verification.
Beside a load of introspections, in turn with and without rows that come in at a fixed rate: what these lose, and how
old the newest checkpoint is.
"""

import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import insert, select

from bench import load
from bench.served import Vault, cluster_of, served_vault
from keys import leaves, store
from keys.engine import open_engine, reading, writing
from keys.merkle import leaf_hash
from keys.primitives import random_bytes
from vault import config
from vault.log import sources, tiles
from vault.log.verify import head_of
from vault.services.sequencing import edge_of
from vault.stores import answers, log
from vault.stores.log import NewLeaf
from vault.stores.unit import Store
from vault.wiring import Vault as Services
from vault.wiring import build, build_sequencer

RESULTS: Final = Path(__file__).with_name("results")
RATE: Final = 5_000
"""Rows a second that are fed beside introspections."""
_CHANCE: Final = random.SystemRandom()
_FILL: Final = 10_000
_DRAINED: Final = 20_000
_ROUNDS: Final = 3
_PROOFS: Final = 1_000
_FEED_SECONDS: Final = 0.1
_LONGER: Final = 5
"""Seconds that rows are made for beyond the load's own."""
_DETAIL: Final = 160
"""Bytes of a sealed detail: about what sanctions and registrations have."""


class Log:
    """The log of a vault whose sequencer is this process."""

    def __init__(self, vault: Vault) -> None:
        self.settings = config.load(vault.server.environment)
        self.sequencer, self.store = build_sequencer(self.settings)
        self.vault = build(self.settings)
        self.keys = open_engine(self.settings.store_url("keys"), busy_seconds=5)
        with reading(self.keys) as connection:
            self.rids = list(connection.execute(select(store.record_key.c.rid)).scalars())

    def drain(self) -> float:
        """Drain what waits; return how long the longest round took."""
        longest = 0.0
        while True:
            started = time.perf_counter()
            added = self.sequencer.once()
            longest = max(longest, time.perf_counter() - started)
            if not added:
                return longest

    def feed(self, rows: int) -> None:
        """Put rows into both outboxes, as many into each, as acts of those who are registered."""
        minute, detail = int(time.time()) // 60, random_bytes(_DETAIL)
        of_keys = [
            {"id": random_bytes(16), "type": "review.opened", "minute": minute, "address": _CHANCE.choice(self.rids),
             "detail": detail}
            for _ in range(rows // 2)
        ]  # fmt: skip
        with writing(self.keys) as connection:
            connection.execute(insert(store.audit_outbox), of_keys)
        put(self.vault.stores["directory"], rows_of(self.vault, rows - rows // 2))

    def fill(self, size: int) -> None:
        """Make the log as large as that, with leaves as registrations have them; they are signed by the next round."""
        with self.store.reading() as unit:
            first = log.size(unit)
        edge = edge_of(self.store, first)
        minute, detail = int(time.time()) // 60, random_bytes(_DETAIL)
        for place in track(range(first, size, _FILL), f"{size:,} entries", console=Console(stderr=True)):
            count = min(_FILL, size - place)
            new = [NewLeaf(random_bytes(16), leaves.entry("registration.created", minute, []), detail)
                   for _ in range(count)]  # fmt: skip
            grown = tiles.grown(edge, place, [leaf_hash(one.entry) for one in new])
            with self.store.writing() as unit:
                log.append(unit, place, new, {(tile.level or 0, tile.number): held for tile, held in grown.items()})
                log.settled(unit)
        self.sequencer, _ = build_sequencer(self.settings)

    def proofs(self, size: int) -> list[float]:
        """Return how long proofs of random entries took, in milliseconds, from the least."""
        took = []
        for _ in range(_PROOFS):
            started = time.perf_counter()
            self.vault.log.proof(_CHANCE.randrange(size))
            took.append((time.perf_counter() - started) * 1000)
        return sorted(took)


def rows_of(vault: Services, count: int) -> list[dict[str, Any]]:
    """Return audit rows of the directory as sanctions write them, details sealed."""
    minute, made = int(time.time()) // 60, []
    for _ in range(count):
        audit_id = random_bytes(16)
        detail = vault.keys.seal_audit(audit_id, random_bytes(16))
        made.append(
            {"id": audit_id, "type": "sanction.set", "minute": minute, "address": b"cli_bench", "detail": detail}
        )
    return made


def put(store_: Store, rows: Sequence[dict[str, Any]]) -> None:
    """Put rows into the directory's outbox, as an act on many does."""
    with store_.writing() as unit:
        answers.audit_all(unit, rows)


def at_size(made: Log, size: int, folder: Path) -> dict[str, Any]:
    """Return the figures of a log of a size."""
    made.fill(size)
    made.drain()
    rates, rounds = [], []
    for _ in range(_ROUNDS):
        made.feed(_DRAINED)
        started = time.perf_counter()
        rounds.append(made.drain())
        rates.append(_DRAINED / (time.perf_counter() - started))
    took = made.proofs(size)
    mirror = folder / f"mirror-{size}"
    started = time.perf_counter()
    held, _ = sources.mirror(made.vault.log.read, mirror)
    mirrored = time.perf_counter() - started
    key = made.vault.log.signed_last()[0]
    seconds, peak = verified(mirror, key)
    return {
        "size": size, "rows_per_second": rates, "longest_round_seconds": max(rounds),
        "proof_p50_ms": took[len(took) // 2], "proof_p99_ms": took[len(took) * 99 // 100],
        "mirrored_per_second": held / mirrored, "verified_per_second": held / seconds, "verify_seconds": seconds,
        "verify_peak_bytes": peak,
    }  # fmt: skip


def verified(mirror: Path, key: str) -> tuple[float, int]:
    """Return how long the command takes to verify a mirror, start included, and the most memory it had in bytes."""
    command = [sys.executable, "-m", "vault.cli.main", "log", "verify", str(mirror), "--key", key, "--json"]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    took = time.perf_counter() - started
    return took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


@contextmanager
def fed(vault: Vault, rate: int, seconds: int) -> Iterator[list[float]]:
    """Have rows come in at a rate, for so long at most; the list that is given grows by the ages of the checkpoints.

    The rows are made beforehand: what it costs to make them is their acts' affair.
    """
    ending, ages = threading.Event(), list[float]()
    services = build(config.load(vault.server.environment))
    directory, read = services.stores["directory"], services.stores["log"]
    key = vault.server.json("log", "checkpoint")["key"]
    at_once = int(rate * _FEED_SECONDS)
    rows = rows_of(services, rate * (seconds + _LONGER))

    def work() -> None:
        with read.reading() as unit:
            base = log.size(unit)
        marks, due = list[tuple[int, float]](), time.monotonic()
        for place in range(0, len(rows), at_once):
            put(directory, rows[place : place + at_once])
            marks.append((base + place + at_once, time.monotonic()))
            with read.reading() as unit:
                newest = log.newest(unit)
            size = head_of(newest[1], key).size if newest else 0
            while marks and marks[0][0] <= size:
                marks.pop(0)
            ages.append(time.monotonic() - marks[0][1] if marks else 0.0)
            due += _FEED_SECONDS
            if ending.wait(max(0.0, due - time.monotonic())):
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield ages
    finally:
        ending.set()
        thread.join()


def beside(vault: Vault, folder: Path, seconds: int, rounds: int) -> dict[str, Any]:
    """Return what introspections lose while rows come in, and how old the newest checkpoint is meanwhile."""
    target, alone, together, ages = vault.introspection(200), [], [], list[float]()
    load.run(target, seconds, folder)
    for _ in range(rounds):
        alone.append(load.run(target, seconds, folder).per_second)
        with fed(vault, RATE, seconds) as seen:
            together.append(load.run(target, seconds, folder).per_second)
        ages += seen
        time.sleep(2)
    ages.sort()
    return {
        "rate": RATE, "introspect_alone": alone, "introspect_beside": together,
        "ratio": statistics.median(b / a for a, b in zip(alone, together, strict=True)),
        "checkpoint_age_p50_seconds": ages[len(ages) // 2], "checkpoint_age_max_seconds": ages[-1],
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console(width=130)
    table = Table(title=f"the log, {found['database']}")
    for title in ("entries", "rows/s", "longest round s", "proof p50 ms", "p99 ms", "mirrored/s", "verified/s",
                  "verified in s", "peak MiB"):  # fmt: skip
        table.add_column(title, justify="right")
    for one in found["sizes"]:
        table.add_row(
            f"{one['size']:,}", f"{statistics.median(one['rows_per_second']):,.0f}",
            f"{one['longest_round_seconds']:.2f}", f"{one['proof_p50_ms']:.2f}", f"{one['proof_p99_ms']:.2f}",
            f"{one['mirrored_per_second']:,.0f}", f"{one['verified_per_second']:,.0f}", f"{one['verify_seconds']:.1f}",
            f"{one['verify_peak_bytes'] / 2**20:,.0f}",
        )  # fmt: skip
    console.print(table)
    one = found["beside"]
    console.print(
        f"{one['rate']:,} rows/s beside introspections: these have {one['ratio']:.2f} of their rate alone;"
        f" checkpoint {one['checkpoint_age_p50_seconds']:.2f} s old, at most {one['checkpoint_age_max_seconds']:.2f} s"
    )


@click.command()
@click.option("--database", default="postgresql", show_default=True, type=click.Choice(["postgresql", "sqlite"]))
@click.option("--size", "sizes", multiple=True, type=click.IntRange(1), default=(10_000, 1_000_000), show_default=True)
@click.option("--seconds", default=5, show_default=True, help="Length of each load.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the figures go; default: bench/results.")
def main(database: str, sizes: tuple[int, ...], seconds: int, rounds: int, file: Path | None) -> None:
    """Measure the public log at several sizes, and beside introspections."""
    load.check_installed()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        folder = Path(name)
        with cluster_of(folder, database) as cluster:
            with served_vault(folder, cluster) as vault:
                cost = beside(vault, folder, seconds, rounds)
            with served_vault(folder / "own", cluster, sequencer="no") as vault:
                made = Log(vault)
                at = [at_size(made, size, folder) for size in sorted(sizes)]
    found = {"database": database, "sizes": at, "beside": cost}
    show(found)
    file = file or RESULTS / time.strftime("log-%Y%m%d-%H%M%S.json")
    file.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    click.echo(f"figures: {file}", err=True)


if __name__ == "__main__":
    main()
