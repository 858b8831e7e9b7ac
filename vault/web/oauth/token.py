"""`POST /oauth/token`: access tokens for clients (RFC 6749 section 4.4), and the exchange of tokens (RFC 8693)."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from flask import Flask, Response, request

from vault.errors import Kind, VaultError
from vault.services.refusing import Refused
from vault.web.ahead import Ahead
from vault.web.gate import CLIENT_KEY
from vault.web.oauth.client import client_form, credentials
from vault.web.oauth.errors import OAuthError
from vault.web.oauth.exchange import EXCHANGE_GRANT, REPEATABLE, exchanged
from vault.web.requests import JSON
from vault.web.strict import check_framing

if TYPE_CHECKING:
    from vault.wiring import Vault

PATH: Final = "/oauth/token"
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")
"""RFC 6749 appendix A.4."""
_MAX_SCOPE_CHARACTERS: Final = 512


_OK: Final = 200


def _is_plain(environ: Mapping[str, Any]) -> bool:
    return bool(environ["REQUEST_METHOD"] == "POST")


def add_token(app: Flask, vault: "Vault") -> Ahead:
    """Add the route to an application, and return what answers it ahead of Flask."""
    limit_bytes = vault.settings.max_body_bytes

    def token(environ: dict[str, Any]) -> bytes:
        check_framing(environ, limit_bytes)
        vault.peek("directory")
        client_id, secret = credentials(environ)
        form = client_form(environ, limit_bytes, client_id, REPEATABLE)
        client = vault.access.authenticate(client_id, secret)
        environ[CLIENT_KEY] = client.id
        vault.limiting.count(client.id)
        grant_type = form.get("grant_type")
        if grant_type is None:
            raise VaultError(Kind.MALFORMED, "grant_type is required")
        if grant_type == EXCHANGE_GRANT:
            return orjson.dumps(exchanged(vault, client, form))
        if grant_type != "client_credentials":
            raise OAuthError("unsupported_grant_type", "the grants are client_credentials and token-exchange")
        try:
            access_token, seconds, granted = vault.access.issue(client, _scopes(form.get("scope")))
        except VaultError as error:
            if error.kind is not Kind.FORBIDDEN:
                raise
            raise OAuthError("invalid_scope", "a scope that this client does not have", Refused.SCOPE) from None
        return orjson.dumps({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": seconds,
            "scope": " ".join(sorted(granted)),
        })  # fmt: skip

    def view() -> Response:
        return Response(token(request.environ), content_type=JSON)

    app.add_url_rule(PATH, "token", view_func=view, methods=["POST"])
    return Ahead(PATH, _is_plain, lambda environ: (_OK, token(environ)))


def _scopes(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    if len(text) > _MAX_SCOPE_CHARACTERS or not _SCOPE.fullmatch(text):
        raise OAuthError("invalid_scope", "scope is a list of names with one space between")
    return frozenset(text.split(" "))
