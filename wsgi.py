"""The application for any WSGI server: `granian --interface wsgi wsgi:app`, `gunicorn wsgi:app`.

Stores and a running key agent must be there already (`idvault serve` sees to it); settings come from the environment.
A server may load it before it forks its workers: what a process must not share begins in each at its first request.
"""

import os
import threading
from typing import Any

from keys.agent.process import take_short_turns
from vault import metrics
from vault.config import load
from vault.logs import configure
from vault.running import end_with_parent, end_with_seal
from vault.web.admission import Admission
from vault.web.app import create_app
from vault.wiring import build


class Application:
    """The vault's application; whoever serves it may have been forked from the process that loaded it."""

    def __init__(self) -> None:
        self._request_log = configure()
        self._vault = build(load(), observe=metrics.shared().act, recalled=metrics.shared().recalled)
        self._app = Admission(
            create_app(self._vault, self._request_log), self._vault.settings, metrics.shared().refused
        )
        # No connection that the checks of the start opened may be shared with a forked worker.
        self._vault.close()
        self._pid, self._lock = 0, threading.Lock()

    def begin(self) -> None:
        """Tie this process to its parent and to the seal, once."""
        with self._lock:
            if self._pid != os.getpid():
                take_short_turns()
                end_with_parent()
                end_with_seal(self._vault)
                metrics.shared().begin(
                    self._vault.settings.home,
                    {
                        "requests_working": lambda: self._app.working,
                        "requests_waiting": lambda: self._app.waiting,
                        "requests_listening": lambda: self._app.listening,
                        "store_connections": self._vault.connections,
                    },
                )
                self._pid = os.getpid()

    def end_with(self, descriptor: int) -> None:
        """Answer those who listen for events once a descriptor can be read: this process was told to end."""
        self._app.ending = descriptor

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 - WSGI's own types
        """Answer a request."""
        if self._pid != os.getpid():
            self.begin()
        return self._app(environ, start_response)


app = Application()
