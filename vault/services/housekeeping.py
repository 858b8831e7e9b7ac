"""What the service does by itself: finishes acts that a crash left half-way, forgets what has run out."""

import threading
from collections.abc import Callable
from typing import Final

from keys.errors import KeysError
from vault.config import Settings
from vault.domain.scopes import Rung, running
from vault.logs import event
from vault.services.erasing import Erasing
from vault.services.linking import Linking
from vault.stores import answers, sanctions, standings
from vault.stores.unit import Store

_HOUR_SECONDS: Final = 3600
_DAY_SECONDS: Final = 24 * _HOUR_SECONDS


class Housekeeping:
    """One thread beside the workers; a second one does no harm, since every step is idempotent."""

    def __init__(
        self, settings: Settings, directory: Store, linking: Linking, erasing: Erasing, now: Callable[[], int]
    ) -> None:
        self._settings, self._directory, self._linking, self._now = settings, directory, linking, now
        self._erasing, self._next_hour = erasing, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        self._thread.join()

    def once(self) -> None:
        """Do what is due now.

        Raises:
            KeysError: the agent is sealed or not there.
        """
        finished = self._linking.finish_due() + self._linking.finish_creations(self._settings.creation_grace_minutes)
        if finished:
            event("acts_finished", count=finished)
        now = self._now()
        with self._directory.writing() as unit:
            answers.expire(unit, now - self._settings.idempotency_hours * _HOUR_SECONDS, now)
        if now >= self._next_hour:
            self._hourly(now)
            self._next_hour = now + _HOUR_SECONDS

    def _hourly(self, now: int) -> None:
        """What has run out and is not urgent: records of the rejected, tags of bans that are over, old sanctions."""
        self._erasing.forget_rejected(self._settings.rejected_days)
        with self._directory.writing() as unit:
            sanctions.expire(unit, now - self._settings.sanction_retention_days * _DAY_SECONDS)
            for row in standings.ended_bans(unit):
                if running(row.ladder, now).rung <= Rung.warn:
                    standings.forget_local_tags(unit, row.pid)

    def _run(self) -> None:
        while not self._stop.wait(self._settings.housekeeping_seconds):
            try:
                self.once()
            except KeysError as error:
                event("housekeeping_waits", cause=error.kind)
            except Exception as error:  # noqa: BLE001 - it must go on; the type says enough
                event("housekeeping_failed", error=type(error).__name__)
