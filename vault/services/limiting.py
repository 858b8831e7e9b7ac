"""A limit of requests for each client: whoever asks for more than his share is told when to come again.

Counted in each worker's memory, after the client was authenticated: so nobody uses up another's share by its name.
A client may use at once what a second grants him, and from then on as much as time brings.
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from vault.errors import Kind, VaultError

_BURST_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1
_LIMITED: Final = "this client asks for more than its share; nothing was done, try again"


class Limiting:
    """What each client used up, of one worker."""

    def __init__(self, per_second: int, clock: Callable[[], float] = monotonic) -> None:
        """Take how many requests a second one client may make, and a clock that only goes forward."""
        self._each_seconds, self._clock = 1 / per_second, clock
        self._lock = threading.Lock()
        self._used_until: dict[str, float] = {}
        """By client, the time by which what he used is free again; of those that are enrolled alone."""

    def count(self, client_id: str) -> None:
        """Count a request of a client that was authenticated.

        Raises:
            VaultError: it is one too many; it does not count.
        """
        with self._lock:
            now = self._clock()
            used_until = max(self._used_until.get(client_id, 0.0), now) + self._each_seconds
            within = used_until - now <= _BURST_SECONDS
            if within:
                self._used_until[client_id] = used_until
        if not within:
            raise VaultError(Kind.CLIENT_LIMIT, _LIMITED, retry_after_seconds=_RETRY_SECONDS)
