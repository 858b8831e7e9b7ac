"""Memory of a served vault at rest: the proportional set size (PSS), which counts a shared page once for all."""

from collections.abc import Iterable
from pathlib import Path

_KB = 1024


def pss_bytes(processes: Iterable[int]) -> int:
    """Return the PSS of processes together, in bytes; of one that ended meanwhile, none."""
    return sum(_pss(process) for process in processes)


def _pss(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * _KB for line in text.splitlines() if line.startswith("Pss:"))
