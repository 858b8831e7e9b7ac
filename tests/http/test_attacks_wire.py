"""What is sent to a vault to mislead, drown or sound it out (A39, A41, A45, A49, A51, and bad input)."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.http.test_processes import LOADED_SECONDS
from tests.people import ANNA, WEI, person
from tests.serving import Client, Server

pytestmark = pytest.mark.sampled

MARKER = "ZZMARKERZZ"
PREFIX = "urn:idvault:problem:"
KINDS = {
    "malformed": 400, "validation": 422, "unauthenticated": 401, "forbidden": 403, "not-found": 404,
    "method-not-allowed": 405, "conflict": 409, "handle-taken": 409, "candidates-changed": 409, "leased": 409,
    "decided": 409, "idempotency-running": 409, "idempotency-mismatch": 422, "length-required": 411, "too-large": 413,
    "unsupported-media-type": 415, "client-limit": 429, "too-many-requests": 429, "sealed": 503, "lockdown": 503,
    "key-used-up": 503,
    "unavailable": 503, "internal": 500,
}  # fmt: skip
JSON = {"Content-Type": "application/json"}
NO_ID = "reg_AAAAAAAAAAAAAAAAAAAAAA"


class Parties:
    """Two providers, a reviewer of each, one of the vault's, and what they have."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.one, self.two = server.provider("one"), server.provider("two")
        self.bound, self.vault = server.reviewer("bound", self.one), server.reviewer("vault")
        self.mine = self.one.registered(person(70_001), "mine")
        self.theirs = self.two.registered(person(70_002), "theirs")
        for made, provider in ((self.mine, self.one), (self.theirs, self.two)):
            path = f"/v1/registrations/{made['id']}/evidence/front"
            put = provider.call("PUT", path, content=b"specimen", headers={"Content-Type": "image/png"})
            assert put.status_code == 204, put.text

    def rows(self) -> dict[str, int]:
        """Return how many rows each table holds that a registration writes to."""
        tables = {
            "identity": ("record", "evidence", "fingerprint"),
            "directory": ("standing", "account", "handle", "review", "idempotency"),
            "keys": ("record_key", "person", "evidence_key"),
        }
        counted = {}
        for store, names in tables.items():
            for name in names:
                [[counted[name]]] = self.server.sql(store, f"SELECT count(*) FROM {name}")  # noqa: S608
        return counted


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    server = Server(tmp_path_factory.mktemp("wire") / "home").start()
    yield Parties(server)
    assert server.stop() == 0


@pytest.fixture
def untouched(parties: Parties) -> Iterator[None]:
    """Nothing that the test sends leaves a row, and the next request is served."""
    before = parties.rows()
    yield
    assert parties.rows() == before
    assert parties.one.registration(parties.mine["id"])["state"] == "in_review"


def body(identity: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "handle": "newcomer", "kind": "public", "accepts": {"terms": "2026-01", "truthful": True},
        "identity": identity, **more,
    }  # fmt: skip


