"""The rules of sanctions (R-CN-06, R-CN-07, R-GDPR-06), for every request that the schema lets through."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.domain import sanctions
from vault.domain.clock import epoch, from_epoch, to_text
from vault.domain.errors import InvalidFieldError
from vault.domain.sanctions import DEGREES, LIFT_REASONS, RUNGS, check_order, measure, state_of, years_after
from vault.domain.scopes import Rung

NOW = epoch(datetime(2026, 11, 24, 3, tzinfo=UTC))
rungs = st.sampled_from(RUNGS)
degrees = st.dictionaries(st.sampled_from(DEGREES), rungs)
days = st.dictionaries(st.sampled_from(("limit_publish", "suspend_updates")), st.integers(1, 1825))
counts = st.integers(0, 10**15)
reaches = st.dictionaries(st.sampled_from(("views", "reposts")), counts, min_size=1)
policies = st.fixed_dictionaries({}, optional={
    "degrees": degrees, "default_days": days,
    "reach_serious": st.dictionaries(st.sampled_from(("views", "reposts")), st.integers(1, 10**9)),
})  # fmt: skip
ways = st.one_of(
    st.builds(lambda rung: {"rung": rung}, rungs),
    st.builds(lambda degree: {"degree": degree}, st.sampled_from(DEGREES)),
    st.builds(lambda reach: {"reach": reach}, reaches),
)
ends = st.integers(-(10**6), 6 * 366 * 86_400).map(lambda after: to_text(from_epoch(NOW + after)))
more = st.fixed_dictionaries({}, optional={
    "until": ends, "ban_until": ends, "by": st.just("mod-1"),
    "automated": st.sampled_from(("none", "partially", "fully")),
})  # fmt: skip


def _measured(body: dict[str, Any], policy: dict[str, Any] | None = None, *, person: bool = True) -> sanctions.Measure:
    return measure(body, policy or {}, NOW, person=person, ban_years_max=5)


@given(way=ways, rest=more, policy=policies, person=st.booleans())
def test_whatever_is_accepted_has_the_ends_and_the_author_that_its_rung_needs(
    *, way: dict[str, Any], rest: dict[str, Any], policy: dict[str, Any], person: bool
) -> None:
    try:
        found = measure({**way, **rest}, policy, NOW, person=person, ban_years_max=5)
    except InvalidFieldError:
        return
    if found.rung in {Rung.limit_publish, Rung.suspend_updates}:
        assert found.until is not None
    if found.rung is Rung.close:
        assert "by" in rest
        assert rest.get("automated") != "fully"
        assert "until" not in rest
        assert found.until is not None or not person
    else:
        assert "ban_until" not in rest
    if found.until is not None:
        assert NOW < found.until <= epoch(datetime(2031, 11, 24, 3, tzinfo=UTC))
    assert (found.degree is None) == ("rung" in way)


@given(rungs, st.dictionaries(st.sampled_from(("rung", "degree", "reach")), st.just("warn")))
def test_one_way_exactly_leads_to_a_rung(rung: str, ways_given: dict[str, str]) -> None:
    body: dict[str, Any] = {name: {"views": 1} if name == "reach" else rung for name in ways_given}
    if len(body) != 1:
        with pytest.raises(InvalidFieldError, match="exactly one"):
            _measured(body)


@given(st.sampled_from(DEGREES), degrees)
def test_a_degree_leads_where_the_policy_says_and_else_where_the_default_does(
    degree: str, mapped: dict[str, str]
) -> None:
    body = {"degree": degree, "by": "m"}
    assert _measured(body, {"degrees": mapped}).rung.name == mapped.get(degree, RUNGS[DEGREES.index(degree)])


@given(reaches, policies)
def test_reach_is_serious_from_either_number_on(reach: dict[str, int], policy: dict[str, Any]) -> None:
    limits = {"views": 5000, "reposts": 500, **policy.get("reach_serious", {})}
    serious = any(reach.get(name, 0) >= limit for name, limit in limits.items())
    assert sanctions.degree_of(reach, policy) == ("serious" if serious else "minor")


@given(st.lists(st.tuples(st.sampled_from([Rung[name] for name in RUNGS]), st.sampled_from((None, *LIFT_REASONS)))),
       rungs, st.sampled_from((None, "", " \n", "why")))  # fmt: skip
def test_a_rung_more_than_one_above_the_strictest_so_far_needs_a_reason(
    history: list[tuple[Rung, str | None]], rung: str, reason: str | None
) -> None:
    reached = max((earlier for earlier, lifted in history if lifted != "mistake"), default=Rung.free)
    allowed = Rung[rung] <= reached + 1 or reason == "why"
    if allowed:
        check_order(Rung[rung], history, reason)
    else:
        with pytest.raises(InvalidFieldError) as caught:
            check_order(Rung[rung], history, reason)
        assert caught.value.pointer == "/skip_reason"


@given(st.none() | st.integers(0, 10**10), st.none() | st.integers(0, 10**10), st.integers(0, 10**10))
def test_a_sanction_runs_until_its_end_or_its_lifting(until: int | None, lifted: int | None, now: int) -> None:
    state = state_of(until, lifted, now)
    assert (state == "lifted") == (lifted is not None)
    if lifted is None:
        assert (state == "running") == (until is None or now < until)


def test_ends_without_a_number_of_their_own() -> None:
    assert _measured({"degree": "serious"}).until == NOW + 7 * 86_400
    assert _measured({"degree": "grave"}).until == NOW + 30 * 86_400
    assert _measured({"degree": "serious"}, {"default_days": {"limit_publish": 1}}).until == NOW + 86_400
    assert _measured({"rung": "warn"}).until is None
    close = {"rung": "close", "by": "m"}
    assert from_epoch(_measured(close).until or 0) == datetime(2031, 11, 24, 3, tzinfo=UTC)
    assert _measured(close, person=False).until is None
    two = measure(close, {}, NOW, person=True, ban_years_max=2)
    assert from_epoch(two.until or 0) == datetime(2028, 11, 24, 3, tzinfo=UTC)


def test_years_after_a_leap_day_begin_in_march() -> None:
    assert years_after(datetime(2028, 2, 29, 5, tzinfo=UTC), 1) == datetime(2029, 3, 1, 5, tzinfo=UTC)
    assert years_after(datetime(2028, 2, 28, tzinfo=UTC), 4) - datetime(2028, 2, 28, tzinfo=UTC) > timedelta(days=1460)
