"""`/healthz` and `/readyz`: whether the process lives, and whether its parts can be used."""

from typing import TYPE_CHECKING

from flask import Flask, Response

from vault.web.requests import json_response

if TYPE_CHECKING:
    from vault.wiring import Vault


def add_health(app: Flask, vault: "Vault") -> None:
    """Add both routes to an application."""

    def healthz() -> Response:
        return json_response({"status": "ok"})

    def readyz() -> Response:
        parts, kept_by = vault.described()
        ready = all(state == "ok" for state in parts.values())
        told: dict[str, object] = {"status": "ready" if ready else "not_ready", "parts": parts}
        if kept_by is not None:
            told["kept_by"] = kept_by
        return json_response(told, 200 if ready else 503)

    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
