"""Errors as outsiders see them: one table from kind to status and title, and one answer for everything else.

An answer holds constants, pointers and an incident id, never what was sent and never the text of an exception.
"""

import os
from typing import Final

import orjson
import structlog
from flask import Response
from werkzeug.exceptions import HTTPException

from keys import errors as key_errors
from vault.domain.errors import InvalidFieldError
from vault.errors import Kind, VaultError
from vault.logs import describe

TYPE_PREFIX: Final = "urn:idvault:problem:"
PROBLEMS: Final[dict[Kind, tuple[int, str]]] = {
    Kind.MALFORMED: (400, "The request cannot be read"),
    Kind.VALIDATION: (422, "Members of the request are not valid"),
    Kind.UNAUTHENTICATED: (401, "The credentials are missing or not valid"),
    Kind.FORBIDDEN: (403, "The client may not do this"),
    Kind.NOT_FOUND: (404, "There is no such thing here"),
    Kind.METHOD_NOT_ALLOWED: (405, "This method is not offered here"),
    Kind.CONFLICT: (409, "The state does not allow this"),
    Kind.HELD: (409, "A legal hold keeps this record"),
    Kind.HANDLE_TAKEN: (409, "The handle is taken"),
    Kind.CAP_REACHED: (409, "The cap is reached"),
    Kind.CANDIDATES_CHANGED: (409, "The candidates changed since they were shown"),
    Kind.LEASED: (409, "Another reviewer holds this case"),
    Kind.DECIDED: (409, "The case is decided"),
    Kind.IDEMPOTENCY_RUNNING: (409, "The first request with this key is still running"),
    Kind.IDEMPOTENCY_MISMATCH: (422, "This idempotency key was used with another request"),
    Kind.LENGTH_REQUIRED: (411, "The body needs a Content-Length"),
    Kind.TOO_LARGE: (413, "The body is too large"),
    Kind.UNSUPPORTED_MEDIA_TYPE: (415, "The body has a media type that is not taken here"),
    Kind.CLIENT_LIMIT: (429, "The client makes more requests than its share"),
    Kind.TOO_MANY_REQUESTS: (429, "Too many requests"),
    Kind.SEALED: (503, "The vault is sealed"),
    Kind.LOCKDOWN: (503, "Names are closed by lockdown"),
    Kind.KEY_USED_UP: (503, "The key that seals records may seal no more"),
    Kind.OVERLOADED: (503, "The vault has more requests than it can serve now"),
    Kind.UNAVAILABLE: (503, "A part of the vault cannot be reached"),
    Kind.INTERNAL: (500, "The vault failed"),
}
ROTATE_DETAIL: Final = "nothing was done; the operator of the vault rotates the key: idvault-keys rotate kek"
INCIDENT_DETAIL: Final = "give the incident id to the operator of the vault"
_INCIDENT_BYTES: Final = 8
_UNAVAILABLE_RETRY_SECONDS: Final = 1

# The first class that fits decides, so the narrower stand first.
_KEY_KINDS: Final[tuple[tuple[type[key_errors.KeysError], Kind], ...]] = (
    (key_errors.LockdownError, Kind.LOCKDOWN),
    (key_errors.SealedError, Kind.SEALED),
    (key_errors.UnavailableError, Kind.UNAVAILABLE),
    (key_errors.UsesError, Kind.KEY_USED_UP),
    (key_errors.CapError, Kind.CAP_REACHED),
    (key_errors.BudgetError, Kind.TOO_MANY_REQUESTS),
    (key_errors.HeldError, Kind.HELD),
    (key_errors.ConflictError, Kind.CONFLICT),
    (key_errors.EndedError, Kind.CONFLICT),
)
_STATUS_KINDS: Final = {
    status: kind
    for kind, (status, _) in PROBLEMS.items()
    if status in {401, 403, 404, 405, 411, 413, 415, 429}
}  # fmt: skip
_FIRST_SERVER_STATUS: Final = 500


class Refusal:
    """An error ready to be shown: what problem and OAuth form have in common."""

    def __init__(self, error: VaultError, incident: str = "") -> None:
        self.error, self.incident = error, incident
        self.status, self.title = PROBLEMS[error.kind]

    @property
    def detail(self) -> str:
        """The constant sentence to show."""
        return INCIDENT_DETAIL if self.incident else self.error.detail

    def headers(self) -> dict[str, str]:
        """Return the headers that any form of the answer has."""
        seconds = self.error.retry_after_seconds
        return {} if seconds is None else {"Retry-After": str(seconds)}


def refusal_of(error: Exception) -> Refusal:
    """Return what is shown of any exception; what is nobody's refusal becomes an incident in the log."""
    if isinstance(error, VaultError) and error.kind is not Kind.INTERNAL:
        return Refusal(error)
    if isinstance(error, InvalidFieldError):
        return Refusal(VaultError(Kind.VALIDATION, errors=((error.pointer, error.rule),)))
    if isinstance(error, HTTPException) and (error.code or _FIRST_SERVER_STATUS) < _FIRST_SERVER_STATUS:
        return Refusal(VaultError(_STATUS_KINDS.get(error.code or 0, Kind.MALFORMED)))
    for cls, kind in _KEY_KINDS:
        if isinstance(error, cls):
            retry = _UNAVAILABLE_RETRY_SECONDS if kind is Kind.UNAVAILABLE else None
            detail = ROTATE_DETAIL if kind is Kind.KEY_USED_UP else ""
            return Refusal(VaultError(kind, detail, retry_after_seconds=retry))
    return Refusal(VaultError(Kind.INTERNAL), _incident(error))


def _incident(error: Exception) -> str:
    incident = os.urandom(_INCIDENT_BYTES).hex()
    # The agent refuses what an honest worker does not ask for: rows were changed by another hand, or a fault of ours.
    refused = isinstance(error, key_errors.RefusedError)
    structlog.get_logger().error(
        "agent_refused" if refused else "internal_error", incident=incident, **describe(error)
    )  # fmt: skip
    return incident


def item_of(error: Exception) -> dict[str, object]:
    """Return what is shown of one item of a batch that was refused: {status, type, detail?, errors?}."""
    shown = _body(refusal_of(error))
    return {name: value for name, value in shown.items() if name != "title"}


def problem_response(refusal: Refusal) -> Response:
    """Return the problem details (RFC 9457) of a refusal."""
    error = refusal.error
    response = Response(
        orjson.dumps(_body(refusal)), refusal.status, refusal.headers(), mimetype="application/problem+json"
    )
    if error.kind is Kind.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _body(refusal: Refusal) -> dict[str, object]:
    error = refusal.error
    body: dict[str, object] = {
        "type": TYPE_PREFIX + error.kind.value,
        "title": refusal.title,
        "status": refusal.status,
    }
    if refusal.detail:
        body["detail"] = refusal.detail
    if error.errors:
        body["errors"] = [{"pointer": pointer, "detail": rule} for pointer, rule in error.errors]
    if refusal.incident:
        body["incident"] = refusal.incident
    return body
