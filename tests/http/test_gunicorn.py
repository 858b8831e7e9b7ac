"""gunicorn in granian's place: the same application, beside an agent and a housekeeping of their own."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.http.test_processes import eventually, is_ready
from tests.people import person
from tests.serving import BIN, START_SECONDS, Client, Server
from vault import embedded
from vault.config import load

pytestmark = pytest.mark.sampled

REPOSITORY = Path(__file__).parents[2]
_INTROSPECTED_ONCE = 'idvault_request_seconds_count{method="POST",route="/oauth/introspect",status="2xx"} 1.0'


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    """A vault as docs/operations.md has it under gunicorn: three commands, each a process of its own."""
    server = Server(tmp_path / "home")
    embedded.ensure(load({"IDVAULT_HOME": str(server.home)}), int(time.time()))
    commands: list[list[str | Path]] = [
        [BIN / "idvault-keys", "agent"],
        [BIN / "idvault", "housekeeping"],
        [BIN / "gunicorn", "--workers", "2", "--threads", "120", "--bind", f"127.0.0.1:{server.port}", "wsgi:app"],
    ]  # fmt: skip
    processes = []
    with server.log.open("ab") as log:
        for command in commands:
            processes.append(
                subprocess.Popen(
                    command, cwd=REPOSITORY, env=server.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
            )
            if command[1] == "agent":
                assert eventually(lambda: server.log.read_text().endswith("ready\n"), START_SECONDS)
    assert eventually(lambda: is_ready(server), START_SECONDS), server.log.read_text()[-2000:]
    yield server
    for client in server.clients:
        client.http.close()
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, server.log.read_text()[-2000:]
    assert eventually(lambda: not server.processes())


def test_the_story_seal_and_metrics_work_under_gunicorn(served: Server) -> None:
    chat, rita = served.provider("chat"), served.reviewer("rita")
    made = chat.registered(person(1), "one")
    rita.approve(made["id"])
    assert chat.introspect(made["token"])["scope"] == "read publish"
    watch = served.json("operator", "add", "watch")
    scraper = Client(served, watch["client_id"], watch["client_secret"])
    assert eventually(lambda: _INTROSPECTED_ONCE in scraper.get("/metrics").text), "each worker tells once a second"
    served.json("keys", "seal")
    assert eventually(lambda: _introspected(chat, made["token"]) == httpx.codes.SERVICE_UNAVAILABLE)
    served.json("keys", "unseal")
    assert eventually(lambda: _introspected(chat, made["token"]) == httpx.codes.OK)


def _introspected(chat: Client, token: str) -> int:
    try:
        return chat.http.post("/oauth/introspect", data={"token": token}, auth=(chat.id, chat.secret)).status_code
    except httpx.TransportError:  # the workers that held keys end, and those without have not begun
        return 0
