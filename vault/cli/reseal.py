"""idvault reseal: what `idvault-keys rewrap --deep` has done in the identity store."""

import sys
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vault.cli.common import json_option, open_vault, show

EXIT_LEFT: Final = 1
EXIT_BAD: Final = 4


@click.command()
@json_option
def reseal(*, as_json: bool) -> None:
    """Seal all records' fields anew under other keys of their own, once `idvault-keys rewrap --deep` was approved.

    That command says this one by itself where it may read the identity store. Beside the traffic; it may be killed and
    said again, and goes on with what is left. Exit code 1 while something is left, 4 where records were altered.
    """
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with open_vault() as vault, Progress(*columns, console=console, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task("sealing anew", total=None)
        done = vault.deepening.run(lambda made: bar.update(task, description=f"{made:,} records sealed anew"))
    show({"sealed": done.sealed, "left": done.left, "altered": done.altered}, as_json=as_json)
    if done.left or done.altered:
        sys.exit(EXIT_BAD if done.altered else EXIT_LEFT)
