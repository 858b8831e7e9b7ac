"""`/v1/keys/status` and `/v1/keys/messages`: officers reach the key agent over these, in whatever state the vault is.

Nobody is authenticated here: whoever may not speak cannot make a message that the agent hears.
"""

import re
from typing import TYPE_CHECKING, Final

from flask import Flask, Response, request

from keys.messages import MAX_BYTES
from vault.domain.errors import InvalidFieldError
from vault.errors import Kind, VaultError
from vault.web.requests import JSON, json_response
from vault.web.strict import read_body

if TYPE_CHECKING:
    from vault.wiring import Vault

_NONCE: Final = "nonce"
_HEX: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


def add_officers(app: Flask, vault: "Vault") -> None:
    """Add the routes to an application."""

    def keys_status() -> Response:
        nonces = request.args.getlist(_NONCE)
        if set(request.args) - {_NONCE} or len(nonces) > 1 or not all(_HEX.fullmatch(one) for one in nonces):
            raise InvalidFieldError("", "no parameter but one nonce, of 32 hexadecimal digits")
        return json_response(vault.officers.status(bytes.fromhex("".join(nonces))))

    def keys_messages() -> Response:
        if request.mimetype != JSON:
            raise VaultError(Kind.UNSUPPORTED_MEDIA_TYPE, "send the body as application/json")
        return Response(vault.officers.relay(read_body(request.environ, MAX_BYTES)), content_type=JSON)

    app.add_url_rule("/v1/keys/status", view_func=keys_status)
    app.add_url_rule("/v1/keys/messages", view_func=keys_messages, methods=["POST"])
