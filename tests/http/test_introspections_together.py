"""Introspections that come at the same time are answered together; each has its own answer or refusal."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.people import person
from tests.serving import Client, Server

AT_ONCE = 24
_Call = tuple[Client, str, str, dict[str, Any], int, bool | None]
"""(client, token, secret, more, status, active)"""


def _asked(client: Client, token: str, secret: str, **more: str) -> httpx.Response:
    return client.http.post("/oauth/introspect", data={"token": token, **more}, auth=(client.id, secret))


def test_each_of_many_at_once_has_its_own_answer_or_refusal_whoever_asks_with_it(server: Server) -> None:
    chat, blog = server.provider("line-chat"), server.provider("line-blog")
    made = [(one, one.registered(person(72_000 + n), f"line{n}")) for n, one in enumerate([chat, blog] * 4)]
    calls: list[_Call] = []
    for client, one in made:
        foreign, another = made[client is chat][1], made[2][1]
        calls += [
            (client, one["token"], client.secret, {}, 200, True),
            (client, one["token"], client.secret, {"account": one["account"]}, 200, True),
            (client, one["token"], "wrong", {}, 401, None),
            (client, foreign["token"], client.secret, {}, 200, False),
            (client, "nym_none", client.secret, {}, 200, False),
            (client, one["token"], client.secret, {"account": another["account"]}, 200, one is another),
        ]
    calls *= 3
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda call: _asked(*call[:3], **call[3]), calls))
    for (client, token, _, _, status, active), answer in zip(calls, answers, strict=True):
        assert answer.status_code == status
        assert answer.json().get("active") is active
        if active:
            assert (answer.json()["sub"], answer.json()["client_id"]) == (token, client.id)


def test_a_client_whose_sector_the_agent_does_not_know_fails_alone(server: Server) -> None:
    """Whoever changed its row in the directory has stopped that provider's introspections, and nobody else's."""
    chat, changed = server.provider("line-whole"), server.provider("line-changed")
    token = chat.registered(person(72_900), "linewhole")["token"]
    server.sql("directory", "UPDATE provider SET sector = 'nowhere.example' WHERE client = ?", changed.id)
    calls = [(chat, token, chat.secret), (changed, token, changed.secret)] * AT_ONCE * 3
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda call: _asked(*call), calls))
    assert {answer.status_code for answer in answers[::2]} == {200}
    assert all(answer.json()["active"] for answer in answers[::2])
    assert {answer.is_success for answer in answers[1::2]} == {False}
