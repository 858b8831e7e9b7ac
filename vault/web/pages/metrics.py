"""`GET /metrics`: Prometheus' form, for an operator's access token with the scope `metrics`."""

from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response

from vault import metrics
from vault.web.gate import admit, requires

if TYPE_CHECKING:
    from vault.wiring import Vault


def add_metrics(app: Flask, vault: "Vault") -> None:
    """Add the route to an application, behind the gate."""
    pages = Blueprint("metrics", __name__)
    pages.before_request(admit)

    @requires("operator", "metrics", ("directory",))
    def page() -> Response:
        parts = vault.ready()
        up: dict[str, dict[tuple[str, ...], float]] = {
            "agent_up": {(name[6:],): float(state == "ok") for name, state in parts.items() if name[:6] == "agent."},
            "store_up": {(name,): float(state == "ok") for name, state in parts.items() if name[:6] != "agent."},
        }
        body = metrics.shared().page(metrics.build() | up | vault.figures.read())
        return Response(body, content_type=metrics.CONTENT_TYPE)

    pages.add_url_rule("/metrics", view_func=page)
    app.register_blueprint(pages)
