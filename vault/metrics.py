"""Metrics of all processes of one server, in Prometheus' form.

Guarantees that no label names a person, a provider or a pair of providers: labels are route rules, methods, classes of
status, acts, kinds of error and kinds of budget, all of closed lists. Processes count in files of one folder
(prometheus-client's multiprocess mode), which is emptied at each start; whoever answers adds them up.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SAMPLE_SECONDS: Final = 1.0
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
Read = Callable[[], int]
_lock = threading.Lock()
_shared: "Metrics | None" = None


def begin(home: Path) -> None:
    """Empty the folder of the counts and name it to the processes that this one starts."""
    folder = home.resolve() / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    os.environ[FOLDER] = str(folder)


def shared() -> "Metrics":
    """Return this process's metrics."""
    global _shared  # noqa: PLW0603 - one a process, as the library's own files are
    with _lock:
        if _shared is None:
            _shared = Metrics()
        return _shared


class Metrics:
    """What one process counts."""

    def __init__(self) -> None:
        # The library decides when it is imported where it counts: after `begin`, in the worker.
        import prometheus_client  # noqa: PLC0415

        self._library = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        self._requests = self._histogram(
            "idvault_request_seconds", "Requests by route rule and class of status", ("method", "route", "status")
        )
        self._acts = self._histogram("idvault_act_seconds", "Acts of the key agent by outcome", ("act", "outcome"))
        self._refused = prometheus_client.Counter(
            "idvault_overload_refusals", "Requests refused with 503 since too many waited", registry=self._registry
        )
        self._gauges = {
            name: prometheus_client.Gauge(f"idvault_{name}", text, registry=self._registry, multiprocess_mode="livesum")
            for name, text in {
                "requests_working": "Requests that are served just now",
                "requests_waiting": "Requests that wait for their turn",
                "store_connections": "Connections to stores that are in use",
                "resident_bytes": "Memory of all workers",
            }.items()
        }
        self._children: dict[tuple[str, str, int], Callable[[float], None]] = {}

    def _histogram(self, name: str, text: str, labels: tuple[str, ...]) -> Any:  # noqa: ANN401 - the library's type
        return self._library.Histogram(name, text, labels, registry=self._registry, buckets=BUCKETS_SECONDS)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is the rule that matched."""
        key = method, route, status // 100
        observe = self._children.get(key)
        if observe is None:
            observe = self._children[key] = self._requests.labels(method, route, f"{status // 100}xx").observe
        observe(seconds)

    def act(self, act: str, outcome: str, seconds: float) -> None:
        """Count one act that a worker asked of the agent."""
        self._acts.labels(act, outcome).observe(seconds)

    def refused(self) -> None:
        """Count one request that was refused unread."""
        self._refused.inc()

    def sample(self, working: Read, waiting: Read, connections: Read) -> None:
        """Keep the gauges of this process up to date, in a thread of its own."""
        threading.Thread(target=self._sample, args=(working, waiting, connections), name="metrics", daemon=True).start()

    def _sample(self, working: Read, waiting: Read, connections: Read) -> None:
        while True:
            self._gauges["requests_working"].set(working())
            self._gauges["requests_waiting"].set(waiting())
            self._gauges["store_connections"].set(connections())
            pages = Path("/proc/self/statm").read_text().split()[1]
            self._gauges["resident_bytes"].set(int(pages) * _PAGE_BYTES)
            time.sleep(_SAMPLE_SECONDS)

    def page(self, figures: Mapping[str, Mapping[tuple[str, ...], float]]) -> bytes:
        """Return all processes' counts and these figures: name → (label values) → number."""
        from prometheus_client import multiprocess  # noqa: PLC0415 - see __init__

        registry = self._registry
        folder = os.environ.get(FOLDER)
        if folder:
            _forget_the_dead(Path(folder))
            registry = self._library.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return self._library.generate_latest(registry) + _written(figures)


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of workers that ended; their counters stay."""
    for file in folder.glob("gauge_live*.db"):
        if not Path(f"/proc/{file.stem.rpartition('_')[2]}").exists():
            file.unlink(missing_ok=True)


LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "build_info": ("version",),
    "budget_used": ("kind",),
    "budget_fullest_ratio": ("kind",),
    "reviews_open": ("kind",),
    "review_oldest_seconds": ("kind",),
    "outbox_rows": ("store",),
    "outbox_oldest_seconds": ("store",),
    "agent_up": ("socket",),
    "store_up": ("store",),
    "intents_open": (),
    "intent_oldest_seconds": (),
}
"""The figures that are read at each scrape, each with its labels."""


def build() -> dict[str, dict[tuple[str, ...], float]]:
    """Return the figure that names this version."""
    return {"build_info": {(version("idvault"),): 1}}


def _written(figures: Mapping[str, Mapping[tuple[str, ...], float]]) -> bytes:
    lines = []
    for name, values in figures.items():
        lines.append(f"# TYPE idvault_{name} gauge")
        for labels, number in sorted(values.items()):
            pairs = ",".join(f'{label}="{value}"' for label, value in zip(LABELS[name], labels, strict=True))
            lines.append(f"idvault_{name}{{{pairs}}} {number}" if pairs else f"idvault_{name} {number}")
    return "".join(line + "\n" for line in lines).encode()
