"""`python -m bench`: the vault beside the floor program, measured in turn in one run."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from bench import figures, load, sockets
from bench.figures import Measure, alternate
from bench.load import Sample, Target
from bench.served import BATCH, EXCHANGED_TOGETHER, PEOPLE, REGISTERED_TOGETHER, Vault, served_floor, served_vault

RESULTS: Final = Path(__file__).with_name("results")
ECHO_SECONDS: Final = 1


@click.command()
@click.option("--seconds", default=3, show_default=True, type=click.IntRange(1), help="Length of each load.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Pairs that are counted.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where the samples go; default: bench/results.")
def main(seconds: int, rounds: int, file: Path | None) -> None:
    """Measure the vault and the floor program in turn; print a table and write all samples as JSON."""
    load.check_installed()
    RESULTS.mkdir(exist_ok=True)
    # On the disk of the working copy: a folder in memory would make durable commits free.
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        folder = Path(name)
        with served_floor(folder) as floor, served_vault(folder) as vault:
            measures = list(_measures(floor, vault, folder, seconds, rounds))
    figures.show(measures)
    file = file or RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    figures.write(measures, file, seconds, rounds)
    click.echo(f"samples: {file}", err=True)


def _measures(floor: str, vault: Vault, folder: Path, seconds: int, rounds: int) -> Iterator[Measure]:
    def read() -> Sample:
        return load.run(Target(floor + "/read"), seconds, folder)

    for people, name in ((1, "introspect, one person"), (PEOPLE, f"introspect, {PEOPLE} people")):
        click.echo(f"{name} …", err=True)
        target = vault.introspection(people)
        yield alternate(name, "floor /read", rounds, read, lambda target=target: load.run(target, seconds, folder))  # type: ignore[misc]

    def register() -> Sample:
        return load.run(vault.registrations(seconds), seconds, folder)

    def write() -> Sample:
        bodies = vault.registrations(seconds).bodies
        headers = {"Content-Type": "application/json"}
        return load.run(Target(floor + "/write", "POST", bodies, headers), seconds, folder)

    click.echo("registrations …", err=True)
    yield alternate("register", "floor /write", rounds, write, register)
    yield alternate(
        "batch register, items", "floor /write", rounds, write,
        lambda: load.run(vault.batches_of_registrations(seconds), seconds, folder).times(REGISTERED_TOGETHER),
    )  # fmt: skip
    for name, target_of in (
        ("exchange, opening", vault.openings),
        ("exchange, redeeming", lambda: vault.redemptions(seconds)),
        ("sanction", vault.sanctions),
    ):
        click.echo(f"{name} …", err=True)
        yield alternate(
            name, "floor /write", rounds, write,
            lambda target_of=target_of: load.run(target_of(), seconds, folder),  # type: ignore[misc]
        )  # fmt: skip
    for act, items in (("introspect", BATCH), ("translate", BATCH), ("exchange", EXCHANGED_TOGETHER)):
        click.echo(f"batch {act} …", err=True)
        target = vault.batch(act)
        yield alternate(
            f"batch {act}, items", "floor /read", rounds, read,
            lambda target=target, items=items: load.run(target, seconds, folder).times(items),  # type: ignore[misc]
        )  # fmt: skip
    yield from _acts(vault, folder, rounds)


def _acts(vault: Vault, folder: Path, rounds: int) -> Iterator[Measure]:
    click.echo("acts on the socket …", err=True)
    acts = sockets.Acts(vault.server.home, "bench.example")
    with sockets.echo() as echo, sockets.commits(folder) as commits:
        for name, floor_name, floor, act in (
            ("act hello", "bare echo", echo, acts.hello),
            ("acts create and create.done", "two bare commits", commits, acts.create),
        ):
            yield alternate(
                name, floor_name, rounds,
                lambda floor=floor: sockets.timed(floor, ECHO_SECONDS),  # type: ignore[misc]
                lambda act=act: sockets.timed(act, ECHO_SECONDS),  # type: ignore[misc]
            )  # fmt: skip


main()
