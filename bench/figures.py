"""Figures of rounds: medians, spread, and the ratio pair by pair. Shown as a table, kept as JSON, read back."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

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
    def title(self) -> str:
        """What is compared with what."""
        return f"{self.name} / {self.floor_name}"

    @property
    def ratio(self) -> float:
        """The median of our rate by the floor's, taken within each round."""
        return statistics.median(self.ratios)

    @property
    def ratios(self) -> list[float]:
        """Our rate by the floor's of each round."""
        return [ours.per_second / floor.per_second for ours, floor in zip(self.ours, self.floor, strict=True)]

    @property
    def p99_ratios(self) -> list[float]:
        """Our 99th percentile by the floor's of each round: less is better."""
        return [ours.p99_us / floor.p99_us for ours, floor in zip(self.ours, self.floor, strict=True)]

    def plain(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "name": self.name,
            "floor_name": self.floor_name,
            "ratio": self.ratio,
            "p99_ratio": statistics.median(self.p99_ratios),
            "ours": [asdict(sample) for sample in self.ours],
            "floor": [asdict(sample) for sample in self.floor],
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """Return a measure from plain values."""
        ours, floor = ([Sample(**sample) for sample in plain[side]] for side in ("ours", "floor"))
        return cls(plain["name"], plain["floor_name"], ours, floor)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the bench: under what conditions, and what was found. `pss_bytes` is the vault's memory at rest."""

    database: str
    seconds: int
    rounds: int
    pss_bytes: int
    measures: Sequence[Measure]

    def write(self, file: Path) -> None:
        """Write all samples as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        value = {**_conditions(self), "measures": [measure.plain() for measure in self.measures]}
        file.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return a run that was written."""
        value = orjson.loads(file.read_bytes())
        measures = [Measure.of(plain) for plain in value.pop("measures")]
        return cls(**value, measures=measures)


def _conditions(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.__slots__ if name != "measures"}


def alternate(
    name: str, floor_name: str, rounds: int, floor: Callable[[], Sample], ours: Callable[[], Sample]
) -> Measure:
    """Measure floor and ours in turn, after a warm-up round that is not counted."""
    pairs = [(floor(), ours()) for _ in range(rounds + 1)][1:]
    return Measure(name, floor_name, [pair[1] for pair in pairs], [pair[0] for pair in pairs])


def show(run: Run) -> None:
    """Print the table."""
    table = Table("measure", "", title=f"{run.database}: medians of {run.rounds} rounds (min-max)")
    console = Console(width=130)
    for title in ("a second", "p50 ms", "p99 ms", "ratio", "p99 ratio"):
        table.add_column(title, justify="right")
    for measure in run.measures:
        ratios = spread(measure.ratios, 2), spread(measure.p99_ratios, 2)
        table.add_row(measure.name, "vault", *cells(measure.ours), *ratios)
        table.add_row("", measure.floor_name, *cells(measure.floor), "", "", end_section=True)
    console.print(table)
    console.print(f"memory at rest, two workers and agent: {run.pss_bytes / 2**20:.0f} MiB PSS")


def cells(samples: Sequence[Sample]) -> list[str]:
    """Return rate, p50 and p99 of samples as a table shows them."""
    return [
        spread([sample.per_second for sample in samples], 0),
        f"{statistics.median(sample.p50_us for sample in samples) / 1000:,.2f}",
        f"{statistics.median(sample.p99_us for sample in samples) / 1000:,.2f}",
    ]


def spread(values: Sequence[float], digits: int) -> str:
    """Return the median with the least and the greatest."""
    median, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low}-{high})"
