"""A vault behind `deploy/nginx.conf`, as docs/operations.md has it: a real nginx, TLS, and clients that check it."""

import os
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPResponse, HTTPSConnection

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session

from tests.people import person
from tests.proxy import NAME, Proxy, proxied
from tests.serving import NO_TLS, Client, Server
from vault.config import load

pytestmark = pytest.mark.sampled

ISSUER = f"https://{NAME}"


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Proxy]]:
    folder = tmp_path_factory.mktemp("behind")
    server = Server(folder / "home", IDVAULT_ISSUER=ISSUER).start()
    address = f"127.0.0.1:{server.port}"
    with proxied(folder / "proxy", address, address) as proxy:
        yield server, proxy
    assert server.stop() == 0


def _through(proxy: Proxy, client: Client) -> Client:
    """Return the same client, who knows the vault by the proxy's address."""
    client.http.close()
    client.http = httpx.Client(base_url=proxy.url, timeout=30, verify=proxy.trusting())
    return client


def test_the_story_is_the_same_through_the_proxy(behind: tuple[Server, Proxy]) -> None:
    server, proxy = behind
    chat, rita = _through(proxy, server.provider("chat")), _through(proxy, server.reviewer("rita"))
    made = chat.registered(person(1), "one", headers={"Idempotency-Key": "k-0000000000000001"})
    again = chat.registered(person(1), "one", headers={"Idempotency-Key": "k-0000000000000001"})
    assert again == made, "the key of the request is handed on"
    assert chat.introspect(made["token"])["scope"] == "read"
    rita.reveal(made["id"])
    rita.approve(made["id"])
    assert chat.introspect(made["token"])["scope"] == "read publish"
    answer = chat.http.post("/oauth/introspect", data={"token": made["token"]}, auth=(chat.id, "wrong"))
    assert (answer.status_code, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")


def test_a_stock_client_finds_its_way_by_the_metadata(behind: tuple[Server, Proxy]) -> None:
    server, proxy = behind
    told = httpx.get(f"{proxy.url}/.well-known/oauth-authorization-server", verify=proxy.trusting()).json()
    assert told["issuer"] == ISSUER
    assert told["token_endpoint"].startswith(f"{ISSUER}/")
    client = server.provider("stock")
    with OAuth2Session(client.id, client.secret) as session:
        session.trust_env, session.verify = False, str(proxy.certificate)
        path = told["token_endpoint"].removeprefix(ISSUER)
        given = session.fetch_token(proxy.url + path, grant_type="client_credentials")
        assert given["token_type"] == "Bearer"
        assert session.get(f"{proxy.url}/v1/accounts").status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
def test_what_is_for_the_machines_inside_does_not_leave(behind: tuple[Server, Proxy], path: str) -> None:
    server, proxy = behind
    assert httpx.get(proxy.url + path, verify=proxy.trusting()).status_code == 404
    assert httpx.get(server.url + path, verify=NO_TLS).status_code != 404


@pytest.mark.parametrize("path", ["/v1//accounts", "/v1/./accounts", "/v1/accounts/", "/%2e%2e/metrics"])
def test_a_path_has_one_spelling_through_the_proxy_too(behind: tuple[Server, Proxy], path: str) -> None:
    _, proxy = behind
    assert _plain(proxy, "GET", path).status in {400, 404}


def test_a_chunked_body_arrives_with_its_length(behind: tuple[Server, Proxy]) -> None:
    server, proxy = behind
    client = _through(proxy, server.provider("chunks"))
    made = client.registered(person(2), "two")
    body = f"token={made['token']}".encode()

    def chunked(http: httpx.Client) -> httpx.Response:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        parts = iter([body[:7], body[7:]])
        return http.post("/oauth/introspect", content=parts, headers=headers, auth=(client.id, client.secret))

    with httpx.Client(base_url=server.url, verify=NO_TLS) as directly:
        assert chunked(directly).status_code == 411
    answer = chunked(client.http)
    assert (answer.status_code, answer.json()["active"]) == (200, True)


def test_a_body_over_the_vaults_limit_is_refused_and_evidence_of_the_largest_size_is_not(
    behind: tuple[Server, Proxy],
) -> None:
    server, proxy = behind
    client = _through(proxy, server.provider("large"))
    made = client.registered(person(3), "three")
    most = load({}).max_evidence_bytes
    path = f"/v1/registrations/{made['id']}/evidence/passport"
    pdf = b"%PDF-1.7\n" + os.urandom(most - 9)
    headers = {"Content-Type": "application/pdf", "Idempotency-Key": "k-0000000000000002"}
    assert client.call("PUT", path, content=pdf, headers=headers).status_code == 204
    assert client.call("PUT", path, content=pdf + bytes(2 << 20), headers=headers).status_code == 413


def test_what_a_client_says_of_its_address_and_of_the_host_changes_nothing(behind: tuple[Server, Proxy]) -> None:
    _, proxy = behind
    for headers in (
        {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "elsewhere.example"},
        {"Forwarded": "for=10.0.0.1;host=elsewhere.example"},
        {"Host": "elsewhere.example"},
    ):
        path = "/.well-known/oauth-authorization-server"
        answer = httpx.get(proxy.url + path, headers=headers, verify=proxy.trusting())
        assert answer.json()["issuer"] == ISSUER
        assert "elsewhere" not in answer.text


def test_old_tls_is_refused(behind: tuple[Server, Proxy]) -> None:
    _, proxy = behind
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    address = httpx.URL(proxy.url)
    with socket.create_connection((address.host, address.port or 443)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_the_proxys_log_has_no_path_query_address_or_agent(behind: tuple[Server, Proxy]) -> None:
    server, proxy = behind
    client = _through(proxy, server.provider("logged"))
    made = client.registered(person(4), "four")
    client.registration(made["id"])
    httpx.get(f"{proxy.url}/v1/accounts?handle=somebody", verify=proxy.trusting(), headers={"User-Agent": "somebody"})
    lines = proxy.lines.read_text().splitlines()
    assert lines
    assert all(len(line.split()) == 4 for line in lines), "time, method, status, seconds"
    assert all(part not in line for line in lines for part in ("/", "127.0.0.1", "somebody", made["id"]))


def _plain(proxy: Proxy, method: str, path: str) -> HTTPResponse:
    """Send a path as it is, which other clients would spell anew."""
    address = httpx.URL(proxy.url)
    connection = HTTPSConnection(address.host, address.port, context=proxy.trusting())
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()
