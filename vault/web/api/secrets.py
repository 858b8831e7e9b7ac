"""`/v1/provider/secrets`: a provider changes its client secret without a gap."""

from flask import Response

from vault.web.api import ANSWER, api_blueprint
from vault.web.gate import DIRECTORY, current_client, current_vault, requires
from vault.web.idempotency import idempotency_of
from vault.web.requests import json_response

api = api_blueprint("provider")


@api.post("/secrets", responses={201: ANSWER})
@requires("provider", "register", DIRECTORY)
def rotate() -> Response:
    """Make a new client secret, shown this once; the former one stays good for a while."""
    status, answer = current_vault().credentials.rotate(current_client(), idempotency_of({}))
    return json_response(answer, status)


@api.delete("/secrets", responses={204: None})
@requires("provider", "register", DIRECTORY)
def drop_former() -> Response:
    """End the former secret at once."""
    status, _ = current_vault().credentials.drop_former(current_client(), idempotency_of({}))
    return Response(status=status)
