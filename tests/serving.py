"""A really started vault for tests: `idvault serve` as a process, clients enrolled by its own command line."""

import atexit
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg

from tests.databases import Cluster
from tests.forking import Serving, in_fork
from tests.ports import free_port
from vault.stores.changes import Changes

BIN = Path(sys.executable).parent
START_SECONDS = 30.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients of a served vault, which speaks plain HTTP: by default each reads all certificates there are, 50 ms."""
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
CHANGES = "directory.db.changes"
"""In a home folder: where processes tell each other of changes of the directory."""
QUIET = frozenset({"status", "list", "rotate", "rewrap", "destroy", "backup"})
"""Commands of `idvault-keys` that end no worker."""
cluster: Cluster | None = None
"""Where the stores of all servers are, for tests on PostgreSQL."""


class Server:
    """One served vault in a home folder of its own."""

    forks_agent = False
    """Whether its agent is a fork as it is itself, and not a program of its own as in production; tests have it so."""
    made: tuple[Path, dict[str, str]] | None = None
    """A home folder and databases that servers copy: to make a vault takes longer than most tests."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.first_run = False
        """Whether `serve` itself makes the vault."""
        self.for_officers = False
        """Whether it is made without a seal, and has no keys before its officers made them."""
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("IDVAULT_")},
            "IDVAULT_HOME": str(home),
            "IDVAULT_BIND": f"127.0.0.1:{self.port}",
            "IDVAULT_WORKERS": "2",
            # The outboxes stay as they are for those who look into them; tests of the log have it.
            "IDVAULT_SEQUENCER": "no",
            **settings,
        }
        self.databases: dict[str, str] = {}
        self.log = home.parent / f"{home.name}.log"
        self.process: Serving | None = None
        self.sessions: set[int] = set()
        self.clients: list[Client] = []

    def start(self, readiness: int = httpx.codes.OK) -> Self:
        """Start it and wait until it says that it is ready, or 503 where its keys are to stay shut."""
        if not self.home.exists() and not self.first_run:
            self._set_up()
        self.process = Serving(self.environment, self.log, forks=self.forks_agent)
        self.sessions.add(self.process.pid)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.readiness() == readiness:
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    def readiness(self) -> int:
        """Return how it answers whoever asks whether it is ready, 0 where nobody answers; it is asked very often."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()

    def _set_up(self) -> None:
        """Take a copy of the vault that was made beforehand; on PostgreSQL go on under the roles of the service."""
        databases: dict[str, str] = {}
        if not self.for_officers:
            Server.made = Server.made or _made()
            made, databases = Server.made
            shutil.copytree(made, self.home)
        if cluster is not None:
            self.databases = cluster.vault(databases)
            self.environment |= self.databases
        if self.for_officers:
            self.json("db", "upgrade", "--officers")
            if cluster is not None:
                self.go_under_roles()
        elif cluster is not None:
            cluster.admit(self.databases)  # what they copy had the grants
            self._take_roles()

    def go_under_roles(self) -> None:
        """Make the roles of the service in this vault's databases, and go on under them."""
        self.environment |= self.databases
        self.json("db", "grants", "--apply")
        self._take_roles()

    def _take_roles(self) -> None:
        self.environment |= {
            name: url.replace("postgres@", f"idvault_{name.split('_')[1].lower()}@")
            for name, url in self.databases.items()
        }
        self.environment |= {
            f"IDVAULT_SEQUENCER_{store}_URL": self.databases[f"IDVAULT_{store}_URL"].replace(
                "postgres@", f"idvault_{store.lower()}_sequencer@"
            )
            for store in ("DIRECTORY", "LOG")
        }

    def stop(self) -> int:
        for client in self.clients:
            client.http.close()
        return self.stop_under_load()

    def stop_under_load(self) -> int:
        """Stop it with its clients at work."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """Kill the main process with -9, and wait until the port is free."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)
        self.await_silence()

    def await_silence(self) -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                    return
            time.sleep(0.02)
        raise AssertionError("an orphan holds the port")

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run an `idvault` or `idvault-keys` command against this vault and return its standard output."""
        program, said = ("idvault-keys", arguments[1:]) if arguments[0] == "keys" else ("idvault", arguments)
        if program == "idvault" or said[0] in QUIET:
            done = in_fork(said, self.environment, program=program, forks=self.forks_agent)
        else:
            # The real program: it takes a moment longer, in which workers that a seal ends are followed by others.
            command = [str(BIN / program), *said]
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
            )
        assert done.returncode == code, done.stderr[-600:]
        return done.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run a command with --json, and return what it printed."""
        return json.loads(self.run(*arguments, "--json", code=code))

    def sql(self, store: str, statement: str, *values: object) -> list[Any]:
        """Do what somebody with a store would do: one statement with ? for its values; return its rows."""
        rows = self.sql_untold(store, statement, *values)
        if store == "directory" and (self.home / CHANGES).exists():
            # What is done by hand is known within seconds; here at once.
            changes = Changes(self.home / CHANGES, 0o600)
            changes.over(changes.begin(None))
        return rows

    def sql_untold(self, store: str, statement: str, *values: object) -> list[Any]:
        """Do the same, and leave those who remember to find out."""
        url = self.databases.get(f"IDVAULT_{store.upper()}_URL")
        if url is None:
            with closing(sqlite3.connect(self.home / f"{store}.db", timeout=10)) as connection, connection:
                return connection.execute(statement, values).fetchall()
        with psycopg.connect(url, autocommit=True) as database:
            done = database.execute(statement.replace("?", "%s").encode(), values or None)
            return done.fetchall() if done.description else []

    def provider(self, name: str, **more: str) -> "Client":
        arguments = [f"--{key}={value}" for key, value in more.items()]
        made = self.json("provider", "add", name, "--sector", f"{name}.example", *arguments)
        return Client(self, made["client_id"], made["client_secret"])

    def reviewer(self, name: str, provider: "Client | None" = None) -> "Client":
        bound = [] if provider is None else ["--provider", provider.id]
        made = self.json("reviewer", "add", name, *bound)
        return Client(self, made["client_id"], made["client_secret"])

    def processes(self) -> list[int]:
        """Return the pids of everything that belongs to this vault."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    said = (entry / "environ").read_bytes() + b"\0" + (entry / "cmdline").read_bytes()
                    state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                except OSError:
                    continue
                if state != "Z" and (int(session) in self.sessions or str(self.home).encode() in said):
                    found.append(int(entry.name))
        return found


def _made() -> tuple[Path, dict[str, str]]:
    folder = tempfile.mkdtemp(prefix="idvault-made-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = Server(Path(folder) / "home")
    databases = cluster.vault() if cluster is not None else {}
    server.environment |= databases
    server.json("db", "upgrade")
    if cluster is not None:
        server.json("db", "grants", "--apply")
    return server.home, databases


class Client:
    """An OAuth client of a served vault."""

    def __init__(self, server: Server, client_id: str, secret: str) -> None:
        self.server, self.id, self.secret = server, client_id, secret
        self.http = httpx.Client(base_url=server.url, timeout=30, verify=NO_TLS)
        self.token = ""
        server.clients.append(self)

    def authorise(self) -> str:
        answer = self.http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(self.id, self.secret))
        assert answer.status_code == httpx.codes.OK, answer.text
        self.token = answer.json()["access_token"]
        return self.token

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        if not self.token:
            self.authorise()
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        try:
            return self.http.request(method, path, headers=headers, **more)
        except httpx.RemoteProtocolError:
            if method not in IDEMPOTENT and "Idempotency-Key" not in headers:
                raise
            # The server had ended the connection that was kept: RFC 9112 section 9.3.1 has clients try again.
            return self.http.request(method, path, headers=headers, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.call("POST", path, json=body, **more) if body is not None else self.call("POST", path, **more)

    def register(self, identity: dict[str, Any], handle: str, **more: Any) -> httpx.Response:
        headers = more.pop("headers", {})
        body = {
            "handle": handle, "kind": "public", "accepts": {"terms": "2026-01", "truthful": True},
            "identity": identity, **more,
        }  # fmt: skip
        return self.post("/v1/registrations", body, headers=headers)

    def registered(self, identity: dict[str, Any], handle: str, **more: Any) -> dict[str, Any]:
        answer = self.register(identity, handle, **more)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def registration(self, reg: str) -> dict[str, Any]:
        answer = self.get(f"/v1/registrations/{reg}")
        assert answer.status_code == httpx.codes.OK, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def introspect(self, token: str, **more: str) -> dict[str, Any]:
        answer = self.http.post("/oauth/introspect", data={"token": token, **more}, auth=(self.id, self.secret))
        assert answer.status_code == httpx.codes.OK, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def reveal_answer(self, reg: str, *fields: str) -> httpx.Response:
        names = list(fields) or ["legal_name", "names", "birth_date", "document"]
        return self.post(f"/v1/reviews/{reg}/reveal", {"purpose": "review", "fields": names})

    def reveal(self, reg: str, *fields: str) -> dict[str, Any]:
        answer = self.reveal_answer(reg, *fields)
        assert answer.status_code == httpx.codes.OK, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def decide(self, reg: str, decision: str = "approved", **more: Any) -> httpx.Response:
        headers = more.pop("headers", {})
        body = {"decision": decision, **({"method": "document_checked"} if decision == "approved" else {}), **more}
        return self.post(f"/v1/reviews/{reg}/decision", body, headers=headers)

    def approve(self, reg: str, **more: Any) -> None:
        answer = self.decide(reg, **more)
        assert answer.status_code == httpx.codes.OK, answer.text
