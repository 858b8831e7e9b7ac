"""Ids, clock, handles, countries, text and scopes."""

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.domain import clock, scopes
from vault.domain.countries import parse_country
from vault.domain.errors import InvalidFieldError
from vault.domain.handles import handle_key, parse_handle
from vault.domain.ids import AccountId, CandidateId, ClientId, RegistrationId
from vault.domain.scopes import AccountScope, Rung
from vault.domain.text import clean, fold, fold_name

KINDS = (RegistrationId, AccountId, CandidateId, ClientId)
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@given(st.binary(min_size=16, max_size=16), st.sampled_from(KINDS))
def test_an_id_reads_back_and_is_of_its_own_kind_alone(raw: bytes, kind: type[AccountId]) -> None:
    text = str(kind(raw))
    assert kind.parse(text).raw == raw
    for other in set(KINDS) - {kind}:
        with pytest.raises(InvalidFieldError):
            other.parse(text)


@given(st.text(max_size=30))
def test_any_other_text_is_no_id(text: str) -> None:
    with pytest.raises(InvalidFieldError):
        AccountId.parse(text)


def test_an_id_has_one_spelling() -> None:
    text = str(AccountId(bytes(16)))
    for other in (text[:-1] + "B", text + "=", text.upper(), text[4:], "acc_" + "+" * 22, text + " "):
        with pytest.raises(InvalidFieldError):
            AccountId.parse(other)
    assert AccountId.new() != AccountId.new()


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_time_reads_back_in_whole_seconds(time: datetime) -> None:
    whole = time.replace(microsecond=0)
    assert clock.from_text(clock.to_text(whole)) == whole
    assert clock.from_epoch(clock.epoch(whole)) == whole


def test_naive_times_and_other_forms_are_refused() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    for refuse in (clock.to_text, clock.epoch):
        with pytest.raises(ValueError, match="aware"):
            refuse(naive)
    for text in ("2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00z"):
        with pytest.raises(InvalidFieldError):
            clock.from_text(text)
    east = datetime(2026, 1, 1, 3, tzinfo=timezone(timedelta(hours=3)))
    assert clock.to_text(east) == "2026-01-01T00:00:00Z"


def test_the_machines_clock_gives_whole_aware_seconds() -> None:
    now = clock.SystemClock().now()
    assert (now.microsecond, now.utcoffset()) == (0, timedelta(0))
    assert clock.FixedClock(NOW).now() == NOW


def test_countries_are_a_closed_list() -> None:
    assert parse_country("D", "/c", specimen=False) == "DEU"
    assert parse_country("UNO", "/c", specimen=False) == "UNO"
    assert parse_country("UTO", "/c", specimen=True) == "UTO"
    for code in ("UTO", "deu", "DE", "QQQ", "", None, 3):
        with pytest.raises(InvalidFieldError):
            parse_country(code, "/c", specimen=False)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_folding_comes_to_rest(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert fold_name(fold_name(text)) == fold_name(text)


def test_joiners_stay_in_what_is_shown_and_vanish_in_what_is_compared() -> None:
    name = "\u0646\u200c\u0627"
    assert clean(name, "/n", 10) == name
    assert "\u200c" not in fold(name)


def test_apostrophes_join_and_other_marks_part() -> None:
    assert fold_name("O'NEIL") == fold_name("oneil") == fold_name("O\u2019Neil")
    assert fold_name("ANNA-MARIA") == fold_name("Maria Anna")


@pytest.mark.parametrize("handle", ["anna_l", "\u5f20\u4f1f", "A1", "a" * 64])
def test_handles_that_are_plain_pass(handle: str) -> None:
    assert parse_handle(handle, "/handle") == handle


@pytest.mark.parametrize(
    "handle", ["", "a", "_a", "a b", "a@b", "a/b", "a\u200bb", "a\u202eb", "a" * 65, None, 7, "a\nb"]
)
def test_other_handles_are_refused(handle: object) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        parse_handle(handle, "/handle")
    assert caught.value.pointer == "/handle"


def test_handles_are_unique_whatever_their_case_and_width() -> None:
    assert handle_key("Anna_L") == handle_key("anna_l") == handle_key("\uff21nna_l")


def test_each_rung_gives_its_scope_and_no_state_but_approved_gives_publish() -> None:
    table = {Rung.free: "read publish", Rung.warn: "read publish", Rung.limit_publish: "read", Rung.suspend_updates: ""}
    for rung, text in table.items():
        found = scopes.scope_of("approved", rung, "read")
        assert (found.active, found.text) == (True, text)
    for state, rung in itertools.product(("legacy", "in_review", "returned"), Rung):
        assert "publish" not in scopes.scope_of(state, rung, "read publish").scopes
    for state in ("legacy", "in_review", "approved", "returned"):
        assert not scopes.scope_of(state, Rung.close, "read").active
    assert not scopes.scope_of("closed", Rung.free, "read").active


def test_without_an_account_the_scope_is_the_intersection_over_those_not_closed() -> None:
    full, read = AccountScope(active=True, scopes=frozenset(("read", "publish"))), AccountScope(
        active=True, scopes=frozenset(("read",))
    )  # fmt: skip
    gone = AccountScope(active=False, scopes=frozenset())
    assert scopes.intersect([full, read, gone], alone=False, rung=Rung.free).text == "read"
    assert not scopes.intersect([gone], alone=False, rung=Rung.free).active
    none = scopes.intersect([], alone=False, rung=Rung.free)
    assert (none.active, none.text) == (True, "")
    assert not scopes.intersect([], alone=False, rung=Rung.close).active
    assert not scopes.intersect([], alone=True, rung=Rung.free).active


def test_a_rung_ends_by_itself_at_its_second() -> None:
    assert scopes.running("4:100", 99) == scopes.Running(Rung.close, 100)
    assert scopes.running("4:100", 100) == scopes.FREE == scopes.running(None, 100)
    assert scopes.running("1:", 10**12) == scopes.Running(Rung.warn)
    warned, closed = scopes.Running(Rung.warn), scopes.Running(Rung.close, 7)
    assert scopes.stricter(warned, closed) == scopes.stricter(closed, warned) == closed
    assert scopes.stricter(closed, scopes.Running(Rung.close)).until is None


@given(st.lists(st.tuples(st.sampled_from(list(Rung)[1:]), st.none() | st.integers(1, 10**10))), st.integers(0, 10**10))
def test_a_ladder_runs_the_strictest_rung_that_has_not_ended_and_reads_back(
    rungs: list[tuple[Rung, int | None]], now: int
) -> None:
    ladder = scopes.Ladder.of(rungs)
    runs = [rung for rung, until in rungs if until is None or until > now]
    assert ladder.running(now).rung is max(runs, default=Rung.free)
    assert scopes.Ladder.parse(ladder.text) == ladder
