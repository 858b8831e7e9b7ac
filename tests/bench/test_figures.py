"""What the bench's own arithmetic says: ratios, the comparison with the recorded run, what the documentation shows."""

import os
from dataclasses import replace
from pathlib import Path

import click
import pytest

from bench import baseline, memory, report
from bench.figures import Measure, Run
from bench.load import Sample


def measure(name: str, *rates: float) -> Measure:
    floor = [Sample(100, 1_000, 4_000)] * len(rates)
    return Measure(name, "floor /read", [Sample(rate, 2_000, 8_000) for rate in rates], floor)


def run(*measures: Measure) -> Run:
    return Run("postgresql", 1, len(measures[0].ours), 200 * 2**20, measures)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    one = measure("introspect", 50, 90, 400)
    assert (one.ratio, one.ratios, one.p99_ratios) == (0.9, [0.5, 0.9, 4.0], [2.0, 2.0, 2.0])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    made = run(measure("introspect", 90, 95), measure("register", 10, 12))
    made.write(tmp_path / "run.json")
    assert Run.read(tmp_path / "run.json") == replace(made, measures=list(made.measures))


@pytest.mark.parametrize(("rate", "told"), [(90.1, []), (89.9, ["introspect / floor /read: 0.90, recorded 1.00"])])
def test_a_ratio_that_fell_by_more_than_a_tenth_is_named(rate: float, told: list[str]) -> None:
    assert baseline.fallen(run(measure("introspect", 100)), run(measure("introspect", rate))) == told


def test_a_ratio_that_is_measured_no_more_is_named() -> None:
    recorded = run(measure("introspect", 100), measure("register", 10))
    assert baseline.fallen(recorded, run(measure("introspect", 100))) == ["register / floor /read: not measured"]


def test_the_check_fails_on_a_fall_and_on_another_database(tmp_path: Path) -> None:
    file, recorded = tmp_path / "baseline.json", run(measure("introspect", 100), measure("register", 10))
    recorded.write(file)
    baseline.compare(recorded, file)
    slower = run(measure("introspect", 50), measure("register", 5))
    with pytest.raises(click.ClickException, match="2 of 2 ratios fell"):
        baseline.compare(slower, file)
    with pytest.raises(click.ClickException, match="no run on sqlite is recorded"):
        baseline.compare(replace(recorded, database="sqlite"), file)


def test_the_documentation_shows_the_recorded_run_or_that_there_is_none() -> None:
    recorded, text = baseline.recorded_run(), report.PAGE.read_text()
    assert report.page(recorded, text) == text
    for name, drawn in ({} if recorded is None else report.plots(recorded)).items():
        assert (report.PLOTS / name).read_bytes() == drawn


def test_a_report_is_the_same_twice_and_names_what_was_measured() -> None:
    made = run(measure("introspect", 90, 95, 100), measure("register", 10, 12, 14))
    assert report.plots(made) == report.plots(made)
    assert b"register / floor /read" in report.ratios(made)
    shown = report.page(made, "before\n" + report.BEGIN + "old\n" + report.END + "after\n")
    assert "| introspect | 95 (90-100) |" in shown
    assert "old" not in shown
    assert shown.startswith("before\n")
    assert shown.endswith("after\n")


def test_memory_counts_each_process_and_none_that_is_gone() -> None:
    own = memory.pss_bytes([os.getpid()])
    assert own > 10 * 2**20
    assert memory.pss_bytes([2**22 + 1]) == 0
