"""Registrations that come at the same time are made together; each has its own answer or refusal."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.people import person
from tests.serving import Client, Server

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
