"""`/v1/accounts`: what a provider may know of its own accounts."""

from flask import Response

from vault.domain.ids import AccountId
from vault.services.receipts import BOUND
from vault.web.api import ANSWER, api_blueprint
from vault.web.gate import DIRECTORY, current_client, current_vault, requires
from vault.web.idempotency import idempotency_of
from vault.web.places import AccountPath, AccountsQuery, OperatorQuery
from vault.web.requests import json_response
from vault.web.schemas import AccountChange, NewAccount, NewOperator

api = api_blueprint("accounts")


@api.get("", responses={200: ANSWER})
@requires("provider", "register", DIRECTORY)
def accounts(query: AccountsQuery) -> Response:
    """List the caller's accounts, a page at a time, or those behind one of its tokens or of one external id."""
    vault = current_vault()
    limit = min(query.limit or vault.settings.page_items, vault.settings.page_items_max)
    return json_response(vault.listing.accounts(current_client(), query.cursor, limit, query.token, query.external_id))


@api.get("/<id>", responses={200: ANSWER})
@requires("provider", "register", DIRECTORY)
def account(path: AccountPath) -> Response:
    """Show one account."""
    return json_response(current_vault().listing.account(current_client(), path.id))


@api.get("/<id>/receipt", responses={200: ANSWER})
@requires("provider", "register", DIRECTORY)
def receipt(path: AccountPath) -> Response:
    """Show where the public log tells that this account was bound; 409 until it is signed there."""
    vault, client = current_vault(), current_client()
    vault.listing.account(client, path.id)
    return json_response(vault.receipts.of(client.id, BOUND, AccountId.parse(path.id)))


@api.post("", responses={201: ANSWER, 202: ANSWER})
@requires("provider", "register", DIRECTORY)
def add(body: NewAccount) -> Response:
    """Add an account without an identity, or, with a token, a further one of a verified person."""
    members = body.members()
    status, answer = current_vault().accounts.add(current_client(), members, idempotency_of(members))
    return json_response(answer, status)


@api.patch("/<id>", responses={200: ANSWER})
@requires("provider", "register", DIRECTORY)
def change(path: AccountPath, body: AccountChange) -> Response:
    """Rename an account, or change the caller's own id of it; the old handle is free at once."""
    members = body.members()
    idempotency = idempotency_of(members)
    status, answer = current_vault().accounts.change(current_client(), path.id, members, idempotency)
    return json_response(answer, status)


@api.delete("/<id>", responses={204: None})
@requires("provider", "register", DIRECTORY)
def close(path: AccountPath) -> Response:
    """Close an account for ever: its handle is free, and it counts no more."""
    status, _ = current_vault().accounts.close(current_client(), path.id, idempotency_of({}))
    return Response(status=status)


@api.get("/<id>/operators", responses={200: ANSWER})
@requires("provider", "register", DIRECTORY)
def operators(path: AccountPath) -> Response:
    """List who may act for an organisation's account."""
    return json_response(current_vault().operating.operators(current_client(), path.id))


@api.post("/<id>/operators", responses={201: ANSWER})
@requires("provider", "register", DIRECTORY)
def add_operator(path: AccountPath, body: NewOperator) -> Response:
    """Let a verified person act for an organisation's account; the account stays the organisation's."""
    members = body.members()
    idempotency = idempotency_of(members)
    status, answer = current_vault().operating.add(current_client(), path.id, members["token"], idempotency)
    return json_response(answer, status)


@api.delete("/<id>/operators", responses={204: None})
@requires("provider", "register", DIRECTORY)
def remove_operator(path: AccountPath, query: OperatorQuery) -> Response:
    """Let a person, named by his token, act for the account no more."""
    idempotency = idempotency_of({"token": query.token})
    status, _ = current_vault().operating.remove(current_client(), path.id, query.token, idempotency)
    return Response(status=status)
