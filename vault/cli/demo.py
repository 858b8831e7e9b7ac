"""idvault demo"""

import sys
from typing import Final

import click
import orjson
from rich.console import Console
from rich.table import Table

from keys.agent.settings import EMBEDDED
from vault.cli.common import json_option
from vault.demo.stage import staged
from vault.demo.story import DemoError, Scene, Story, facts

_COLUMNS: Final = ("Chat", "Blog", "Rita", "Person")
_STRANGERS: Final = ("Impostor", "Returner", "Thief")
_EXIT_VERIFICATION_FAILED: Final = 4


@click.command()
@json_option
def demo(*, as_json: bool) -> None:
    """Play the whole story on specimen people in a vault of its own, and print what each party saw.

    Two providers, a vault reviewer, a person, an impostor, a returner, and a thief with all four stores. Every claim is
    checked while it is told; exit code 4 if one does not hold. Nothing is left behind.
    """
    console = Console(stderr=as_json)
    console.print(f"A fresh vault with the development seal; {EMBEDDED}.", style="dim")
    with staged() as stage:
        story, scenes = Story(stage), []
        try:
            for scene in story.play():
                scenes.append(scene)
                if not as_json:
                    _print(console, len(scenes), scene)
        except DemoError as error:
            click.echo(f"idvault: the demonstration failed: {error}", err=True)
            sys.exit(_EXIT_VERIFICATION_FAILED)
    if as_json:
        told = [{"title": scene.title, "seen": dict(scene.seen)} for scene in scenes]
        click.echo(orjson.dumps({"scenes": told, "thief": facts(story.loot)}).decode())


def _print(console: Console, number: int, scene: Scene) -> None:
    table = Table(title=f"{number}. {scene.title}", title_justify="left", title_style="bold", expand=True)
    names = [name for name in (*_STRANGERS, *_COLUMNS) if name in scene.seen]
    for name in names:
        table.add_column(name, ratio=1)
    table.add_row(*(scene.seen[name] for name in names))
    console.print(table)
