"""`/v1/registrations`: a provider hands in identities and their evidence, and mends what was returned."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from flask import Response, request
from pydantic import ValidationError

from vault.errors import Kind, VaultError
from vault.web.ahead import Ahead
from vault.web.api import ANSWER, api_blueprint
from vault.web.gate import IDENTITY, admitted, current_client, current_vault, declared, requires
from vault.web.idempotency import HEADER, idempotency_of, keyed
from vault.web.places import EvidencePath, ReceiptsQuery, RegistrationPath, RegistrationsQuery
from vault.web.problems import item_of
from vault.web.refusals import refusal
from vault.web.requests import JSON, json_response, members_of
from vault.web.schemas import Batch, Registration, Resubmission
from vault.web.strict import read_body

if TYPE_CHECKING:
    from vault.wiring import Vault

PATH: Final = "/v1/registrations"
EVIDENCE_TYPES: Final = ("image/png", "image/jpeg", "application/pdf")
EVIDENCE_NAME: Final = re.compile(r"[a-z0-9_-]{1,32}")
_FILE: Final = {"schema": {"type": "string", "format": "binary"}}

api = api_blueprint("registrations")


@api.post("", responses={202: ANSWER})
@requires("provider", "register", IDENTITY)
def register(body: Registration) -> Response:
    """Hand in a registration: its token exists from the answer on."""
    members = body.members()
    status, answer = current_vault().registering.register(current_client(), members, idempotency_of(members))
    return json_response(answer, status)


def is_plain(environ: Mapping[str, Any]) -> bool:
    """Tell whether a request is a registration that is answered ahead of Flask."""
    return (
        environ["PATH_INFO"] == PATH
        and environ["REQUEST_METHOD"] == "POST"
        and environ.get("CONTENT_TYPE") == JSON
        and not environ.get("QUERY_STRING")
    )


def ahead(vault: "Vault") -> Ahead:
    """Return what answers a single registration ahead of Flask: gate, body and service as in `register`."""
    permission, limit_bytes = declared(register), vault.settings.max_body_bytes

    def answer(environ: dict[str, Any]) -> tuple[int, bytes]:
        client = admitted(vault, environ, permission, limit_bytes)
        try:
            members = Registration.model_validate(members_of(environ, limit_bytes)).members()
        except ValidationError as error:
            raise refusal(error) from None
        idempotency = keyed(environ.get(HEADER), "POST", PATH, members)
        status, told = vault.registering.register(client, members, idempotency)
        return status, orjson.dumps(told)

    return Ahead(PATH, is_plain, answer)


@api.post("/batch", responses={200: ANSWER})
@requires("provider", "register", IDENTITY, batch=True)
def register_batch(body: Batch) -> Response:
    """Hand in many registrations at once: each is registered or refused by itself, in the same order."""
    vault = current_vault()
    most = vault.settings.batch_items_max
    if len(body.items) > most:
        raise VaultError(Kind.VALIDATION, errors=(("/items", f"has more than {most} items"),))
    items = [_item(raw) for raw in body.items]
    idempotency = idempotency_of({"items": body.items})
    status, answer = vault.registering.register_batch(current_client(), items, idempotency, item_of)
    return json_response(answer, status)


def _item(raw: object) -> dict[str, Any] | VaultError:
    try:
        return Registration.model_validate(raw).members()
    except ValidationError as error:
        return refusal(error)


@api.get("", responses={200: ANSWER})
@requires("provider", "register", IDENTITY)
def registrations(query: RegistrationsQuery) -> Response:
    """List the caller's registrations, a page at a time."""
    vault = current_vault()
    limit = min(query.limit or vault.settings.page_items, vault.settings.page_items_max)
    return json_response(vault.listing.registrations(current_client(), query.cursor, limit, query.state))


@api.get("/<id>", responses={200: ANSWER})
@requires("provider", "register", IDENTITY)
def registration(path: RegistrationPath) -> Response:
    """Show one registration: its state, and what is to be mended."""
    return json_response(current_vault().registering.get(current_client(), path.id))


@api.put("/<id>", responses={202: ANSWER})
@requires("provider", "register", IDENTITY)
def resubmit(path: RegistrationPath, body: Resubmission) -> Response:
    """Hand in a returned registration again, mended."""
    members = body.members()
    idempotency = idempotency_of(members)
    status, answer = current_vault().registering.resubmit(current_client(), path.id, members, idempotency)
    return json_response(answer, status)


@api.delete("/<id>", responses={204: None})
@requires("provider", "register", IDENTITY, also={"reviewer": "review"})
def withdraw(path: RegistrationPath) -> Response:
    """End a registration: its keys are destroyed and its token is inactive; open accounts keep reading."""
    status, _ = current_vault().erasing.withdraw(current_client(), path.id, idempotency_of({}))
    return Response(status=status)


@api.get("/<id>/receipts", responses={200: ANSWER})
@requires("provider", "register", IDENTITY)
def receipts(path: RegistrationPath, query: ReceiptsQuery) -> Response:
    """Show where the public log tells what the caller did with a registration, a page of the log at a time."""
    return json_response(current_vault().record_receipts.of(current_client(), path.id, query.first))


@api.put(
    "/<id>/evidence/<name>",
    request_body={"content": dict.fromkeys(EVIDENCE_TYPES, _FILE), "required": True},
    responses={204: None},
)
@requires("provider", "register", IDENTITY, evidence=True)
def put_evidence(path: EvidencePath) -> Response:
    """Add or replace one piece of evidence while the registration is open."""
    if not EVIDENCE_NAME.fullmatch(path.name):
        raise VaultError(Kind.VALIDATION, errors=(("/name", "must be 1 to 32 of a-z, 0-9, _ and -"),))
    if request.mimetype not in EVIDENCE_TYPES:
        raise VaultError(Kind.UNSUPPORTED_MEDIA_TYPE, "send a PNG, a JPEG or a PDF under its own media type")
    vault = current_vault()
    data = read_body(request.environ, vault.settings.max_evidence_bytes, chunked=True)
    if not data:
        raise VaultError(Kind.MALFORMED, "the body is empty")
    vault.registering.put_evidence(current_client(), path.id, path.name, request.mimetype, data)
    return Response(status=204)
