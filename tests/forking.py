"""Processes of the vault as forks of one that has imported it: to import takes longer than most tests."""

import atexit
import contextlib
import gc
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Final

from keys.agent import starting
from keys.cli.main import main as keys_main
from vault import running
from vault.cli.main import main as vault_main

_FAILED: Final = 70
_AGENT: Final = "agent"
"""How a forked agent and what it forks are listed: their command line is that of the process they are forks of."""
_PROGRAMS: Final[Mapping[str, Callable[[], None]]] = {"idvault": vault_main, "idvault-keys": keys_main}
_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(["tests.forking", "vault.web.app", "psycopg"])


def _run(main: Callable[[], None], arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command line in a fork as a fresh process would, with what are its descriptors 1 and 2; return its code."""
    try:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = list(arguments)
        with open(1, "w", closefd=False) as sys.stdout, open(2, "w", closefd=False) as sys.stderr:
            warnings.simplefilter("default")
            try:
                main()
            except SystemExit as ended:
                return int(ended.code or 0)
            except BaseException:  # noqa: BLE001 - told while there is where to
                traceback.print_exc()
                return _FAILED
    except BaseException:  # noqa: BLE001 - a fork must not run on as a second test session
        return _FAILED
    return 0


def _command(
    program: str, arguments: Sequence[str], environment: Mapping[str, str], printed: int, errors: int, *, forks: bool
) -> int:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, number in ((nothing, 0), (printed, 1), (errors, 2)):
        os.dup2(stream, number)
    if forks:
        vars(starting)["subprocess"] = SimpleNamespace(**vars(subprocess) | {"Popen": Forked})
    return _run(_PROGRAMS[program], [program, *arguments], environment)


def in_fork(
    arguments: Sequence[str], environment: Mapping[str, str], *, program: str = "idvault", forks: bool = False,
    beside: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a command in a fork of this process.

    Args:
        arguments: of the command.
        environment: its own.
        program: whose command it is.
        forks: whether the agent that it may start is a fork too.
        beside: is told its process id and entered before it begins, and left once it has ended.
    """
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        waits, begin = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(begin)
            os.read(waits, 1)
            streams = printed.fileno(), errors.fileno()
            os._exit(_command(program, arguments, environment, *streams, forks=forks))
        os.close(waits)
        try:
            with beside(child):
                os.write(begin, b"\0")
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        finally:
            os.close(begin)
        for stream in (printed, errors):
            stream.seek(0)
        return subprocess.CompletedProcess([program, *arguments], code, printed.read().decode(), errors.read().decode())


def _serve(environment: dict[str, str], log: Path, *, forks: bool) -> None:
    os.setsid()
    running._first = os.getpid()  # as in a process that has imported it itself
    written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os._exit(_command("idvault", ["serve"], environment, written, written, forks=forks))


class Serving:
    """One `idvault serve`. It leads a session of its own, by which all it starts is found.

    What can be done to it is named as in `subprocess`.
    """

    def __init__(self, environment: dict[str, str], log: Path, *, forks: bool) -> None:
        self._process = _forking.Process(target=_serve, args=(environment, log), kwargs={"forks": forks})
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        atexit.register(self._process.kill)  # at the end of a run the interpreter would wait for it

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        self._process.join(seconds)
        code = self._process.exitcode
        assert code is not None, "it has not ended in time"
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forked:
    """`python -m keys …`, as `subprocess.Popen` starts it with a pipe for its standard output, but forked.

    It has what a fresh process would: descriptors that were passed and no others, its own environment and standard
    handlers of signals. Where a session of its own is wanted it leads a process group: its session tells whose it is.
    """

    def __init__(
        self, command: Sequence[object], *, env: Mapping[str, str], pass_fds: Sequence[int] = (),
        stderr: IO[bytes] | None = None, start_new_session: bool = False, **_: object,
    ) -> None:  # fmt: skip
        python, module, package, *arguments = map(str, command)
        assert (python, module, package) == (sys.executable, "-m", "keys"), "nothing else is forked"
        read, write = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or what waits in it would be written twice
        self.returncode: int | None = None
        self.args, self.pid = command, os.fork()
        if self.pid == 0:
            try:
                if start_new_session:
                    os.setpgid(0, 0)
                _begin(write, None if stderr is None else stderr.fileno(), pass_fds)
            finally:
                os._exit(_run(keys_main, ["idvault-keys", *arguments], env))
        os.close(write)
        self.stdout: IO[bytes] = os.fdopen(read, "rb")

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.poll() is None:
            end = os.pidfd_open(self.pid)
            select.select([end], [], [], timeout)
            os.close(end)
        if self.poll() is None:
            raise subprocess.TimeoutExpired([*map(str, self.args)], timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _begin(output: int, errors: int | None, passed: Sequence[int]) -> None:
    """Leave what a program that is executed would not have of its parent."""
    gc.freeze()  # nor touch what both share
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (output, 1), (2 if errors is None else errors, 2)):
        os.dup2(descriptor, number)
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor not in {0, 1, 2, *passed}:
            with contextlib.suppress(OSError):  # that by which they were listed
                os.close(descriptor)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(-1)
    Path("/proc/self/comm").write_text(_AGENT)


def is_agent(pid: int) -> bool:
    """Tell whether a process is a key agent or a holder of one, forked or not."""
    try:
        said = Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False
    return b"--sockets" in said[0] or said[1] == f"{_AGENT}\n"
