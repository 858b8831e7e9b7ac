"""Time: aware UTC, whole seconds, one text form. An operation reads the clock once and passes the reading on."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from vault.domain.errors import InvalidFieldError

_TEXT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_LOCAL_CHARS: Final = len("2031-01-01T00:00:00")
_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"


class Clock(Protocol):
    """Says what time it is."""

    def now(self) -> datetime:
        """Return the time: aware, UTC, whole seconds."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - the one reading of the machine's clock


@dataclass(slots=True)
class FixedClock:
    """A clock that stands until it is set, for tests."""

    time: datetime

    def now(self) -> datetime:
        """Return the time it was set to."""
        return self.time


def epoch(time: datetime) -> int:
    """Return seconds since 1970.

    Raises:
        ValueError: a naive time.
    """
    if time.tzinfo is None:
        raise ValueError("time: must be aware")
    return int(time.timestamp())


def from_epoch(seconds: int) -> datetime:
    """Return the time of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def to_text(time: datetime) -> str:
    """Return the one text form, ending in Z.

    Raises:
        ValueError: a naive time.
    """
    if time.tzinfo is None:
        raise ValueError("time: must be aware")
    # Not strftime: it writes years before 1000 without their zeros.
    return (time if time.tzinfo is UTC else time.astimezone(UTC)).isoformat(timespec="seconds")[:_LOCAL_CHARS] + "Z"


def from_text(text: str, pointer: str = "") -> datetime:
    """Return the time of its text form.

    Raises:
        InvalidFieldError: another form, or no such time.
    """
    rule = "a time such as 2031-01-01T00:00:00Z"
    if not _TEXT.fullmatch(text):
        raise InvalidFieldError(pointer, rule)
    try:
        return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidFieldError(pointer, rule) from None
