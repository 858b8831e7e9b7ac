"""What tests of crashes share: a server whose end is rough, requests repeated to one effect, that all is whole."""

import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.forking import in_fork
from tests.http.test_processes import eventually, holders, is_ready, workers
from tests.keys.killing import is_traced
from tests.serving import Client, Server

RETRY_SECONDS = 30.0
STRACE = shutil.which("strace") or "strace"


@contextmanager
def roughly_ended(folder: Path, **settings: str) -> Iterator[Server]:
    """Serve a vault that a test kills parts of; the lease of a key is as short as may be."""
    server = Server(folder / "home", IDVAULT_IDEMPOTENCY_RUNNING_SECONDS="1", **settings).start()
    try:
        yield server
    finally:
        for client in server.clients:
            client.http.close()
        for pid in server.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert server.process is not None
        server.process.wait(10)


def is_whole(server: Server) -> bool:
    """Tell whether every process of the vault is there, and serves."""
    return is_ready(server) and len(workers(server)) == 2 and len(holders(server)) == 2


def key() -> dict[str, str]:
    return {"Idempotency-Key": f'"{uuid.uuid4()}"'}


def again(
    client: Client, path: str, body: dict[str, Any], headers: dict[str, str], wanted: int,
    seconds: float = RETRY_SECONDS, also: str = "idempotency-running",
) -> httpx.Response:  # fmt: skip
    """Repeat a request with its key until it has its answer: 409 while the first still counts as running, 503 and a
    lost connection while a part is away; nothing else but the problem `also` is allowed, and not for ever."""
    end = time.monotonic() + seconds
    seen: list[str] = []
    while time.monotonic() < end:
        try:
            answer = client.post(path, body, headers=headers)
        except httpx.TransportError as error:
            seen.append(type(error).__name__)
            time.sleep(0.1)
            continue
        if answer.status_code == wanted:
            return answer
        seen.append(f"{answer.status_code} {answer.json().get('type', '').rpartition(':')[2]}")
        retried = answer.status_code == 503 or answer.json()["type"].endswith(("idempotency-running", also))
        assert retried, (seen, answer.text)
        time.sleep(0.1)
    raise AssertionError(f"no answer after {seconds} s: {seen[:3]} … {seen[-3:]}")


def items(client: Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(path, params={"limit": "200", **cursor}).json()
        found += page["items"]
        if not page.get("next"):
            return found
        cursor = {"cursor": page["next"]}


def assert_whole(server: Server) -> dict[str, Any]:
    """fsck is clean after at most one run that repairs; nothing stays half-way."""
    report: dict[str, Any] = {}
    for _ in range(2):
        done = in_fork(["fsck", "--grace-minutes", "0", "--json"], server.environment)
        assert done.returncode in {0, 4}, done.stderr[-600:]
        report = json.loads(done.stdout)
        if report["clean"] and not report["finished"]:
            break
    assert report["clean"], report["findings"]
    assert (report["finished"], report["waiting"]) == (0, 0)
    return report


def await_traced(pids: list[int]) -> None:
    assert eventually(lambda: all(is_traced(pid) for pid in pids))
