"""`POST /oauth/introspect` (RFC 7662): the hot path, so it does nothing but read, ask and write.

Who accepts `application/token-introspection+jwt` gets the same answer signed (RFC 9701), off the hot path.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from flask import Flask, Response, request

from vault.errors import Kind, VaultError
from vault.services.refusing import Refused
from vault.web.ahead import Ahead
from vault.web.gate import CLIENT_KEY
from vault.web.oauth.client import client_form, credentials
from vault.web.oauth.errors import OAuthError
from vault.web.requests import JSON
from vault.web.strict import check_framing

if TYPE_CHECKING:
    from vault.wiring import Vault

PATH: Final = "/oauth/introspect"
SIGNED: Final = "application/token-introspection+jwt"
_OK: Final = 200


def is_plain(environ: Mapping[str, Any]) -> bool:
    """Tell whether a request is an introspection that is answered ahead of Flask: one whose answer is not signed."""
    return (
        environ["PATH_INFO"] == PATH
        and environ["REQUEST_METHOD"] == "POST"
        and SIGNED not in environ.get("HTTP_ACCEPT", "")
    )


def _count_refused(refusal: VaultError, environ: dict[str, Any], client_id: str, count: Callable[[str], None]) -> None:
    """Count a request that was refused to a client who is known: he proved who he is, and may not."""
    if refusal.kind is Kind.FORBIDDEN:
        environ[CLIENT_KEY] = client_id
        count(client_id)


def add_introspection(app: Flask, vault: "Vault") -> Ahead:
    """Add the route to an application, and return what answers it ahead of Flask."""
    limit_bytes, ask, count = vault.settings.max_body_bytes, vault.introspecting.introspect, vault.limiting.count

    def answered(environ: dict[str, Any]) -> dict[str, object]:
        check_framing(environ, limit_bytes)
        client_id, secret = credentials(environ)
        form = client_form(environ, limit_bytes, client_id)
        token = form.get("token")
        if token is None:
            raise VaultError(Kind.MALFORMED, "token is required")
        try:
            answer = ask(client_id, secret, token, form.get("account"))
        except VaultError as refusal:
            _count_refused(refusal, environ, client_id, count)
            raise
        environ[CLIENT_KEY] = client_id
        count(client_id)
        return answer

    def introspect(environ: dict[str, Any]) -> bytes:
        return orjson.dumps(answered(environ))

    def view() -> Response:
        if request.accept_mimetypes.quality(SIGNED) and SIGNED in request.headers.get("Accept", ""):
            return signed()
        return Response(introspect(request.environ), content_type=JSON)

    def signed() -> Response:
        environ = request.environ
        try:
            answer = answered(environ)
        except VaultError as error:
            if error.kind is not Kind.UNAUTHENTICATED:
                raise
            # RFC 9701 section 5 wants this status, not 401.
            words = "authenticate with HTTP Basic and valid credentials"
            raise OAuthError("invalid_client", words, Refused.CREDENTIALS) from None
        jwt = vault.tokens.signed(environ[CLIENT_KEY], answer)
        return Response(jwt, content_type=SIGNED)

    app.add_url_rule(PATH, "introspect", view_func=view, methods=["POST"])
    return Ahead(PATH, is_plain, lambda environ: (_OK, introspect(environ)))
