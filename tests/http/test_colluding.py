"""Providers that put together all they have: of one person nothing is equal at two of them, nor alike beyond chance.

A43, R-KR-01, R-KR-02, R-KR-03, R-GDPR-07.
"""

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import serving
from tests.http.exchanges import PURPOSE, agree, approved, token_at
from tests.people import ANNA, person
from tests.serving import Client, Server
from vault.demo.thief import look, steal

PAIRS, FEWER_PAIRS, BATCH = 10_000, 1_000, 1_000
"""Tokens are the agent's, whatever the store: on PostgreSQL a sample says that they are the same."""
SIGMAS, FEWER_SIGMAS = 5.0, 7.0
"""Among fewer, what is rare is skewed; what they had in common by design would be equal at all of them."""
ALPHABET = 64
PROVIDERS = 20
# What every answer has in common: names of states, types and scopes, and what the provider itself chose.
_SAME = {"handle", "scope", "state", "kind", "token_type", "issued_token_type", "assurance", "rung", "ground", "type",
         "until", "ban_until", "starts", "status", "expires_in", "automated", "source", "degree", "by",
         "reason"}  # fmt: skip


def tokens_of(client: Client, numbers: range) -> list[str]:
    """Register people in batches; return their tokens in the same order."""
    found: list[str] = []
    for first in range(numbers.start, numbers.stop, BATCH):
        items = [
            {"handle": f"h{number}", "kind": "public", "identity": person(number),
             "accepts": {"terms": "2026-01", "truthful": True}}
            for number in range(first, min(first + BATCH, numbers.stop))
        ]  # fmt: skip
        answer = client.post("/v1/registrations/batch", {"items": items}, timeout=120)
        assert answer.status_code == 200, answer.text
        found += [one["token"] for one in answer.json()["items"]]
    return found


def longest_common(one: str, other: str) -> int:
    best, ends = 0, [0] * (len(other) + 1)
    for char in one:
        fresh = [0] * (len(other) + 1)
        for at, against in enumerate(other, 1):
            if char == against:
                fresh[at] = ends[at - 1] + 1
                best = max(best, fresh[at])
        ends = fresh
    return best


def rank_correlation(one: list[str], other: list[str]) -> float:
    ranks = [{token: rank for rank, token in enumerate(sorted(tokens))} for tokens in (one, other)]
    squares = sum((ranks[0][a] - ranks[1][b]) ** 2 for a, b in zip(one, other, strict=True))
    count = len(one)
    return 1 - 6 * squares / (count * (count * count - 1))


