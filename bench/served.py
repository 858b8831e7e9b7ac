"""The two servers under load: the vault with people in it, and the floor program, served alike."""

import base64
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from bench.floor_sqlite import load
from bench.load import Target
from tests.people import person
from tests.serving import BIN, Client, Server, free_port
from vault.config import Settings

PEOPLE: Final = 200
_START_SECONDS: Final = 20.0
_BODIES_PER_SECOND: Final = 3000
"""More than can be registered on two cores; a body sent twice would void its run."""


@contextmanager
def served_floor(folder: Path) -> Iterator[str]:
    """Serve the floor program over 100,000 rows; return its URL."""
    path, port, settings = folder / "floor.db", free_port(), Settings()
    load(str(path))
    command = [
        str(BIN / "granian"), "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port),
        "--workers", str(settings.workers), "--blocking-threads", str(settings.blocking_threads),
        "--no-ws", "--no-log", "bench.floor_sqlite:app",
    ]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, "FLOOR_DB": str(path)})
    url = f"http://127.0.0.1:{port}"
    try:
        _await(url + "/read", process)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    sys.exit("bench: the floor program did not start")


class Vault:
    """A served vault with one provider, one approved person, and others in review."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.provider: Client = server.provider("bench")
        self._number = 0
        made = [self.provider.registered(*self._next()) for _ in range(PEOPLE)]
        server.reviewer("reviewer").approve(made[0]["id"])
        self._tokens = [one["token"] for one in made]

    def _next(self) -> tuple[dict[str, object], str]:
        self._number += 1
        return person(self._number), f"handle{self._number}"

    def introspection(self, people: int) -> Target:
        """Return introspections of so many people's tokens, in random order; the first person is approved."""
        tokens = self._tokens[:people]
        random.shuffle(tokens)
        basic = base64.b64encode(f"{self.provider.id}:{self.provider.secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        return Target(self.server.url + "/oauth/introspect", "POST", [f"token={token}" for token in tokens], headers)

    def registrations(self, seconds: int) -> Target:
        """Return registrations of people who were not registered before, enough for so many seconds."""
        bodies = []
        for _ in range(seconds * _BODIES_PER_SECOND):
            identity, handle = self._next()
            accepts = {"terms": "2026-01", "truthful": True}
            body = {"handle": handle, "kind": "public", "accepts": accepts, "identity": identity}
            bodies.append(json.dumps(body))
        headers = {"Authorization": f"Bearer {self.provider.authorise()}", "Content-Type": "application/json"}
        return Target(self.server.url + "/v1/registrations", "POST", bodies, headers)


@contextmanager
def served_vault(folder: Path) -> Iterator[Vault]:
    """Serve a new vault with people in it."""
    settings = Settings()
    server = Server(folder / "home", IDVAULT_WORKERS=str(settings.workers)).start()
    try:
        yield Vault(server)
    finally:
        server.stop()
