"""`GET /metrics`: Prometheus' form, for an operator's access token with the scope `metrics`."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from flask import Blueprint, Flask, Response
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from vault import metrics
from vault.metrics import Labels
from vault.web.gate import admit, requires

if TYPE_CHECKING:
    from vault.wiring import Vault

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_HISTOGRAMS: Final[Mapping[str, tuple[str, Labels]]] = {
    "request_seconds": ("Requests by route rule and class of status", ("method", "route", "status")),
    "act_seconds": ("Acts of the key agent by outcome", ("act", "outcome")),
}
_COUNTERS: Final[Mapping[str, tuple[str, Labels]]] = {
    "overload_refusals": ("Requests refused with 503 since too many waited", ()),
    "client_limit_refusals": ("Requests refused with 429 since their client made too many", ()),
    "introspections_remembered": ("Introspections answered from memory", ()),
}
_GAUGES: Final[Mapping[str, tuple[str, Labels]]] = {
    "requests_working": ("Requests that are served just now", ()),
    "requests_waiting": ("Requests that wait for their turn", ()),
    "requests_listening": ("Requests that rest until something happens", ()),
    "store_connections": ("Connections to stores that are in use", ()),
    "resident_bytes": ("Memory of all processes but the agent's", ()),
    "build_info": ("The version that answered", ("version",)),
    "agent_up": ("Whether a key holder can be used", ("socket",)),
    "store_up": ("Whether a store can be used", ("store",)),
    "budget_used": ("What was used this hour of all budgets of a kind", ("kind",)),
    "budget_fullest_ratio": ("The part of its limit that the fullest budget of a kind used", ("kind",)),
    "kek_uses": ("How often a version of the key encryption key sealed, at most", ("version",)),
    "kek_uses_ratio": ("The part of its limit that a version of the key encryption key used", ("version",)),
    "reviews_open": ("Reviews that wait", ("kind",)),
    "review_oldest_seconds": ("How long the oldest of them waits", ("kind",)),
    "outbox_rows": ("Audit rows that wait for the log", ("store",)),
    "outbox_oldest_seconds": ("How long the oldest of them waits", ("store",)),
    "intents_open": ("Acts over several stores that are not finished", ()),
    "intent_oldest_seconds": ("How long the oldest of them has been open", ()),
}


class _Scrape(Collector):
    """What one scrape is told."""

    def __init__(self, counted: metrics.Told, figures: Mapping[str, Mapping[Labels, float]]) -> None:
        self._counted = counted
        self._values = {name: {labels: [number] for labels, number in of.items()} for name, of in figures.items()}

    def collect(self) -> Iterator[Metric]:
        """Return all metrics; one that cannot be told now has no samples."""
        told = self._counted | self._values
        for name, (text, labels) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(f"idvault_{name}", text, labels=labels)
            for values, (*buckets, seconds) in sorted(told.get(name, {}).items()):
                bounds = (*map(str, metrics.BUCKETS_SECONDS), "+Inf")
                histogram.add_metric(values, list(zip(bounds, accumulate(buckets), strict=True)), seconds)
            yield histogram
        for kind, of in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
            for name, (text, labels) in of.items():
                family = kind(f"idvault_{name}", text, labels=labels)
                for values, (number,) in sorted(told.get(name, {}).items()):
                    family.add_metric(values, number)
                yield family


def add_metrics(app: Flask, vault: "Vault") -> None:
    """Add the route to an application, behind the gate."""
    pages = Blueprint("metrics", __name__)
    pages.before_request(admit)

    @requires("operator", "metrics", ("directory",))
    def page() -> Response:
        parts = vault.ready()
        figures: dict[str, dict[Labels, float]] = {
            "build_info": {(version("idvault"),): 1},
            "agent_up": {(name[6:],): float(state == "ok") for name, state in parts.items() if name[:6] == "agent."},
            "store_up": {(name,): float(state == "ok") for name, state in parts.items() if name[:6] != "agent."},
        }
        registry = CollectorRegistry()
        registry.register(_Scrape(metrics.shared().gathered(), figures | vault.figures.read()))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE)

    pages.add_url_rule("/metrics", view_func=page)
    app.register_blueprint(pages)
