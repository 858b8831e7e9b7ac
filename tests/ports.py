"""Ports of the tests' servers."""

import itertools
import os
import socket

_FIRST_PORT, _PORTS = 10_000, 2_500
"""Below the ports that the system gives to clients, a range for each process of the tests."""
_ports = itertools.count(os.getpid())
"""Two runs at once begin at different places."""


def free_port() -> int:
    """Return a port that no other process of the tests will take."""
    first = _FIRST_PORT + _PORTS * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = first + next(_ports) % _PORTS
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
