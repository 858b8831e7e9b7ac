"""Load on a URL by wrk: one thread, 16 connections, fewer for batches; our own script. A run with any error is void."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

CONNECTIONS: Final = 16
MANY_CONNECTIONS: Final = 64
"""More callers than a worker serves at once: changes of theirs go together in larger groups."""
BATCH_CONNECTIONS: Final = 8
"""Two connections can fall on one worker; eight load both."""
SLOW_CONNECTIONS: Final = 4
"""For batches that write, or are audited item by item: each keeps a worker for a good part of a second."""
_SCRIPT: Final = Path(__file__).with_name("load.lua")
_PATIENCE_SECONDS: Final = 30
"""A batch on a busy machine takes longer than the two seconds after which wrk counts an error."""
MISSING: Final = "bench: the load generator wrk is not installed; scripts/system-packages bench installs it"


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: requests a second, and latencies in microseconds."""

    per_second: float
    p50_us: float
    p99_us: float

    def times(self, items: int) -> "Sample":
        """Return the items a second of requests with so many items each; latencies stay those of a request."""
        return replace(self, per_second=self.per_second * items)


@dataclass(frozen=True, slots=True)
class Target:
    """What to send where; without bodies the request has none."""

    url: str
    method: str = "GET"
    bodies: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    connections: int = CONNECTIONS


class LoadError(Exception):
    """A run is void; the message says why."""


def check_installed() -> None:
    """Stop the program with a hint where wrk is not there."""
    if shutil.which("wrk") is None:
        raise SystemExit(MISSING)


def run(target: Target, seconds: int, folder: Path) -> Sample:
    """Load a target and return what was measured; for longer where not one answer came in that time.

    Raises:
        LoadError: wrk failed, or an answer was missing or not 2xx or 3xx.
    """
    bodies = "-"
    if target.bodies:
        file = folder / "bodies"
        file.write_text("\n".join(target.bodies) + "\n")
        bodies = str(file)
    headers = [f"{name}: {value}" for name, value in target.headers.items()]
    command = [
        "wrk", "-t1", f"-c{target.connections}", f"-d{seconds}s", f"--timeout={_PATIENCE_SECONDS}s",
        "-s", str(_SCRIPT), target.url, "--", target.method,
        bodies, *headers,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise LoadError(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    requests, duration_us, p50_us, p99_us, errors, refused = map(int, line.split()[1:])
    if not (errors or refused or requests) and seconds < _PATIENCE_SECONDS:
        return run(target, 3 * seconds, folder)
    if errors or refused or not requests:
        raise LoadError(f"{target.url}: {requests} requests, {errors} errors, {refused} answers of 400 or more")
    return Sample(requests / duration_us * 1e6, p50_us, p99_us)
