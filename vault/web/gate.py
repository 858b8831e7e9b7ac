"""Who may call what: every route of `/v1` declares its role and scope, and none is served without.

The gate stands before anything of the request is read but its headers: framing, then the agent, then the bearer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from flask import Flask, current_app, g, request

from vault.errors import Kind, StartError, VaultError
from vault.web.idempotency import HEADER, parse_key
from vault.web.strict import check_framing

if TYPE_CHECKING:
    from vault.services.access import Client
    from vault.wiring import Vault

DIRECTORY: Final = ("directory",)
IDENTITY: Final = ("directory", "identity")
EXCHANGE: Final = ("directory", "exchange")
EXTENSION: Final = "idvault"
CLIENT_KEY: Final = "idvault.client"
"""Where the WSGI environ holds the id of the client once it was authenticated, for the request log."""
OPEN_RULES: Final = frozenset(
    {
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/docs",
        "/docs/swagger",
        "/docs/swagger/<path:filename>",
        "/docs/oauth2-redirect.html",
        "/.well-known/oauth-authorization-server",
        "/.well-known/security.txt",
        "/jwks.json",
        "/log/checkpoint",
        "/log/tile/<path:path>",
        "/transparency",
        # Officers' messages are signed and sealed end to end; the agent hears no others.
        "/v1/keys/status",
        "/v1/keys/messages",
        # These authenticate the client themselves, from the credentials that OAuth says.
        "/oauth/token",
        "/oauth/introspect",
        "/oauth/revoke",
    }
)
"""The rules without a permission; a rule that is neither here nor behind the gate stops the start."""

_PERMISSION: Final = "permission"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_OTHERS: Final[Mapping[str, str]] = MappingProxyType({})
_BEARER: Final = "bearer "
_MAX_AUTHORIZATION_CHARACTERS: Final = 4096
_View = TypeVar("_View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Permission:
    """What a route needs: a role with its scope, the agent's sockets.

    `evidence` takes files, also chunked; `batch` takes longer bodies.
    """

    scopes: Mapping[str, str]
    """role → scope"""
    sockets: tuple[str, ...]
    evidence: bool = False
    batch: bool = False


def requires(
    role: str,
    scope: str,
    sockets: tuple[str, ...],
    *,
    evidence: bool = False,
    batch: bool = False,
    also: Mapping[str, str] = _NO_OTHERS,
) -> Callable[[_View], _View]:
    """Declare the permission of a view; `also` names further roles and the scope that each needs."""

    def declare(view: _View) -> _View:
        setattr(view, _PERMISSION, Permission({role: scope, **also}, sockets, evidence, batch))
        return view

    return declare


def declared(view: Callable[..., Any]) -> Permission:
    """Return the permission that a view declares."""
    permission: Permission = getattr(view, _PERMISSION)
    return permission


def permission_of(app: Flask, endpoint: str | None) -> Permission | None:
    """Return what the view of an endpoint declares."""
    return getattr(app.view_functions.get(endpoint or ""), _PERMISSION, None)


def check_routes(app: Flask) -> None:
    """Refuse to start with a route that anyone may call unawares.

    Raises:
        StartError: it names the first such rule.
    """
    for rule in app.url_map.iter_rules():
        gated = admit in app.before_request_funcs.get(rule.endpoint.rpartition(".")[0], [])
        if rule.rule not in OPEN_RULES and not (gated and permission_of(app, rule.endpoint)):
            raise StartError(f"the route {rule.rule} declares no permission; add @requires")


def limit_of(permission: Permission | None) -> int:
    """Return the longest body of a route, in bytes."""
    settings = current_vault().settings
    if permission is not None and permission.evidence:
        return settings.max_evidence_bytes
    return settings.max_batch_bytes if permission is not None and permission.batch else settings.max_body_bytes


def admit() -> None:
    """Let a request of `/v1` pass that may: runs before its view.

    Raises:
        VaultError: framing, credentials, role, scope or idempotency key do not fit, or the client asks too often.
        KeysError: the agent that the route needs is sealed, locked or away.
    """
    permission = permission_of(current_app, request.endpoint)
    if permission is None:
        raise VaultError(Kind.FORBIDDEN)
    client = admitted(current_vault(), request.environ, permission, limit_of(permission))
    if any(len(values) > 1 for values in request.args.listvalues()):
        raise VaultError(Kind.MALFORMED, "a query parameter is repeated")
    g.client = client


def admitted(vault: "Vault", environ: dict[str, Any], permission: Permission, limit_bytes: int) -> "Client":
    """Return who calls, if he may call what needs this permission; his id is left in the environ.

    Raises:
        VaultError: framing, credentials, role, scope or idempotency key do not fit, or the client asks too often.
        KeysError: the agent that the route needs is sealed, locked or away.
    """
    check_framing(environ, limit_bytes, chunked=permission.evidence)
    vault.peek(*permission.sockets)
    client = vault.access.bearer(_bearer_token(environ.get("HTTP_AUTHORIZATION", "")))
    environ[CLIENT_KEY] = client.id
    vault.limiting.count(client.id)
    if permission.scopes.get(client.role) not in client.scopes:
        raise VaultError(Kind.FORBIDDEN, "the access token lacks the role or scope that this route needs")
    if HEADER in environ and environ["REQUEST_METHOD"] not in _SAFE:
        parse_key(environ[HEADER])  # wherever a key may be sent a malformed one is told, also where it is of no use
    return client


def _bearer_token(header: str) -> str:
    token = header[len(_BEARER) :].strip(" ")
    if (
        header[: len(_BEARER)].lower() != _BEARER
        or not token.isascii()
        or not 0 < len(token) <= _MAX_AUTHORIZATION_CHARACTERS
    ):
        raise VaultError(Kind.UNAUTHENTICATED, "the access token is not valid")
    return token


def current_client() -> "Client":
    """Return the caller that the gate let pass."""
    return cast("Client", g.client)


def current_vault() -> "Vault":
    """Return the services of this application."""
    return cast("Vault", current_app.extensions[EXTENSION])
