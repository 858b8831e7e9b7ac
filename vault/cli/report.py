"""idvault report …"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import rfc8785
from rich.console import Console
from rich.table import Table

from vault.cli.charts import bars
from vault.cli.common import json_option
from vault.cli.log import own_log, read_from, verified
from vault.domain.errors import InvalidFieldError
from vault.domain.transparency import SMALLEST_CELL, Period
from vault.domain.transparency import report as made_of
from vault.errors import StartError

_HIDDEN: Final = f"under {SMALLEST_CELL}"
_TITLES: Final = {
    "by_rung": "Sanctions by rung", "by_ground": "Sanctions by ground", "by_automated": "Sanctions by automation",
    "by_source": "Sanctions by source", "by_reason": "Sanctions lifted by reason", "by_outcome": "Reviews by outcome",
}  # fmt: skip


class _PeriodType(click.ParamType[Period]):
    name = "period"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Period:  # noqa: ANN401
        """Return the period of its name."""
        try:
            return Period.parse(value)
        except InvalidFieldError as error:
            self.fail(error.rule, param, ctx)


@click.group()
def report() -> None:
    """Print what the law asks a service to publish, or to keep."""


@report.command()
@click.argument("period", type=_PeriodType())
@click.option("--from", "where", help="A folder that mirrors a log, an export, or a URL; without it this vault's own.")
@click.option("--key", help="The log's public key; needed with --from, and known from elsewhere than the log.")
@click.option(
    "--plots", type=click.Path(file_okay=False, path_type=Path), help="Draw each breakdown into this folder, as SVG."
)
@json_option
def transparency(period: Period, where: str | None, key: str | None, plots: Path | None, *, as_json: bool) -> None:
    """Count the acts of PERIOD, a year, quarter, month or day: 2026, 2026-Q4, 2026-11, 2026-11-25.

    The report is made of the public log alone and names the checkpoint; with --from, a stranger's copy of the log is
    verified from its first entry and gives the same bytes. A count from 1 to 4 is not shown. Rungs, grounds and
    outcomes are told once a month, when it is over; a leaf of the log says none of them.
    """
    found = _own(period) if where is None else _recomputed(period, where, key, quiet=as_json)
    if plots is not None:
        _draw(found, plots)
    if as_json:
        click.echo(rfc8785.dumps(found).decode())
        return
    _show(found)


def _own(period: Period) -> dict[str, Any]:
    with own_log() as vault:
        return vault.reporting.transparency(period)


def _recomputed(period: Period, where: str, key: str | None, *, quiet: bool) -> dict[str, Any]:
    if key is None:
        raise StartError("--key: the public key of the log is needed; idvault log checkpoint prints it")
    with read_from(where) as read:
        found = verified(read, key, quiet=quiet)
    head = found.head
    return made_of(period, head.origin, head.size, head.root, found.days, found.tallies, max(found.tallies, default=""))


def _show(found: Mapping[str, Any]) -> None:
    console, checkpoint = Console(), found["checkpoint"]
    console.print(f"{found['period']}: {found['from']} to {found['to']}", highlight=False)
    console.print(f"from {checkpoint['origin']}, {checkpoint['size']} entries", highlight=False, soft_wrap=True)
    _table(console, "Acts", found["acts"])
    console.print(f"Attempts refused: {_shown(found['refused_attempts'])}", highlight=False)
    for month in found["months"]:
        console.print(f"\n{month['month']}, entry {month['entry']} of the log", highlight=False)
        for title, cells in _breakdowns(month):
            _table(console, title, cells)
        minutes = month["reviews"]["median_minutes_to_publish"]
        console.print(f"Minutes to publish, median: {_shown(minutes)}", highlight=False)
    if not found["closed"]:
        click.echo("idvault: rungs, grounds and outcomes are told when the month is over", err=True)


def _breakdowns(month: Mapping[str, Any]) -> list[tuple[str, Mapping[str, int | None]]]:
    parts = {**month["sanctions"], **month["reversals"], **month["reviews"]}
    return [(title, parts[name]) for name, title in _TITLES.items() if name in parts]


def _table(console: Console, title: str, cells: Mapping[str, int | None]) -> None:
    table = Table(title, "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, count in cells.items():
        table.add_row(name, _shown(count))
    console.print(table)


def _shown(count: int | None) -> str:
    return _HIDDEN if count is None else str(count)


def _draw(found: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{found['period']}-acts.svg").write_bytes(bars(f"Acts, {found['period']}", found["acts"]))
    for month in found["months"]:
        for title, cells in _breakdowns(month):
            name = title.lower().replace(" ", "-")
            (folder / f"{month['month']}-{name}.svg").write_bytes(bars(f"{title}, {month['month']}", cells))
