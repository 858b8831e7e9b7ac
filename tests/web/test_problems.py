import io
import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.exceptions import InternalServerError, RequestTimeout

from keys import errors as key_errors
from tests.web.stub import BASIC, PROVIDER, REGISTRATION, StubVault
from vault.domain.errors import InvalidFieldError
from vault.errors import Kind, VaultError
from vault.web.problems import PROBLEMS, TYPE_PREFIX, refusal_of

MARK = "Zq7markedvalue"


def test_every_kind_has_a_row() -> None:
    assert set(PROBLEMS) == set(Kind)


def test_the_page_of_the_interface_lists_every_kind_with_its_status() -> None:
    page = (Path(__file__).parents[2] / "docs/http-api.md").read_text()
    missing = [kind.value for kind, (status, _) in PROBLEMS.items() if f"\n| `{kind.value}` | {status} | " not in page]
    assert missing == []


@pytest.mark.parametrize("kind", set(Kind) - {Kind.INTERNAL})
def test_each_kind_is_shown_as_problem_details(vault: StubVault, http: FlaskClient, kind: Kind) -> None:
    vault.fault = VaultError(kind, "do this next", retry_after_seconds=7)
    answer = http.get("/v1/accounts", headers=PROVIDER)
    status, title = PROBLEMS[kind]
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.json == {
        "type": TYPE_PREFIX + kind.value, "title": title, "status": status, "detail": "do this next",
    }  # fmt: skip
    assert answer.headers["Retry-After"] == "7"
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(
    ("error", "kind", "oauth"),
    [
        (key_errors.LockdownError(), Kind.LOCKDOWN, "temporarily_unavailable"),
        (key_errors.SealedError(), Kind.SEALED, "temporarily_unavailable"),
        (key_errors.UnavailableError(), Kind.UNAVAILABLE, "temporarily_unavailable"),
        (key_errors.UsesError(), Kind.KEY_USED_UP, "temporarily_unavailable"),
        (key_errors.BudgetError(), Kind.TOO_MANY_REQUESTS, "temporarily_unavailable"),
        (key_errors.ConflictError(), Kind.CONFLICT, "invalid_request"),
        (key_errors.RefusedError(), Kind.INTERNAL, "server_error"),
        (key_errors.OpenError(), Kind.INTERNAL, "server_error"),
        (RequestTimeout(), Kind.MALFORMED, "invalid_request"),
        (InternalServerError(), Kind.INTERNAL, "server_error"),
        (RuntimeError(MARK), Kind.INTERNAL, "server_error"),
        (VaultError(Kind.INTERNAL, MARK), Kind.INTERNAL, "server_error"),
    ],
)
def test_each_error_has_its_kind_and_its_oauth_code(
    vault: StubVault, http: FlaskClient, error: Exception, kind: Kind, oauth: str
) -> None:
    assert refusal_of(error).error.kind is kind
    vault.fault = error
    answer = http.post("/oauth/introspect", headers=BASIC, data={"token": "nym_good"})
    assert answer.status_code == PROBLEMS[kind][0]
    assert answer.content_type == "application/json"
    assert answer.json is not None
    assert answer.json["error"] == oauth
    assert MARK not in answer.text


def test_an_unavailable_agent_says_when_to_come_back(vault: StubVault, http: FlaskClient) -> None:
    vault.peek_fault = key_errors.UnavailableError()
    for answer in (http.get("/v1/accounts", headers=PROVIDER), http.post("/oauth/token", headers=BASIC)):
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"


def test_a_fault_of_the_domain_names_its_place(vault: StubVault, http: FlaskClient) -> None:
    vault.fault = InvalidFieldError("/identity/birth_date", "must be a date")
    answer = http.post("/v1/registrations", headers=PROVIDER, json=REGISTRATION)
    assert answer.status_code == 422
    assert answer.json is not None
    assert answer.json["errors"] == [{"pointer": "/identity/birth_date", "detail": "must be a date"}]


def test_what_nobody_foresaw_is_an_incident_whose_text_stays_inside(
    vault: StubVault, http: FlaskClient, log: io.BytesIO
) -> None:
    vault.fault = RuntimeError(MARK)
    answer = http.post("/v1/registrations", headers=PROVIDER, json=REGISTRATION)
    assert answer.status_code == 500
    assert answer.json is not None
    incident = answer.json["incident"]
    logged = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["event"] for line in logged] == ["internal_error", "request"]
    assert logged[0]["incident"] == incident
    assert logged[0]["error"] == "builtins.RuntimeError"
    assert logged[0]["where"].startswith("vault.web.api.registrations:")
    assert MARK not in answer.text + log.getvalue().decode()


def test_an_act_that_the_agent_refused_has_its_own_event(vault: StubVault, http: FlaskClient, log: io.BytesIO) -> None:
    vault.fault = key_errors.RefusedError()
    assert http.get("/v1/accounts/acc_1", headers=PROVIDER).status_code == 500
    assert json.loads(log.getvalue().splitlines()[0])["event"] == "agent_refused"
