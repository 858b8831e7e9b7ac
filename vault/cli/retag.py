"""idvault retag: everybody's tags and links under the next versions of their keys."""

import sys
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vault.cli.common import json_option, open_vault, show

EXIT_LEFT: Final = 1


@click.command()
@json_option
def retag(*, as_json: bool) -> None:
    """Make people's tags and links anew, after `idvault-keys rotate fingerprint` or `rotate link`.

    Beside the traffic: until it is done, tags of both versions are written and asked, so that nobody who is known, or
    banned, slips through. It may be killed and said again. Once nobody is left it ends the overlap, and deletes the
    tags of the former version, but for those by which a ban knows somebody whose record was erased: those are asked for
    as long as the former version is not destroyed. It says how many they are. Exit code 1 while somebody is left.
    """
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with open_vault() as vault, Progress(*columns, console=console, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task("looking", total=None)
        done = vault.retagging.run(lambda looked: bar.update(task, description=f"{looked:,} registrants looked at"))
    found = {"version": done.version, "retagged": done.retagged, "left": done.left,
             "ban_tags_of_former_versions": done.bans}  # fmt: skip
    show(found, as_json=as_json)
    if done.left:
        sys.exit(EXIT_LEFT)
