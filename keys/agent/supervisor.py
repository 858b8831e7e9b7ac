"""The agent's supervisor: holds no key, owns the seven sockets, forks the two key holders and minds them.

    names     root key, KEKs, link, map and fingerprint keys      identity.sock, exchange.sock, officer.sock,
                                                                  outbox.sock, message.sock
    standing  token keys, directory key, account-MAC key, OAuth   directory.sock, log.sock
              and log signing keys

A holder that dies is forked anew. The development seal or an automatic one opens it again; with shares alone `names`
stays shut until officers gave theirs. After `seal` or `lockdown` a holder stays shut, across restarts, until it is
unsealed. `names` opens where it stands and tells so; `standing` is forked anew to be open, and asks `names` for its
key.

Everything ends with the process that started the agent: a pipe tells the supervisor, the parent-death signal ends the
holders.
"""

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from keys.agent import handover
from keys.agent.holders import HANDED_OVER, LOCKDOWN, OPEN, SEALED, run_names, run_shut, run_standing
from keys.agent.process import die_with_parent, forbid_dumps, log, log_failure, settle_interpreter
from keys.agent.settings import SOCKETS, AgentSettings
from keys.agent.wire import receive, send
from keys.errors import AlreadyServedError, KeysError, SetupError, UnavailableError
from keys.files import replace_durably
from keys.seals import development

