"""Who may call what, in which state: every route, every role, every state of the vault has its verdict here (A18).

A route that is new, or gone, fails the first test until it has its line. That no other entry leads to what a role may
not do is the same gate for all of them; batches and imports are routes of their own, with their own lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import httpx
import pytest

from tests.http.test_processes import eventually, workers
from tests.http.test_rotation import keys
from tests.people import person
from tests.serving import NO_TLS, Client, Server
from vault.web.gate import OPEN_RULES

pytestmark = pytest.mark.sampled

MAY: Final = {
    # operation                                   who may, by role and scope          what must be open
    "GET /v1/registrations":                       ("provider:register",              "names"),
    "POST /v1/registrations":                      ("provider:register",              "names"),
    "POST /v1/registrations/batch":                ("provider:register",              "names"),
    "GET /v1/registrations/{id}":                  ("provider:register",              "names"),
    "PUT /v1/registrations/{id}":                  ("provider:register",              "names"),
    "DELETE /v1/registrations/{id}":               ("provider:register reviewer",     "names"),
    "GET /v1/registrations/{id}/receipts":         ("provider:register",              "names"),
    "PUT /v1/registrations/{id}/evidence/{name}":  ("provider:register",              "names"),
    "GET /v1/reviews":                             ("reviewer",                       "names"),
    "POST /v1/reviews/next":                       ("reviewer",                       "names"),
    "POST /v1/reviews/{id}/reveal":                ("reviewer",                       "names"),
    "GET /v1/reviews/{id}/evidence/{name}":        ("reviewer",                       "names"),
    "POST /v1/reviews/{id}/split":                 ("reviewer",                       "names"),
    "POST /v1/reviews/{id}/decision":              ("reviewer",                       "names"),
    "GET /v1/accounts":                            ("provider:register",              "standing"),
    "POST /v1/accounts":                           ("provider:register",              "standing"),
    "GET /v1/accounts/{id}":                       ("provider:register",              "standing"),
    "DELETE /v1/accounts/{id}":                    ("provider:register",              "standing"),
    "PATCH /v1/accounts/{id}":                     ("provider:register",              "standing"),
    "GET /v1/accounts/{id}/receipt":               ("provider:register",              "standing"),
    "GET /v1/accounts/{id}/operators":             ("provider:register",              "standing"),
    "POST /v1/accounts/{id}/operators":            ("provider:register",              "standing"),
    "DELETE /v1/accounts/{id}/operators":          ("provider:register",              "standing"),
    "GET /v1/events":                              ("provider:register",              "standing"),
    "GET /v1/sanctions":                           ("provider:sanction",              "standing"),
    "POST /v1/sanctions":                          ("provider:sanction",              "standing"),
    "GET /v1/sanctions/{id}":                      ("provider:sanction",              "standing"),
    "GET /v1/sanctions/{id}/receipt":              ("provider:sanction",              "standing"),
    "POST /v1/sanctions/{id}/lift":                ("provider:sanction",              "standing"),
    "POST /v1/disclosures":                        ("provider:sanction",              "names"),
    "GET /v1/disclosures/{id}":                    ("provider:sanction",              "names"),
    "GET /v1/disclosures/{id}/package":            ("provider:sanction",              "names"),
    "POST /v1/provider/secrets":                   ("provider:whole",                 "standing"),
    "DELETE /v1/provider/secrets":                 ("provider:whole",                 "standing"),
    "POST /v1/tokens/introspect":                  ("provider:introspect",            "standing"),
    "POST /v1/tokens/translate":                   ("provider:introspect",            "standing"),
    "POST /v1/tokens/exchange":                    ("provider:register",              "names"),
    "POST /v1/imports":                            ("provider:register",              "names"),
    "GET /v1/imports/{id}":                        ("provider:register",              "names"),
    "PUT /v1/imports/{id}/chunks/{number}":        ("provider:register",              "names"),
    "GET /v1/imports/{id}/results":                ("provider:register",              "names"),
    "GET /v1/imports/{id}/refused":                ("provider:register",              "names"),
    "POST /v1/imports/{id}/undo":                  ("provider:register",              "names"),
    "POST /v1/imports/{id}/decision":              ("reviewer",                       "names"),
    "GET /metrics":                                ("operator",                       "standing"),
}  # fmt: skip
WITHOUT_BEARER: Final = {
    # rule                                        what it answers to anybody: open, lockdown, sealed
    "GET /healthz":                                (200, 200, 200),
    "GET /readyz":                                 (200, 503, 503),
    "GET /openapi.json":                           (200, 200, 200),
    "GET /docs":                                   (200, 200, 200),
    "GET /docs/swagger":                           (200, 200, 200),
    "GET /docs/swagger/<path:filename>":           (404, 404, 404),
    "GET /docs/oauth2-redirect.html":              (200, 200, 200),
    "GET /.well-known/oauth-authorization-server": (200, 200, 200),
    "GET /.well-known/security.txt":               (200, 200, 200),
    "GET /jwks.json":                              (200, 200, 503),
    # The public log is read whatever the vault's state; this one has nothing in it yet.
    "GET /log/checkpoint":                         (404, 404, 404),
    "GET /log/tile/<path:path>":                   (404, 404, 404),
    "GET /transparency":                           (404, 404, 404),
    "GET /v1/keys/status":                         (200, 200, 200),
    "POST /v1/keys/messages":                      (400, 400, 400),
    # An access token is no client's credential here; who is no client learns that before the agent is looked at.
    "POST /oauth/token":                           (401, 401, 503),
    "POST /oauth/introspect":                      (401, 401, 401),
    "POST /oauth/revoke":                          (401, 401, 503),
}  # fmt: skip
CALLERS: Final = {
    # who                    his role and scopes
    "nobody":                "",
    "garbage":               "",
    "chat":                  "provider:whole provider:register provider:introspect provider:sanction",
    "chat, to introspect":   "provider:introspect",
    "chat, to sanction":     "provider:sanction",
    "chat, to register":     "provider:register",
    "a provider's reviewer": "reviewer",
    "a vault reviewer":      "reviewer",
    "an operator":           "operator",
}  # fmt: skip
STATES: Final = ("open", "lockdown", "sealed")
_IDS: Final = {
    "{id}": "reg_" + "a" * 26,
    "{name}": "front",
    "{number}": "0",
    "<path:path>": "x",
    "<path:filename>": "x",
}


@dataclass(frozen=True)
class Asked:
    """What a served vault answered: (state, operation, caller) → status and problem type."""

    answers: dict[tuple[str, str, str], tuple[int, str]]
    rules: frozenset[str]


def _described(server: Server) -> set[str]:
    document = httpx.get(f"{server.url}/openapi.json", verify=NO_TLS).json()
    return {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}


def _is(server: Server, state: str, before: set[int]) -> bool:
    """Tell whether the vault is in a state, and those workers have ended that its seal ends."""
    if before & set(server.processes()):
        return False
    try:
        return bool(httpx.get(f"{server.url}/v1/keys/status", verify=NO_TLS).json()["names"] == state)
    except httpx.TransportError:  # workers are being replaced
        return False


def _tokens(server: Server) -> dict[str, str]:
    """Return each caller's access token, drawn while the vault was open."""
    chat = server.provider("chat")
    watch = server.json("operator", "add", "watch")
    watcher = Client(server, watch["client_id"], watch["client_secret"])
    chat.registered(person(1), "one")

    def scoped(scope: str) -> str:
        form = {"grant_type": "client_credentials", "scope": scope}
        found: str = chat.http.post("/oauth/token", data=form, auth=(chat.id, chat.secret)).json()["access_token"]
        return found

    return {
        "nobody": "", "garbage": "vat_" + "A" * 120, "chat": chat.authorise(),
        "chat, to introspect": scoped("introspect"), "chat, to sanction": scoped("sanction"),
        "chat, to register": scoped("register"),
        "a provider's reviewer": server.reviewer("bound", chat).authorise(),
        "a vault reviewer": server.reviewer("rita").authorise(), "an operator": watcher.authorise(),
    }  # fmt: skip


