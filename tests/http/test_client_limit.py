"""A client that asks too often is told 429, and when to come again; the others have their own share."""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.people import person
from tests.serving import Client, Server

pytestmark = pytest.mark.sampled

SHARE = 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("limited") / "home", IDVAULT_WORKERS="1",
        IDVAULT_CLIENT_REQUESTS_PER_SECOND=str(SHARE),
    ).start()  # fmt: skip
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def chat(served: Server) -> Client:
    made = served.provider("limited-chat")
    made.authorise()
    return made


def _introspected(client: Client, secret: str = "") -> httpx.Response:
    return client.http.post("/oauth/introspect", data={"token": "nym_x"}, auth=(client.id, secret or client.secret))


def _until_refused(client: Client, method: str, path: str) -> httpx.Response:
    """Ask until it is too much: a fast caller needs a few requests for that, a slow one more."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        answer = _introspected(client) if path == "/oauth/introspect" else client.call(method, path)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return answer
        assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR
    raise AssertionError("it was never too much")


def test_who_introspects_too_often_is_refused_in_oauth_form(chat: Client) -> None:
    refused = _until_refused(chat, "POST", "/oauth/introspect")
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Cache-Control"] == "no-store"
    assert refused.json()["error"] == "temporarily_unavailable"
    time.sleep(float(refused.headers["Retry-After"]))
    assert _introspected(chat).status_code == httpx.codes.OK, "he is let in when he was told to come"


def test_who_lists_too_often_is_refused_in_problem_form_and_nothing_was_done(chat: Client) -> None:
    _until_refused(chat, "GET", "/v1/registrations")
    refused = chat.register(person(82_000), "limited")
    if refused.status_code == httpx.codes.TOO_MANY_REQUESTS:  # unless a share came meanwhile
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.json()["type"] == "urn:idvault:problem:client-limit"
        assert chat.server.sql("directory", "SELECT count(*) FROM account WHERE handle = 'limited'")[0][0] == 0


def test_another_client_and_health_are_answered_meanwhile(served: Server, chat: Client) -> None:
    blog = served.provider("limited-blog")
    for _ in range(SHARE):
        _until_refused(chat, "POST", "/oauth/introspect")
    assert _introspected(blog).status_code == httpx.codes.OK
    assert httpx.get(f"{served.url}/healthz").status_code == httpx.codes.OK


def test_who_has_not_the_secret_uses_up_nobodys_share(served: Server) -> None:
    quiet = served.provider("limited-quiet")
    statuses = {_introspected(quiet, "wrong").status_code for _ in range(10 * SHARE)}
    assert statuses == {httpx.codes.UNAUTHORIZED}
    assert _introspected(quiet).status_code == httpx.codes.OK


def test_who_asks_for_what_he_may_not_is_limited_as_well(served: Server) -> None:
    rita = served.reviewer("limited-rita")
    assert _introspected(rita).json()["error"] == "unauthorized_client"
    refused = _until_refused(rita, "POST", "/oauth/introspect")
    assert refused.json()["error"] == "temporarily_unavailable"


def test_refusals_are_counted_for_the_operator_and_leave_nothing_in_the_directory(served: Server, chat: Client) -> None:
    made = served.json("operator", "add", "limited")
    watcher = Client(served, made["client_id"], made["client_secret"])
    _until_refused(chat, "POST", "/oauth/introspect")
    end, counted = time.monotonic() + 30, 0.0
    while not counted:
        time.sleep(1 / SHARE)
        page = watcher.get("/metrics")
        if page.status_code == httpx.codes.OK:
            line = next(one for one in page.text.splitlines() if one.startswith("idvault_client_limit_refusals_total "))
            counted = float(line.rpartition(" ")[2])
        assert time.monotonic() < end
    rows = served.sql("directory", "SELECT count(*) FROM refusal WHERE client = ?", chat.id)
    assert rows[0][0] == 0
