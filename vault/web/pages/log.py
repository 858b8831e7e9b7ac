"""`/log/checkpoint` and `/log/tile/…`: the public log as C2SP tlog-tiles serves it, for anybody and any cache."""

from typing import TYPE_CHECKING, Final

from flask import Flask, Response

if TYPE_CHECKING:
    from vault.wiring import Vault

CHECKPOINT_SECONDS: Final = 1
"""How long a cache may show a checkpoint: about as often as there is a new one."""
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
"""What lies at a tile's path never changes (c2sp.org/tlog-tiles)."""


def add_log(app: Flask, vault: "Vault") -> None:
    """Add the routes to an application."""

    def log_checkpoint() -> Response:
        answer = Response(vault.log.checkpoint(), content_type="text/plain; charset=utf-8")
        answer.headers["Cache-Control"] = f"public, max-age={CHECKPOINT_SECONDS}"
        return answer

    def log_tile(path: str) -> Response:
        answer = Response(vault.log.file(f"tile/{path}"), content_type="application/octet-stream")
        answer.headers["Cache-Control"] = _IMMUTABLE
        return answer

    app.add_url_rule("/log/checkpoint", view_func=log_checkpoint)
    app.add_url_rule("/log/tile/<path:path>", view_func=log_tile)
