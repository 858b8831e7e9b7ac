"""The recorded run that later ones are held against: `bench/baseline.json`.

    python -m bench.baseline check FILE     names each ratio that fell by more than a tenth; exit code 1 if there is one
    python -m bench.baseline record FILE    makes a run the recorded one

Only ratios are compared: a rate says as much of the machine and its neighbours as of the code.
"""

from pathlib import Path
from typing import Final

import click

from bench.figures import Run

FILE: Final = Path(__file__).with_name("baseline.json")
FALL: Final = 0.1
"""How much of a ratio may be lost before it counts."""


def fallen(recorded: Run, found: Run) -> list[str]:
    """Name each ratio of a run that is missing, or fell by more than `FALL` below the recorded one."""
    ratios = {measure.title: measure.ratio for measure in found.measures}
    told = []
    for measure in recorded.measures:
        ratio = ratios.get(measure.title)
        if ratio is None:
            told.append(f"{measure.title}: not measured")
        elif ratio < measure.ratio * (1 - FALL):
            told.append(f"{measure.title}: {ratio:.2f}, recorded {measure.ratio:.2f}")
    return told


def recorded_run(file: Path = FILE) -> Run | None:
    """Return the recorded run, if there is one yet."""
    return Run.read(file) if file.exists() else None


def compare(found: Run, file: Path = FILE) -> None:
    """Hold a run against the recorded one and print what fell.

    Raises:
        ClickException: there is no recorded run of this database, or a ratio fell.
    """
    recorded = recorded_run(file)
    if recorded is None or recorded.database != found.database:
        raise click.ClickException(f"no run on {found.database} is recorded in {file.name}")
    told = fallen(recorded, found)
    for line in told:
        click.echo(f"fell by more than a tenth: {line}")
    if told:
        raise click.ClickException(f"{len(told)} of {len(recorded.measures)} ratios fell")
    click.echo(f"all {len(recorded.measures)} ratios hold", err=True)


@click.group()
def main() -> None:
    """Hold runs of the bench against the recorded one."""


@main.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
def check(file: Path) -> None:
    """Name each ratio of a run that fell by more than a tenth."""
    compare(Run.read(file))


@main.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
def record(file: Path) -> None:
    """Make a run the recorded one; then render the documentation with `python -m bench.report`."""
    Run.read(file).write(FILE)


if __name__ == "__main__":
    main()
