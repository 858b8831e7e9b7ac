"""`/v1/sanctions`: a provider warns, limits, suspends and closes, and lifts what it set."""

from flask import Response

from vault.domain.ids import SanctionId
from vault.services.receipts import SET
from vault.web.api import ANSWER, api_blueprint
from vault.web.gate import DIRECTORY, current_client, current_vault, requires
from vault.web.idempotency import idempotency_of
from vault.web.places import SanctionPath, SanctionsQuery
from vault.web.requests import json_response
from vault.web.schemas import Lift, Sanction

api = api_blueprint("sanctions")


@api.post("", responses={201: ANSWER})
@requires("provider", "sanction", DIRECTORY)
def sanction(body: Sanction) -> Response:
    """Set a sanction: in force at the next call, ended by the clock."""
    members = body.members()
    status, answer = current_vault().sanctioning.sanction(current_client(), members, idempotency_of(members))
    return json_response(answer, status)


@api.get("", responses={200: ANSWER})
@requires("provider", "sanction", DIRECTORY)
def sanctions(query: SanctionsQuery) -> Response:
    """List the caller's sanctions, a page at a time, or those of one registrant or account."""
    vault = current_vault()
    limit = min(query.limit or vault.settings.page_items, vault.settings.page_items_max)
    target = query.model_dump(include={"token", "account"}, exclude_none=True)
    return json_response(vault.sanctioning.sanctions(current_client(), query.cursor, limit, target))


@api.get("/<id>", responses={200: ANSWER})
@requires("provider", "sanction", DIRECTORY)
def one(path: SanctionPath) -> Response:
    """Show one sanction."""
    return json_response(current_vault().sanctioning.sanction_of(current_client(), path.id))


@api.get("/<id>/receipt", responses={200: ANSWER})
@requires("provider", "sanction", DIRECTORY)
def receipt(path: SanctionPath) -> Response:
    """Show where the public log tells that this sanction was set; 409 until it is signed there."""
    vault, client = current_vault(), current_client()
    vault.sanctioning.sanction_of(client, path.id)
    return json_response(vault.receipts.of(client.id, SET, SanctionId.parse(path.id)))


@api.post("/<id>/lift", responses={200: ANSWER})
@requires("provider", "sanction", DIRECTORY)
def lift(path: SanctionPath, body: Lift) -> Response:
    """Lift a sanction at once."""
    members = body.members()
    idempotency = idempotency_of(members)
    by = members.get("by")
    status, answer = current_vault().sanctioning.lift(current_client(), path.id, body.reason, by, idempotency)
    return json_response(answer, status)
