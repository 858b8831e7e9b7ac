"""`POST /oauth/revoke` (RFC 7009): 200 for whatever is sent; only what is the client's own has an effect."""

from typing import TYPE_CHECKING

from flask import Flask, Response, request

from vault.errors import Kind, VaultError
from vault.web.gate import CLIENT_KEY
from vault.web.oauth.client import client_form, credentials
from vault.web.strict import check_framing

if TYPE_CHECKING:
    from vault.wiring import Vault


def add_revocation(app: Flask, vault: "Vault") -> None:
    """Add the route to an application."""
    limit_bytes = vault.settings.max_body_bytes

    def revoke() -> Response:
        environ = request.environ
        check_framing(environ, limit_bytes)
        vault.peek("directory")
        client_id, secret = credentials(environ)
        form = client_form(environ, limit_bytes, client_id)
        client = vault.access.authenticate(client_id, secret)
        environ[CLIENT_KEY] = client.id
        vault.limiting.count(client.id)
        token = form.get("token")
        if token is None:
            raise VaultError(Kind.MALFORMED, "token is required")
        # The hint is not needed: a token says by its prefix what it is.
        vault.tokens.revoke(client, token)
        return Response(status=200)

    app.add_url_rule("/oauth/revoke", view_func=revoke, methods=["POST"])
