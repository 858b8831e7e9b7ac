"""`POST /oauth/introspect` (RFC 7662): the hot path, so it does nothing but read, ask and write."""

from typing import TYPE_CHECKING

from flask import Flask, Response, request

from vault.errors import Kind, VaultError
from vault.web.gate import CLIENT_KEY
from vault.web.oauth.client import client_form, credentials
from vault.web.requests import json_response
from vault.web.strict import check_framing

if TYPE_CHECKING:
    from vault.wiring import Vault


def add_introspection(app: Flask, vault: "Vault") -> None:
    """Add the route to an application."""
    limit_bytes, peek, ask = vault.settings.max_body_bytes, vault.peek, vault.introspecting.introspect

    def introspect() -> Response:
        environ = request.environ
        check_framing(environ, limit_bytes)
        peek("directory")
        client_id, secret = credentials(environ)
        form = client_form(environ, limit_bytes, client_id)
        token = form.get("token")
        if token is None:
            raise VaultError(Kind.MALFORMED, "token is required")
        answer = ask(client_id, secret, token, form.get("account"))
        environ[CLIENT_KEY] = client_id
        return json_response(answer)

    app.add_url_rule("/oauth/introspect", view_func=introspect, methods=["POST"])
