"""Metrics of all processes of one server: each counts in its own memory and tells its counts in a file once a second.

Guarantees that no label names a person, a provider or a pair of providers: labels are route rules, methods, classes of
status, acts, kinds of error and kinds of budget, all of closed lists. Whoever answers a scrape adds the files up
(`vault/web/pages/metrics.py`). prometheus-client's own way to count over processes costs a request ten times as much; a
process that is killed loses the counts of its last second.
"""

import contextlib
import os
import shutil
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TELL_SECONDS: Final = 1.0
_FOLDER: Final = "metrics"
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_FRESH: Final = [0.0] * (len(BUCKETS_SECONDS) + 2)
"""A histogram: how many fell into each bucket and beyond the last, and the sum of the seconds."""
Read = Callable[[], int]
Labels = tuple[str, ...]
Told = dict[str, dict[Labels, list[float]]]
"""Name → values of its labels → a histogram, or one number."""


def begin(home: Path) -> None:
    """Forget the counts of an earlier server, and make the folder of those to come."""
    folder = home.resolve() / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


class Metrics:
    """What one process counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Told = {
            "request_seconds": {},
            "act_seconds": {},
            "overload_refusals": {(): [0]},
            "client_limit_refusals": {(): [0]},
            "introspections_remembered": {(): [0]},
        }
        self._gauges: Mapping[str, Read] = {}
        self._file = Path()

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is the rule that matched."""
        self._observe("request_seconds", (method, route, _CLASSES[status // 100]), seconds)

    def act(self, act: str, outcome: str, seconds: float) -> None:
        """Count one act that this process asked of the agent."""
        self._observe("act_seconds", (act, outcome), seconds)

    def refused(self) -> None:
        """Count one request that was refused unread."""
        with self._lock:
            self._counts["overload_refusals"][()][0] += 1

    def limited(self) -> None:
        """Count one request of a client that made too many."""
        with self._lock:
            self._counts["client_limit_refusals"][()][0] += 1

    def recalled(self) -> None:
        """Count one introspection that was answered from memory."""
        with self._lock:
            self._counts["introspections_remembered"][()][0] += 1

    def _observe(self, name: str, labels: Labels, seconds: float) -> None:
        with self._lock:
            found = self._counts[name].get(labels)
            if found is None:
                found = self._counts[name][labels] = _FRESH.copy()
            found[bisect_left(BUCKETS_SECONDS, seconds)] += 1
            found[-1] += seconds

    def begin(self, home: Path, gauges: Mapping[str, Read]) -> None:
        """Tell the counts of this process, and what these gauges read, from now on in a thread of its own."""
        folder = home.resolve() / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        self._file, self._gauges = folder / f"{os.getpid()}.json", gauges
        threading.Thread(target=self._go_on_telling, name="metrics", daemon=True).start()

    def _go_on_telling(self) -> None:
        while True:
            with contextlib.suppress(OSError):  # a full disk is the stores' affair
                self.tell()
            time.sleep(TELL_SECONDS)

    def tell(self) -> None:
        """Write this process's file.

        Raises:
            OSError: it cannot be written.
        """
        gauges = {name: {(): [read()]} for name, read in self._gauges.items()}
        gauges["resident_bytes"] = {(): [int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES]}
        with self._lock:
            counts = {name: [[*one] for one in values.items()] for name, values in self._counts.items()}
            told = orjson.dumps([counts, {name: [[*one] for one in values.items()] for name, values in gauges.items()}])
        new = self._file.with_suffix(f".{threading.get_ident()}")
        new.write_bytes(told)
        new.replace(self._file)

    def gathered(self) -> Told:
        """Return the counts of all processes of this server, also of those that ended, and the gauges of the living."""
        with contextlib.suppress(OSError):
            self.tell()
        gathered: Told = {}
        for file in self._file.parent.glob("*.json"):
            with contextlib.suppress(OSError, orjson.JSONDecodeError):
                counts, gauges = orjson.loads(file.read_bytes())
                for part in (counts, gauges) if Path(f"/proc/{file.stem}").exists() else (counts,):
                    _add(gathered, part)
        return gathered


_CLASSES: Final = tuple(f"{first}xx" for first in range(10))
_shared = Metrics()


def shared() -> Metrics:
    """Return this process's metrics."""
    return _shared


def _add(gathered: Told, told: Mapping[str, list[Any]]) -> None:
    for name, values in told.items():
        place = gathered.setdefault(name, {})
        for labels, numbers in values:
            before = place.get(tuple(labels))
            place[tuple(labels)] = (
                numbers if before is None else [sum(pair) for pair in zip(before, numbers, strict=True)]
            )
