"""Stock OAuth clients against the served vault: Authlib as client, joserfc as verifier, curl by hand."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.http.exchanges import GRANT, HANDOFF, PSEUDONYM, PURPOSE, approved, two_providers
from tests.http.test_processes import eventually
from tests.serving import Client, Server

pytestmark = pytest.mark.sampled

SIGNED = "application/token-introspection+jwt"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")  # the test speaks to the loopback address
    server = Server(tmp_path / "home", IDVAULT_ISSUER="https://vault.example").start()
    yield server
    server.stop()


def session(client: Client) -> Any:
    return OAuth2Session(
        client.id, client.secret, token_endpoint=f"{client.server.url}/oauth/token",
        revocation_endpoint_auth_method="client_secret_basic",
    )  # fmt: skip


def test_authlib_does_every_grant_and_verb(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    token = approved(chat, rita)
    url = served.url
    with session(chat) as ours, session(blog) as theirs:
        access = ours.fetch_token(f"{url}/oauth/token", grant_type="client_credentials")
        assert access["token_type"] == "Bearer"
        assert ours.get(f"{url}/v1/accounts").status_code == 200
        handoff = ours.fetch_token(
            f"{url}/oauth/token", grant_type=GRANT, subject_token=token, subject_token_type=PSEUDONYM,
            audience=blog.id, scope=PURPOSE,
        )  # fmt: skip
        assert (handoff["token_type"], handoff["issued_token_type"]) == ("N_A", HANDOFF)
        own = theirs.fetch_token(
            f"{url}/oauth/token", grant_type=GRANT, subject_token=handoff["access_token"], subject_token_type=HANDOFF
        )
        told = theirs.introspect_token(f"{url}/oauth/introspect", token=own["access_token"])
        assert (told.status_code, told.json()["active"]) == (200, True)
        done = theirs.revoke_token(f"{url}/oauth/revoke", token=own["access_token"])
        assert done.status_code == 200
        told = theirs.introspect_token(f"{url}/oauth/introspect", token=own["access_token"])
        assert told.json() == {"active": False}


def test_authlib_takes_the_metadata_as_valid_and_it_names_what_is_there(served: Server) -> None:
    answer = httpx.get(f"{served.url}/.well-known/oauth-authorization-server")
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json()
    AuthorizationServerMetadata(found).validate()
    assert found["issuer"] == "https://vault.example"
    assert found["response_types_supported"] == ["none"]
    assert found["scopes_supported"] == [
        "introspect", "register", "sanction", "review", "metrics", "ssf.read", "ssf.manage",
    ]  # fmt: skip
    for name in ("token", "introspection", "revocation"):
        assert found[f"{name}_endpoint_auth_methods_supported"] == ["client_secret_basic"]
        path = found[f"{name}_endpoint"].removeprefix("https://vault.example")
        assert httpx.post(served.url + path, data={"token": "x"}).status_code == 401
    assert httpx.get(served.url + found["jwks_uri"].removeprefix("https://vault.example")).status_code == 200


def test_without_a_setting_the_issuer_is_the_address(server: Server) -> None:
    found = httpx.get(f"{server.url}/.well-known/oauth-authorization-server").json()
    assert found["issuer"] == server.url
    assert found["token_endpoint"] == f"{server.url}/oauth/token"


def test_a_signed_introspection_is_proof_of_what_the_vault_said(served: Server) -> None:
    chat, _, rita = two_providers(served)
    token = approved(chat, rita)
    keys = KeySet.import_key_set(httpx.get(f"{served.url}/jwks.json").json())

    def signed(subject: str, accept: str = SIGNED) -> httpx.Response:
        return chat.http.post(
            "/oauth/introspect", data={"token": subject}, auth=(chat.id, chat.secret), headers={"Accept": accept}
        )

    for subject in (token, "nym_" + "A" * 50):
        answer = signed(subject)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, SIGNED)
        assert answer.headers["Cache-Control"] == "no-store"
        read = jwt.decode(answer.text, keys, algorithms=["ES256"])
        assert read.header["typ"] == "token-introspection+jwt"
        assert set(read.claims) == {"iss", "aud", "iat", "token_introspection"}
        assert (read.claims["iss"], read.claims["aud"]) == ("https://vault.example", chat.id)
        assert read.claims["token_introspection"] == chat.introspect(subject)
    assert signed(token, f"application/json;q=0.5, {SIGNED}").headers["Content-Type"] == SIGNED
    for plain in ("*/*", "application/json", "application/*", f"{SIGNED};q=0"):
        assert signed(token, plain).json() == chat.introspect(token)


def test_a_signed_introspection_without_valid_credentials_is_400(served: Server) -> None:
    chat = served.provider("chat")
    for auth in (None, (chat.id, "wrong"), ("cli_nobody", chat.secret)):
        answer = httpx.post(
            f"{served.url}/oauth/introspect", data={"token": "x"}, auth=auth, headers={"Accept": SIGNED}
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


def test_a39_signed_answers_of_all_that_is_not_the_callers_have_one_length(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    tokens = [approved(chat, rita), "nym_" + "A" * 50, "x"]
    lengths = {
        len(blog.http.post(
            "/oauth/introspect", data={"token": token}, auth=(blog.id, blog.secret), headers={"Accept": SIGNED}
        ).content)
        for token in tokens
    }  # fmt: skip
    assert len(lengths) == 1


def test_the_signing_key_stays_the_same_across_restarts_and_closes_with_the_seal(served: Server) -> None:
    before = httpx.get(f"{served.url}/jwks.json").json()
    served.kill()
    served.start()
    assert httpx.get(f"{served.url}/jwks.json").json() == before
    served.run("keys", "seal")

    def refused() -> bool:
        try:
            answer = httpx.get(f"{served.url}/jwks.json")
        except httpx.TransportError:
            return False  # the workers that held keys have ended, and those without any do not listen yet
        return (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")

    assert eventually(refused)
    assert httpx.get(f"{served.url}/.well-known/oauth-authorization-server").status_code == 200


def curl(client: Client, path: str, **form: str) -> dict[str, Any]:
    fields = [part for name, value in form.items() for part in ("--data-urlencode", f"{name}={value}")]
    config = f'user = "{client.id}:{client.secret}"\n'
    done = subprocess.run(
        ["curl", "-sS", "-K", "-", *fields, client.server.url + path], input=config.encode(), capture_output=True,
        check=True, timeout=30, env={**os.environ, "NO_PROXY": "*"},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return found


def test_curl_goes_the_whole_round(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    token = approved(chat, rita)
    assert curl(chat, "/oauth/token", grant_type="client_credentials")["token_type"] == "Bearer"
    given = curl(
        chat, "/oauth/token", grant_type=GRANT, subject_token=token, subject_token_type=PSEUDONYM, audience=blog.id,
        scope=PURPOSE,
    )  # fmt: skip
    assert given["token_type"] == "N_A"
    own = curl(blog, "/oauth/token", grant_type=GRANT, subject_token=given["access_token"], subject_token_type=HANDOFF)
    assert curl(blog, "/oauth/introspect", token=own["access_token"])["active"] is True
    assert curl(blog, "/oauth/revoke", token=own["access_token"]) == {}
    assert curl(blog, "/oauth/introspect", token=own["access_token"]) == {"active": False}
