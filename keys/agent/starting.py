"""The agent as a child process: it ends with whoever started it, by a pipe, however that one ends."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keys.agent.settings import NAMES
from keys.agent.supervisor import ALREADY_SERVED
from keys.errors import SetupError

_READY_SECONDS: Final = 20.0
_END_SECONDS: Final = 10.0


@dataclass(slots=True)
class Started:
    """An agent that was started, and is ready."""

    process: subprocess.Popen[bytes]
    pipe: int
    """The end by which it knows that its parent is there; -1 once it was told to end."""

    def alive(self) -> bool:
        """Whether it has not ended by itself."""
        return self.process.poll() is None

    def end(self) -> None:
        """End it, and wait for it."""
        if self.pipe < 0:
            return
        os.close(self.pipe)
        self.pipe = -1
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(home: Path, sockets: Path, keys_url: str) -> Started | None:
    """Start the agent of a home and wait until it is ready; None where another one has its sockets.

    Raises:
        SetupError: it cannot start; it has said why on standard error.
    """
    read, write = os.pipe()
    command = [
        sys.executable, "-m", "keys", "agent", "--home", str(home), "--sockets", str(sockets), "--keys-url", keys_url,
        "--parent-fd", str(read),
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if _is_for_the_agent(name)}
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, pass_fds=[read], start_new_session=True,
        env=environment,
    )  # fmt: skip
    os.close(read)
    line = process.stdout.readline() if process.stdout is not None else b""
    if line == b"ready\n":
        return Started(process, write)
    os.close(write)
    code = process.wait(_READY_SECONDS)
    if process.stdout is not None:
        process.stdout.close()
    if code != ALREADY_SERVED:
        raise SetupError("the key agent cannot start; its line above says why")
    return None


def _is_for_the_agent(variable: str) -> bool:
    return not variable.startswith("IDVAULT_") or variable in NAMES