def problem(answer: httpx.Response) -> dict[str, Any]:
    """Check that an answer is problem details of the closed list with the guarding headers, and return it."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    shown: dict[str, Any] = answer.json()
    kind = shown["type"].removeprefix(PREFIX)
    assert KINDS[kind] == answer.status_code == shown["status"]
    assert set(shown) <= {"type", "title", "status", "detail", "errors", "incident"}
    assert all(set(error) == {"pointer", "detail"} for error in shown.get("errors", []))
    guarded(answer)
    return shown


def guarded(answer: httpx.Response) -> None:
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    # The name of the server program alone, never a version.
    assert not any(char.isdigit() or char == "/" for char in answer.headers.get("Server", ""))
    assert "X-Powered-By" not in answer.headers


# A39


def test_a39_every_token_that_is_not_ones_own_is_answered_alike(parties: Parties) -> None:
    """A's token, a random, a malformed one, another's account: status, headers and bytes are the same."""
    random = "nym_" + "A" * 50
    asked = [
        {"token": parties.mine["token"]},
        {"token": parties.mine["token"], "account": parties.mine["account"]},
        {"token": parties.theirs["token"], "account": parties.mine["account"]},
        {"token": parties.theirs["token"], "account": "acc_nonsense"},
        {"token": random}, {"token": "x"}, {"token": "nym_"}, {"token": parties.theirs["token"][:-1] + "-"},
        {"token": parties.theirs["id"]}, {"token": "é" * 40},
    ]  # fmt: skip
    answers = [
        parties.two.http.post("/oauth/introspect", data=data, auth=(parties.two.id, parties.two.secret))
        for data in asked
    ]
    seen = {
        (a.status_code, a.content, tuple((n, v) for n, v in a.headers.multi_items() if n != "date")) for a in answers
    }
    assert len(seen) == 1
    assert answers[0].content == b'{"active":false}'
    assert parties.two.introspect(parties.theirs["token"])["active"] is True


# A41


def test_a41_what_belongs_to_another_tenant_is_as_if_it_did_not_exist(parties: Parties, untouched: None) -> None:
    """Each verb on another tenant's registration, account, evidence or case is answered as for an id of nobody."""
    del untouched
    registration, accounts = {"legal_name": "A B"}, "acc_AAAAAAAAAAAAAAAAAAAAAA"
    png = {"Content-Type": "image/png"}
    mend = {"accepts": {"terms": "2026-01", "truthful": True}, "identity": registration}
    reveal = {"purpose": "review", "fields": ["legal_name"]}
    decide = {"decision": "approved", "method": "document_checked"}
    calls: list[tuple[Client, str, str, dict[str, Any]]] = [
        (parties.one, "GET", "/v1/registrations/{reg}", {}),
        (parties.one, "PUT", "/v1/registrations/{reg}", {"json": mend}),
        (parties.one, "PATCH", "/v1/registrations/{reg}", {"json": mend}),
        (parties.one, "DELETE", "/v1/registrations/{reg}", {}),
        (parties.one, "PUT", "/v1/registrations/{reg}/evidence/front", {"content": b"x", "headers": png}),
        (parties.one, "GET", "/v1/registrations/{reg}/evidence/front", {}),
        (parties.one, "DELETE", "/v1/registrations/{reg}/evidence/front", {}),
        (parties.one, "GET", "/v1/accounts/{acc}", {}),
        (parties.one, "PUT", "/v1/accounts/{acc}", {"json": {}}),
        (parties.one, "PATCH", "/v1/accounts/{acc}", {"json": {"handle": "taken-over"}}),
        (parties.one, "GET", "/v1/accounts/{acc}/operators", {}),
        (parties.one, "POST", "/v1/accounts/{acc}/operators", {"json": {"token": parties.mine["token"]}}),
        (parties.one, "DELETE", "/v1/accounts/{acc}/operators", {"params": {"token": parties.mine["token"]}}),
        (parties.one, "DELETE", "/v1/accounts/{acc}", {}),
        (parties.one, "POST", "/v1/reviews/{reg}/reveal", {"json": reveal}),
        (parties.bound, "POST", "/v1/reviews/{reg}/reveal", {"json": reveal}),
        (parties.bound, "POST", "/v1/reviews/{reg}/decision", {"json": decide}),
        (parties.bound, "GET", "/v1/reviews/{reg}/evidence/front", {}),
        (parties.bound, "GET", "/v1/reviews/{reg}", {}),
        (parties.bound, "DELETE", "/v1/reviews/{reg}", {}),
    ]
    for client, method, path, more in calls:
        real, none = (
            client.call(method, path.format(reg=reg, acc=acc), **more)
            for reg, acc in ((parties.theirs["id"], parties.theirs["account"]), (NO_ID, accounts))
        )
        assert (real.status_code, real.content) == (none.status_code, none.content), (method, path)
        assert problem(real)["status"] in {403, 404, 405}
        if method in {"GET", "POST"} and client is parties.bound and path.count("/") > 3:
            assert real.status_code == 404
    listed = {item["id"] for item in parties.one.get("/v1/registrations", params={"limit": 200}).json()["items"]}
    assert parties.mine["id"] in listed
    assert parties.theirs["id"] not in listed
    queued = {item["id"] for item in parties.bound.get("/v1/reviews", params={"limit": 200}).json()["items"]}
    assert parties.mine["id"] in queued
    assert parties.theirs["id"] not in queued
    theirs = parties.one.get("/v1/accounts", params={"token": parties.theirs["token"]})
    unknown = parties.one.get("/v1/accounts", params={"token": "nym_" + "A" * 50})
    assert (theirs.status_code, theirs.content) == (unknown.status_code, unknown.content)


