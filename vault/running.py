"""Processes: the agent as a child of a command, the workers under granian, and who ends with whom.

`serve` starts the agent in a session of its own and ends it after the workers; a pipe tells the agent when `serve` is
gone, and workers take the parent-death signal: a kill -9 of any of them leaves no orphan on the port.
"""

import fcntl
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Final

from keys.agent.client import AgentClient
from keys.agent.process import forbid_dumps, name_process
from keys.agent.starting import Started, start
from keys.errors import KeysError, SealedError, SetupError
from vault.config import Settings
from vault.errors import StartError
from vault.logs import event
from vault.services.held_keys import HeldKeys
from vault.wiring import Vault

_first = os.getpid()
"""The process that imported this: that which forks the others, where they are forked with it."""
_END_SECONDS: Final = 10.0
_TRIES: Final = 50
_STANDARD: Final = 3
"""Standard input, output and error have the descriptors below."""
_MIND_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 1.0
_SEAL_SECONDS: Final = 0.2
"""How often a worker without an open holder asks for one."""


@contextmanager
def sole_server(settings: Settings) -> Iterator[None]:
    """Be the only server of this home and address.

    Raises:
        StartError: another one serves the vault, or the address cannot be had.
    """
    host, port = settings.address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as probe:
            # As the server binds but for SO_REUSEPORT, which would let two servers share the port unseen.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except OSError:
        raise StartError("bind: the address cannot be had; does another server use it?") from None
    with alone(settings.home / ".serving", "another server serves this vault already"):
        yield


@contextmanager
def alone(path: Path, refusal: str) -> Iterator[None]:
    """Be the only one who has a file's lock, which ends with the process at the latest.

    Raises:
        StartError: another one has it; it says what is refused.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(refusal) from None
        yield
    finally:
        os.close(descriptor)


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


def is_separate(settings: Settings) -> bool:
    """Tell whether the key agent runs under a user of its own: the folder of its sockets is another's."""
    try:
        return settings.sockets.stat().st_uid != os.geteuid()
    except OSError:
        return False


def check_role(settings: Settings) -> None:
    """Refuse to serve all roles under one user where the agent has its own.

    Raises:
        StartError: it would undo what the separate users are for.
    """
    if settings.role == "all" and is_separate(settings) and settings.allow_role_all_beside_a_separate_agent != "yes":
        raise StartError(
            "role: the key agent runs under a user of its own; serve directory and identity under two others"
        )


@contextmanager
def agent(settings: Settings) -> Iterator[bool]:
    """Have an agent for the span of a command; True if it was started for it.

    Raises:
        StartError: it cannot be started; it has said why on standard error.
    """
    if is_separate(settings):
        yield False
        return
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
    minder = _Minder(settings, started)
    minder.start()
    try:
        yield True
    finally:
        minder.stop()


class _Minder(threading.Thread):
    """Minds the agent that a command started: starts it anew when it dies, ends it with the command."""

    def __init__(self, settings: Settings, started: Started) -> None:
        super().__init__(name="agent-minder", daemon=True)
        self._settings, self._agent = settings, started
        self._ending = threading.Event()

    def run(self) -> None:
        """Watch until told to stop."""
        while not self._ending.wait(_MIND_SECONDS):
            if self._agent.alive():
                continue
            self._agent.end()
            while not self._ending.is_set():
                try:
                    started = _start(self._settings)
                except StartError:
                    started = None
                if started is not None:
                    self._agent = started
                    break
                self._ending.wait(_RETRY_SECONDS)

    def stop(self) -> None:
        """End the agent and wait for it."""
        self._ending.set()
        self.join()
        self._agent.end()


@contextmanager
def kept_up(name: str, run: Callable[[], None]) -> Iterator[None]:
    """Have a function run in a process of its own for the span of a command; start it anew when it ends by itself."""
    keeper = _Keeper(name, run)
    keeper.start()
    try:
        yield
    finally:
        keeper.stop()


class _Keeper(threading.Thread):
    """Keeps one forked process up; the process ends with this one, and by SIGTERM in its own time."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        super().__init__(name=f"{name}-keeper", daemon=True)
        self._process_name, self._run, self._ending = name, run, threading.Event()
        self._process = self._forked()

    def run(self) -> None:
        """Watch until told to stop."""
        while not self._ending.wait(_RETRY_SECONDS):
            if not self._process.is_alive():
                self._process = self._forked()

    def stop(self) -> None:
        """End the process and wait for it."""
        self._ending.set()
        self.join()
        self._process.terminate()
        self._process.join(_END_SECONDS)
        self._process.kill()
        self._process.join()

    def _forked(self) -> ForkProcess:
        process = get_context("fork").Process(target=self._child)
        process.start()
        return process

    def _child(self) -> None:
        # Among them may be the pipe whose end tells the server of a worker's that is forked in this moment: it would
        # be waited for in vain when all is told to end.
        os.closerange(_STANDARD, os.sysconf("SC_OPEN_MAX"))
        name_process(self._process_name)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C at a terminal reaches all; the command ends this one
        end_with_parent()
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - it is started anew; the text may hold values, the type does not
            event("process_failed", process=self._process_name, error=type(error).__name__)


def _start(settings: Settings) -> Started | None:
    try:
        return start(settings.home, settings.sockets, settings.store_url("keys"))
    except SetupError as error:
        raise StartError(str(error)) from None


def end_with_parent() -> None:
    """Have this worker end when its parent does, however it ends.

    Not the parent-death signal of prctl(2): that one also comes when the parent's *thread* ends that started the
    worker, and the server starts a worker anew from such a thread.
    """
    forbid_dumps()
    parent = os.pidfd_open(os.getppid())
    if os.getppid() != _first != os.getpid():
        os._exit(1)  # it ended before it could be followed; whoever adopted this process is not it
    threading.Thread(target=_follow, args=(parent,), name="parent", daemon=True).start()


def _follow(parent: int) -> None:
    select.select([parent], [], [])
    os._exit(1)


def end_forks_by_signals() -> None:
    """Have what this process forks from now on end by SIGTERM and SIGINT until it handles them itself.

    A fork has its parent's handlers, and one that merely tells the parent's loop to end would swallow there what ends
    the fork. Both wait while it is made: none comes before it has given the handlers up.
    """
    both = (signal.SIGTERM, signal.SIGINT)

    def default() -> None:
        for number in both:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)

    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, both),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, both), after_in_child=default,
    )  # fmt: skip


def told_to_end() -> int:
    """Return a descriptor that can be read once this process was sent a signal that it handles. For its main thread.

    Whoever serves sets handlers of its own afterwards: this stands whatever they are (signal.set_wakeup_fd).
    """
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def end_with_seal(vault: Vault) -> None:
    """Have this worker end when the vault is sealed after it stood open; the server starts one without keys."""
    client = AgentClient(str(vault.settings.sockets / "directory.sock"))
    threading.Thread(target=_follow_seal, args=(client, vault.keys), name="seal", daemon=True).start()


def _follow_seal(client: AgentClient, keys: HeldKeys) -> None:
    was_open = False
    while True:
        try:
            client.call("hello", {})
            was_open = True
            client.await_end()
        except SealedError:
            if was_open or keys.touched:
                os._exit(0)
            client.close()
            time.sleep(_SEAL_SECONDS)
        except KeysError:
            time.sleep(_SEAL_SECONDS)
