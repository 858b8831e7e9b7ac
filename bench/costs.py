"""What processes of a vault cost, as /proc tells: memory (PSS) and processor time, by part."""

import os
from collections import defaultdict
from pathlib import Path
from typing import Final

from tests.serving import Server

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_USER_TICKS, _SYSTEM_TICKS = 11, 12
"""Fields of /proc/PID/stat after the name (proc(5): utime and stime)."""


class Costs:
    """Looks at the processes again and again: what ended since the last look is counted as it was then."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cpu: dict[tuple[str, int], float] = {}
        self._before: dict[tuple[str, int], float] = {}
        self.peak_mib: dict[str, float] = {}
        """By part, and of client and service together."""
        self.look(0)
        self._before = dict(self._cpu)

    def look(self, client: int) -> None:
        """Count every process as it is now; `client` is the process that imports, 0 for none."""
        memory: dict[str, float] = defaultdict(float)
        for part, pid in self._processes(client):
            try:
                self._cpu[part, pid] = _cpu(pid)
                memory[part] += _pss_mib(pid) if part != "postgresql" else 0.0
            except OSError:
                continue
        memory["client and service"] = sum(memory.values())
        for part, mib in memory.items():
            self.peak_mib[part] = max(self.peak_mib.get(part, 0.0), mib)

    def _processes(self, client: int) -> list[tuple[str, int]]:
        found = [("client", client)] if client else []
        for pid in self._server.processes():
            if pid != client:
                agent = b"agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
                found.append(("agent" if agent else "service", pid))
        return found + [("postgresql", pid) for pid in _postgresql()] if self._server.databases else found

    def cpu_seconds(self) -> dict[str, float]:
        """Return the processor time since the beginning by part."""
        total: dict[str, float] = defaultdict(float)
        for key, seconds in self._cpu.items():
            total[key[0]] += seconds - self._before.get(key, 0.0)
        return {**total, "all": sum(total.values())}


def _stat(pid: int) -> list[bytes]:
    return (Path("/proc") / str(pid) / "stat").read_bytes().rpartition(b") ")[2].split()


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS


def _pss_mib(pid: int) -> float:
    for line in (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _postgresql() -> list[int]:
    """Return the servers of the cluster that this process started, and their backends."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "comm").read_text().strip()
                mine = name == "postgres" and _is_mine(int(entry.name))
            except OSError:
                continue
            if mine:
                found.append(int(entry.name))
    return found


def _is_mine(pid: int) -> bool:
    """Whether a process, or the one that started it, has its working folder among this program's results."""
    return "bench/results" in str(Path(f"/proc/{pid}/cwd").readlink())