NAMES: Final = "names"
STANDING: Final = "standing"
DOORS: Final = {NAMES: ("identity", "exchange", "officer", "outbox", "message"), STANDING: ("directory", "log")}
STARTING: Final = "starting"
SETUP_FAILED: Final = 3
ALREADY_SERVED: Final = 75
"""EX_TEMPFAIL of sysexits.h: another agent has the sockets, which may be about to end."""
_BACKOFF_SECONDS: Final = (0.05, 0.2, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    pidfd: int
    control: socket.socket


@dataclass(frozen=True, slots=True)
class _Start:
    """What a forked holder begins with."""

    reason: str
    """Why the vault is shut; empty where it is not."""
    control: socket.socket
    handover: socket.socket
    given: bool
    """Whether `standing` will be given its key by `names`."""


_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
"""What ends the agent."""


class Supervisor:
    """Owns sockets and children; single-threaded."""

    def __init__(self, settings: AgentSettings, parent_fd: int | None, ready: str) -> None:
        self._settings, self._parent_fd, self._ready = settings, parent_fd, ready
        self._lock = _locked_folder(settings.sockets)
        self._listeners = {name: _listen(settings, name) for name in SOCKETS}
        self._children: dict[str, _Child] = {}
        self._state = dict.fromkeys(DOORS, STARTING)
        self._handover = handover.pair()
        self._selector = selectors.DefaultSelector()
        self._deaths = 0
        self._announced = False

    def run(self) -> int:
        """Serve until told to end; return the exit code."""
        for number in _ENDING:
            signal.signal(number, _leave)
        try:
            if self._parent_fd is not None:
                self._selector.register(self._parent_fd, selectors.EVENT_READ, "parent")
            self._fork(*DOORS)
            while True:
                for key, _ in self._selector.select():
                    if key.data == "parent":
                        return 0
                    what, name, child = key.data
                    if self._children.get(name) is not child:
                        continue  # an event of a child that was replaced in this very round
                    if what == "died":
                        self._on_death(name)
                    else:
                        self._on_message(name)
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            for name in list(self._children):
                self._end(name)

    def _shut_reason(self) -> str:
        try:
            return self._settings.shut.read_text().strip()
        except FileNotFoundError:
            return ""

    def _fork(self, *holders: str, given: bool | None = None) -> None:
        """Fork holders, each with its end of the way on which the standing key is asked for and handed over.

        Args:
            holders: their names.
            given: whether `standing` will be given its key; by default, where `names` is open or opens by itself.
        """
        if len(holders) > 1:
            # No key that was sent and not taken lies in a new one.
            for end in self._handover:
                end.close()
            self._handover = handover.pair()
        reason = self._shut_reason()
        if given is None:
            opened = NAMES not in holders and self._state[NAMES] == OPEN
            given = not reason and (opened or self._settings.opens_by_itself)
        for name in holders:
            control, childs_end = socket.socketpair()
            parent = os.getpid()
            # A signal in the midst of a fork would be raised in the hooks that run after it, which drop what is raised.
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
            pid = os.fork()
            if pid == 0:
                mine, other = self._handover if name == NAMES else reversed(self._handover)
                other.close()
                _become(self, name, parent, _Start(reason, childs_end, mine, given))
            childs_end.close()
            child = _Child(pid, os.pidfd_open(pid), control)
            self._children[name] = child
            self._state[name] = STARTING
            self._selector.register(child.pidfd, selectors.EVENT_READ, ("died", name, child))
            self._selector.register(control, selectors.EVENT_READ, ("message", name, child))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    def _end(self, name: str) -> int:
        child = self._children.pop(name)
        self._selector.unregister(child.pidfd)
        self._selector.unregister(child.control)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        child.control.close()
        return os.waitstatus_to_exitcode(status)

    def _on_death(self, name: str) -> None:
        if name not in self._children:
            return
        code = self._end(name)
        if code == SETUP_FAILED:
            raise SystemExit(1)
        if code != HANDED_OVER:
            log("holder_died", holder=name, code=code)
            time.sleep(_BACKOFF_SECONDS[min(self._deaths, len(_BACKOFF_SECONDS) - 1)])
            self._deaths += 1
        self._fork(name)

    def _restart(self, *holders: str, given: bool | None = None) -> None:
        for name in holders:
            if name in self._children:
                self._end(name)
        self._fork(*holders, given=given)

    def _on_message(self, name: str) -> None:
        control = self._children[name].control
        try:
            message = receive(control)
        except (KeysError, OSError):
            self._on_death(name)
            return
        if "state" in message:
            self._state[name] = str(message["state"])
            if name == NAMES and self._state[NAMES] != OPEN and self._state[STANDING] == STARTING:
                self._restart(STANDING, given=False)  # the key that it waits for does not come any more
            self._announce()
            return
        send(control, {"ok": self._status()})
        match message.get("do"):
            case "seal":
                self._shut(SEALED, NAMES, STANDING)
            case "lockdown":
                if self._shut_reason() != SEALED:
                    self._shut(LOCKDOWN, NAMES)
            case "opened":
                self._settings.shut.unlink(missing_ok=True)
                log("unsealed")
                self._open_standing()
            case "opened.directory":
                self._keep(LOCKDOWN)
                log("unsealed_directory")
                self._open_standing()

    def _open_standing(self) -> None:
        if self._state[STANDING] != OPEN:
            self._restart(STANDING, given=True)

    def _keep(self, reason: str) -> None:
        replace_durably(self._settings.shut, reason.encode())

    def _shut(self, reason: str, *holders: str) -> None:
        self._keep(reason)
        log(reason)
        self._restart(*holders)

    def _status(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "seal": settings.seal_kind, "embedded": settings.embedded, "shut": self._shut_reason(), **self._state
        }  # fmt: skip

    def _announce(self) -> None:
        if not self._announced and STARTING not in self._state.values():
            self._announced = True
            sys.stdout.write(f"{self._ready}\n")
            sys.stdout.flush()


def _become(supervisor: Supervisor, name: str, parent: int, start: _Start) -> None:
    """Run a holder in the forked child; never returns."""
    code = 1
    try:
        die_with_parent(parent)
        forbid_dumps()
        settle_interpreter()
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        _keep_only(supervisor, name)
        code = _hold(supervisor._settings, supervisor._listeners, name, start)  # noqa: SLF001
    except SetupError as error:
        log("agent_cannot_start", holder=name, reason=str(error))
        code = SETUP_FAILED
    except UnavailableError:
        log("holder_without_key", holder=name)
    except KeysError as error:
        log("agent_cannot_start", holder=name, reason=str(error))
        code = SETUP_FAILED
    except BaseException as error:  # noqa: BLE001 - the child must not run on in the supervisor's code
        log_failure("holder_failed", error, holder=name)
    finally:
        os._exit(code)


def _keep_only(supervisor: Supervisor, name: str) -> None:
    for door, listener in supervisor._listeners.items():  # noqa: SLF001
        if door not in DOORS[name]:
            listener.close()
    for child in supervisor._children.values():  # noqa: SLF001
        child.control.close()
    supervisor._selector.close()  # noqa: SLF001
    supervisor._lock.close()  # noqa: SLF001


def _hold(settings: AgentSettings, listeners: dict[str, socket.socket], name: str, start: _Start) -> int:
    """Run a holder; return the exit code of one that has nothing more to do."""
    doors, lock = {door: listeners[door] for door in DOORS[name]}, threading.Lock()

    def ask(verb: str) -> dict[str, Any]:
        with lock:
            send(start.control, {"do": verb})
            answer: dict[str, Any] = receive(start.control)["ok"]
            return answer

    def report(state: str) -> None:
        with lock:
            send(start.control, {"state": state})

    if name == NAMES:
        return run_names(settings, doors, start.handover, ask, report, start.reason)
    if start.given:
        run_standing(settings, doors, start.handover, report)
    else:
        run_shut(settings, doors, report)
    return 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _locked_folder(folder: Path) -> Any:  # noqa: ANN401 - a file object, held for its lock
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid() or folder.stat().st_mode & 0o022:
        raise SetupError("the socket folder must be the agent's own and not writable for others")
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise AlreadyServedError from None
    return lock


def _listen(settings: AgentSettings, name: str) -> socket.socket:
    """Listen on one socket; its file is for the agent's own user, and for the group that the settings name.

    Raises:
        SetupError: the file cannot be given to that group.
    """
    path = settings.sockets / f"{name}.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    group = settings.gids.get(name)
    if group is not None:
        try:
            os.chown(path, -1, group)
        except OSError:
            listener.close()
            raise SetupError(f"{name}.sock: the agent's user is not of the group that may connect") from None
        path.chmod(0o660)
    listener.listen(128)
    return listener


def run_agent(settings: AgentSettings, parent_fd: int | None, ready: str = "ready") -> int:
    """Run the agent in this process until it is told to end; return the exit code.

    Args:
        settings: of the agent.
        parent_fd: at whose end of file the agent ends; None if it is nobody's child.
        ready: the one line that it prints, once both holders run.
    """
    os.umask(0o077)
    try:
        supervisor = Supervisor(settings, parent_fd, ready)
    except AlreadyServedError as error:
        log("agent_cannot_start", reason=str(error))
        return ALREADY_SERVED
    except SetupError as error:
        log("agent_cannot_start", reason=str(error))
        return 1
    if settings.development:
        log("development_seal", warning=development.WARNING)
    return supervisor.run()
