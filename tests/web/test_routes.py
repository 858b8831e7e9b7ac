import io
import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from keys.errors import LockdownError
from tests.web.stub import BASIC, PROVIDER, REGISTRATION, REVIEWER, WEAK, StubSettings, StubVault
from vault.errors import StartError
from vault.logs import configure
from vault.web.app import VaultApp, create_app
from vault.web.gate import OPEN_RULES, check_routes, permission_of

MARK = "Zq7markedvalue"


def rules(app: VaultApp) -> set[str]:
    return {rule.rule for rule in app.url_map.iter_rules()}


def _is_gated(rule: str) -> bool:
    return rule.startswith("/v1") and rule not in OPEN_RULES


def test_every_route_declares_its_permission_or_is_listed_as_open(app: VaultApp) -> None:
    gated = [rule for rule in app.url_map.iter_rules() if _is_gated(rule.rule)]
    assert gated
    for rule in gated:
        permission = permission_of(app, rule.endpoint)
        assert permission is not None
        assert set(permission.scopes) <= {"provider", "reviewer"}
        assert permission.scopes
        assert all(permission.scopes.values())
        assert permission.sockets
    assert rules(app) - {rule.rule for rule in gated} == OPEN_RULES | {"/metrics"}
    of_metrics = permission_of(app, "metrics.page")
    assert of_metrics is not None
    assert of_metrics.scopes == {"operator": "metrics"}


@pytest.mark.parametrize("path", ["/v1/open", "/open", "/docs/more"])
def test_a_route_without_a_permission_stops_the_start(app: VaultApp, path: str) -> None:
    app.add_url_rule(path, path.replace("/", "_"), view_func=lambda: "")
    with pytest.raises(StartError):
        check_routes(app)


def test_every_gated_route_refuses_strangers_and_other_roles(app: VaultApp, http: FlaskClient) -> None:
    for rule in app.url_map.iter_rules():
        if not _is_gated(rule.rule):
            continue
        path = rule.rule.replace("<id>", "reg_1").replace("<name>", "front").replace("<number>", "1")
        permission = permission_of(app, rule.endpoint)
        assert permission is not None
        others = [
            who for role, who in (("provider", PROVIDER), ("reviewer", REVIEWER)) if role not in permission.scopes
        ]
        for method in (rule.methods or set()) - {"HEAD"}:
            bad: tuple[dict[str, str], ...] = (
                {},
                {"Authorization": "Bearer"},
                {"Authorization": "Bearer é"},
                {"Authorization": "Bearer x y"},
                BASIC,
            )
            answers = [http.open(path, method=method, headers=headers) for headers in bad]
            assert {answer.status_code for answer in answers} == {401}
            assert len({answer.data for answer in answers}) == 1
            assert answers[0].headers["WWW-Authenticate"] == "Bearer"
            for other in others:
                assert http.open(path, method=method, headers=other).status_code == 403
            assert http.open(path, method=method, headers=WEAK).status_code == 403


def test_every_gated_route_that_changes_something_refuses_a_malformed_idempotency_key(
    app: VaultApp, http: FlaskClient
) -> None:
    """Before anything of its body is read, whether or not it would keep its answer under a key."""
    seen = 0
    for rule in app.url_map.iter_rules():
        permission = permission_of(app, rule.endpoint)
        if not _is_gated(rule.rule) or permission is None:
            continue
        path = rule.rule.replace("<id>", "reg_1").replace("<name>", "front").replace("<number>", "1")
        role, scope = next(iter(permission.scopes.items()))
        who = {"Authorization": f"Bearer {role if scope != 'sanction' else scope}-token"}
        for method in (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}:
            # Without a body: the key is looked at first.
            answer = http.open(path, method=method, headers={**who, "Idempotency-Key": "a key"})
            assert answer.status_code == 400, path
            assert b"urn:idvault:problem:malformed" in answer.data, path
            assert b"Idempotency-Key" in answer.data, path
            seen += 1
    assert seen > 20
    assert http.get("/v1/reviews", headers={**REVIEWER, "Idempotency-Key": "a key"}).status_code == 200


def test_a_role_serves_its_own_routes_alone() -> None:
    def served(role: str) -> set[str]:
        vault = StubVault(StubSettings(role))
        return rules(create_app(vault.vault, configure(io.BytesIO())))

    assert not {rule for rule in served("directory") if rule.startswith(("/v1/registrations", "/v1/reviews"))}
    assert not {
        rule for rule in served("identity") if rule.startswith(("/v1/accounts", "/v1/tokens", "/oauth", "/jwks"))
    }
    assert served("all") == served("directory") | served("identity")


def test_each_role_describes_the_whole_interface() -> None:
    def described(role: str) -> Any:
        vault = StubVault(StubSettings(role))
        return create_app(vault.vault, configure(io.BytesIO())).test_client().get("/openapi.json").json

    assert described("directory") == described("identity") == described("all")
    assert {"/v1/registrations", "/v1/accounts"} <= set(described("all")["paths"])


