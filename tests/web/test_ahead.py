"""What is answered ahead of Flask's dispatch is, byte for byte, what the dispatch would have answered."""

import io
import json
import time
from typing import Any, NoReturn

import orjson
import pytest

from keys.errors import (
    BudgetError,
    ConflictError,
    KeysError,
    LockdownError,
    RefusedError,
    SealedError,
    UnavailableError,
)
from tests.web.stub import PROVIDER, REGISTRATION, REVIEWER, WEAK, StubVault
from vault.domain.errors import InvalidFieldError
from vault.errors import Kind, VaultError
from vault.logs import configure
from vault.web.api.registrations import PATH, is_plain
from vault.web.app import create_app

KEY = {"Idempotency-Key": '"a key"'}
BODY = json.dumps(REGISTRATION)
Told = tuple[str, dict[str, str], bytes, list[dict[str, Any]], list[tuple[Any, ...]]]
"""(status, headers, body, log lines, what the services were asked)"""


def answered(
    body: str | bytes, headers: dict[str, str], *, ahead: bool, fault: Exception | None, peek_fault: KeysError | None
) -> Told:
    vault, log = StubVault(fault=fault, peek_fault=peek_fault), io.BytesIO()
    app = create_app(vault.vault, configure(log))
    if not ahead:
        app.ahead = {}
    answer = app.test_client().post(PATH, data=body, content_type="application/json", headers=headers)
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    for line in lines:
        line.update(dict.fromkeys({"time", "duration_ms", "request_id", "incident"} & set(line), 0))
    told = answer.data
    if answer.json is not None and "incident" in answer.json:
        told = told.replace(answer.json["incident"].encode(), b"")
    return answer.status, dict(answer.headers), told, lines, [*vault.calls, *vault.refusing.told]


REQUESTS: dict[str, tuple[str | bytes, dict[str, str]]] = {
    "registered": (BODY, PROVIDER),
    "with a key": (BODY, PROVIDER | KEY),
    "with a bare key": (BODY, PROVIDER | {"Idempotency-Key": "a-key"}),
    "a key that is none": (BODY, PROVIDER | {"Idempotency-Key": "a key"}),
    "an empty key": (BODY, PROVIDER | {"Idempotency-Key": ""}),
    "no bearer": (BODY, {}),
    "a forged bearer": (BODY, {"Authorization": "Bearer none"}),
    "another scheme": (BODY, {"Authorization": "Basic provider-token"}),
    "another role": (BODY, REVIEWER),
    "another scope": (BODY, WEAK),
    "no JSON": ("{", PROVIDER),
    "no object": ("[]", PROVIDER),
    "no UTF-8": (b'{"handle": "\xff"}', PROVIDER),
    "an empty body": ("", PROVIDER),
    "a member twice": ('{"handle": "a", "handle": "b"}', PROVIDER),
    "an unknown member": (json.dumps(REGISTRATION | {"x": 1}), PROVIDER),
    "a missing member": (json.dumps({"handle": "a"}), PROVIDER),
    "a member of another type": (json.dumps(REGISTRATION | {"handle": 1}), PROVIDER),
    "too long": (BODY + " " * 70_000, PROVIDER),
    "a content coding": (BODY, PROVIDER | {"Content-Encoding": "gzip"}),
    "an expected answer": (BODY, PROVIDER | {"Accept": "text/html"}),
}
FAULTS: list[Exception] = [
    VaultError(Kind.HANDLE_TAKEN, "taken"),
    VaultError(Kind.CONFLICT, "send it again", retry_after_seconds=1),
    VaultError(Kind.UNAVAILABLE, "try again", retry_after_seconds=1),
    VaultError(Kind.IDEMPOTENCY_MISMATCH, "take a new key"),
    InvalidFieldError("/identity/birth_date", "must be a date"),
    BudgetError(), ConflictError(), RefusedError(), UnavailableError(), ValueError("of ours"),
]  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_that_of_the_dispatch(name: str) -> None:
    body, headers = REQUESTS[name]
    first, second = (
        answered(body, headers, ahead=ahead, fault=None, peek_fault=None) for ahead in (True, False)
    )  # fmt: skip
    assert first == second


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_what_the_service_refuses_is_answered_as_in_the_dispatch(fault: Exception) -> None:
    first, second = (
        _without_place(answered(BODY, PROVIDER, ahead=ahead, fault=fault, peek_fault=None)) for ahead in (True, False)
    )  # fmt: skip
    assert first == second


@pytest.mark.parametrize("fault", [SealedError(), LockdownError(), UnavailableError()])
def test_a_shut_agent_is_answered_as_in_the_dispatch(fault: KeysError) -> None:
    first, second = (
        answered(BODY, PROVIDER, ahead=ahead, fault=None, peek_fault=fault) for ahead in (True, False)
    )  # fmt: skip
    assert first == second


def test_what_is_refused_ahead_is_logged_with_the_time_that_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.BytesIO()
    vault = StubVault()

    def register(*_: object) -> NoReturn:
        time.sleep(0.05)
        raise VaultError(Kind.UNAVAILABLE, "try again")

    monkeypatch.setattr(vault, "register", register)
    app = create_app(vault.vault, configure(log))
    answer = app.test_client().post(PATH, data=BODY, content_type="application/json", headers=PROVIDER)
    assert answer.status_code == 503
    [line] = [line for line in map(orjson.loads, log.getvalue().splitlines()) if line["event"] == "request"]
    assert line["duration_ms"] >= 50


def _without_place(told: Told) -> Told:
    return (*told[:3], [{name: value for name, value in line.items() if name != "where"} for line in told[3]], told[4])


PLAIN = {"PATH_INFO": PATH, "REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/json", "QUERY_STRING": ""}


def test_a_registration_is_plain() -> None:
    assert is_plain(PLAIN)


@pytest.mark.parametrize(
    "other",
    [
        {"PATH_INFO": PATH + "/batch"}, {"REQUEST_METHOD": "GET"}, {"QUERY_STRING": "a=1&a=2"},
        {"CONTENT_TYPE": "application/json; charset=utf-8"}, {"CONTENT_TYPE": "text/plain"},
    ],
)  # fmt: skip
def test_what_the_dispatch_reads_otherwise_is_left_to_it(other: dict[str, str]) -> None:
    assert not is_plain(PLAIN | other)
