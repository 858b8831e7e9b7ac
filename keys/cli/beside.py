"""The agent beside which a command is said on the vault's machine: the one that runs, or one for the command's time."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import click

from keys.agent import configured
from keys.agent.client import DEFAULT_TIMEOUT_SECONDS, AgentClient
from keys.agent.settings import socket_folder
from keys.agent.starting import Started, start
from keys.errors import UnavailableError

UNFINISHED: Final = (".restore", ".restore-keys")
"""Folders in a home in which a restore is at work, or was cut off."""
_PROBE_SECONDS: Final = 5.0
_WAIT_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.2


@contextmanager
def running_agent(home: Path, sockets: Path | None) -> Iterator[AgentClient]:
    """Have the officers' door of the agent that runs.

    Raises:
        UnavailableError: none does.
    """
    if not _answers(home, sockets):
        raise UnavailableError("the key agent cannot be reached; start it: idvault serve, or idvault-keys agent")
    with closing(_client(home, sockets)) as client:
        yield client


@contextmanager
def agent(home: Path, sockets: Path | None) -> Iterator[AgentClient]:
    """Have the officers' door of the agent for the span of a command; where none runs, of one that is started for it.

    One is started for an embedded vault of this very user alone. An agent that has a user, a folder of sockets or a
    key store of its own is a service: whoever asks for it is to hear that it is down.

    Raises:
        UnavailableError: none runs, and it is not for a command to start it.
        SetupError: it cannot start; it has said why on standard error.
    """
    started = None if _answers(home, sockets) or not _is_embedded(home, sockets) else _started(home)
    if started is not None:
        click.echo("idvault-keys: no key agent ran; one was started for this command alone", err=True)
    try:
        with closing(_client(home, sockets)) as client:
            yield client
    finally:
        if started is not None:
            started.end()


def _started(home: Path) -> Started | None:
    """Start one, but where another command's is coming; that of one which is going is waited for."""
    end = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < end:
        started = start(home, socket_folder(home), f"sqlite:///{home.resolve() / 'keys.db'}")
        if started is not None or _answers(home, None):
            return started
        time.sleep(_RETRY_SECONDS)
    raise UnavailableError


def _is_embedded(home: Path, sockets: Path | None) -> bool:
    """Tell whether a home holds a whole vault, whose agent this user starts as `idvault serve` does."""
    keys_url = os.environ.get("IDVAULT_KEYS_URL") or configured.in_file(os.environ).get("keys_url")
    if sockets is not None or keys_url or any((home / name).exists() for name in UNFINISHED):
        return False
    try:
        return (home / "keys.db").stat().st_uid == home.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _client(home: Path, sockets: Path | None, seconds: float = DEFAULT_TIMEOUT_SECONDS) -> AgentClient:
    return AgentClient(str((sockets or socket_folder(home)) / "officer.sock"), seconds)


def _answers(home: Path, sockets: Path | None) -> bool:
    with closing(_client(home, sockets, _PROBE_SECONDS)) as client:
        try:
            client.call("status", {})
        except UnavailableError:
            return False
    return True
