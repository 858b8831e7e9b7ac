"""Errors of `/oauth/…` in the form of RFC 6749 section 5.2, which stock clients expect there."""

from typing import Final

import orjson
from flask import Response

from vault.errors import Kind
from vault.services.refusing import Refused
from vault.web.problems import Refusal, refusal_of

_CODES: Final[dict[Kind, str]] = {
    Kind.UNAUTHENTICATED: "invalid_client",
    Kind.FORBIDDEN: "unauthorized_client",
    Kind.CLIENT_LIMIT: "temporarily_unavailable",
    Kind.TOO_MANY_REQUESTS: "temporarily_unavailable",
    Kind.SEALED: "temporarily_unavailable",
    Kind.LOCKDOWN: "temporarily_unavailable",
    Kind.KEY_USED_UP: "temporarily_unavailable",
    Kind.OVERLOADED: "temporarily_unavailable",
    Kind.UNAVAILABLE: "temporarily_unavailable",
    Kind.INTERNAL: "server_error",
}
"""Error code by kind; `invalid_request` for the others."""
_PLAIN: Final = frozenset({Kind.FORBIDDEN, Kind.VALIDATION, Kind.UNSUPPORTED_MEDIA_TYPE})
"""What is answered 400, as RFC 6749 says of all errors but failed authentication."""


class OAuthError(Exception):
    """A refusal that only OAuth has a word for; the description is a constant.

    `refused` says as what the log tells it; None for a request that is not of its form.
    """

    def __init__(self, code: str, description: str, refused: Refused | None = None) -> None:
        super().__init__(code)
        self.code, self.description, self.refused = code, description, refused


def oauth_response(error: Exception) -> Response:
    """Return any exception in OAuth form."""
    if isinstance(error, OAuthError):
        return _response(400, {"error": error.code, "error_description": error.description}, {})
    refusal = refusal_of(error)
    code = _CODES.get(refusal.error.kind, "invalid_request")
    body = {"error": code, "error_description": _description(refusal)}
    if refusal.incident:
        body["incident"] = refusal.incident
    status = 400 if refusal.error.kind in _PLAIN else refusal.status
    headers = refusal.headers()
    if status == 401:  # noqa: PLR2004 - the status that must name a scheme (RFC 9110 section 11.6.1)
        headers["WWW-Authenticate"] = 'Basic realm="idvault", charset="UTF-8"'
    return _response(status, body, headers)


def _description(refusal: Refusal) -> str:
    return refusal.detail or refusal.title


def _response(status: int, body: dict[str, str], headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(body), status, headers, mimetype="application/json")
