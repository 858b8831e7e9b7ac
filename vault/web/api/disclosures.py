"""`/v1/disclosures`: a provider asks, officers approve, one recipient opens."""

from flask import Response

from vault.web.api import ANSWER, api_blueprint
from vault.web.gate import IDENTITY, current_client, current_vault, requires
from vault.web.idempotency import idempotency_of
from vault.web.places import DisclosurePath
from vault.web.requests import json_response
from vault.web.schemas import Disclosure

api = api_blueprint("disclosures")


@api.post("", responses={202: ANSWER})
@requires("provider", "sanction", IDENTITY)
def ask(body: Disclosure) -> Response:
    """Ask the officers to disclose named fields of the registrant behind an account of the caller."""
    members = body.members()
    status, answer = current_vault().disclosing.ask(current_client(), members, idempotency_of(members))
    return json_response(answer, status)


@api.get("/<id>", responses={200: ANSWER})
@requires("provider", "sanction", IDENTITY)
def one(path: DisclosurePath) -> Response:
    """Show how far a disclosure is, and when its person is told."""
    return json_response(current_vault().disclosing.show(current_client(), path.id))


@api.get("/<id>/package", responses={200: ANSWER})
@requires("provider", "sanction", IDENTITY)
def package(path: DisclosurePath) -> Response:
    """Give out the package of an approved disclosure: its recipient alone can open it."""
    return Response(current_vault().disclosing.package(current_client(), path.id), 200, mimetype="application/json")