def _ask(http: httpx.Client, operation: str, token: str) -> tuple[int, str]:
    method, _, path = operation.partition(" ")
    for name, value in _IDS.items():
        path = path.replace(name, value)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body: dict[str, Any] = {} if method in {"GET", "DELETE"} else {"json": {}}
    if path.startswith("/oauth/"):
        body = {"data": {"token": "x", "grant_type": "client_credentials"}}
    answer = http.request(method, path, headers=headers, **body)
    kind = answer.json().get("type", "") if "problem+json" in answer.headers.get("Content-Type", "") else ""
    return answer.status_code, kind.rpartition(":")[2]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    server = Server(tmp_path_factory.mktemp("matrix") / "home").start()
    answers, tokens, described = {}, _tokens(server), _described(server)
    for state in STATES:
        if state != "open":
            before = set(workers(server)) if state == "sealed" else set[int]()
            keys(server, {"lockdown": "lockdown", "sealed": "seal"}[state])
            assert eventually(partial(_is, server, state, before))
        with httpx.Client(base_url=server.url, verify=NO_TLS, timeout=30) as http:
            for operation in (*MAY, *WITHOUT_BEARER):
                for caller, token in tokens.items():
                    answers[state, operation, caller] = _ask(http, operation, token)
    keys(server, "unseal")
    yield Asked(answers, frozenset(described))
    assert server.stop() == 0


def test_a18_every_route_has_its_line_and_no_line_is_of_no_route(asked: Asked) -> None:
    assert asked.rules | {"GET /metrics"} == set(MAY)
    assert {operation.partition(" ")[2] for operation in WITHOUT_BEARER} == OPEN_RULES


@pytest.mark.parametrize("operation", MAY)
def test_a18_a_route_serves_those_who_may_and_nobody_else_in_each_state(asked: Asked, operation: str) -> None:
    may, needs = MAY[operation]
    for caller, has in CALLERS.items():
        told = {state: asked.answers[state, operation, caller] for state in STATES}
        for state in ("open", *(["lockdown"] if needs == "standing" else [])):
            status, kind = told[state]
            if not has:
                assert (status, kind) == (401, "unauthenticated"), (caller, state)
            elif set(has.split()) & set(may.split()):
                assert status not in {401, 403}, (caller, state)
                assert status < httpx.codes.INTERNAL_SERVER_ERROR, (caller, state)
            else:
                assert (status, kind) == (403, "forbidden"), (caller, state)
        if needs == "names":
            assert told["lockdown"] == (503, "lockdown"), caller
        assert told["sealed"] == (503, "sealed"), caller


@pytest.mark.parametrize("operation", WITHOUT_BEARER)
def test_a18_what_needs_no_access_token_answers_the_same_whoever_asks(asked: Asked, operation: str) -> None:
    for state, wanted in zip(STATES, WITHOUT_BEARER[operation], strict=True):
        told = {asked.answers[state, operation, caller][0] for caller in CALLERS}
        assert told == {wanted}, state