def test_a41_a_cursor_is_good_for_one_list_of_one_client(parties: Parties) -> None:
    """A cursor of one client, in another client's list or in another list of his own, is refused."""
    for number in (70_010, 70_011):
        parties.two.registered(person(number), f"page{number}")
    cursor = parties.two.get("/v1/registrations", params={"limit": 1}).json()["next"]
    assert parties.two.get("/v1/registrations", params={"limit": 1, "cursor": cursor}).status_code == 200
    for client, path in ((parties.one, "/v1/registrations"), (parties.two, "/v1/accounts"),
                         (parties.vault, "/v1/reviews")):  # fmt: skip
        problem(client.get(path, params={"cursor": cursor}))


# A45


@pytest.mark.parametrize(
    "member", ["id", "tenant", "status", "state", "role", "approved_by", "expires_at", "created_at", "key_id", "scope"]
)
def test_a45_a_member_that_is_not_the_senders_to_set_is_refused(parties: Parties, untouched: None, member: str) -> None:
    """An extra member at any level of a body is answered 422 without being named, and nothing is stored."""
    del untouched
    extra = {member: MARKER}
    anna, document = {**ANNA}, ANNA["document"]
    names = [{"value": "ZHANG WEI", "script": "Latn"}]
    bodies = {
        "": body(anna, **extra),
        "/identity": body({**anna, **extra}),
        "/identity/document": body({**anna, "document": {**document, **extra}}),
        "/identity/names/0": body({**anna, "names": [{**names[0], **extra}]}),
        "/accepts": body(anna, accepts={"terms": "2026-01", "truthful": True, **extra}),
    }
    for pointer, sent in bodies.items():
        answer = parties.one.post("/v1/registrations", sent)
        shown = problem(answer)
        assert (shown["type"], [error["pointer"] for error in shown["errors"]]) == (PREFIX + "validation", [pointer])
        assert MARKER not in answer.text
    case = f"/v1/reviews/{parties.mine['id']}"
    candidate = [{"id": "cnd_x", "verdict": "same_person", **extra}]
    approved = {"decision": "approved", "method": "document_checked"}
    sent_to: list[tuple[str, dict[str, Any]]] = [
        (f"{case}/reveal", {"purpose": "review", "fields": ["legal_name"], **extra}),
        (f"{case}/decision", {**approved, **extra}),
    ]
    if member != "id":  # which a candidate has
        sent_to.append((f"{case}/decision", {**approved, "candidates": candidate}))
    for path, sent in sent_to:
        assert problem(parties.vault.post(path, sent))["status"] == 422


def test_a45_null_does_not_stand_for_a_missing_member(parties: Parties, untouched: None) -> None:
    """A required or optional member sent as null is answered 422."""
    del untouched
    for member in ("handle", "kind", "accepts", "identity", "external_id"):
        assert problem(parties.one.post("/v1/registrations", {**body(ANNA), member: None}))["status"] == 422
    for member in ("legal_name", "birth_date", "document", "phone", "names"):
        assert problem(parties.one.post("/v1/registrations", body({**ANNA, member: None})))["status"] == 422


# A49


