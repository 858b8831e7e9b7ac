"""Round trips on the agent's socket, by one caller, beside a bare echo and beside bare durable commits."""

import os
import secrets
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.load import Sample
from keys.agent.client import AgentClient
from keys.agent.settings import socket_folder

_MESSAGE: Final = bytes(40)
_FIELDS: Final = ["birth_date", "document", "legal_name"]


def timed(act: Callable[[], object], seconds: int) -> Sample:
    """Run an act again and again, and return rate and latencies."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        act()
        took.append(time.perf_counter() - started)
    percentiles = statistics.quantiles(took, n=100)
    return Sample(len(took) / sum(took), percentiles[49] * 1e6, percentiles[98] * 1e6)


class Acts:
    """Acts on the identity socket of a served vault."""

    def __init__(self, home: Path, sector: str) -> None:
        self._agent, self._sector = AgentClient(str(socket_folder(home) / "identity.sock")), sector

    def hello(self) -> None:
        """The smallest act: no key, no store."""
        self._agent.call("hello", {})

    def create(self) -> None:
        """The two acts of a registration, each a durable commit in the key store."""
        pid = secrets.token_bytes(16)
        args = {"sector": self._sector, "items": [{"pid": pid, "fields": _FIELDS}]}
        link = self._agent.call("create", args)["items"][0]["link"]
        self._agent.call("create.done", {"items": [{"sector": self._sector, "pid": pid, "link": link}]})


@contextmanager
def echo() -> Iterator[Callable[[], None]]:
    """Return a bare round trip to another process over a Unix socket."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        while data := theirs.recv(len(_MESSAGE)):
            theirs.sendall(data)
        os._exit(0)
    theirs.close()

    def round_trip() -> None:
        ours.sendall(_MESSAGE)
        ours.recv(len(_MESSAGE))

    with ours:
        yield round_trip
    os.waitpid(child, 0)
