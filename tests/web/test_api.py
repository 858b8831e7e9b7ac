import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.stub import PROVIDER, REGISTRATION, REVIEWER, StubVault
from vault.errors import Kind, VaultError
from vault.web.idempotency import parse_key

MARK = "Zq7markedvalue"
PNG = {"content_type": "image/png"}


def last(vault: StubVault) -> tuple[Any, ...]:
    return vault.calls[-1]


def test_bodies_reach_the_services_as_they_were_validated(vault: StubVault, http: FlaskClient) -> None:
    answer = http.post("/v1/registrations", headers=PROVIDER, json=REGISTRATION)
    assert (answer.status_code, answer.json) == (202, {"id": "reg_1"})
    assert last(vault) == ("register", "cli_p", REGISTRATION, None)
    assert ("peek", "directory", "identity") in vault.calls
    assert http.put("/v1/registrations/reg_1", headers=PROVIDER, json=REGISTRATION).status_code == 202
    assert last(vault) == ("resubmit", "reg_1", REGISTRATION, None)
    decision = {"decision": "approved", "reason": "document_checked"}
    assert http.post("/v1/reviews/reg_1/decision", headers=REVIEWER, json=decision).status_code == 200
    assert last(vault) == ("decide", "reg_1", decision, None)
    reveal = {"purpose": "review", "fields": ["legal_name"]}
    assert http.post("/v1/reviews/reg_1/reveal", headers=REVIEWER, json=reveal).json == {"fields": {}}
    assert last(vault) == ("reveal", "reg_1", "review", ["legal_name"])


def test_the_next_case_or_none(vault: StubVault, http: FlaskClient) -> None:
    answer = http.post("/v1/reviews/next", headers=REVIEWER)
    assert (answer.status_code, answer.data) == (204, b"")
    vault.case = {"id": "reg_1"}
    answer = http.post("/v1/reviews/next", headers=REVIEWER)
    assert (answer.status_code, answer.json) == (200, {"id": "reg_1"})


def test_single_things_are_asked_for_by_their_id_as_it_is(vault: StubVault, http: FlaskClient) -> None:
    assert http.get("/v1/registrations/reg_1", headers=PROVIDER).json == {"id": "reg_1"}
    assert http.get("/v1/accounts/'; DROP", headers=PROVIDER).status_code == 200
    assert last(vault) == ("account", "'; DROP")


def test_lists_page_within_the_limits(vault: StubVault, http: FlaskClient) -> None:
    http.get("/v1/registrations", headers=PROVIDER)
    assert last(vault) == ("registrations", None, 50, None)
    http.get("/v1/reviews?cursor=abc&limit=1000&state=in_review", headers=REVIEWER)
    assert last(vault) == ("reviews", "abc", 200, "in_review")
    http.get("/v1/accounts?token=nym_x&limit=7", headers=PROVIDER)
    assert last(vault) == ("accounts", None, 7, "nym_x", None)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"{MARK}=1", 422), (f"limit={MARK}", 422), ("limit=0", 422), ("limit=-1", 422), (f"state={MARK}'", 422),
        (f"cursor={MARK}'", 422), ("limit=1&limit=2", 400), ("limit=1&limit=1", 400), ("limit=" + "9" * 5000, 422),
        ("cursor=" + "a" * 600, 422), ("cursor=", 422),
    ],
)  # fmt: skip
def test_odd_queries_are_refused(http: FlaskClient, query: str, status: int) -> None:
    answer = http.get(f"/v1/registrations?{query}", headers=PROVIDER)
    assert answer.status_code == status
    assert MARK not in answer.text


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 411),
        (b'{"handle":"a","handle":"a"}', "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b'{"a":"\\ud800"}', "application/json", 400),
        (b"[]", "application/json", 422),
        (b'"{}"', "application/json", 422),
        (b'"' + json.dumps(json.dumps(REGISTRATION)).encode()[1:], "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"{}", "application/json-seq", 415),
        (b"{}", "", 415),
        (b" " * 65_537, "application/json", 413),
        (b'{"handle":"' + MARK.encode(), "application/json", 400),
        (json.dumps(REGISTRATION | {MARK: MARK}).encode(), "application/json; charset=utf-8", 422),
    ],
)
def test_bodies_that_cannot_be_taken(vault: StubVault, http: FlaskClient, data: bytes, kind: str, status: int) -> None:
    answer = http.post("/v1/registrations", headers=PROVIDER, data=data, content_type=kind)
    assert answer.status_code == status
    assert MARK not in answer.text
    assert [call[0] for call in vault.calls] in (["peek"], [])


