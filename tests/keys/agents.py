"""A really started key agent on a fresh key store: `python -m keys agent`, as a fork."""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from keys import setup
from keys.agent.client import AgentClient
from keys.agent.settings import socket_folder
from keys.errors import KeysError, UnavailableError
from keys.seals import development
from tests.forking import Forked
from tests.fresh import store_url
from tests.keys.stores import NOW, migrated

WAIT_SECONDS = 20.0


def until(holds: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.02)


class Agent:
    """One agent, and clients on its sockets."""

    def __init__(self, home: Path, *, sealed: bool = True) -> None:
        """Make a home with the development seal, or one without keys for officers; one that is there stays."""
        self.home, self.sockets, self.log = home, socket_folder(home), home / "agent.log"
        if not any((home / name).exists() for name in ("keys.db", "keys.url")):
            home.mkdir(exist_ok=True)
            engine = migrated(home)
            if sealed:
                setup.create_development(engine, home / development.FILE_NAME, NOW)
            engine.dispose()
        self.environment: dict[str, str] = {}
        """What it is told besides, in its environment."""
        self.process: Forked | None = None
        self.officer, self.identity, self.directory, self.message = (
            AgentClient(str(self.sockets / f"{name}.sock"), 10)
            for name in ("officer", "identity", "directory", "message")
        )

    def spawn(self, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Forked:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("IDVAULT_")}
        with self.log.open("ab") as log:
            where = ["--home", str(self.home), "--keys-url", store_url(self.home, "keys")]
            command = [sys.executable, "-m", "keys", "agent", *where, *arguments]
            return Forked(command, env=environment | self.environment, stderr=log, pass_fds=pass_fds)

    def start(self, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Self:
        self.process = self.spawn(*arguments, pass_fds=pass_fds)
        readable, _, _ = select.select([self.process.stdout], [], [], WAIT_SECONDS)
        assert readable, self.log.read_text()
        assert self.process.stdout.readline() == b"ready\n", self.log.read_text()
        return self

    def stop(self) -> int:
        """End the agent and return its exit code."""
        for client in (self.officer, self.identity, self.directory, self.message):
            client.close()
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(WAIT_SECONDS)
        self.process.stdout.close()
        return code

    def order(self, verb: str) -> None:
        """Seal, unseal or lock down: the holder that takes the order may be gone before it answers."""
        with contextlib.suppress(UnavailableError):
            self.officer.call(verb, {})

    def restart(self) -> None:
        assert self.stop() == 0
        self.start()

    def holders(self) -> list[int]:
        """Return the pids of the holders: first `names`, then `standing`, unless one was replaced."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def holder(self, name: str) -> int:
        """Return the pid of a holder, by the door that it alone listens on."""
        path = str(self.sockets / ("officer.sock" if name == "names" else "directory.sock"))
        lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
        wanted = {f"socket:[{parts[6]}]" for parts in lines if parts[-1] == path and parts[5] == "01"}
        for pid in self.holders():
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(link.readlink()) in wanted:
                        return pid
        raise AssertionError(f"no holder {name}")

    def status(self) -> dict[str, Any]:
        try:
            return self.officer.call("status", {})
        except KeysError:
            return {}

    def await_state(self, names: str, standing: str) -> None:
        def there() -> bool:
            found = self.status()
            return (found.get("names"), found.get("standing")) == (names, standing)

        until(there, f"names {names}, standing {standing}")

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
