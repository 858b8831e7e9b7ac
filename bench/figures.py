"""Figures of rounds: medians, spread, and the ratio pair by pair. Shown as a table, kept as JSON."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from bench.load import Sample


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: what is compared with what, and the samples of each round."""

    name: str
    floor_name: str
    ours: Sequence[Sample]
    floor: Sequence[Sample]

    @property
    def ratio(self) -> float:
        """The median of ours by floor, taken within each round."""
        return statistics.median(self.ratios)

    @property
    def ratios(self) -> list[float]:
        """Ours by floor of each round."""
        return [ours.per_second / floor.per_second for ours, floor in zip(self.ours, self.floor, strict=True)]

    def plain(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "name": self.name,
            "floor_name": self.floor_name,
            "ratio": self.ratio,
            "ratios": self.ratios,
            "ours": [asdict(sample) for sample in self.ours],
            "floor": [asdict(sample) for sample in self.floor],
        }


def alternate(
    name: str, floor_name: str, rounds: int, floor: Callable[[], Sample], ours: Callable[[], Sample]
) -> Measure:
    """Measure floor and ours in turn, after a warm-up round that is not counted."""
    pairs = [(floor(), ours()) for _ in range(rounds + 1)][1:]
    return Measure(name, floor_name, [pair[1] for pair in pairs], [pair[0] for pair in pairs])


def show(measures: Sequence[Measure]) -> None:
    """Print the table."""
    table = Table("measure", "", title="medians of all rounds (min-max)")
    console = Console(width=110)
    for title in ("a second", "p50 ms", "p99 ms", "ratio"):
        table.add_column(title, justify="right")
    for measure in measures:
        table.add_row(measure.name, "vault", *_cells(measure.ours), _spread(measure.ratios, 2))
        table.add_row("", measure.floor_name, *_cells(measure.floor), "", end_section=True)
    console.print(table)


def write(measures: Sequence[Measure], file: Path, seconds: int, rounds: int) -> None:
    """Write all samples."""
    file.parent.mkdir(parents=True, exist_ok=True)
    value = {"seconds": seconds, "rounds": rounds, "measures": [measure.plain() for measure in measures]}
    file.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _cells(samples: Sequence[Sample]) -> list[str]:
    return [
        _spread([sample.per_second for sample in samples], 0),
        f"{statistics.median(sample.p50_us for sample in samples) / 1000:,.2f}",
        f"{statistics.median(sample.p99_us for sample in samples) / 1000:,.2f}",
    ]


def _spread(values: Sequence[float], digits: int) -> str:
    median, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low}-{high})"