def test_a49_no_error_repeats_what_was_sent(parties: Parties, untouched: None) -> None:
    """A marker in path, query, header, body or credentials is in no answer, whatever the refusal."""
    del untouched
    one = parties.one
    bearer = {"Authorization": f"Bearer {MARKER}"}
    evidence = f"/v1/registrations/{parties.mine['id']}/evidence/{MARKER}"
    answers = [
        one.get(f"/v1/{MARKER}"), one.get(f"/v1/registrations/{MARKER}"), one.get(f"/v1/accounts/{MARKER}"),
        one.get("/v1/registrations", params={MARKER: MARKER}), one.get("/v1/registrations", params={"state": MARKER}),
        one.get("/v1/registrations", params={"cursor": MARKER}), one.get("/v1/registrations", params={"limit": MARKER}),
        one.http.get("/v1/registrations", headers=bearer), one.call(MARKER, "/v1/registrations"),
        one.post("/v1/registrations", {MARKER: MARKER}), one.post("/v1/registrations", body({MARKER: MARKER})),
        one.post("/v1/registrations", body({**ANNA, "legal_name": MARKER + "\u202e"})),
        one.post("/v1/registrations", body({**ANNA, "birth_date": MARKER[:10]})),
        one.post("/v1/registrations", body({**ANNA, "document": {**ANNA["document"], "type": MARKER}})),
        one.post("/v1/registrations", body({**ANNA, "document": {**ANNA["document"], "country": "ZZM"}})),
        one.post("/v1/registrations", body({**ANNA, "phone": MARKER, "email": MARKER})),
        one.post("/v1/registrations", body(ANNA, handle=f"/{MARKER}")),
        one.post("/v1/registrations", body(ANNA), headers={"Idempotency-Key": f"{MARKER},{MARKER}"}),
        one.call("POST", "/v1/registrations", content=MARKER.encode(), headers=JSON),
        one.call("POST", "/v1/registrations", content=b"{}", headers={"Content-Type": f"text/{MARKER}"}),
        one.call("PUT", evidence, content=b"x", headers={"Content-Type": "image/png"}),
        parties.vault.post(f"/v1/reviews/{MARKER}/reveal", {"purpose": MARKER.lower(), "fields": [MARKER.lower()]}),
        parties.vault.post(f"/v1/reviews/{parties.theirs['id']}/reveal", {"purpose": MARKER, "fields": [MARKER]}),
        parties.vault.decide(parties.mine["id"], MARKER), parties.vault.decide(parties.mine["id"], reason=MARKER),
        one.http.get(f"/{MARKER}"), one.http.post(f"/docs/{MARKER}"), one.http.request("TRACE", "/v1/registrations"),
    ]  # fmt: skip
    for answer in answers:
        problem(answer)
        assert MARKER.lower() not in (answer.text + str(answer.headers)).lower()
    credentials, grant = (one.id, one.secret), {"grant_type": "client_credentials"}
    for answer in (
        one.http.post("/oauth/token", data=grant, auth=(MARKER, MARKER)),
        one.http.post("/oauth/token", data={"grant_type": MARKER}, auth=credentials),
        one.http.post("/oauth/token", data={**grant, "scope": MARKER}, auth=credentials),
        one.http.post("/oauth/introspect", data={MARKER: MARKER}, auth=credentials),
        one.http.post("/oauth/introspect", data={"token": MARKER}, auth=credentials),
        one.http.get("/oauth/introspect", params={"token": MARKER}),
    ):
        assert answer.status_code in {200, 400, 401, 405}
        assert MARKER not in answer.text + str(answer.headers)
        guarded(answer)