def test_framing_is_judged_before_the_caller(http: FlaskClient) -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    assert http.post("/v1/registrations", headers=chunked, data=b"{}").status_code == 411
    assert http.post("/v1/registrations", environ_overrides={"CONTENT_LENGTH": "100000000"}).status_code == 413
    assert http.post("/v1/reviews/next", headers=chunked | REVIEWER).status_code == 411


def test_evidence_goes_in_and_comes_out_as_a_download(vault: StubVault, http: FlaskClient) -> None:
    answer = http.put("/v1/registrations/reg_1/evidence/front", headers=PROVIDER, data=b"x" * 100_000, **PNG)
    assert answer.status_code == 204
    assert last(vault) == ("put_evidence", "reg_1", "front", "image/png", 100_000)
    answer = http.get("/v1/reviews/reg_1/evidence/front", headers=REVIEWER)
    assert (answer.data, answer.content_type) == (b"%PDF-", "application/pdf")
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["Content-Security-Policy"] == "sandbox"


def test_evidence_of_the_wrong_name_type_or_size_is_refused(vault: StubVault, http: FlaskClient) -> None:
    def status(name: str = "front", data: bytes = b"x", kind: str = "image/png", **headers: str) -> int:
        path = f"/v1/registrations/reg_1/evidence/{name}"
        return http.put(path, headers=PROVIDER | headers, data=data, content_type=kind).status_code

    assert status(name="Front") == 422
    assert status(name="a" * 33) == 422
    assert status(name="a%2fb") == 404
    assert status(kind="image/svg+xml") == 415
    assert status(kind="text/html") == 415
    assert status(data=b"") == 411
    overrides = {"CONTENT_LENGTH": "0", "CONTENT_TYPE": "image/png"}
    path = "/v1/registrations/reg_1/evidence/front"
    assert http.put(path, headers=PROVIDER, environ_overrides=overrides).status_code == 400
    vault.settings.max_evidence_bytes = 10
    assert status(data=b"x" * 10) == 204
    assert status(data=b"x" * 11) == 413
    assert http.get("/v1/reviews/reg_1/evidence/Front", headers=REVIEWER).status_code == 404


def key_of(http: FlaskClient, vault: StubVault, key: str, body: dict[str, Any] = REGISTRATION) -> Any:
    answer = http.post("/v1/registrations", headers=PROVIDER | {"Idempotency-Key": key}, json=body)
    assert answer.status_code == 202
    return last(vault)[3]


def test_one_key_and_one_body_give_one_fingerprint(vault: StubVault, http: FlaskClient) -> None:
    first = key_of(http, vault, '"8e03978e"')
    reordered = dict(reversed(REGISTRATION.items()))
    assert key_of(http, vault, "8e03978e", reordered) == first
    other = key_of(http, vault, '"8e03978e"', REGISTRATION | {"handle": "b"})
    assert (other.key, len(other.key), len(other.request)) == (first.key, 32, 32)
    assert other.request != first.request
    http.put("/v1/registrations/reg_1", headers=PROVIDER | {"Idempotency-Key": "8e03978e"}, json=REGISTRATION)
    assert last(vault)[3].request != first.request


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"a"', "a"),
        ("a", "a"),
        (r'"a\"b\\"', r"a\"b\\".replace('\\"', '"').replace("\\\\", "\\")),
        ("a/b:c=", "a/b:c="),
    ],
)
def test_keys_are_read_quoted_and_bare(header: str, key: str) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize(
    "header", ["", '""', '"a', 'a"', '"a"b"', '"a","b"', "a,b", '"a";x=1', "a b", '"a b"', r'"\a"', "é", "a" * 256]
)
def test_a_malformed_key_is_refused(http: FlaskClient, header: str) -> None:
    with pytest.raises(VaultError) as caught:
        parse_key(header)
    assert caught.value.kind is Kind.MALFORMED
    answer = http.post("/v1/registrations", headers=PROVIDER | {"Idempotency-Key": header}, json=REGISTRATION)
    assert answer.status_code == 400
