"""The rules of sanctions: from degree or reach to a rung, which rungs need an end, and when a rung was skipped.

A rung is asked for by name, or computed from a degree, or from the reach of what was published; the numbers of a reach
are looked at here and kept nowhere.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from vault.domain.clock import epoch, from_epoch, from_text
from vault.domain.errors import InvalidFieldError
from vault.domain.scopes import Rung

RUNGS: Final = ("warn", "limit_publish", "suspend_updates", "close")
DEGREES: Final = ("minor", "serious", "grave", "extreme")
DEFAULT_DEGREES: Final = dict(zip(DEGREES, RUNGS, strict=True))
DEFAULT_REACH_SERIOUS: Final = {"views": 5_000, "reposts": 500}
"""Supreme People's Court and Procuratorate, interpretation of 2013-09-06, article 2(1)."""
DEFAULT_DAYS: Final = {"limit_publish": 7, "suspend_updates": 30}
"""How long a rung runs that a degree led to, where no end was sent."""
MAX_YEARS: Final = 5
LIFT_REASONS: Final = ("appeal", "mistake", "served", "other")
MISTAKE: Final = "mistake"
_NEEDS_END: Final = frozenset((Rung.limit_publish, Rung.suspend_updates))
_ONE_OF: Final = "exactly one of rung, degree and reach"


@dataclass(frozen=True, slots=True)
class Measure:
    """What is to be set: a rung, its end in seconds since 1970 (None: no end), the degree that led to it."""

    rung: Rung
    until: int | None
    degree: str | None


def measure(
    body: Mapping[str, Any], policy: Mapping[str, Any], now: int, *, person: bool, ban_years_max: int
) -> Measure:
    """Return the measure that a request and the provider's policy lead to.

    Args:
        body: the members rung or degree or reach, until, ban_until, by, automated.
        policy: the provider's degrees, reach_serious and default_days.
        now: seconds since 1970.
        person: whether it is set on the person at this provider, not on one account.
        ban_years_max: how long a closed person is kept out where no `ban_until` was sent.

    Raises:
        InvalidFieldError: which member breaks which rule.
    """
    if sum(name in body for name in ("rung", "degree", "reach")) != 1:
        raise InvalidFieldError("/rung", _ONE_OF)
    degree = body.get("degree") or (degree_of(body["reach"], policy) if "reach" in body else None)
    rung = Rung[body["rung"]] if degree is None else rung_of(degree, policy)
    _check_close(body, rung)
    until = _end(body, rung, now)
    if until is None and rung in _NEEDS_END:
        if degree is None:
            raise InvalidFieldError("/until", "required for limit_publish and suspend_updates")
        days = {**DEFAULT_DAYS, **policy.get("default_days", {})}[rung.name]
        until = epoch(from_epoch(now) + timedelta(days=days))
    if until is None and rung is Rung.close and person:
        until = epoch(years_after(from_epoch(now), min(ban_years_max, MAX_YEARS)))
    return Measure(rung, until, degree)


def degree_of(reach: Mapping[str, int], policy: Mapping[str, Any]) -> str:
    """Return the degree of what was seen or reposted so often: serious from either number on."""
    serious = {**DEFAULT_REACH_SERIOUS, **policy.get("reach_serious", {})}
    return "serious" if any(reach.get(name, 0) >= serious[name] for name in DEFAULT_REACH_SERIOUS) else "minor"


def rung_of(degree: str, policy: Mapping[str, Any]) -> Rung:
    """Return the rung that a provider's policy gives a degree."""
    return Rung[{**DEFAULT_DEGREES, **policy.get("degrees", {})}[degree]]


def _check_close(body: Mapping[str, Any], rung: Rung) -> None:
    if rung is not Rung.close:
        return
    if "by" not in body:
        raise InvalidFieldError("/by", "required for close: the one who decided it")
    if body.get("automated") == "fully":
        raise InvalidFieldError("/automated", "close is not decided by a machine alone")


def _end(body: Mapping[str, Any], rung: Rung, now: int) -> int | None:
    name, refused = ("ban_until", "until") if rung is Rung.close else ("until", "ban_until")
    if refused in body:
        rule = "not for close, which takes ban_until" if rung is Rung.close else "for close alone"
        raise InvalidFieldError(f"/{refused}", rule)
    if name not in body:
        return None
    end = from_text(body[name], f"/{name}")
    if not now < epoch(end) <= epoch(years_after(from_epoch(now), MAX_YEARS)):
        raise InvalidFieldError(f"/{name}", f"in the future, at most {MAX_YEARS} years ahead")
    return epoch(end)


def years_after(time: datetime, years: int) -> datetime:
    """Return the same day and time so many years later; 29 February becomes 1 March."""
    try:
        return time.replace(year=time.year + years)
    except ValueError:
        return datetime(time.year + years, 3, 1, time.hour, time.minute, time.second, tzinfo=UTC)


def check_order(rung: Rung, history: Iterable[tuple[Rung, str | None]], reason: str | None) -> None:
    """Check that a rung does not skip ahead without a written reason.

    Args:
        rung: what is to be set.
        history: each earlier sanction of the same target, with the reason for which it was lifted.
        reason: what was written: the facts, or why the rung was skipped.

    Raises:
        InvalidFieldError: more than one above the strictest so far, and nothing was written.
    """
    strictest = max((earlier for earlier, lifted in history if lifted != MISTAKE), default=Rung.free)
    if rung > strictest + 1 and not (reason or "").strip():
        raise InvalidFieldError("/skip_reason", "a rung that skips ahead needs facts or a skip_reason")


def state_of(until: int | None, lifted: int | None, now: int) -> str:
    """Return running, ended or lifted."""
    if lifted is not None:
        return "lifted"
    return "running" if until is None or until > now else "ended"
