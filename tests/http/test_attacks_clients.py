"""What is tried with names, secrets and paths: A34, A47, A48, A50."""

import itertools
import threading
from http.client import HTTPConnection

import httpx
import pytest

from tests.people import ANNA, person
from tests.serving import NO_TLS, Client, Server

pytestmark = pytest.mark.sampled

NO_CLIENT = "cli_AAAAAAAAAAAAAAAAAAAAAA"


def token(chat: Client, client_id: str, secret: str, **headers: str) -> httpx.Response:
    form = {"grant_type": "client_credentials"}
    return chat.http.post("/oauth/token", data=form, auth=(client_id, secret), headers=headers)


@pytest.mark.parametrize("name", ["Chat", "CHAT", "chat ", " chat", "cHaT"])
def test_a34_another_spelling_of_a_name_is_no_second_client(served: Server, chat: Client, name: str) -> None:
    del chat
    served.run("provider", "add", name, "--sector", f"other{abs(hash(name))}.example", code=1)


@pytest.mark.parametrize("name", ["ch\u0430t", "\uff43hat", "chat\u200b", "ch\u00e4t", "", "chat\n"])
def test_a34_a_name_that_looks_like_another_is_refused(served: Server, chat: Client, name: str) -> None:
    del chat
    served.run("provider", "add", name, "--sector", "lookalike.example", code=1)


def test_a34_a_client_id_has_one_spelling(chat: Client) -> None:
    refused = token(chat, NO_CLIENT, chat.secret)
    for spelled in (chat.id.upper(), chat.id + " ", " " + chat.id, chat.id + "=", chat.id.replace("cli_", "CLI_")):
        answer = token(chat, spelled, chat.secret)
        assert (answer.status_code, answer.json()) == (401, refused.json())


def test_a47_a_thousand_wrong_secrets_lock_nobody_out_and_tell_nothing(chat: Client) -> None:
    """A secret has 256 random bits: guessing is hopeless, so nothing is counted that a stranger could use up."""
    spoofed = itertools.cycle(["127.0.0.1", "10.0.0.1", "::1", "unknown"])
    answers = [token(chat, chat.id, f"ivs_{n}", **{"X-Forwarded-For": next(spoofed)}) for n in range(300)]

    def burst() -> None:
        with httpx.Client(base_url=chat.http.base_url, verify=NO_TLS) as http:
            for n in range(100):
                found = http.post("/oauth/introspect", data={"token": "nym_"}, auth=(chat.id, f"ivs_wrong{n}"))
                assert found.status_code == 401

    threads = [threading.Thread(target=burst) for _ in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(a.status_code, a.content, a.headers.get("Retry-After")) for a in answers} == {
        (401, answers[0].content, None)
    }
    assert token(chat, chat.id, chat.secret).status_code == 200


def test_a48_unknown_disabled_and_wrong_are_one_answer(served: Server, chat: Client) -> None:
    gone = served.reviewer("gone")
    assert token(chat, gone.id, gone.secret).status_code == 200
    served.run("reviewer", "disable", "gone")
    answers = [
        token(chat, NO_CLIENT, chat.secret), token(chat, gone.id, gone.secret), token(chat, chat.id, "ivs_wrong"),
        token(chat, "chat", chat.secret), token(chat, chat.id, chat.secret + "x"), token(chat, gone.id, "ivs_wrong"),
    ]  # fmt: skip

    def seen(answer: httpx.Response) -> tuple[object, ...]:
        return answer.status_code, answer.content, {k: v for k, v in answer.headers.items() if k != "date"}.items()

    assert all(seen(answer) == seen(answers[0]) for answer in answers)
    assert answers[0].status_code == 401


PATHS = (
    "//v1/reviews", "/v1//reviews", "/v1/./reviews", "/v1/x/../reviews", "/v1/%2e%2e/v1/reviews", "/v1/reviews/",
    "/v1/reviews;a=b", "/v1/reviews%00", "/v1%2freviews", "/v1/reviews%2f", "/V1/reviews", "/v1/%c0%afreviews",
    "/v1/reviews/.", "/v1/registrations/../reviews", "/%76%31/reviews",
)  # fmt: skip
SYNTAX = ("' OR 1=1 --", "'; DROP TABLE account; --", "%' OR '1'='1", '" OR ""="', "\\' OR 1 --")


@pytest.mark.parametrize("path", PATHS)
def test_a50_no_spelling_of_a_path_gets_past_the_gate(chat: Client, path: str) -> None:
    chat.authorise()
    verdicts = []
    for headers in ({}, {"Authorization": f"Bearer {chat.token}"}):
        connection = HTTPConnection(chat.http.base_url.host, chat.http.base_url.port, timeout=10)
        connection.request("GET", path, headers=headers)
        verdicts.append(connection.getresponse().status)
        connection.close()
    assert tuple(verdicts) in {(401, 403), (404, 404), (400, 400)}


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_a50_other_methods_and_method_overrides_change_no_verdict(chat: Client, method: str) -> None:
    chat.authorise()
    bearer = {"Authorization": f"Bearer {chat.token}"}
    answer = chat.http.request(method, "/v1/accounts", headers=bearer)
    assert answer.status_code in {200, 400, 404, 405}
    assert method in {"HEAD", "get"} or answer.status_code != 200
    assert chat.http.request(method, "/v1/accounts").status_code in {400, 401, 404, 405}
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        overridden = chat.http.get("/v1/accounts", headers={**bearer, name: "DELETE"}, params={"_method": "DELETE"})
        assert overridden.status_code in {200, 422}


@pytest.mark.parametrize(
    ("number", "text"),
    list(enumerate(["' OR 1=1 --", "'; DROP TABLE account; --", "%' OR '1'='1", '" OR ""="', "\\' OR 1 --"], 500)),
)
def test_a50_what_is_syntax_elsewhere_is_data_here(chat: Client, number: int, text: str) -> None:
    made = chat.registered(person(number), f"h{number}", external_id=text)
    assert chat.get(f"/v1/accounts/{made['account']}").json()["external_id"] == text
    for parameter in ("token", "cursor", "state"):
        answer = chat.get("/v1/accounts", params={parameter: text})
        assert answer.status_code in {200, 400, 422}
        assert made["account"] not in answer.text
    assert chat.register({**ANNA, "legal_name": text + " A"}, f"h{number}b").status_code in {202, 422}
