import base64
from urllib.parse import quote_plus

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.web.stub import BASIC, StubVault
from vault import metrics
from vault.errors import Kind, VaultError
from vault.metrics import Metrics
from vault.web.oauth.client import credentials

MARK = "Zq7markedvalue"
GRANT = {"grant_type": "client_credentials"}


def basic(text: str | bytes) -> dict[str, str]:
    data = text.encode() if isinstance(text, str) else text
    return {"Authorization": "Basic " + base64.b64encode(data).decode()}


def error_of(answer: TestResponse) -> tuple[int, str]:
    assert answer.content_type == "application/json"
    assert answer.json is not None
    assert set(answer.json) <= {"error", "error_description", "incident"}
    assert MARK not in answer.text
    return answer.status_code, answer.json["error"]


def test_a_token_is_issued_with_all_scopes_or_those_asked_for(vault: StubVault, http: FlaskClient) -> None:
    answer = http.post("/oauth/token", headers=BASIC, data=GRANT)
    assert answer.status_code == 200
    assert answer.json == {
        "access_token": "token", "token_type": "Bearer", "expires_in": 600, "scope": "introspect register",
    }  # fmt: skip
    http.post("/oauth/token", headers=BASIC, data=GRANT | {"scope": "register introspect", "unknown": "x"})
    assert vault.calls[-1] == ("issue", frozenset({"register", "introspect"}))


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"grant_type": MARK}, "unsupported_grant_type"),
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        (GRANT | {"scope": MARK}, "invalid_scope"),
        (GRANT | {"scope": "a  b"}, "invalid_scope"),
        (GRANT | {"scope": "é"}, "invalid_scope"),
        (GRANT | {"scope": "a" * 600}, "invalid_scope"),
        (GRANT | {"client_id": MARK}, "invalid_request"),
        (GRANT | {"client_secret": "secret"}, "invalid_request"),
        (GRANT | {"client_assertion": MARK}, "invalid_request"),
    ],
)
def test_a_form_that_does_not_fit_is_refused_in_oauth_form(http: FlaskClient, form: dict[str, str], code: str) -> None:
    assert error_of(http.post("/oauth/token", headers=BASIC, data=form)) == (400, code)


def test_the_form_may_repeat_the_client_of_the_header(http: FlaskClient) -> None:
    assert http.post("/oauth/token", headers=BASIC, data=GRANT | {"client_id": "cli_p"}).status_code == 200


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("cli_p:wrong"),
        basic(f"{MARK}:secret"),
        basic("cli_p"),
        basic(":secret"),
        basic(b"\xff:\xff"),
        basic("cli_p:%ff"),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic"},
        {"Authorization": "Bearer provider-token"},
        {"Authorization": "Basic " + "A" * 5000},
    ],
)
def test_every_failed_authentication_has_the_same_answer(http: FlaskClient, path: str, headers: dict[str, str]) -> None:
    form = GRANT | {"token": "nym_good"}
    answer = http.post(path, headers=headers, data=form)
    assert error_of(answer) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_credentials_in_the_form_alone_authenticate_nobody(http: FlaskClient) -> None:
    form = GRANT | {"client_id": "cli_p", "client_secret": "secret"}
    assert error_of(http.post("/oauth/token", data=form)) == (401, "invalid_client")


def test_credentials_are_percent_decoded() -> None:
    text = f"{quote_plus('a:b c')}:{quote_plus('ä:%+')}"
    assert credentials({"HTTP_AUTHORIZATION": basic(text)["Authorization"]}) == ("a:b c", "ä:%+")
    with pytest.raises(VaultError) as caught:
        credentials({})
    assert caught.value.kind is Kind.UNAUTHENTICATED


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect"])
def test_repeated_parameters_other_types_and_chunks_are_refused(http: FlaskClient, path: str) -> None:
    kind = {"content_type": "application/x-www-form-urlencoded"}

    def code(**arguments: object) -> tuple[int, str]:
        return error_of(http.post(path, headers=BASIC, **arguments))

    assert code(data="token=a&token=a&grant_type=client_credentials", **kind) == (400, "invalid_request")
    assert code(data="token=%ff", **kind) == (400, "invalid_request")
    assert code(json={"token": MARK}) == (400, "invalid_request")
    assert code(data=b"a" * 65_537, **kind) == (413, "invalid_request")
    chunked = http.post(path, headers=BASIC | {"Transfer-Encoding": "chunked"}, data=b"token=a")
    assert error_of(chunked) == (411, "invalid_request")


def test_secrets_in_the_query_are_not_read(http: FlaskClient) -> None:
    answer = http.post(f"/oauth/introspect?token={MARK}", headers=BASIC, data={"account": "acc_1"})
    assert error_of(answer) == (400, "invalid_request")
    query = "client_id=cli_p&client_secret=secret"
    assert error_of(http.post(f"/oauth/token?{query}", data=GRANT)) == (401, "invalid_client")


def test_introspection_answers_good_and_bad_tokens_alike(vault: StubVault, http: FlaskClient) -> None:
    good = http.post("/oauth/introspect", headers=BASIC, data={"token": "nym_good", "account": "acc_1"})
    bad = http.post("/oauth/introspect", headers=BASIC, data={"token": MARK, "token_type_hint": "x", "account": ""})
    assert (good.status_code, good.json) == (200, {"active": True, "scope": "read"})
    assert (bad.status_code, bad.json) == (200, {"active": False})
    assert set(good.headers.keys()) == set(bad.headers.keys())
    assert [call for call in vault.calls if call[0] == "introspect"] == [
        ("introspect", "nym_good", "acc_1"), ("introspect", MARK, None),
    ]  # fmt: skip


def test_an_introspection_that_waited_too_long_is_told_when_to_come_again_and_counted_with_the_refused(
    vault: StubVault, http: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(metrics, "_shared", Counting(counted))
    vault.fault = VaultError(Kind.OVERLOADED, retry_after_seconds=7)
    answer = http.post("/oauth/introspect", headers=BASIC, data={"token": "t"})
    assert error_of(answer) == (503, "temporarily_unavailable")
    assert (answer.headers["Retry-After"], counted) == ("7", [1])
    answer = http.get("/v1/registrations/reg_1", headers={"Authorization": "Bearer provider-token"})
    assert (answer.status_code, counted) == (503, [1, 1]), "so is what goes through the dispatch"


class Counting(Metrics):
    """Counts that a test reads."""

    def __init__(self, counted: list[int]) -> None:
        super().__init__()
        self.counted = counted

    def refused(self) -> None:
        self.counted.append(1)