def test_in_lockdown_names_are_closed_and_standing_is_open(
    vault: StubVault, http: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peek(*sockets: str) -> None:
        if "identity" in sockets:
            raise LockdownError

    monkeypatch.setattr(vault, "peek", peek)
    answer = http.get("/v1/registrations/reg_1", headers=PROVIDER)
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["type"] == "urn:idvault:problem:lockdown"
    assert http.get("/v1/accounts/acc_1", headers=PROVIDER).status_code == 200
    assert http.post("/oauth/introspect", headers=BASIC, data={"token": "t"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "//v1/accounts", 404),
        ("GET", "/v1//accounts", 404),
        ("GET", "/v1/accounts/", 404),
        ("GET", "/v1/./accounts", 404),
        ("GET", "/v1/x/../accounts", 404),
        ("GET", "/v1/accounts;x", 404),
        ("GET", "/v1/accounts%00", 404),
        ("GET", "/v1/%c0%af", 404),
        ("GET", "/v1%2faccounts", 401),
        ("HEAD", "/v1/accounts", 401),
        ("OPTIONS", "/v1/accounts", 405),
        ("DELETE", "/v1/accounts", 405),
        ("TRACE", "/v1/accounts", 405),
        (MARK, "/v1/accounts", 405),
        ("GET", "/oauth/token", 405),
        ("OPTIONS", "/oauth/introspect", 405),
        ("POST", "/oauth/nothing", 404),
        ("GET", f"/{MARK}", 404),
    ],
)
def test_odd_paths_and_methods_reach_no_view(
    vault: StubVault, http: FlaskClient, log: io.BytesIO, method: str, path: str, status: int
) -> None:
    answer = http.open(path, method=method, headers={"X-HTTP-Method-Override": "GET"})
    assert answer.status_code == status
    assert "Location" not in answer.headers
    assert ("Allow" in answer.headers) == (status == 405)
    assert not [call for call in vault.calls if call[0] != "peek"]
    assert MARK not in answer.text + str(answer.headers) + log.getvalue().decode()


def test_every_answer_stays_out_of_caches_and_of_other_origins(vault: StubVault, http: FlaskClient) -> None:
    vault.fault = RuntimeError()
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs", "/nothing", "/v1/accounts", "/oauth/token"):
        headers = http.get(path, headers=PROVIDER | {"Origin": "https://other.example"}).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name, _ in headers if name.startswith("Access-Control") or name == "Set-Cookie"]


def test_health_is_always_good_and_readiness_follows_the_parts(vault: StubVault, http: FlaskClient) -> None:
    kept = {"kept_by": "any 2 of 3 officers"}
    assert http.get("/readyz").json == {"status": "ready", "parts": {"identity": "ok", "agent": "ok"}, **kept}
    vault.states["agent"] = "sealed"
    answer = http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json == {"status": "not_ready", "parts": {"identity": "ok", "agent": "sealed"}, **kept}
    assert http.get("/healthz").json == {"status": "ok"}


def test_the_description_lists_every_gated_route_with_its_errors(app: VaultApp, http: FlaskClient) -> None:
    described = http.get("/openapi.json").json
    assert described is not None
    paths = {rule.replace("<", "{").replace(">", "}") for rule in rules(app) if _is_gated(rule)}
    assert set(described["paths"]) == paths
    for path in described["paths"].values():
        for operation in path.values():
            assert operation["security"] == [{"bearer": []}]
            assert "application/problem+json" in operation["responses"]["422"]["content"]
    schemas = described["components"]["schemas"]
    assert schemas["Registration"]["additionalProperties"] is False
    assert schemas["NewOperator"]["required"] == ["token"]
    assert "default" not in schemas["Identity"]["properties"]["email"]
    assert "Problem" in schemas
    assert "/v1/registrations/{id}/evidence/{name}" in paths


def test_the_page_of_the_description_loads_nothing_from_other_hosts(http: FlaskClient) -> None:
    page = http.get("/docs")
    assert page.status_code == 200
    assert '<base href="/docs/">' in page.text
    assert "//" not in page.text.replace("// ", "").replace("http://www.w3.org", "")
    with http.get("/docs/swagger/js/swagger-ui-bundle.js") as script:
        assert script.status_code == 200


def test_one_line_a_request_names_the_rule_and_the_client_and_nothing_sent(http: FlaskClient, log: io.BytesIO) -> None:
    http.get(f"/v1/accounts/{MARK}?{MARK}={MARK}", headers=PROVIDER | {"X-Mark": MARK})
    body = REGISTRATION | {"handle": MARK}
    http.post("/v1/registrations", headers=PROVIDER | {"Idempotency-Key": MARK}, json=body)
    http.post("/oauth/introspect", headers=BASIC, data={"token": MARK, "account": MARK})
    http.get("/v1/accounts", headers={"Authorization": f"Bearer {MARK}"})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["event"], line["method"], line["route"], line["status"], line["client"]) for line in lines] == [
        ("request", "GET", "/v1/accounts/<id>", 200, "cli_p"),
        ("request", "POST", "/v1/registrations", 202, "cli_p"),
        ("request", "POST", "/oauth/introspect", 200, "cli_p"),
        ("request", "GET", "/v1/accounts", 401, None),
    ]
    assert all(line["duration_ms"] >= 0 and len(line["request_id"]) == 16 for line in lines)
    assert MARK not in log.getvalue().decode()


def test_a_fault_outside_of_the_views_is_answered_alike(
    http: FlaskClient, app: VaultApp, log: io.BytesIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_response: object) -> None:
        raise RuntimeError(MARK)

    monkeypatch.setattr(app, "finalize_request", broken)
    answer = http.get("/healthz")
    assert answer.status_code == 500
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json is not None
    assert answer.json["incident"]
    assert MARK not in answer.text + log.getvalue().decode()
