"""`/.well-known/oauth-authorization-server` (RFC 8414) and `/jwks.json`: what a stock client needs to begin."""

from typing import TYPE_CHECKING, Final

from flask import Flask, Response

from vault.web.oauth.exchange import EXCHANGE_GRANT
from vault.web.requests import json_response

if TYPE_CHECKING:
    from vault.wiring import Vault

SCOPES: Final = ("introspect", "register", "sanction", "review", "metrics", "ssf.read", "ssf.manage")
_ENDPOINTS: Final = {"token": "token", "introspection": "introspect", "revocation": "revoke"}
"""Names in the metadata, and the last step of the path."""
_BASIC: Final = ["client_secret_basic"]


def metadata(issuer: str) -> dict[str, object]:
    """Return the metadata of an issuer."""
    endpoints = {f"{name}_endpoint": f"{issuer}/oauth/{step}" for name, step in _ENDPOINTS.items()}
    return {
        "issuer": issuer,
        **endpoints,
        "jwks_uri": f"{issuer}/jwks.json",
        # There is no authorization endpoint: RFC 8414 requires the member, and an empty list is read as its absence.
        "response_types_supported": ["none"],
        "grant_types_supported": ["client_credentials", EXCHANGE_GRANT],
        **{f"{name}_endpoint_auth_methods_supported": _BASIC for name in _ENDPOINTS},
        "introspection_signing_alg_values_supported": ["ES256"],
        "subject_types_supported": ["pairwise"],
        "scopes_supported": list(SCOPES),
    }


def add_metadata(app: Flask, vault: "Vault") -> None:
    """Add the routes to an application."""
    described = metadata(vault.settings.issuer_url)

    def authorization_server() -> Response:
        return json_response(described)

    def jwks() -> Response:
        vault.peek("directory")
        return json_response(vault.keys.public_keys())

    app.add_url_rule("/.well-known/oauth-authorization-server", view_func=authorization_server, methods=["GET"])
    app.add_url_rule("/jwks.json", view_func=jwks, methods=["GET"])
