"""`python -m bench.growing 10000 100000 1000000`: what a vault's size costs registrations, introspections and lists.

One vault grows by imports. At each size: registrations and introspections beside the floor program, in turn; then the
first thousand pages of each list, and look-ups of single people, one call after another.
"""

import itertools
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click
import orjson

from bench import floors, load
from bench.figures import alternate
from bench.floors import Floor
from bench.importing import RESULTS, Run, stores_of, write
from bench.load import Target
from bench.served import PEOPLE, Vault
from tests.serving import Client, Server

_PAGE, _PAGES = 200, 1000
"""Rows of a page, and pages of a list at most: keyset pages cost alike however deep."""
_LOOKUPS: Final = 1000
_SANCTIONED: Final = 2000
_SECONDS: Final = 3


def beside_the_floor(vault: Vault, floor: Floor, folder: Path, rounds: int) -> dict[str, Any]:
    """Return rate of registrations and of introspections, and its ratio to the floor's, by name."""
    bodies = vault.registrations(_SECONDS).bodies
    wrote = Target(floor.url + "/write", "POST", bodies, {"Content-Type": "application/json"})
    people = vault.introspection(PEOPLE)

    def pair(floor: Target, ours: Callable[[], Target]) -> dict[str, float]:
        found = alternate(
            "", "", rounds, lambda: load.run(floor, _SECONDS, folder), lambda: load.run(ours(), _SECONDS, folder)
        )
        return {
            "per_second": statistics.median(sample.per_second for sample in found.ours),
            "ratio": found.ratio,
        }

    return {
        "register": pair(wrote, lambda: vault.registrations(_SECONDS)),
        "introspect": pair(Target(floor.url + "/read"), lambda: people),
    }


def lists(vault: Vault, reviewer: Client, people: int) -> dict[str, Any]:
    """Return the number of calls, and the 50th and 99th of a hundred in milliseconds, of each list and look-up."""
    chosen = random.Random(people)  # noqa: S311 - which are looked up
    tokens: list[str] = []

    def keep_tokens(page: list[dict[str, Any]]) -> None:
        tokens.append(chosen.choice(page)["token"])

    provider = vault.provider
    found = {
        "accounts, each page": _timed(_pages(provider, "/v1/accounts?", keep_tokens)),
        "registrations, each page": _timed(_pages(provider, "/v1/registrations?")),
        "registrations in review, each page": _timed(_pages(provider, "/v1/registrations?state=in_review&")),
        "cases of all providers, each page": _timed(_pages(reviewer, "/v1/reviews?")),
        "sanctions, each page": _timed(_pages(provider, "/v1/sanctions?")),
    }
    numbers = (chosen.randrange(people) + 1 for _ in range(_LOOKUPS))
    found["account by external id"] = _timed(
        _look_ups(provider, (f"/v1/accounts?external_id=u-{number}" for number in numbers))
    )
    some = chosen.choices(tokens, k=_LOOKUPS)
    found["accounts by token"] = _timed(_look_ups(provider, (f"/v1/accounts?token={token}" for token in some)))
    found["sanctions by token"] = _timed(_look_ups(provider, (f"/v1/sanctions?token={token}" for token in some)))
    return found


def _pages(client: Client, path: str, keep: Callable[[list[dict[str, Any]]], None] = lambda _: None) -> Iterator[float]:
    """Yield the seconds of each page of a list."""
    client.authorise()  # a vault grows for longer than an access token lives
    cursor = ""
    for _ in range(_PAGES):
        begun = time.perf_counter()
        answer = client.get(f"{path}limit={_PAGE}{cursor}")
        took = time.perf_counter() - begun
        page = answer.raise_for_status().json()
        yield took
        if page["items"]:
            keep(page["items"])
        if "next" not in page:
            return
        cursor = f"&cursor={page['next']}"


def _look_ups(client: Client, paths: Iterable[str]) -> Iterator[float]:
    for path in paths:
        begun = time.perf_counter()
        answer = client.get(path)
        took = time.perf_counter() - begun
        if not answer.raise_for_status().json()["items"] and "accounts" in path:
            raise SystemExit("bench: an account that was imported is not listed")
        yield took


def _timed(seconds: Iterable[float]) -> dict[str, float]:
    every = sorted(seconds)
    return {
        "calls": len(every),
        "p50_ms": 1e3 * every[len(every) // 2],
        "p99_ms": 1e3 * every[math.ceil(len(every) * 0.99) - 1],
    }


def _sanction(provider: Client, count: int) -> None:
    """Warn so many registrants, so that there are sanctions to list."""
    cursor, given = "", 0
    while given < count:
        page = provider.get(f"/v1/accounts?limit={_PAGE}{cursor}").json()
        for account in itertools.islice(page["items"], count - given):
            body = {"account": account["id"], "rung": "warn", "ground": "spam", "facts": "as seen"}
            provider.post("/v1/sanctions", body).raise_for_status()
            given += 1
        cursor = f"&cursor={page['next']}"


def measure(folder: Path, counts: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """Return the figures of each size, the smallest first."""
    told = []
    with stores_of(folder, "postgresql") as cluster, floors.served(folder, cluster) as floor:
        server = Server(folder / "home", IDVAULT_WORKERS=str(max(2, os.cpu_count() or 1)), IDVAULT_SEQUENCER="yes")
        server.start()
        try:
            vault, reviewer = Vault(server), server.reviewer("lister")
            stands = 0
            for count in sorted(counts):
                file = folder / "people.jsonl"
                write(file, count - stands, seed=count, first=stands + 1)
                took = Run(server, file, []).whole(0, count - stands)
                if not stands:
                    _sanction(vault.provider, _SANCTIONED)
                figures: dict[str, Any] = {"people": count, "imported_per_second": (count - stands) / took}
                stands = count
                figures |= beside_the_floor(vault, floor, folder, rounds)
                figures["lists"] = lists(vault, reviewer, count)
                click.echo(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())
                told.append(figures)
        finally:
            server.stop()
    return told


@click.command()
@click.argument("counts", nargs=-1, type=click.IntRange(5000), required=True)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Pairs that are counted.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where the figures go; default: bench/results.")
def main(counts: tuple[int, ...], rounds: int, target: Path | None) -> None:
    """Measure a vault on PostgreSQL as it grows to each of COUNTS people."""
    load.check_installed()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        told = measure(Path(name), counts, rounds)
    target = target or RESULTS / time.strftime("growing-%Y%m%d-%H%M%S.json")
    target.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