def test_r_kr_01_tokens_of_one_person_at_two_providers_are_alike_by_chance_alone(fresh: Server, *, full: bool) -> None:
    """In no place equal oftener than chance, no longer part in common than strangers have, no order."""
    pairs, sigmas = (PAIRS, SIGMAS) if full or serving.cluster is None else (FEWER_PAIRS, FEWER_SIGMAS)
    chat, blog = fresh.provider("chat"), fresh.provider("blog")
    here, there = tokens_of(chat, range(pairs)), tokens_of(blog, range(pairs))
    assert len(set(here) | set(there)) == 2 * pairs
    assert len({len(token) for token in (*here, *there)}) == 1, "one length says nothing"
    bodies = [(one.removeprefix("nym_"), other.removeprefix("nym_")) for one, other in zip(here, there, strict=True)]
    # The last characters are the key's version, the same for all people: they tell nobody apart.
    varying = [at for at in range(len(bodies[0][0])) if len({one[at] for one, _ in bodies}) > ALPHABET // 2]
    assert len(varying) >= 40, "at least 240 bits"
    deviation = math.sqrt(pairs * (1 / ALPHABET) * (1 - 1 / ALPHABET))
    for at in varying:
        equal = sum(one[at] == other[at] for one, other in bodies)
        assert abs(equal - pairs / ALPHABET) < sigmas * deviation, f"place {at}"
    drawn = random.Random(1)  # noqa: S311 - which pairs, not keys
    sample = drawn.sample(range(pairs), pairs // 5)
    strangers = [bodies[(at + 1) % pairs][1] for at in sample]
    own = [longest_common(*bodies[at]) for at in sample]
    others = [longest_common(bodies[at][0], other) for at, other in zip(sample, strangers, strict=True)]
    spread = math.sqrt((_variance(own) + _variance(others)) / len(sample))
    assert abs(sum(own) - sum(others)) / len(sample) < sigmas * spread
    assert abs(rank_correlation(here, there)) < sigmas / math.sqrt(pairs)


def _variance(values: list[int]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def leaves(value: Any, name: str = "") -> Iterator[str]:
    """Yield the texts of an answer that are not the same for everybody anyhow."""
    if isinstance(value, dict):
        for member, inner in value.items():
            yield from leaves(inner, member)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, name)
    elif isinstance(value, str) and name not in _SAME and value:
        yield value


def everything_told(client: Client, made: dict[str, Any]) -> set[str]:
    """Return every value that a provider gets about its registrant, with its headers."""
    token = made["token"]
    sanction = {"token": token, "rung": "warn", "ground": "spam", "facts": f"as {client.id} saw", "by": "mod-1"}
    answers = [
        client.post("/v1/sanctions", sanction), client.get(f"/v1/registrations/{made['id']}"),
        client.get("/v1/registrations"), client.get("/v1/accounts"),
        client.get("/v1/accounts", params={"token": token}),
        client.get(f"/v1/accounts/{made['account']}"), client.get("/v1/sanctions", params={"token": token}),
        client.post("/v1/tokens/introspect", {"tokens": [token]}),
        client.post("/v1/tokens/translate", {"tokens": [token]}),
    ]  # fmt: skip
    assert {answer.status_code for answer in answers} <= {200, 201}
    told = {text for answer in answers for text in leaves(answer.json())}
    unvarying = {"date", "content-length", "content-type", "server", "connection", "cache-control",
                 "x-content-type-options", "vary"}  # fmt: skip
    headers = {value for answer in answers for name, value in answer.headers.items() if name not in unvarying}
    return told | headers | set(leaves(client.introspect(token)))


@pytest.mark.sampled
def test_r_kr_02_no_value_about_one_person_is_told_to_two_of_twenty_providers(fresh: Server) -> None:
    rita = fresh.reviewer("rita")
    providers = [fresh.provider(f"p{number}") for number in range(PROVIDERS)]
    made = []
    for at, provider in enumerate(providers):
        made.append(provider.registered(ANNA, f"handle-{at}", external_id=f"own-{at}"))
        rita.approve(made[-1]["id"])
    told = [everything_told(provider, one) for provider, one in zip(providers, made, strict=True)]
    for at, mine in enumerate(told):
        for other in told[at + 1 :]:
            assert not mine & other
    logged = [json.loads(line) for line in fresh.log.read_text().splitlines() if line.startswith("{")]
    known = {value for mine in told for value in mine if len(value) > 8} - {client.id for client in providers}
    assert not {value for line in logged for value in leaves(line) if value in known}
    assert {line["client"] for line in logged if "client" in line} >= {provider.id for provider in providers}


def test_a43_giving_up_the_token_at_one_provider_leaves_that_of_another_alone(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    agree(fresh, chat, blog)
    here, there = approved(chat, rita), approved(blog, rita, handle="anna")
    before = blog.introspect(there)
    form = {"token": here}
    assert chat.http.post("/oauth/revoke", data=form, auth=(chat.id, chat.secret)).status_code == 200
    (moved,) = chat.post("/v1/tokens/translate", {"tokens": [here]}).json()["items"]
    assert moved["token"] not in {here, there}
    assert blog.introspect(there) == before
    assert token_at(chat, moved["token"], blog) == there
    assert PURPOSE not in before.values()


def test_r_kr_03_a_second_sign_up_under_another_spelling_is_met_by_the_document_alone(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    first = chat.registered({**ANNA, "phone": "+46700000001", "email": "anna@one.example"}, "anna")
    other = {**ANNA, "legal_name": "Ana M. Erikson", "phone": "+46700000002", "email": "ana@two.example"}
    second = chat.registered(other, "ana")
    assert second["token"] != first["token"]
    rita.approve(first["id"])
    assert rita.reveal(second["id"])["returner"] is True
    rita.approve(second["id"])
    after = chat.registration(second["id"])
    assert {after["token"], after["supersedes"]} == {first["token"], second["token"]}
    # The same document under another birth date is somebody to ask about, never the same by itself.
    third = chat.registered({**ANNA, "birth_date": "1974-08-13"}, "anna3")
    (candidate,) = rita.reveal(third["id"])["candidates"]
    assert candidate["kind"] == "same_document"


@pytest.mark.sqlite
def test_r_gdpr_07_the_four_stores_alone_give_no_name_no_number_and_no_link(fresh: Server, tmp_path: Path) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    agree(fresh, chat, blog)
    people = [person(number) for number in range(15)]
    for at, one in enumerate(people):
        token = approved(chat, rita, one, f"x{at}")
        if at % 2:
            approved(blog, rita, one, f"y{at}")
        else:
            token_at(chat, token, blog)
    personal = [
        text for one in people
        for text in (one["legal_name"], one["document"]["number"], one["legal_name"].split()[1])
    ]  # fmt: skip
    loot = look(steal(fresh.home, tmp_path / "loot"), personal, [chat.id, blog.id])
    assert loot.rows > 150
    assert (loot.names_found, loot.links_between_providers, loot.links_to_records) == (0, 0, 0)
    # The search does find what is there.
    handles = look(steal(fresh.home, tmp_path / "again"), ["x7"], [chat.id, blog.id])
    assert handles.names_found >= 1