def test_a49_unknown_routes_and_methods_have_their_own_problems(parties: Parties) -> None:
    """No such route is 404, no such method 405 with Allow; no preflight is answered; good answers are guarded."""
    one = parties.one
    assert problem(one.get("/v1/nothing"))["type"] == PREFIX + "not-found"
    answer = one.call("DELETE", "/v1/registrations")
    assert (problem(answer)["type"], answer.headers["Allow"]) == (PREFIX + "method-not-allowed", "GET, HEAD, POST")
    origin = {"Origin": "https://chat.example", "Access-Control-Request-Method": "POST"}
    guarded(one.http.options("/v1/registrations", headers=origin))
    for path in ("/healthz", "/openapi.json"):
        guarded(one.http.get(path, headers={"Origin": "https://chat.example"}))
    guarded(one.get("/v1/registrations", headers={"Origin": "https://chat.example"}))


# A51

_HEAD = b'{"handle":"newcomer","kind":"public","accepts":{"terms":"2026-01","truthful":true},"identity":'
_NAME = _HEAD + b'{"legal_name":%b}}'
HOSTILE = {
    "depth": _HEAD + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "depth of objects": _HEAD + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    "open brackets": b"[" * 60_000,
    "duplicate": _HEAD + b'{"legal_name":"A B"},"handle":"other"}',
    "duplicate within": _NAME % b'"A B","legal_name":"C D"',
    "duplicate by escape": _NAME % b'"A B","l\\u0065gal_name":"C D"',
    "NaN": _NAME % b"NaN",
    "Infinity": _NAME % b"-Infinity",
    "1e999": _NAME % b"1e999",
    "integer": _NAME % (b"9" * 50_000),
    "surrogate": _NAME % b'"A\\ud800B"',
    "UTF-8": _NAME % b'"A\xff\xfeB"',
    "overlong UTF-8": _NAME % b'"A\xc0\xafB"',
    "UTF-16": (_NAME % b'"A B"').decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + _NAME % b'"A B"',
    "trailing": _NAME % b'"A B"' + b"{}",
    "comment": _NAME % b'"A B" /* */',
    "empty": b"",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a51_a_text_that_is_ambiguous_or_endless_is_malformed(parties: Parties, untouched: None, what: str) -> None:
    """Deep, doubled, not finite, too long or badly encoded JSON is answered 400 within a second, and stores nothing."""
    del untouched
    started = time.monotonic()
    answer = parties.one.call("POST", "/v1/registrations", content=HOSTILE[what], headers=JSON)
    assert time.monotonic() - started < 1 + LOADED_SECONDS
    assert problem(answer)["type"] == PREFIX + "malformed"


def test_a51_a_body_that_is_too_large_or_of_another_form_is_refused_by_its_headers(
    parties: Parties, untouched: None
) -> None:
    """10^6 members, a 10^5-digit integer, a compressed body, no length: 413, 415 and 411, and nothing is stored."""
    del untouched
    members = b"{" + b",".join(b'"m%d":1' % number for number in range(1_000_000)) + b"}"
    sent = [
        (members, JSON, "too-large"),
        (_NAME % (b"9" * 100_000), JSON, "too-large"),
        (b"\x1f\x8b\x08" + bytes(900), {**JSON, "Content-Encoding": "gzip"}, "malformed"),
        (_NAME % b'"A B"', {**JSON, "Content-Encoding": "gzip"}, "malformed"),
        (_NAME % b'"A B"', {"Content-Type": "text/plain"}, "unsupported-media-type"),
        (iter([_NAME % b'"A B"']), JSON, "length-required"),
    ]
    wrong = []
    for content, headers, kind in sent:
        answer = parties.one.call("POST", "/v1/registrations", content=content, headers=headers)
        if answer.status_code not in {400, KINDS[kind]}:
            wrong.append((kind, answer.status_code))
    assert wrong == []


def test_a51_a_hundred_megabytes_are_not_read(parties: Parties, untouched: None) -> None:
    """100 MB with a length, or in chunks, are refused at once, on JSON, form and evidence routes alike."""
    del untouched
    length, chunked = "Content-Length: 100000000", "Transfer-Encoding: chunked"
    evidence = f"PUT /v1/registrations/{parties.mine['id']}/evidence/huge"
    for line, framing, type_, expected in (
        ("POST /v1/registrations", length, "application/json", {413}),
        ("POST /v1/registrations", chunked, "application/json", {411, 413}),
        ("POST /oauth/introspect", length, "application/x-www-form-urlencoded", {413}),
        ("POST /oauth/token", chunked, "application/x-www-form-urlencoded", {411, 413}),
        (evidence, length, "image/png", {413}),
        (evidence, chunked, "image/png", {413}),
    ):
        assert _flood(parties.one, line, framing, type_) in expected, (line, framing)


def _flood(client: Client, line: str, framing: str, content_type: str) -> int:
    """Send up to 100 MB until an answer comes; return its status."""
    head = (
        f"{line} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\nAuthorization: Bearer {client.token}\r\n"
        f"Content-Type: {content_type}\r\n{framing}\r\n\r\n"
    )
    piece = bytes(1_000_000)
    part = piece if "Length" in framing else b"f4240\r\n" + piece + b"\r\n"
    with socket.create_connection(("127.0.0.1", client.server.port), timeout=20) as wire:
        wire.sendall(head.encode())
        try:
            for _ in range(100):
                wire.sendall(part)
            if "chunked" in framing:
                wire.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = wire.recv(4096)
        except ConnectionResetError:
            # The answer was sent and the connection shut before the rest was: ask with the head alone.
            return _head_alone(client, head)
    return int(answer.split(b" ", 2)[1])


def test_a_refusal_leaves_the_connection_fit_for_the_next_request(parties: Parties, untouched: None) -> None:
    """A body that comes after its head, for a request refused by its head alone, is not read as the next request."""
    del untouched
    body, path = b'{"handle": "taken-over"}', f"/v1/accounts/{parties.mine['account']}"
    for line, token in ((f"PUT {path}", parties.one.token), (f"PATCH {path}", "wrong"), ("POST /nowhere", "wrong")):
        head = f"{line} HTTP/1.1\r\nHost: vault\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", parties.one.server.port), timeout=20) as wire:
            wire.sendall(head.encode())
            time.sleep(0.1)
            wire.sendall(body)
            first = _whole(wire)
            assert b" 404 " in first or b" 405 " in first or b" 401 " in first, line
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n")
            assert _whole(wire).startswith(b"HTTP/1.1 200 "), line


