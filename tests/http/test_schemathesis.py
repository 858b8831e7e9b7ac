"""What the description says is what is answered: every operation, generated, as nobody, two providers and a reviewer.

Ids are real ones as often as not, so that what is generated gets past the door. No answer is a fault of the vault's,
and none is of a kind that the description does not name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.people import person
from tests.serving import Client, Server

pytestmark = pytest.mark.sampled

EXAMPLES, MANY = 30, 2_000
STATUSES = {200, 201, 202, 204, 400, 401, 403, 404, 405, 409, 411, 413, 415, 422, 429}
CHECKS = [
    checks.not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip


@dataclass(frozen=True)
class Described:
    """A served vault, its description, those who call it, and the ids of what is in it."""

    server: Server
    schema: Any
    callers: dict[str, Client | None]
    ids: list[str]
    session: requests.Session
    """Its connections are kept."""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    server = Server(tmp_path_factory.mktemp("described") / "home").start()
    chat, blog, rita = server.provider("chat"), server.provider("blog"), server.reviewer("rita")
    made = [provider.registered(person(n), f"h{n}") for n in range(4) for provider in (chat, blog)]
    for one in made[:4]:
        rita.approve(one["id"])
    sanction = {"token": made[0]["token"], "rung": "warn", "ground": "spam", "facts": "as seen", "by": "mod-1"}
    sanctioned = chat.post("/v1/sanctions", sanction).json()
    for client in (chat, blog, rita):
        client.authorise()
    begun = chat.post("/v1/imports", {"state": "legacy", "file": "0" * 64}).json()
    ids = [one[name] for one in made for name in ("id", "account")] + [sanctioned["id"], begun["id"]]
    callers = {"nobody": None, "chat": chat, "blog": blog, "rita": rita}
    with requests.Session() as session:
        yield Described(server, schemathesis.openapi.from_url(f"{server.url}/openapi.json"), callers, ids, session)
    assert server.stop() == 0


OPERATIONS = [
    "GET /v1/registrations", "POST /v1/registrations", "POST /v1/registrations/batch", "GET /v1/registrations/{id}",
    "PUT /v1/registrations/{id}", "DELETE /v1/registrations/{id}", "PUT /v1/registrations/{id}/evidence/{name}",
    "GET /v1/reviews", "POST /v1/reviews/next", "POST /v1/reviews/{id}/reveal",
    "GET /v1/reviews/{id}/evidence/{name}", "POST /v1/reviews/{id}/split", "POST /v1/reviews/{id}/decision",
    "GET /v1/accounts", "POST /v1/accounts", "GET /v1/accounts/{id}", "DELETE /v1/accounts/{id}",
    "PATCH /v1/accounts/{id}", "GET /v1/accounts/{id}/operators", "POST /v1/accounts/{id}/operators",
    "DELETE /v1/accounts/{id}/operators", "GET /v1/sanctions", "POST /v1/sanctions", "GET /v1/sanctions/{id}",
    "GET /v1/events", "GET /v1/registrations/{id}/receipts", "GET /v1/accounts/{id}/receipt",
    "GET /v1/sanctions/{id}/receipt",
    "POST /v1/sanctions/{id}/lift", "POST /v1/provider/secrets", "DELETE /v1/provider/secrets",
    "POST /v1/tokens/introspect", "POST /v1/tokens/translate", "POST /v1/tokens/exchange",
    "POST /v1/imports", "GET /v1/imports/{id}", "PUT /v1/imports/{id}/chunks/{number}", "GET /v1/imports/{id}/results",
    "POST /v1/disclosures", "GET /v1/disclosures/{id}", "GET /v1/disclosures/{id}/package",
    "GET /v1/imports/{id}/refused", "POST /v1/imports/{id}/undo", "POST /v1/imports/{id}/decision",
]  # fmt: skip


def test_no_operation_is_left_out(described: Described) -> None:
    found = {f"{one.ok().method.upper()} {one.ok().path}" for one in described.schema.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.timeout(1800)
def test_an_operation_answers_as_it_is_described(described: Described, operation: str, *, full: bool) -> None:
    method, _, path = operation.partition(" ")
    allowed = ["rita"] if path.startswith("/v1/reviews") or path.endswith("/decision") else ["chat", "blog"]

    @given(
        case=described.schema[path][method].as_strategy(),
        caller=st.sampled_from(allowed) | st.sampled_from(sorted(described.callers)),
        real=st.none() | st.sampled_from(described.ids),
    )
    @settings(
        max_examples=MANY if full else EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def answered(case: Any, caller: str, real: str | None) -> None:
        client = described.callers[caller]
        if real is not None and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = real
        headers = {} if client is None else {"Authorization": f"Bearer {client.token}"}
        answer = case.call(headers=headers, session=described.session)
        assert answer.status_code in STATUSES, (caller, answer.text)
        assert client is not None or answer.status_code not in {200, 201, 202, 204}, "nobody gets anything"
        case.validate_response(answer, checks=CHECKS)

    answered()
