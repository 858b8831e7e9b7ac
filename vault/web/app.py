"""The Flask application: which routes a role serves, and what every answer has in common."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from flask import Response, request
from flask.globals import request_ctx
from flask_openapi.models.info import Info
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel, ConfigDict, ValidationError
from werkzeug.exceptions import MethodNotAllowed

from vault import logs, metrics
from vault.errors import Kind, VaultError
from vault.metrics import Metrics
from vault.web.ahead import Ahead
from vault.web.api import accounts, disclosures, events, imports, registrations, reviews, sanctions, secrets, tokens
from vault.web.gate import CLIENT_KEY, EXTENSION, check_routes
from vault.web.oauth.errors import oauth_response
from vault.web.oauth.introspection import add_introspection
from vault.web.oauth.metadata import add_metadata
from vault.web.oauth.revocation import add_revocation
from vault.web.oauth.token import add_token
from vault.web.pages.docs import add_docs
from vault.web.pages.health import add_health
from vault.web.pages.log import add_log
from vault.web.pages.metrics import add_metrics
from vault.web.pages.officers import add_officers
from vault.web.pages.security import add_security
from vault.web.pages.transparency import add_transparency
from vault.web.problems import problem_response, refusal_of
from vault.web.refusals import refusal
from vault.web.requests import JSON, StrictRequest
from vault.web.strict import leave_nothing_unread
from vault.web.telling import tell

if TYPE_CHECKING:
    from vault.logs import RequestLog
    from vault.wiring import Vault

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD: Final = "OTHER"
_NO_RULE: Final = "-"
_NOUNS: Final = {
    "identity": (registrations, reviews, imports, disclosures),
    "directory": (accounts, events, sanctions, secrets, tokens),
}
"""Role → the nouns of `/v1` that it serves."""
_GUARDS: Final = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
_PUBLIC: Final = "public"
"""How the one header begins that a view may set itself: what the public log serves may be kept by anybody."""
_TYPE: Final = ("Content-Type", JSON)
_STATUS_LINES: Final = {status.value: f"{status.value} {status.phrase.upper()}" for status in HTTPStatus}


class ProblemError(BaseModel):
    """One fault of a body."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: list[ProblemError] | None = None
    incident: str | None = None


class VaultApp(OpenAPI):
    """Flask with one answer to errors, and headers and a log line for every request.

    These are added here and not in hooks: a hook costs more than what it would do.
    """

    request_class = StrictRequest
    request_log: "RequestLog"
    metrics: Metrics
    ahead: Mapping[str, Ahead] = MappingProxyType({})
    """Path → what answers plain requests for it."""

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 - WSGI's own types
        """Answer a request; some ahead of Flask's dispatch."""
        ahead = self.ahead.get(environ["PATH_INFO"])
        if ahead is None or not ahead.is_plain(environ):
            return super().wsgi_app(environ, start_response)
        started = time.perf_counter()
        try:
            status, body = ahead.answer(environ)
        except Exception as error:  # noqa: BLE001 - every refusal is answered in the one place for refusals
            with self.request_context(environ):
                return self._refused(error, started)(environ, start_response)
        seconds = self.request_log.write("POST", ahead.path, status, started, environ[CLIENT_KEY])
        self.metrics.request("POST", ahead.path, status, seconds)
        start_response(_STATUS_LINES[status], [_TYPE, ("Content-Length", str(len(body))), *_GUARDS])
        return [body]

    def full_dispatch_request(self) -> Response:
        """Answer one request."""
        started = time.perf_counter()
        response = _finished(super().full_dispatch_request())
        self._log(response.status_code, started)
        return response

    def handle_exception(self, e: Exception) -> Response:
        """Answer what failed outside of the views; Flask itself would log the exception's text."""
        return self._refused(e, time.perf_counter())

    def _refused(self, error: Exception, started: float) -> Response:
        response = _finished(_answer(error))
        self._log(response.status_code, started)
        return response

    def _log(self, status: int, started: float) -> None:
        current = request_ctx.request
        method, rule = current.method, current.url_rule
        known = method if method in _METHODS else _OTHER_METHOD
        route = _NO_RULE if rule is None else rule.rule
        seconds = self.request_log.write(known, route, status, started, current.environ.get(CLIENT_KEY))
        self.metrics.request(known, route, status, seconds)


def create_app(vault: "Vault", request_log: "RequestLog | None" = None) -> VaultApp:
    """Return the application for the role that the settings name.

    Args:
        vault: the services.
        request_log: where request lines go; without one, logging is set up for this process.

    Raises:
        StartError: a route declares no permission.
    """
    role = vault.settings.role
    app = _with_nouns(*(_NOUNS if role == "all" else [role]))
    app.request_log = request_log or logs.configure()
    app.metrics = metrics.shared()
    app.extensions[EXTENSION] = vault
    app.register_error_handler(Exception, _answer)
    add_health(app, vault)
    add_metrics(app, vault)
    add_docs(app, lambda: app if role == "all" else _with_nouns(*_NOUNS))
    ahead = []
    if role in {"all", "identity"}:
        ahead.append(registrations.ahead(vault))
    if role in {"all", "directory"}:
        ahead += [add_token(app, vault), add_introspection(app, vault)]
        add_revocation(app, vault)
        add_metadata(app, vault)
        add_security(app, vault)
        add_log(app, vault)
        add_transparency(app, vault)
        add_officers(app, vault)
    app.ahead = {one.path: one for one in ahead}
    check_routes(app)
    return app


def _with_nouns(*roles: str) -> VaultApp:
    """Return an application with what the roles serve under `/v1`."""
    app = VaultApp(
        "vault",
        info=Info(title="idvault", version="1"),
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        validation_error_model=Problem,
        validation_error_callback=_not_valid,
        doc_ui=False,
        static_folder=None,
    )
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    # A path has one spelling: no redirects, which would repeat it.
    app.url_map.merge_slashes = False
    for noun in (noun for role in roles for noun in _NOUNS[role]):
        app.register_api(noun.api)
    return app


def _not_valid(error: ValidationError) -> NoReturn:
    raise refusal(error)


def _answer(error: Exception) -> Response:
    tell(error)
    if isinstance(error, VaultError):
        _count(error)
    response = oauth_response(error) if request.path.startswith("/oauth/") else problem_response(refusal_of(error))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _count(refusal: VaultError) -> None:
    if refusal.kind is Kind.CLIENT_LIMIT:
        metrics.shared().limited()
    elif refusal.kind is Kind.OVERLOADED:
        metrics.shared().refused()


def _finished(response: Any) -> Response:  # noqa: ANN401 - the parent class is not typed
    answer: Response = response
    for name, value in _GUARDS:
        if not answer.headers.get(name, "").startswith(_PUBLIC):
            answer.headers[name] = value
    if not leave_nothing_unread(request.environ):
        answer.headers["Connection"] = "close"
    return answer
