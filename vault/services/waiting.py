"""Waiting for a turn in a line (`keys/grouping.py`): as long as a request may wait at all, then refused like others."""

from dataclasses import dataclass
from typing import TypeVar

from keys.grouping import Group, LateError
from vault.config import Settings
from vault.errors import TOO_BUSY, Kind, VaultError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request waits for its turn, and when it may come again; both in seconds."""

    seconds: float
    retry_seconds: int

    @classmethod
    def of(cls, settings: Settings) -> "Patience":
        """Return what the settings say."""
        return cls(settings.waiting_milliseconds / 1000, settings.overload_retry_seconds)

    def turn(self, line: Group[_Item, _Result], item: _Item) -> _Result:
        """Have an item carried out with those of others; return its own result.

        Raises:
            VaultError: its turn did not come in time, and nothing of it was done.
            Exception: what carrying it out raised.
        """
        try:
            return line.do(item, self.seconds)
        except LateError:
            raise VaultError(Kind.OVERLOADED, TOO_BUSY, retry_after_seconds=self.retry_seconds) from None
