"""Client secrets with an overlap, and a provider's credentials as they are suspended and renewed."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.days import day
from tests.serving import Client, Server

pytestmark = pytest.mark.sampled


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("secrets") / "home").start()
    yield server
    assert server.stop() == 0


def works(client: Client, secret: str) -> bool:
    """Tell whether a secret is good, at both endpoints that take it: they must agree."""
    form = {"grant_type": "client_credentials"}
    auth = (client.id, secret)
    token = client.http.post("/oauth/token", data=form, auth=auth).status_code
    asked = client.http.post("/oauth/introspect", data={"token": "nym_x"}, auth=auth).status_code
    assert token == asked
    assert token in {200, 401}
    return token == httpx.codes.OK


def rotated(client: Client, **headers: str) -> dict[str, Any]:
    answer = client.call("POST", "/v1/provider/secrets", headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_former_secret_is_good_for_a_week_and_an_older_one_no_more(served: Server) -> None:
    chat = served.provider("chat")
    made = rotated(chat)
    assert set(made) == {"client_secret", "former_until"}
    until = datetime.strptime(made["former_until"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    left = until - datetime.now(UTC)  # noqa: TID251 - a test reads the clock
    assert timedelta(hours=167, minutes=58) < left <= timedelta(hours=168)
    assert works(chat, chat.secret)
    assert works(chat, made["client_secret"])
    newest = rotated(chat)["client_secret"]
    assert [works(chat, secret) for secret in (chat.secret, made["client_secret"], newest)] == [False, True, True]


def test_a_former_secret_can_be_dropped_at_once(served: Server) -> None:
    chat = served.provider("drop")
    made = rotated(chat)
    assert [chat.call("DELETE", "/v1/provider/secrets").status_code for _ in range(2)] == [204, 204]
    assert [works(chat, secret) for secret in (chat.secret, made["client_secret"])] == [False, True]


def test_a_former_secret_ends_by_the_clock(served: Server) -> None:
    chat = served.provider("clock")
    made = rotated(chat)
    served.sql("directory", "UPDATE client SET former_until = ? WHERE id = ?", int(time.time()) - 1, chat.id)
    assert [works(chat, secret) for secret in (chat.secret, made["client_secret"])] == [False, True]


def test_a55_the_same_key_makes_one_secret(served: Server) -> None:
    chat = served.provider("once")
    key = {"Idempotency-Key": "rotate-1"}
    first = rotated(chat, **key)
    assert rotated(chat, **key) == first
    assert works(chat, chat.secret)
    held = b"".join(path.read_bytes() for path in served.home.glob("*.db*"))
    assert first["client_secret"].encode() not in held


def test_an_access_token_with_fewer_scopes_makes_no_secret_that_has_all(served: Server) -> None:
    chat = served.provider("narrow")
    form = {"grant_type": "client_credentials", "scope": "register"}
    token = chat.http.post("/oauth/token", data=form, auth=(chat.id, chat.secret)).json()["access_token"]
    for method in ("POST", "DELETE"):
        headers = {"Authorization": f"Bearer {token}"}
        assert chat.http.request(method, "/v1/provider/secrets", headers=headers).status_code == 403
    assert works(chat, chat.secret)


def test_the_operator_rotates_suspends_and_renews(served: Server) -> None:
    chat = served.provider("life")
    bound = served.reviewer("bound", chat)
    made = served.json("provider", "rotate-secret", "life")
    assert set(made) == {"client_id", "client_secret", "former_until"}
    assert works(chat, chat.secret)
    assert works(chat, made["client_secret"])
    chat.authorise()
    assert served.json("provider", "suspend", "life")["state"] == "suspended"
    assert not works(chat, made["client_secret"])
    assert chat.get("/v1/accounts").status_code == 401
    form = {"grant_type": "client_credentials"}
    assert bound.http.post("/oauth/token", data=form, auth=(bound.id, bound.secret)).status_code == 401
    renewed = served.json("provider", "renew", chat.id, "--until", str(day(700)))
    assert renewed["expires"] == f"{day(701)}T00:00:00Z", "the day itself is one of its days"
    assert works(chat, made["client_secret"])
    assert "expires" not in served.json("provider", "renew", "life")


def test_a_policy_is_changed_as_a_whole_and_in_force_at_the_next_call(served: Server, tmp_path: Path) -> None:
    chat, file = served.provider("strict"), tmp_path / "policy.toml"
    file.write_text('[policy]\nrequired = ["birth_date"]\ncaps = {personal = 1}\n')
    for _ in range(2):
        assert served.json("provider", "change", "strict", "--file", str(file))["policy"]["caps"] == {"personal": 1}
    bare = {"legal_name": "ANNA MARIA ERIKSSON"}
    assert chat.register(bare, "bare").status_code == httpx.codes.UNPROCESSABLE_ENTITY
    file.write_text("")
    assert served.json("provider", "change", "strict", "--file", str(file))["policy"] == {}
    assert chat.register(bare, "bare").status_code == httpx.codes.ACCEPTED
    file.write_text("[policy]\nnonsense = 1\n")
    served.run("provider", "change", "strict", "--file", str(file), code=1)


@pytest.mark.parametrize("until", ["2020-01-01", "2040-01-01", "tomorrow", "2027-02-30"])
def test_a_day_that_is_over_too_far_or_none_is_refused(served: Server, until: str) -> None:
    name = f"until{until}"
    served.provider(name)
    served.run("provider", "renew", name, "--until", until, code=1)


def test_unknown_providers_are_named_as_such(served: Server) -> None:
    for verb in ("rotate-secret", "suspend", "renew"):
        served.run("provider", verb, "nobody", code=1)


def test_a_policy_is_shown_as_it_was_given(served: Server, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('[policy]\nlegacy_until = 2031-01-01\ncaps = {personal = 1}\ndegrees = {grave = "close"}\n')
    served.provider("good", file=str(file))
    shown = served.json("provider", "show", "good")["policy"]
    assert shown == {"legacy_until": "2031-01-01", "caps": {"personal": 1}, "degrees": {"grave": "close"}}
