"""The transparency report: periods, small cells, and a pure function of what the log says."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.domain.errors import InvalidFieldError
from vault.domain.transparency import MAX_CELLS, SMALLEST_CELL, Month, Period, cells, day_of, report, shown

RULE = "a year, quarter, month or day, such as 2026, 2026-Q4, 2026-11 or 2026-11-25"
COUNTS = st.dictionaries(st.text("abc_", min_size=1, max_size=6), st.integers(0, 50), max_size=40)


@pytest.mark.parametrize(
    ("name", "first", "last", "months"),
    [("2026", date(2026, 1, 1), date(2026, 12, 31), 12), ("2026-Q4", date(2026, 10, 1), date(2026, 12, 31), 3),
     ("2024-02", date(2024, 2, 1), date(2024, 2, 29), 1), ("2026-12", date(2026, 12, 1), date(2026, 12, 31), 1),
     ("2026-11-25", date(2026, 11, 25), date(2026, 11, 25), 0)],
)  # fmt: skip
def test_a_year_a_quarter_a_month_or_a_day_is_a_period(name: str, first: date, last: date, months: int) -> None:
    period = Period.parse(name)
    assert (period.name, period.first, period.last, len(period.months())) == (name, first, last, months)
    assert len(period.days) == (last - first).days + 1
    start, stop = period.seconds
    assert (stop - start) == len(period.days) * 86_400
    assert day_of(start // 60) == period.days.start


@pytest.mark.parametrize(
    "name", ["", "26", "2026-13", "2026-00", "2026-Q5", "2026-Q0", "2026-02-30", "2026-1", "2026-11-25T00", " 2026",
             "2026\n", "٢٠٢٦", "0000", "1969", "3000", "9999-12", "9999-Q4", "2026-11-"],
)  # fmt: skip
def test_what_is_no_period_is_refused_with_the_rule_alone(name: str) -> None:
    with pytest.raises(InvalidFieldError) as raised:
        Period.parse(name)
    assert (raised.value.pointer, raised.value.rule) == ("/period", RULE)


@given(COUNTS)
def test_no_cell_shows_a_small_count_and_none_can_be_told_from_the_sum(counts: dict[str, int]) -> None:
    made = cells(counts)
    assert all(count is None or count == 0 or count >= SMALLEST_CELL for count in made.values())
    assert len(made) <= MAX_CELLS
    hidden = [name for name, count in made.items() if count is None]
    told = sum(count for count in made.values() if count)
    if len(hidden) == 1:
        # A cell may stand alone where it is all there is: then the total is not shown either.
        assert shown(sum(counts.values())) is None
    assert told <= sum(counts.values())


def test_a_tally_fits_its_leaf_whatever_the_codes_are() -> None:
    from keys import leaves  # noqa: PLC0415 - the one test of this file that needs it

    ground = {f"{number:064}": 10**6 + number for number in range(500)}
    rungs = dict.fromkeys(("warn", "limit_publish", "suspend_updates", "close"), 10**9)
    codes = dict.fromkeys(("none", "partial", "full"), 10**9)
    month = Month("2026-11", {"rung": rungs, "ground": ground, "automated": codes, "source": codes},
                  {"appeal": 10**9}, {"approved": 10**9}, 10**9)  # fmt: skip
    assert len(leaves.entry("report.tallied", 30_000_000, [], {"tally": month.tally()})) <= leaves.MAX_BYTES


def test_a_report_counts_the_days_of_its_period_alone() -> None:
    period = Period.parse("2026-11")
    inside, outside = period.days.start, period.days.stop
    counts = {
        (inside, "sanction.set"): (7, 0), (inside + 3, "sanction.set"): (5, 0), (outside, "sanction.set"): (99, 0),
        (inside, "registration.erased"): (2, 0), (inside, "attempt.refused"): (5, 41),
    }  # fmt: skip
    tally = Month("2026-11", {"rung": {"warn": 12}}, {}, {"approved": 8}, 95).tally()
    made = report(period, "log.example", 120, bytes(32), counts, {"2026-11": (119, tally), "2026-10": (3, {})},
                  "2026-11")  # fmt: skip
    assert made["acts"] == {"attempt.refused": 5, "registration.erased": None, "sanction.set": 12}
    assert (made["refused_attempts"], made["closed"]) == (41, True)
    assert [(month["entry"], month["month"]) for month in made["months"]] == [(119, "2026-11")]
    assert made["months"][0]["reviews"]["median_minutes_to_publish"] == 95
    assert report(Period.parse("2026-12"), "o", 120, bytes(32), counts, {}, "2026-11")["closed"] is False
    assert report(Period.parse("2026-11-30"), "o", 120, bytes(32), counts, {}, "")["closed"] is False


def test_a_median_of_few_is_not_shown() -> None:
    assert Month("2026-11", {}, {}, {"approved": 4}, 95).tally()["reviews"]["median_minutes_to_publish"] is None
