"""Guessing a passphrase is slowed down: each wrong one in a row doubles the wait, and is counted across restarts.

Guarantees: a try is counted before it is looked at, so that none that was cut off is free; the right one ends the
count. Tries that come at once are looked at one after the other. The wait has an end, and no other way to open the
vault waits for it: officers' shares open it whoever guesses. A clock that was set back makes nobody wait less.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keys.agent.process import log
from keys.errors import BudgetError, KeysError, SealError
from keys.files import replace_durably

FILE_NAME: Final = "passphrase.tries"
FREE: Final = 5
"""Wrong ones in a row before the first wait."""
MOST_SECONDS: Final = 300


def wait_seconds(failed: int) -> int:
    """Return how long nobody may try after so many wrong ones in a row."""
    return 0 if failed < FREE else min(2 ** min(failed - FREE, 30), MOST_SECONDS)


class BackOff:
    """The count of one vault, in a file beside its seal."""

    def __init__(self, home: Path, now: Callable[[], int]) -> None:
        self._path, self._now, self._lock = home / FILE_NAME, now, threading.Lock()

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Try once, within the context.

        Raises:
            BudgetError: too soon after wrong ones; it says how many seconds to wait.
            SealError: the caller's; it counts.
        """
        with self._lock:
            failed, last = self._read()
            passed = max(0, self._now() - last)
            waits = wait_seconds(failed) - passed
            if waits > 0:
                raise BudgetError(f"{failed} wrong passphrases in a row: wait {waits} seconds, or unseal with shares")
            self._write(failed + 1)
            try:
                yield
            except SealError:
                log("passphrase_refused", in_a_row=failed + 1)
                raise
            except KeysError:  # the passphrase was right
                self._path.unlink(missing_ok=True)
                raise
            self._path.unlink(missing_ok=True)

    def _read(self) -> tuple[int, int]:
        try:
            said = json.loads(self._path.read_bytes())
            return int(said["failed"]), int(said["last"])
        except FileNotFoundError:
            return 0, 0
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return FREE + 30, int(self._path.stat().st_mtime)  # who spoils the file waits as long as there is

    def _write(self, failed: int) -> None:
        replace_durably(self._path, json.dumps({"v": 1, "failed": failed, "last": self._now()}).encode())
