"""The transparency report: what the public log says of a period, and what each closed month was made of.

    {"v": 1, "period", "from", "to", "checkpoint": {origin, size, root}, "smallest_cell": 5,
     "acts": {type: count}, "refused_attempts": count, "months": [{"entry", …tally}], "closed": bool}

Guarantees: a pure function of the entries under one checkpoint, so that the same checkpoint gives the same bytes, to
the vault and to whoever has a mirror. A count from 1 to 4 is not shown but as null, here and in the log's own tallies.

A leaf says the type of an act and no more, so that nobody can be read from it. Which rungs, grounds and outcomes the
acts of a month had is therefore told once, in one leaf `report.tallied`, after the month is over.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from vault.domain.errors import InvalidFieldError

SMALLEST_CELL: Final = 5
"""Smaller counts are not shown. Statistical offices take 3 to 10; with 5 no cell stands for a handful of people."""
TALLIED: Final = "report.tallied"
REFUSED: Final = "attempt.refused"
OTHER: Final = "other"
MAX_CELLS: Final = 20
"""Cells of one breakdown, so that a tally fits its leaf; the rarest go together as `other`."""
MINUTES_A_DAY: Final = 24 * 60
_DAYS: Final = date(1970, 1, 1).toordinal()
_RULE: Final = "a year, quarter, month or day, such as 2026, 2026-Q4, 2026-11 or 2026-11-25"
_YEAR: Final = r"(19[7-9]\d|2\d{3})"
_QUARTER: Final = re.compile(_YEAR + r"-Q([1-4])", re.ASCII)
_PLAIN: Final = re.compile(_YEAR + r"(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)

Counts = Mapping[tuple[int, str], tuple[int, int]]
"""(day since 1970, type) → (leaves, how many attempts they say)."""
Cells = dict[str, int | None]


@dataclass(frozen=True, slots=True)
class Period:
    """Days from the first to the last, both of them in it."""

    name: str
    first: date
    last: date

    @classmethod
    def parse(cls, text: str, pointer: str = "/period") -> "Period":
        """Return the period of its name.

        Raises:
            InvalidFieldError: no such period.
        """
        quarter, plain = _QUARTER.fullmatch(text), _PLAIN.fullmatch(text)
        try:
            if quarter is not None:
                year, month = int(quarter[1]), 3 * int(quarter[2]) - 2
                return cls(text, date(year, month, 1), _before(_later(year, month, 3)))
            if plain is None:
                raise InvalidFieldError(pointer, _RULE)
            year = int(plain[1])
            if plain[2] is None:
                return cls(text, date(year, 1, 1), date(year, 12, 31))
            month = int(plain[2])
            if plain[3] is None:
                return cls(text, date(year, month, 1), _before(_later(year, month, 1)))
            only = date(year, month, int(plain[3]))
        except ValueError:
            raise InvalidFieldError(pointer, _RULE) from None
        return cls(text, only, only)

    @classmethod
    def month_of(cls, seconds: int) -> "Period":
        """Return the month of a time in seconds since 1970."""
        return cls.parse(datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m"))

    def following(self) -> "Period":
        """Return the month after this one."""
        return self.parse((self.last + timedelta(days=1)).strftime("%Y-%m"))

    @property
    def days(self) -> range:
        """Return its days since 1970."""
        return range(self.first.toordinal() - _DAYS, self.last.toordinal() - _DAYS + 1)

    @property
    def seconds(self) -> tuple[int, int]:
        """Return its first second since 1970, and the first after it."""
        return self.days.start * MINUTES_A_DAY * 60, self.days.stop * MINUTES_A_DAY * 60

    def months(self) -> list[str]:
        """Return the months that lie in it whole."""
        found, month = [], Period.parse(self.first.strftime("%Y-%m"))
        while month.last <= self.last:
            if month.first >= self.first:
                found.append(month.name)
            month = month.following()
        return found


def _later(year: int, month: int, months: int) -> date:
    ahead = year * 12 + month - 1 + months
    return date(ahead // 12, ahead % 12 + 1, 1)


def _before(day: date) -> date:
    return day - timedelta(days=1)


def day_of(minute: int) -> int:
    """Return the day since 1970 of a minute since 1970."""
    return minute // MINUTES_A_DAY


def shown(count: int) -> int | None:
    """Return a count as it is shown: None where it is small."""
    return None if 0 < count < SMALLEST_CELL else count


def cells(counts: Mapping[str, int]) -> Cells:
    """Return a breakdown as it is shown.

    Where one cell alone would be hidden, its neighbour is hidden too: else the sum would tell it.
    """
    ranked = sorted(counts.items(), key=lambda cell: (-cell[1], cell[0]))
    kept, rest = dict(ranked[: MAX_CELLS - 1]), sum(count for _, count in ranked[MAX_CELLS - 1 :])
    if rest:
        kept[OTHER] = kept.get(OTHER, 0) + rest
    made: Cells = {name: shown(count) for name, count in sorted(kept.items())}
    if list(made.values()).count(None) == 1:
        others = [name for name, count in made.items() if count]
        if others:
            made[min(others, key=lambda name: (kept[name], name))] = None
    return made


@dataclass(frozen=True, slots=True)
class Month:
    """What the acts of one month were made of, as the directory has them."""

    name: str
    sanctions: Mapping[str, Mapping[str, int]]
    """Sanctions set, by rung, ground, automated and source."""
    reversed: Mapping[str, int]
    """Sanctions lifted, by reason."""
    reviews: Mapping[str, int]
    """Reviews decided, by outcome."""
    minutes_to_publish: int | None
    """The median of those approved, from submission to decision; None where there is none."""

    def tally(self) -> dict[str, Any]:
        """Return the tally that the log holds for good."""
        set_, decided = sum(self.sanctions.get("rung", {}).values()), sum(self.reviews.values())
        approved = shown(self.reviews.get("approved", 0))
        return {
            "month": self.name,
            "smallest_cell": SMALLEST_CELL,
            "sanctions": {"total": shown(set_)} | {f"by_{name}": cells(of) for name, of in self.sanctions.items()},
            "reversals": {"total": shown(sum(self.reversed.values())), "by_reason": cells(self.reversed)},
            "reviews": {
                "total": shown(decided), "by_outcome": cells(self.reviews),
                "median_minutes_to_publish": self.minutes_to_publish if approved else None,
            },
        }  # fmt: skip


def report(
    period: Period, origin: str, size: int, root: bytes, counts: Counts, tallies: Mapping[str, tuple[int, Any]],
    tallied_until: str,
) -> dict[str, Any]:  # fmt: skip
    """Return the report of a period.

    Args:
        period: of which acts are counted.
        origin: of the log.
        size: of the checkpoint that the report is made from, in entries.
        root: of that checkpoint.
        counts: of the leaves under it.
        tallies: month → (number of its leaf, what it says), of those under it; at least those of the period.
        tallied_until: the last month that has a tally under it; empty if none has.
    """
    acts: dict[str, int] = {}
    refused = 0
    for (day, kind), (leaves, times) in counts.items():
        if day in period.days:
            acts[kind] = acts.get(kind, 0) + leaves
            refused += times
    months = [name for name in period.months() if name in tallies]
    return {
        "v": 1,
        "period": period.name,
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "checkpoint": {"origin": origin, "size": size, "root": root.hex()},
        "smallest_cell": SMALLEST_CELL,
        "acts": {kind: shown(count) for kind, count in sorted(acts.items())},
        "refused_attempts": shown(refused),
        "months": [tallies[name][1] | {"entry": tallies[name][0]} for name in months],
        "closed": tallied_until >= period.last.strftime("%Y-%m"),
    }
