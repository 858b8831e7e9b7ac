"""What the service does by itself: finishes acts that a crash left half-way, forgets what has run out."""

import threading

from keys.errors import KeysError
from vault.config import Settings
from vault.logs import event
from vault.services.linking import Linking
from vault.services.retention import Retention


class Housekeeping:
    """One thread beside the workers; a second one does no harm, since every step is idempotent."""

    def __init__(self, settings: Settings, linking: Linking, retention: Retention) -> None:
        self._settings, self._linking, self._retention = settings, linking, retention
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
        self._retention.round()

    def _run(self) -> None:
        while not self._stop.wait(self._settings.housekeeping_seconds):
            try:
                self.once()
            except KeysError as error:
                event("housekeeping_waits", cause=error.kind)
            except Exception as error:  # noqa: BLE001 - it must go on; the type says enough
                event("housekeeping_failed", error=type(error).__name__)
