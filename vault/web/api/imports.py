"""`/v1/imports`: a provider brings the accounts that it has, a chunk of rows a request, and may take them back."""

from typing import Any, cast

from flask import Response
from pydantic import ValidationError

from vault.errors import Kind, VaultError
from vault.web.api import ANSWER, api_blueprint
from vault.web.gate import IDENTITY, current_client, current_vault, requires
from vault.web.idempotency import idempotency_of
from vault.web.places import ChunkPath, ImportPath, ImportRowsQuery
from vault.web.refusals import refusal
from vault.web.requests import json_response
from vault.web.schemas import Body, BulkDecision, Chunk, LegacyAccount, NewImport, Registration

api = api_blueprint("imports")


@api.post("", responses={200: ANSWER, 201: ANSWER})
@requires("provider", "register", IDENTITY)
def begin(body: NewImport) -> Response:
    """Begin an import, or go on with that of the same file."""
    members = body.members()
    status, answer = current_vault().importing.begin(current_client(), members, idempotency_of(members))
    return json_response(answer, status)


@api.get("/<id>", responses={200: ANSWER})
@requires("provider", "register", IDENTITY)
def show(path: ImportPath) -> Response:
    """Show an import: its rows so far, and which chunks stand."""
    return json_response(current_vault().importing.show(current_client(), path.id))


@api.put("/<id>/chunks/<number>", responses={200: ANSWER})
@requires("provider", "register", IDENTITY, batch=True)
def put_chunk(path: ChunkPath, body: Chunk) -> Response:
    """Import a chunk of rows: each is made or refused by itself. The same chunk again changes nothing."""
    vault, client = current_vault(), current_client()
    most = vault.settings.batch_items_max
    if len(body.rows) > most:
        raise VaultError(Kind.VALIDATION, errors=(("/rows", f"has more than {most} items"),))
    form = LegacyAccount if vault.importing.find(client, path.id).state == "legacy" else Registration
    items = [_item(form, row) for row in body.rows]
    return json_response(vault.importing.put_chunk(client, path.id, path.number, body.first, items))


def _item(form: type[Body], raw: object) -> dict[str, Any] | VaultError:
    try:
        form.model_validate(raw)
    except ValidationError as error:
        return refusal(error)
    return cast("dict[str, Any]", raw)  # forms are strict: what is valid is what was sent


@api.get("/<id>/results", responses={200: ANSWER})
@requires("provider", "register", IDENTITY)
def results(path: ImportPath, query: ImportRowsQuery) -> Response:
    """List what rows became, a page at a time."""
    limit = query.limit or current_vault().settings.batch_items_max
    return json_response(current_vault().importing.results(current_client(), path.id, query.cursor, limit))


@api.get("/<id>/refused", responses={200: ANSWER})
@requires("provider", "register", IDENTITY)
def refused(path: ImportPath, query: ImportRowsQuery) -> Response:
    """List the rows that were refused, with place and rule, a page at a time."""
    limit = query.limit or current_vault().settings.batch_items_max
    return json_response(current_vault().importing.refused(current_client(), path.id, query.cursor, limit))


@api.post("/<id>/undo", responses={200: ANSWER, 202: ANSWER})
@requires("provider", "register", IDENTITY)
def undo(path: ImportPath) -> Response:
    """Take an import back: 202 while rows are left, to be called again; 200 when it is done."""
    status, answer = current_vault().undoing.undo(current_client(), path.id)
    return json_response(answer, status)


@api.post("/<id>/decision", responses={200: ANSWER})
@requires("reviewer", "review", IDENTITY)
def decide(path: ImportPath, body: BulkDecision) -> Response:
    """Approve what an import left in review and nothing speaks against, some seconds' worth; call again with `next`."""
    members = body.members()
    return json_response(
        current_vault().approving.approve(current_client(), path.id, members["method"], members.get("cursor"))
    )
