"""Tables and plots of the recorded run: what docs/performance.md shows is what `bench/baseline.json` holds.

`python -m bench.report` writes them; the same run gives the same bytes.
"""

import io
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click
import matplotlib as mpl

from bench import baseline
from bench.figures import Measure, Run, cells, spread

mpl.use("svg")
from matplotlib import pyplot as plt

PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
PLOTS: Final = PAGE.parent / "figures"
BEGIN, END = "<!-- begin: bench/report.py -->\n", "<!-- end -->\n"
NONE: Final = "No run on a quiet machine is recorded yet.\n"
PICTURES: Final = """
![Ratios of rates](figures/bench-ratios.svg)

![Ratios of 99th percentiles](figures/bench-p99.svg)
"""
_HEAD: Final = (
    "measure", "vault, a second", "p50 ms", "p99 ms", "beside", "a second", "p50 ms", "p99 ms", "ratio", "p99 ratio",
)  # fmt: skip
_OURS, _BESIDE = "#1f5f8b", "#b9c4cc"


def table(run: Run) -> str:
    """Return the run as a table, with a line that says under what conditions it was made."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    for measure in run.measures:
        ratios = spread(measure.ratios, 2), spread(measure.p99_ratios, 2)
        row = measure.name, *cells(measure.ours), measure.floor_name, *cells(measure.floor), *ratios
        lines.append("| " + " | ".join(row) + " |")
    database = {"postgresql": "PostgreSQL 18", "sqlite": "SQLite"}[run.database]
    told = (
        f"{database}, {run.rounds} rounds of {run.seconds} seconds. "
        f"Memory at rest: {run.pss_bytes / 2**20:.0f} MiB PSS (two workers, agent, main process)."
    )
    return "\n".join([told, "", *lines, ""])


def ratios(run: Run) -> bytes:
    """Return a plot of all ratios of rates, beside what each is compared with."""
    return _drawn(run.measures, "vault's rate by the other's: median, least, greatest", lambda one: one.ratios)


def tails(run: Run) -> bytes:
    """Return a plot of the ratios of 99th percentiles: what is left of the line answers sooner."""
    return _drawn(run.measures, "vault's p99 by the other's: median, least, greatest", lambda one: one.p99_ratios)


def _drawn(measures: Sequence[Measure], title: str, of: Callable[[Measure], Sequence[float]]) -> bytes:
    with mpl.rc_context():
        mpl.rc("svg", hashsalt="idvault", fonttype="none")  # a salt of its own: else each run draws other ids
        mpl.rc("font", size=9)
        mpl.rc("axes.spines", top=False, right=False)
        figure, axes = plt.subplots(figsize=(8, 0.34 * len(measures) + 1))
        places = range(len(measures), 0, -1)
        for place, measure in zip(places, measures, strict=True):
            values = of(measure)
            middle, most = statistics.median(values), max(values)
            axes.barh(place, middle, color=_OURS, height=0.55)
            axes.plot([min(values), most], [place, place], color="black", linewidth=1)
            axes.text(most * 1.06, place, f"{middle:.2f}", va="center")
        axes.set_yticks(list(places), [measure.title for measure in measures])
        axes.set_xscale("log")
        axes.axvline(1, color=_BESIDE, linewidth=1.5, zorder=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_title(title, loc="left", fontsize=9)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    # The library ends lines with spaces here and there.
    return b"\n".join(line.rstrip() for line in drawn.getvalue().splitlines()) + b"\n"


def page(run: Run | None, text: str) -> str:
    """Return the page with the table of a run, and its plots, between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = NONE if run is None else table(run) + PICTURES
    return before + BEGIN + shown + END + after


def plots(run: Run) -> dict[str, bytes]:
    """Return the plots of a run by the names of their files."""
    return {"bench-ratios.svg": ratios(run), "bench-p99.svg": tails(run)}


@click.command()
def main() -> None:
    """Write the table into docs/performance.md and the plots beside it."""
    run = baseline.recorded_run()
    PAGE.write_text(page(run, PAGE.read_text()))
    PLOTS.mkdir(exist_ok=True)
    if run is None:
        raise click.ClickException(f"no run is recorded in {baseline.FILE.name}")
    for name, drawn in plots(run).items():
        (PLOTS / name).write_bytes(drawn)
        click.echo(f"wrote docs/figures/{name}", err=True)


if __name__ == "__main__":
    main()
