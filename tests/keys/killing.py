"""kill -9 at the writes of an act of the agent, by strace's injection."""

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.keys.agents import until

STRACE: Final = shutil.which("strace") or "strace"


@contextmanager
def killed_at(pid: int, nth: int, output: Path) -> Iterator[None]:
    """Kill a process at its nth write to a file, or count its writes where nth is 0."""
    command = [STRACE, "-f", "-qq", "-o", str(output), "-e", "trace=pwrite64", "-p", str(pid)]
    if nth:
        command += ["-e", f"inject=pwrite64:signal=KILL:when={nth}"]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text(), "it is traced")
        yield
    finally:
        # A tracer that is told to end in the midst of its process's end never does.
        with suppress(subprocess.TimeoutExpired):
            tracer.wait(1 if nth else 0.01)
        tracer.terminate()
        tracer.wait(10)


def writes_in(output: Path) -> int:
    """Return how many writes were traced."""
    return sum("pwrite64(" in line for line in output.read_text().splitlines())


def at_writes(run: Callable[[int], int], drawn: random.Random, *, full: bool) -> None:
    """Run an act to count its writes, then killed at each of them, or at the first and one that is drawn."""
    counted = run(0)
    assert counted, "an act writes"
    for nth in range(1, counted + 1) if full else {1, drawn.randint(1, counted)}:
        run(nth)
