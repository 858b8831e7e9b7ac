"""`/transparency`: how many acts of each kind there were in a period, for anybody, in the form of RFC 8785."""

from typing import TYPE_CHECKING, Final

import rfc8785
from flask import Flask, Response, request

from vault.domain.clock import SystemClock, epoch
from vault.domain.errors import InvalidFieldError
from vault.domain.transparency import Period

if TYPE_CHECKING:
    from vault.wiring import Vault

SECONDS: Final = 60
"""How long a cache may show a report."""
_PERIOD: Final = "period"


def add_transparency(app: Flask, vault: "Vault") -> None:
    """Add the route to an application."""

    def transparency() -> Response:
        if set(request.args) - {_PERIOD} or len(request.args.getlist(_PERIOD)) > 1:
            raise InvalidFieldError("", "no parameter but one period")
        asked = request.args.get(_PERIOD)
        period = Period.month_of(epoch(SystemClock().now())) if asked is None else Period.parse(asked)
        report = {**vault.reporting.transparency(period), "kept_by": vault.kept_by()}
        answer = Response(rfc8785.dumps(report), content_type="application/json")
        answer.headers["Cache-Control"] = f"public, max-age={SECONDS}"
        return answer

    app.add_url_rule("/transparency", view_func=transparency)