def test_a_refusal_of_a_long_body_says_that_the_connection_ends(parties: Parties) -> None:
    """A client that keeps connections knows by the answer that this one cannot be used again (RFC 9112, 9.6)."""
    head = "POST /oauth/token HTTP/1.1\r\nHost: vault\r\nContent-Length: 100000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", parties.one.server.port), timeout=20) as wire:
        wire.sendall(head.encode())
        assert b"connection: close\r\n" in _whole(wire).lower()


def _whole(wire: socket.socket) -> bytes:
    """Return one answer, head and body."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += (part := wire.recv(4096))
        assert part, "the connection ended without an answer"
    head, _, rest = answer.partition(b"\r\n\r\n")
    missing = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
    ) - len(rest)
    while missing > 0:
        answer += (part := wire.recv(missing))
        assert part, "the connection ended within the answer"
        missing -= len(part)
    return answer


def _head_alone(client: Client, head: str) -> int:
    with socket.create_connection(("127.0.0.1", client.server.port), timeout=20) as wire:
        wire.sendall(head.encode())
        return int(wire.recv(4096).split(b" ", 2)[1])


# Bad input

_CARD = {"type": "national_id", "country": "CHN", "number": "110105194912310021"}
BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "type": ("/identity/legal_name", {**ANNA, "legal_name": 7_654_321}, "7654321"),
    "type of date": ("/identity/birth_date", {**ANNA, "birth_date": 19740812}, "19740812"),
    "type of document": ("/identity/document", {**ANNA, "document": "L898902C3"}, "L898902C3"),
    "unknown member": ("/identity", {**ANNA, "nickname": MARKER}, "nickname"),
    "long name": ("/identity/legal_name", {**ANNA, "legal_name": "LONGNAME" * 40}, "LONGNAME"),
    "long number": (
        "/identity/document/number", {**ANNA, "document": {**ANNA["document"], "number": "X9" * 60}}, "X9X9",
    ),
    "check digit": ("/identity/document/number", {**WEI, "document": _CARD}, "110105194912310021"),
    "impossible date": ("/identity/birth_date", {**ANNA, "birth_date": "1975-02-29"}, "1975-02-29"),
    "future": ("/identity/birth_date", {**ANNA, "birth_date": "2999-01-01"}, "2999"),
    "other birth date": ("/identity/birth_date", {**WEI, "birth_date": "1949-12-30"}, "1949-12-30"),
    "country": ("/identity/document/country", {**ANNA, "document": {**ANNA["document"], "country": "QQQ"}}, "QQQ"),
    "country of two letters": (
        "/identity/document/country", {**ANNA, "document": {**ANNA["document"], "country": "se"}}, '"se"',
    ),
    "control": ("/identity/legal_name", {**ANNA, "legal_name": "ANNA\u0007ERIK"}, "ERIK"),
    "line break": ("/identity/legal_name", {**ANNA, "legal_name": "ANNA\nERIK"}, "ERIK"),
    "NUL": ("/identity/legal_name", {**ANNA, "legal_name": "ANNA\0ERIK"}, "ERIK"),
    "direction": ("/identity/legal_name", {**ANNA, "legal_name": "ANNA\u202eERIK"}, "ERIK"),
    "mark": ("/identity/legal_name", {**ANNA, "legal_name": "\u200fANNA ERIK"}, "ERIK"),
    "private use": ("/identity/legal_name", {**ANNA, "legal_name": "ANNA\ue000ERIK"}, "ERIK"),
    "blank": ("/identity/legal_name", {**ANNA, "legal_name": " \u3000\u200d "}, "\u3000"),
    "script": ("/identity/names/0/script", {**ANNA, "names": [{"value": "ANNA", "script": "Xxxx"}]}, "Xxxx"),
    "phone": ("/identity/phone", {**ANNA, "phone": "070-1234567"}, "1234567"),
    "email": ("/identity/email", {**ANNA, "email": "anna at example"}, "at example"),
    "number's signs": (
        "/identity/document/number", {**ANNA, "document": {**ANNA["document"], "number": "L89'; --"}}, "L89",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_by_its_place_and_rule(parties: Parties, untouched: None, what: str) -> None:
    """Each bad member is answered 422 with its pointer and a rule, and never with what was sent."""
    del untouched
    pointer, identity, sent = BAD[what]
    answer = parties.one.register(identity, "newcomer")
    shown = problem(answer)
    assert shown["type"] == PREFIX + "validation"
    assert [error["pointer"] for error in shown["errors"]] == [pointer]
    assert all(error["detail"] for error in shown["errors"])
    assert sent not in answer.text


def test_an_expired_document_is_refused_where_the_policy_says_so(parties: Parties) -> None:
    """Under expired_documents = refuse an expired document is answered 422; elsewhere the reviewer sees the mark."""
    file = parties.server.home.parent / "strict.toml"
    file.write_text('[policy]\nexpired_documents = "refuse"\nrequired = ["birth_date", "document"]\n')
    strict = parties.server.provider("strict", file=str(file))
    expired = {**person(70_020), "document": {**person(70_020)["document"], "expires": "2020-01-31"}}
    shown = problem(strict.register(expired, "late"))
    assert [error["pointer"] for error in shown["errors"]] == ["/identity/document/expires"]
    assert "2020" not in str(shown)
    shown = problem(strict.register({"legal_name": "A B", "birth_date": "1980-01-01"}, "late"))
    assert [error["pointer"] for error in shown["errors"]] == ["/identity/document"]
    made = parties.one.registered(expired, "late")
    assert parties.vault.reveal(made["id"])["expired_document"] is True
