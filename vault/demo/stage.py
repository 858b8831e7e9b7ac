"""The demonstration's stage: a fresh vault in a temporary folder, served as everyone serves it, and its callers."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlencode

from keys.agent.settings import socket_folder
from vault.errors import StartError

_START_SECONDS: Final = 30.0
_TRIES: Final = 3
_IDVAULT: Final = Path(sys.executable).parent / "idvault"


@dataclass(slots=True)
class Answer:
    """What the vault answered."""

    status: int
    body: dict[str, Any]


@dataclass(slots=True)
class Party:
    """A provider or a reviewer with its credentials; `received` is everything that the vault ever told it."""

    name: str
    port: int
    client_id: str
    secret: str
    received: list[str] = field(default_factory=list)
    _access: str = ""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Call `/v1` with an access token."""
        if not self._access:
            self._access = self.form("/oauth/token", grant_type="client_credentials").body["access_token"]
        headers = {"Authorization": f"Bearer {self._access}", "Content-Type": "application/json"}
        return self._send(method, path, headers, None if body is None else json.dumps(body))

    def form(self, path: str, **parameters: str) -> Answer:
        """Call `/oauth` with the client's own credentials."""
        basic = base64.b64encode(f"{self.client_id}:{self.secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", path, headers, urlencode(parameters))

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: str | None) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        self.received.append(text)
        return Answer(response.status, json.loads(text) if text else {})


@dataclass(frozen=True, slots=True)
class Stage:
    """A served vault."""

    home: Path
    port: int
    environment: Mapping[str, str]

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run an operator's command and return its JSON.

        Raises:
            StartError: the command failed.
        """
        done = subprocess.run(  # noqa: S603 - our own program
            [_IDVAULT, *arguments, "--json"], env=self.environment, capture_output=True, check=False, timeout=120
        )
        if done.returncode:
            raise StartError(f"the demonstration's idvault {arguments[0]} failed")
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def provider(self, name: str) -> Party:
        """Enrol a provider."""
        made = self.run("provider", "add", name, "--sector", f"{name.lower()}.example")
        return Party(name, self.port, made["client_id"], made["client_secret"])

    def reviewer(self, name: str) -> Party:
        """Enrol a vault reviewer."""
        made = self.run("reviewer", "add", name)
        return Party(name, self.port, made["client_id"], made["client_secret"])


@contextmanager
def staged() -> Iterator[Stage]:
    """Have a fresh vault, served on a free port, for the span of the demonstration.

    Raises:
        StartError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="idvault-demo-") as folder:
        home = Path(folder) / "vault"
        with (Path(folder) / "served.log").open("wb") as log:
            server, stage = _served(home, log)
        try:
            yield stage
        finally:
            server.terminate()
            server.wait(30)
            # Where the home's path is too long for sockets, they lie in a folder beside it.
            shutil.rmtree(socket_folder(home), ignore_errors=True)


def _served(home: Path, log: BinaryIO) -> tuple[subprocess.Popen[bytes], Stage]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IDVAULT_")}
    for _ in range(_TRIES):
        port = _free_port()
        environment |= {"IDVAULT_HOME": str(home), "IDVAULT_BIND": f"127.0.0.1:{port}"}
        server = subprocess.Popen([_IDVAULT, "serve"], env=environment, stdout=log, stderr=log)  # noqa: S603
        if _is_ready(server, port):
            return server, Stage(home, port, environment)
        server.terminate()
        server.wait(30)
    raise StartError("the demonstration's vault does not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the vault answers; False when it ended: another program took the port meanwhile."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:  # noqa: PLR2004 - HTTP's word for yes
                return True
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    return False
