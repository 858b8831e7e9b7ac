"""Time: one text form, and nothing else reads as it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.domain.clock import epoch, from_epoch, from_text, to_text
from vault.domain.errors import InvalidFieldError


@pytest.mark.parametrize(
    "text",
    [
        "\uff12\uff10\uff13\uff11-01-01T00:00:00Z",
        "2031-01-01T00:00:00\u0660Z",
        "2031-01-01T00:00:0\u0660Z",
        "2031-02-29T00:00:00Z",
        "2031-01-01T24:00:00Z",
        "2031-01-01T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "2031-1-01T00:00:00Z",
        "2031-01-01T00:00:00Z\n",
        " 2031-01-01T00:00:00Z",
        "2031-01-01 00:00:00Z",
        "2031-01-01T00:00:00.0Z",
        "",
    ],
)
def test_a_time_has_one_spelling(text: str) -> None:
    with pytest.raises(InvalidFieldError, match=r"^/until: a time such as"):
        from_text(text, "/until")


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_every_second_of_the_calendar_reads_back(seconds: int) -> None:
    text = to_text(from_epoch(seconds))
    assert len(text) == len("2031-01-01T00:00:00Z")
    assert epoch(from_text(text)) == seconds


def test_the_form_is_the_one_that_is_documented() -> None:
    assert to_text(datetime(2031, 1, 1, tzinfo=UTC)) == "2031-01-01T00:00:00Z"
