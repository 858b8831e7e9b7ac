"""Invented people of six countries, imported and reviewed: what comes out is exactly what was drawn."""

import json
from pathlib import Path
from typing import Any

from bench.people import write
from bench.review import review
from tests.serving import Client, Server

EXCHANGED = 100


def exchanged(chat: Client, blog: Client, tokens: list[str]) -> list[str]:
    """Return what each token of chat is at blog."""
    opened = [
        {"subject_token": token, "subject_token_type": "urn:idvault:token-type:pseudonym", "audience": blog.id,
         "scope": "safety"}
        for token in tokens
    ]  # fmt: skip
    given = chat.post("/v1/tokens/exchange", {"items": opened}).json()["items"]
    taken = [
        {"subject_token": one["access_token"], "subject_token_type": "urn:idvault:token-type:handoff"} for one in given
    ]
    return [one["access_token"] for one in blog.post("/v1/tokens/exchange", {"items": taken}).json()["items"]]


def test_persons_unions_returners_and_refusals_come_out_as_they_were_drawn(
    fresh: Server, tmp_path: Path, *, full: bool
) -> None:
    told = write(tmp_path, 10_000 if full else 150)
    clients = {name: fresh.provider(name) for name in ("chat", "blog")}
    made = fresh.json("reviewer", "add", "rita")
    chat, blog = clients.values()
    fresh.json(
        "provider", "allow-exchange", "chat", "blog", "--purpose", "safety", "--basis", "legal", "--per-hour", "99999"
    )
    imports: dict[str, dict[str, Any]] = {}
    for name in clients:
        options = ("--refused", str(tmp_path / f"{name}.refused"), "--results", str(tmp_path / f"{name}.made"))
        imports[name] = fresh.json("import", str(tmp_path / f"{name}.jsonl"), "--provider", name, *options)
    assert {name: one["rows"] for name, one in imports.items()} == told.rows
    assert (imports["chat"]["refused"], imports["blog"]["refused"]) == (told.broken, 0)
    reviewed = review(fresh.url, made["client_id"], made["client_secret"], [one["id"] for one in imports.values()])
    assert reviewed["returners"] == told.returners
    results = {
        name: [json.loads(row) for row in (tmp_path / f"{name}.made").read_text().splitlines()] for name in clients
    }
    ends = {name: [clients[name].registration(one["id"]) for one in rows] for name, rows in results.items()}
    assert {one["state"] for rows in ends.values() for one in rows} == {"approved"}
    assert sum("supersedes" in one for one in ends["chat"]) == told.returners
    persons = {one["token"] for one in ends["chat"]}
    assert len(persons) == told.persons
    assert len(ends["blog"]) == told.unions
    at_blog = {one["token"] for one in ends["blog"]}
    individuals = [one["token"] for one in ends["chat"] if "representative_token" not in one]
    found = set()
    for start in range(0, len(individuals), EXCHANGED):
        found |= set(exchanged(chat, blog, individuals[start : start + EXCHANGED]))
    assert len(at_blog & found) == told.unions
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]
