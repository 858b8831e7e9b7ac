"""What the service does by itself: finishes acts that a crash left half-way, forgets what has run out."""

import threading

from keys.errors import KeysError
from vault.config import Settings
from vault.logs import event
from vault.services.linking import Linking
from vault.services.retention import Retention


class Housekeeping:
    """One process beside the workers; a second one does no harm, since every step is idempotent."""

    def __init__(self, settings: Settings, linking: Linking, retention: Retention) -> None:
        self._settings, self._linking, self._retention = settings, linking, retention

    def once(self) -> None:
        """Do what is due now.

        Raises:
            KeysError: the agent is sealed or not there.
        """
        finished = self._linking.finish_due() + self._linking.finish_creations(self._settings.creation_grace_minutes)
        if finished:
            event("acts_finished", count=finished)
        self._retention.round()

    def run(self, ending: threading.Event) -> None:
        """Do a round every few seconds until told to end."""
        while not ending.wait(self._settings.housekeeping_seconds):
            try:
                self.once()
            except KeysError as error:
                event("housekeeping_waits", cause=error.kind)
            except Exception as error:  # noqa: BLE001 - it must go on; the type says enough
                event("housekeeping_failed", error=type(error).__name__)
