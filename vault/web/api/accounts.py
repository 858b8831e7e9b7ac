"""`/v1/accounts`: what a provider may know of its own accounts."""

from flask import Response

from vault.web.api import ANSWER, api_blueprint
from vault.web.gate import DIRECTORY, current_client, current_vault, requires
from vault.web.places import AccountPath, AccountsQuery
from vault.web.requests import json_response

api = api_blueprint("accounts")


@api.get("", responses={200: ANSWER})
@requires("provider", "register", DIRECTORY)
def accounts(query: AccountsQuery) -> Response:
    """List the caller's accounts, a page at a time, or those behind one of its tokens."""
    vault = current_vault()
    limit = min(query.limit or vault.settings.page_items, vault.settings.page_items_max)
    return json_response(vault.listing.accounts(current_client(), query.cursor, limit, query.token))


@api.get("/<id>", responses={200: ANSWER})
@requires("provider", "register", DIRECTORY)
def account(path: AccountPath) -> Response:
    """Show one account."""
    return json_response(current_vault().listing.account(current_client(), path.id))
