"""Registrations that come at the same time are made together; each has its own answer or refusal."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.exchanges import execute
from tests.people import person
from tests.serving import Client, Server
from vault.errors import Kind, VaultError
from vault.services.idempotency import Idempotency
from vault.wiring import Vault

AT_ONCE = 24


def _sent(client: Client, number: int, handle: str, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.register(person(number), handle, headers=headers)


def test_each_of_many_at_once_has_its_own_registration(server: Server) -> None:
    provider = server.provider("together")
    provider.authorise()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda n: _sent(provider, 70_000 + n, f"together{n}"), range(96)))
    assert {answer.status_code for answer in answers} == {202}
    made = [answer.json() for answer in answers]
    assert len({one["id"] for one in made}) == len({one["token"] for one in made}) == 96
    for number, one in enumerate(made[:8]):
        account = provider.get(f"/v1/accounts/{one['account']}").json()
        assert (account["handle"], account["token"]) == (f"together{number}", one["token"])


def test_more_go_together_than_a_worker_serves_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path / "home", IDVAULT_WORKERS="1", IDVAULT_BLOCKING_THREADS="2").start()
    provider = server.provider("lined")
    provider.authorise()
    made = server.json("operator", "add", "watch")
    watcher = Client(server, made["client_id"], made["client_secret"])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda n: _sent(provider, 73_000 + n, f"lined{n}"), range(4 * AT_ONCE)))
    assert {answer.status_code for answer in answers} == {202}
    registered = 'idvault_request_seconds_count{method="POST",route="/v1/registrations",status="2xx"} '
    created = 'idvault_act_seconds_count{act="create",outcome="ok"} '
    end, told = time.monotonic() + 10, dict[str, float]()
    while told.get(registered) != len(answers):  # workers keep counts a while before they tell them
        assert time.monotonic() < end, told
        lines = watcher.get("/metrics").text.splitlines()
        told = {one: float(line[len(one) :]) for one in (registered, created) for line in lines if line.startswith(one)}
    assert 0 < told[created] < len(answers) / 3, "groups of two would be half as many as there are registrations"
    assert server.stop() == 0


def test_one_that_is_refused_fails_none_that_comes_with_it(server: Server) -> None:
    provider = server.provider("apart")
    provider.authorise()
    handles = [f"apart{n}" if n % 3 else "wanted_by_all" for n in range(48)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda n: _sent(provider, 71_000 + n, handles[n]), range(48)))
    told = Counter(
        (handle == "wanted_by_all", answer.status_code) for handle, answer in zip(handles, answers, strict=True)
    )
    assert told == {(False, 202): 32, (True, 202): 1, (True, 409): 15}


def test_one_key_sent_many_times_at_once_makes_one_registration(server: Server) -> None:
    provider = server.provider("once")
    provider.authorise()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda n: _sent(provider, 72_000 + n // 4, f"once{n // 4}", f"k{n // 4}"), range(48)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    by_key = [
        {answer.json()["id"] for answer in answers[at : at + 4] if answer.status_code == 202} for at in range(0, 48, 4)
    ]
    assert all(len(ids) == 1 for ids in by_key)


def test_of_bearers_that_come_together_each_is_let_in_or_refused_by_itself(server: Server) -> None:
    one, other, gone = (server.provider(name) for name in ("bearers-one", "bearers-other", "bearers-gone"))
    reviewer = server.reviewer("bearers-reviewer")
    tokens = [client.authorise() for client in (one, other, gone, reviewer)]
    assert gone.http.post("/oauth/revoke", data={"token": tokens[2]}, auth=(gone.id, gone.secret)).status_code == 200

    def listed(token: str) -> int:
        answer = one.http.get("/v1/registrations", headers={"Authorization": f"Bearer {token}"})
        return answer.status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(listed, [*tokens, "acc_none"] * AT_ONCE))
    assert told == [200, 200, 401, 403, 401] * AT_ONCE


def body(number: int, handle: str) -> dict[str, Any]:
    accepts = {"terms": "2026-01", "truthful": True}
    return {"handle": handle, "kind": "public", "accepts": accepts, "identity": person(number)}


def _meanwhile(vault: Vault, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen between the first look at the directory and what is written there."""
    linking = vault.registering._linking
    add_records = linking.add_records

    def late(rows: Any) -> None:
        monkeypatch.undo()
        act()
        add_records(rows)

    monkeypatch.setattr(linking, "add_records", late)


def test_a_handle_that_was_taken_meanwhile_is_refused_alone_and_leaves_nothing(
    fresh: Server, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = fresh.provider("chat")
    client, key = vault.access.authenticate(chat.id, chat.secret), Idempotency(bytes(32), bytes(32))
    _meanwhile(vault, monkeypatch, lambda: chat.registered(person(1), "quick"))
    items = [body(2, "quick"), body(3, "slow")]
    status, told = vault.registering.register_batch(client, items, key, lambda error: {"refused": str(error)})
    assert status == 200
    assert ["refused" in one for one in told["items"]] == [True, False]
    assert vault.registering.register_batch(client, items, key, lambda _: {}) == (status, told)
    assert len(execute(fresh, "identity", "SELECT 1 FROM record")) == 2
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]


def test_one_whose_handle_was_taken_meanwhile_is_told_so_and_may_come_back_under_its_key(
    fresh: Server, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = fresh.provider("chat")
    client, key = vault.access.authenticate(chat.id, chat.secret), Idempotency(bytes(32), bytes(32))
    _meanwhile(vault, monkeypatch, lambda: chat.registered(person(1), "quick"))
    with pytest.raises(VaultError) as refused:
        vault.registering.register(client, body(2, "quick"), key)
    assert refused.value.kind is Kind.HANDLE_TAKEN
    assert vault.registering.register(client, body(2, "other"), key)[0] == 202
    assert len(execute(fresh, "identity", "SELECT 1 FROM record")) == 2
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]
