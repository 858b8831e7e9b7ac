"""What tests of exchanges share: asking for them as a provider does, agreeing on them, and counting what stands."""

import threading
from collections.abc import Callable
from typing import Any

import httpx

from tests.people import ANNA
from tests.serving import Client, Server
from vault.stores.schema import METADATA

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
PSEUDONYM = "urn:idvault:token-type:pseudonym"
HANDOFF = "urn:idvault:token-type:handoff"
PURPOSE = "moderation"


def exchange(client: Client, **form: Any) -> httpx.Response:
    """Send an exchange; a value that is None is left out."""
    sent = {name: value for name, value in {"grant_type": GRANT, **form}.items() if value is not None}
    return client.http.post("/oauth/token", data=sent, auth=(client.id, client.secret))


def hand_over(giver: Client, token: str, taker: Client, **more: Any) -> httpx.Response:
    form = {"subject_token": token, "subject_token_type": PSEUDONYM, "audience": taker.id, "scope": PURPOSE}
    return exchange(giver, **{**form, **more})


def redeem(taker: Client, handoff: str, **more: Any) -> httpx.Response:
    return exchange(taker, **{"subject_token": handoff, "subject_token_type": HANDOFF, **more})


def handed(giver: Client, token: str, taker: Client) -> str:
    answer = hand_over(giver, token, taker)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["access_token"]
    return text


def token_at(giver: Client, token: str, taker: Client) -> str:
    """Return the taker's token of the giver's."""
    answer = redeem(taker, handed(giver, token, taker))
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["access_token"]
    return text


def agree(server: Server, giver: Client, taker: Client, *more: str) -> None:
    server.json("provider", "allow-exchange", giver.id, taker.id, "--purpose", PURPOSE, "--basis", "legal", *more)


def two_providers(server: Server, *more: str) -> tuple[Client, Client, Client]:
    """Return two providers with an agreement, and a vault reviewer."""
    chat, blog, rita = server.provider("chat"), server.provider("blog"), server.reviewer("rita")
    agree(server, chat, blog, *more)
    return chat, blog, rita


def approved(provider: Client, reviewer: Client, identity: dict[str, Any] = ANNA, handle: str = "anna") -> str:
    """Return the token of a person whom this reviewer approved."""
    made = provider.registered(identity, handle)
    reviewer.approve(made["id"])
    token: str = made["token"]
    return token


def execute(server: Server, store: str, statement: str, *values: object) -> list[Any]:
    """Do what somebody with the store would do."""
    return server.sql(store, statement, *values)


def rows(server: Server) -> dict[str, list[Any]]:
    """Return every row of every store."""
    found = {}
    for store in ("identity", "directory", "keys"):
        for table in METADATA[store].tables:
            found[f"{store}.{table}"] = execute(server, store, f'SELECT * FROM "{table}"')  # noqa: S608
    return found


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run calls at the same time and return what they gave."""
    barrier, found = threading.Barrier(len(calls)), [None] * len(calls)

    def run(at: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        found[at] = call()

    threads = [threading.Thread(target=run, args=(at, call)) for at, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
