"""Processes: the agent as a child of a command, the workers under granian, and who ends with whom.

`serve` starts the agent in a session of its own and ends it after the workers; a pipe tells the agent when `serve` is
gone, and workers take the parent-death signal: a kill -9 of any of them leaves no orphan on the port.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from keys.agent.client import AgentClient
from keys.agent.process import die_with_parent, forbid_dumps
from keys.agent.supervisor import ALREADY_SERVED
from keys.errors import KeysError
from vault.config import Settings
from vault.errors import StartError

_READY_SECONDS: Final = 20.0
_END_SECONDS: Final = 10.0
_TRIES: Final = 50


def agent_answers(settings: Settings) -> bool:
    """Tell whether a key agent serves this vault."""
    client = AgentClient(str(settings.sockets / "officer.sock"), timeout_seconds=5)
    try:
        client.call("status", {})
    except KeysError:
        return False
    finally:
        client.close()
    return True


@contextmanager
def agent(settings: Settings) -> Iterator[bool]:
    """Have an agent for the span of a command; True if it was started for it.

    Raises:
        StartError: it cannot be started; it has said why on standard error.
    """
    for _ in range(_TRIES):
        if agent_answers(settings):
            yield False
            return
        started = _start(settings)
        if started is not None:
            break
        time.sleep(0.2)  # another command's agent is coming or going
    else:
        raise StartError("the key agent cannot be started; its message on standard error says why")
    process, pipe = started
    try:
        yield True
    finally:
        os.close(pipe)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _start(settings: Settings) -> tuple[subprocess.Popen[bytes], int] | None:
    read, write = os.pipe()
    command = [
        sys.executable, "-m", "keys", "agent", "--home", str(settings.home), "--sockets", str(settings.sockets),
        "--keys-url", settings.store_url("keys"), "--parent-fd", str(read),
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IDVAULT_")}
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, pass_fds=[read], start_new_session=True,
        env=environment,
    )  # fmt: skip
    os.close(read)
    line = process.stdout.readline() if process.stdout is not None else b""
    if line == b"ready\n":
        return process, write
    os.close(write)
    code = process.wait(_READY_SECONDS)
    if process.stdout is not None:
        process.stdout.close()
    if code != ALREADY_SERVED:
        raise StartError("the key agent cannot start; its line above says why")
    return None


def end_with_parent() -> None:
    """Have this worker killed when its parent ends."""
    die_with_parent(os.getppid())
    forbid_dumps()
