"""kill -9 at the writes of an act of the agent or of a command, or a stop there, by strace's injection."""

import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests import serving
from tests.keys.agents import until

STRACE: Final = shutil.which("strace") or "strace"
PAGES: Final = "pwrite64"
"""By which SQLite writes."""
SENT: Final = "sendto"
"""By which rows go to PostgreSQL, and answers to whoever asked."""
FILES: Final = ("write", "sendfile", "mkdir", "rename", "unlink", "unlinkat", "rmdir")
"""What else changes files."""


def to_store() -> str:
    """Return the call by which an agent writes to its store."""
    return PAGES if serving.cluster is None else SENT


class Point(NamedTuple):
    """Where a process is killed: as it begins the nth call of a kind; nowhere where there is no call."""

    call: str = ""
    nth: int = 0


NOWHERE: Final = Point()
_KILLED: Final = "killed by SIGKILL"
_STOPPED: Final = "--- stopped by SIGSTOP ---"
_TRACED_SECONDS: Final = 60.0
"""What a command takes at most that is traced, on a machine that others use too."""


def end_tracer(tracer: subprocess.Popen[bytes], seconds: float = 0.01) -> None:
    """End a tracer, which has so long to end by itself: told so in the midst of its process's end it never does."""
    with suppress(subprocess.TimeoutExpired):
        tracer.wait(seconds)
    tracer.terminate()
    tracer.wait(10)


@contextmanager
def killed_at(pid: int, at: Point, output: Path, calls: Sequence[str] = ()) -> Iterator[None]:
    """Kill a process, or count its calls where the point is nowhere. Each of its threads counts for itself.

    Args:
        pid: of the process.
        at: where it is killed.
        output: where what was traced is written.
        calls: those that count; by default writes to the store.
    """
    command = [STRACE, "-f", "-qq", "-o", str(output), "-p", str(pid)]
    command += ["-e", f"trace={','.join(calls or (to_store(),))}"]
    if at.nth:
        command += ["-e", f"inject={at.call}:signal=KILL:when={at.nth}"]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: is_traced(pid), "it is traced")
        yield
    finally:
        end_tracer(tracer, 1 if at.nth else 0.01)


@contextmanager
def stopped_at(
    command: Sequence[str | Path], environment: Mapping[str, str], at: Point, output: Path, calls: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command that stands still once it made the nth call of a kind, or has it run where the point is nowhere.

    It goes on when this is left, to its end; its standard error is then in a file beside `output`, as `errors_of` says.

    Args:
        command: with its arguments.
        environment: its own.
        at: where it stops.
        output: where what was traced is written.
        calls: those that count.
    """
    tracer = [STRACE, "-f", "-qq", "-o", str(output), "-e", f"trace={','.join(calls)}"]
    tracer += ["-e", f"inject={at.call}:signal=STOP:when={at.nth}"] if at.nth else []
    output.unlink(missing_ok=True)
    with errors_of(output).open("w") as errors:
        process = subprocess.Popen([*tracer, *command], env=environment, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        until(lambda: process.poll() is not None or _stopped(output), "it stands still, or has ended", _TRACED_SECONDS)
        yield process
    finally:
        for pid in _stopped(output):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        process.wait(60)


def errors_of(output: Path) -> Path:
    """Return where the standard error is of a command that was traced."""
    return output.with_name(f"{output.name}.errors")


def _stopped(output: Path) -> list[int]:
    lines = output.read_text().splitlines() if output.exists() else []
    return [int(line.split()[0]) for line in lines if _STOPPED in line]


def is_traced(pid: int) -> bool:
    """Tell whether each thread of a process is: a tracer comes to them one after the other."""
    try:
        threads = [thread.read_text() for thread in Path(f"/proc/{pid}/task").glob("*/status")]
    except (FileNotFoundError, ProcessLookupError):  # one ended: the process has met its point, or is looked at again
        return not Path(f"/proc/{pid}").exists()
    return all("TracerPid:\t0\n" not in said for said in threads)


def at_points(run: Callable[[Point], Path], drawn: random.Random, *, full: bool, sampled: int = 1) -> None:
    """Run an act to count its calls, then killed or stopped at each, or at some that are drawn, of all kinds.

    Args:
        run: runs it, and returns what was traced.
        drawn: draws.
        full: whether it is killed at each.
        sampled: how often else; once on PostgreSQL.
    """
    points = [Point(call, nth + 1) for call, count in _counted(run(NOWHERE)).items() for nth in range(count)]
    assert points, "it writes"
    chosen = points if full else _spread(points, drawn)[: sampled if serving.cluster is None else 1]
    hit = [_is_hit(run(at)) for at in chosen]
    # The last calls of an act are not always made; its first is.
    hit += [_is_hit(run(points[0]))] if not any(hit) and points[0] not in chosen else []
    assert any(hit), "the injection must really hit"


def _is_hit(output: Path) -> bool:
    traced = output.read_text()
    return _KILLED in traced or _STOPPED in traced


def _counted(output: Path) -> Mapping[str, int]:
    """Return how often each call was traced, at most in one thread."""
    found = Counter[tuple[str, str]]()
    for line in output.read_text().splitlines():
        thread, _, rest = line.partition(" ")
        call, opened, _ = rest.strip().partition("(")
        if opened and call.isidentifier():
            found[thread, call] += 1
    most: dict[str, int] = {}
    for (_, call), count in found.items():
        most[call] = max(most.get(call, 0), count)
    return most


def _spread(points: Sequence[Point], drawn: random.Random) -> list[Point]:
    """Return points in an order that is drawn, in which one of each call comes first, then a second of each."""
    rounds, ranked = Counter[str](), list[tuple[int, Point]]()
    for point in drawn.sample(points, len(points)):
        ranked.append((rounds[point.call], point))
        rounds[point.call] += 1
    return [point for _, point in sorted(ranked, key=lambda one: one[0])]
