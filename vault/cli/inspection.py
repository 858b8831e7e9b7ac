"""idvault fsck, idvault openapi"""

import sys
from typing import Final

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from vault.cli.common import json_option, open_vault
from vault.services.checking import PARTS, Report

EXIT_VERIFICATION_FAILED: Final = 4


@click.command()
@click.option(
    "--grace-minutes", type=click.IntRange(0), default=10, show_default=True,
    help="Leave registrations younger than this to the request that may still be writing them.",
)  # fmt: skip
@json_option
def fsck(grace_minutes: int, *, as_json: bool) -> None:
    """Finish what a crash left open, then check link, map, tag and MAC of every row of every store.

    Names each bad row by its id. Exit code 4 if anything was found. Safe to run beside a serving vault.
    """
    console = Console(stderr=True)
    with open_vault() as vault, Progress(console=console, disable=as_json or not console.is_terminal) as bars:
        tasks = {name: bars.add_task(name, total=None) for name in PARTS}
        report = vault.checking.run(lambda name, done: bars.update(tasks[name], completed=done),
                                    grace_minutes=grace_minutes)  # fmt: skip
    _print(report, as_json=as_json)
    if not report.clean:
        sys.exit(EXIT_VERIFICATION_FAILED)


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(report.as_json()).decode())
        return
    for name, rows in report.checked.items():
        click.echo(f"{name:<20} {rows:>10} rows")
    click.echo(f"{'acts finished':<20} {report.finished:>10}")
    click.echo(f"{'acts waiting':<20} {report.waiting:>10}")
    for finding in report.findings:
        click.echo(f"BAD  {finding['row']}: {finding['rule']}")
    click.echo("clean" if report.clean else f"{len(report.findings)} findings")


@click.command()
@json_option
def openapi(*, as_json: bool) -> None:
    """Print the HTTP API's OpenAPI document, generated from the code.

    It is JSON in any case: with --json in one line, else indented for people.
    """
    with open_vault() as vault:
        # Here alone: it imports the web framework, which no other command needs.
        from vault.web.app import create_app  # noqa: PLC0415

        document = create_app(vault).test_client().get("/openapi.json").json
    click.echo(orjson.dumps(document, option=None if as_json else orjson.OPT_INDENT_2).decode())
