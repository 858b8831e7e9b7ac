"""`/v1/reviews`: reviewers take cases, see what they need and decide."""

from flask import Response

from vault.errors import Kind, VaultError
from vault.web.api import ANSWER, api_blueprint
from vault.web.api.registrations import EVIDENCE_NAME, EVIDENCE_TYPES
from vault.web.gate import IDENTITY, current_client, current_vault, requires
from vault.web.idempotency import idempotency_of
from vault.web.places import EvidencePath, RegistrationPath, RegistrationsQuery
from vault.web.requests import json_response
from vault.web.schemas import Decision, Reveal, Split

api = api_blueprint("reviews")


@api.get("", responses={200: ANSWER})
@requires("reviewer", "review", IDENTITY)
def reviews(query: RegistrationsQuery) -> Response:
    """List cases, a page at a time."""
    vault = current_vault()
    limit = min(query.limit or vault.settings.page_items, vault.settings.page_items_max)
    return json_response(vault.listing.reviews(current_client(), query.cursor, limit, query.state))


@api.post("/next", responses={200: ANSWER, 204: None})
@requires("reviewer", "review", IDENTITY)
def take_next() -> Response:
    """Take the lease of the oldest open case; 204 when there is none."""
    case = current_vault().reviewing.next(current_client())
    return Response(status=204) if case is None else json_response(case)


@api.post("/<id>/reveal", responses={200: ANSWER})
@requires("reviewer", "review", IDENTITY)
def reveal(path: RegistrationPath, body: Reveal) -> Response:
    """Show the fields asked for, and take the lease."""
    answer = current_vault().reviewing.reveal(current_client(), path.id, body.purpose, body.fields)
    return json_response(answer)


@api.get(
    "/<id>/evidence/<name>",
    responses={200: {"content": {kind: {} for kind in EVIDENCE_TYPES}}},
)
@requires("reviewer", "review", IDENTITY)
def evidence(path: EvidencePath) -> Response:
    """Show one piece of evidence."""
    if not EVIDENCE_NAME.fullmatch(path.name):
        raise VaultError(Kind.NOT_FOUND)
    data, content_type = current_vault().reviewing.evidence(current_client(), path.id, path.name)
    # The bytes are a stranger's: they are never rendered, and never in this origin.
    headers = {"Content-Disposition": "attachment", "Content-Security-Policy": "sandbox"}
    return Response(data, 200, headers, content_type=content_type)


@api.post("/<id>/split", responses={200: ANSWER})
@requires("reviewer", "review", IDENTITY)
def split(path: RegistrationPath, body: Split) -> Response:
    """Part a registration from the person it was united with; for vault reviewers."""
    members = body.members()
    idempotency = idempotency_of(members)
    status, answer = current_vault().erasing.split(current_client(), path.id, body.reason, idempotency)
    return json_response(answer, status)


@api.post("/<id>/decision", responses={200: ANSWER})
@requires("reviewer", "review", IDENTITY)
def decide(path: RegistrationPath, body: Decision) -> Response:
    """Decide a case."""
    members = body.members()
    idempotency = idempotency_of(members)
    status, answer = current_vault().reviewing.decide(current_client(), path.id, members, idempotency)
    return json_response(answer, status)
