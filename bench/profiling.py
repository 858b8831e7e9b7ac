"""`python -m bench.profiling`: where the time of one introspection goes, by part, in one process and without HTTP."""

import base64
import cProfile
import io
import json
import pstats
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from tests.people import person
from vault import embedded, running
from vault.config import Settings
from vault.logs import configure
from vault.web.app import VaultApp, create_app
from vault.wiring import build

REQUESTS: Final = 2_000
_PARTS: Final = (
    ("crypto", ("cryptography/", "keys/primitives", "keys/tokens", "openssl", "hmac", "hashlib", "_hash", "aead")),
    ("SQLite driver", ("sqlite3",)),
    ("SQLAlchemy", ("/sqlalchemy/",)),
    ("log line", ("vault/logs",)),
    ("JSON", ("orjson", "/json/")),
    ("agent peek", ("/keys/agent/client", "_socket")),
    ("Flask and werkzeug", ("/flask/", "/werkzeug/", "/flask_openapi/")),
    ("our web layer", ("/vault/web/",)),
    ("our service and stores", ("/vault/", "/keys/")),
)
"""A function belongs to the first part with a matching text in its place or name."""
OTHER: Final = "interpreter and other"
_Function = tuple[str, int, str]


def part_of(function: _Function) -> str:
    """Return the part that a function belongs to."""
    place = f"{function[0]}:{function[2]}".lower()
    return next((part for part, marks in _PARTS if any(mark in place for mark in marks)), OTHER)


def by_part(stats: pstats.Stats) -> Counter[str]:
    """Return self seconds by part; a plain built-in counts for who called it."""
    found: Counter[str] = Counter()
    table: dict[_Function, Any] = stats.stats  # type: ignore[attr-defined]
    for function, (_, _, own, _, callers) in table.items():
        if function[0] == "~" and part_of(function) == OTHER and callers:
            for caller, (_, _, seconds, _) in callers.items():
                found[part_of(caller)] += seconds
        else:
            found[part_of(function)] += own
    return found


def _prepare(app: VaultApp, client_id: str, secret: str) -> dict[str, Any]:
    """Register one person and return the environ of an introspection of his token."""
    client = app.test_client()
    basic = "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    given = client.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, headers={"Authorization": basic}
    ).get_json()
    body = {
        "handle": "handle", "kind": "public", "accepts": {"terms": "2026-01", "truthful": True}, "identity": person(1),
    }  # fmt: skip
    made = client.post(
        "/v1/registrations", data=json.dumps(body), content_type="application/json",
        headers={"Authorization": f"Bearer {given['access_token']}"},
    ).get_json()  # fmt: skip
    form = f"token={made['token']}".encode()
    return {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": "/oauth/introspect", "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8400", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "127.0.0.1:8400",
        "HTTP_AUTHORIZATION": basic, "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(form)), "wsgi.url_scheme": "http", "wsgi.version": (1, 0), "bench.form": form,
    }  # fmt: skip


def _start_response(status: str, _headers: object, _failure: object = None, /) -> Callable[[bytes], object]:
    if not status.startswith("200"):
        raise click.ClickException(f"an introspection was answered {status}")
    return bytes


def _requests(app: VaultApp, environ: dict[str, Any]) -> float:
    started = time.perf_counter()
    for _ in range(REQUESTS):
        answer = app({**environ, "wsgi.input": io.BytesIO(environ["bench.form"])}, _start_response)
        b"".join(answer)
        answer.close()  # type: ignore[attr-defined]
    return time.perf_counter() - started


def _show(stats: pstats.Stats, plain_us: float) -> None:
    parts = by_part(stats)
    total = parts.total()
    table = Table("part")
    table.add_column("µs", justify="right")
    table.add_column("share", justify="right")
    for part, seconds in parts.most_common():
        table.add_row(part, f"{seconds / REQUESTS * 1e6:.1f}", f"{seconds / total:.0%}")
    click.echo(f"one introspection: {plain_us:.0f} µs in process; self time under the profiler, by part:")
    Console().print(table)
    stats.sort_stats("tottime").print_stats(25)


@click.command()
def main() -> None:
    """Profile introspections in process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(home=folder / "home")
        embedded.ensure(settings, int(time.time()))
        with (folder / "log").open("ab") as log, running.agent(settings):
            vault = build(settings)
            made = vault.enrolling.add_provider("bench", "bench.example", {})
            app = create_app(vault, configure(log))
            environ = _prepare(app, made["client_id"], made["client_secret"])
            _requests(app, environ)
            plain_us = min(_requests(app, environ) for _ in range(3)) / REQUESTS * 1e6
            with cProfile.Profile() as profile:
                _requests(app, environ)
            vault.close()
    _show(pstats.Stats(profile), plain_us)


if __name__ == "__main__":
    main()
