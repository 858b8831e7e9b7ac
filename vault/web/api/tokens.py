"""`/v1/tokens`: what `/oauth` does for one token, for up to a thousand; each item has its own status."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response

from vault.errors import Kind, VaultError
from vault.services.exchanging import HANDOFF_TYPE, PSEUDONYM_TYPE, Opening, Redeeming
from vault.web.api import ANSWER, api_blueprint
from vault.web.gate import DIRECTORY, EXCHANGE, current_client, current_vault, requires
from vault.web.idempotency import idempotency_of
from vault.web.oauth.errors import OAuthError
from vault.web.oauth.exchange import wish_of
from vault.web.requests import json_response
from vault.web.schemas import ExchangeBatch, TokenBatch

api = api_blueprint("tokens")


@api.post("/introspect", responses={200: ANSWER})
@requires("provider", "introspect", DIRECTORY, batch=True)
def introspect(body: TokenBatch) -> Response:
    """Introspect many tokens of the caller."""
    _check_count(body.tokens, "tokens")
    return json_response({"items": current_vault().tokens.introspect(current_client(), body.tokens)})


@api.post("/translate", responses={200: ANSWER})
@requires("provider", "introspect", DIRECTORY, batch=True)
def translate(body: TokenBatch) -> Response:
    """Name the living token behind each of the caller's, of whatever age."""
    _check_count(body.tokens, "tokens")
    return json_response({"items": current_vault().tokens.translate(current_client(), body.tokens)})


@api.post("/exchange", responses={200: ANSWER})
@requires("provider", "register", EXCHANGE, batch=True)
def exchange(body: ExchangeBatch) -> Response:
    """Open and redeem many hand-offs."""
    _check_count(body.items, "items")
    client, members = current_client(), body.members()
    results: list[Opening | Redeeming | dict[str, Any]] = [_wish(item, client.id) for item in members["items"]]
    wishes = [None if isinstance(result, dict) else result for result in results]
    status, answer = current_vault().exchanging.batch(client, wishes, idempotency_of(members))
    items = [
        result if isinstance(result, dict) else item for result, item in zip(results, answer["items"], strict=True)
    ]
    return json_response({"items": items}, status)


def _wish(item: Mapping[str, str], client_id: str) -> Opening | Redeeming | dict[str, Any]:
    kind = HANDOFF_TYPE if item["subject_token"].startswith("hnd_") else PSEUDONYM_TYPE
    try:
        return wish_of({"subject_token_type": kind, **item}, client_id)
    except OAuthError as error:
        return {"status": 400, "error": error.code}


def _check_count(items: Sequence[object], name: str) -> None:
    most = current_vault().settings.batch_items_max
    if len(items) > most:
        raise VaultError(Kind.VALIDATION, errors=((f"/{name}", f"has more than {most} items"),))
