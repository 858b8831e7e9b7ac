"""What commands that serve until they are told to end say when they begin: to people, and to machines."""

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keys.agent.settings import EMBEDDED
from tests.cli.test_commands import environment, run
from tests.ports import free_port
from tests.serving import BIN
from vault import running
from vault.cli.service import warn_of_one_user
from vault.config import Settings

BEGIN_SECONDS = 30
ENDED = {0, -signal.SIGTERM}
"""How a service ends that is told to: before it has its handlers of signals, by the signal."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made") / "home"
    assert run(home, "db", "upgrade").returncode == 0
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


@contextmanager
def service(home: Path, *command: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Have a service run in a session of its own; also where what it writes to standard error lies."""
    program, *arguments = command
    said = home.parent / "said"
    with said.open("wb") as errors, subprocess.Popen(
        [BIN / program, *arguments], env=environment(home), stdout=subprocess.PIPE, stderr=errors,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process, said
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], BEGIN_SECONDS)[0], "it says nothing"
    return process.stdout.readline()


def _witness(home: Path) -> list[str]:
    file = str(home.parent / "witness.key")
    key = json.loads(run(home, "witness", "new", file, "--name", "w.example/w", "--json").stdout)["key"]
    state = str(home.parent / "state")
    return ["idvault", "witness", "serve", file, "--state", state, "--log", key, "--bind", f"127.0.0.1:{free_port()}"]


@pytest.mark.once
@pytest.mark.parametrize(("command", "told"), [
    (["idvault", "serve"], {"service": "serve", "role": "all", "url": "http://"}),
    (["idvault", "housekeeping"], {"service": "housekeeping"}),
    (["idvault", "sequencer"], {"service": "sequencer"}),
    (["idvault", "witness", "serve"], {"service": "witness", "name": "w.example/w", "url": "http://"}),
    (["idvault-keys", "agent"], {"service": "agent", "sockets": "/"}),
], ids=["serve", "housekeeping", "sequencer", "witness serve", "agent"])  # fmt: skip
def test_a_service_prints_one_line_of_json_when_it_begins_and_no_more(
    home: Path, command: list[str], told: dict[str, str]
) -> None:
    if command[1] == "witness":
        command = _witness(home)
    elif command[0] == "idvault-keys":
        command = [*command, "--home", str(home)]
    with service(home, *command, "--json") as (process, said):
        shown = json.loads(first_line(process) or said.read_bytes()[-600:])
        assert shown.keys() == told.keys()
        assert all(shown[name].startswith(value) for name, value in told.items()), shown
        process.terminate()
        assert process.wait(20) in ENDED
        assert process.stdout is not None
        assert process.stdout.read() == b""


@pytest.mark.once
def test_serve_says_against_whom_the_promises_do_not_hold_while_everything_runs_under_one_user(home: Path) -> None:
    with service(home, "idvault", "serve", "--json") as (process, said):
        first_line(process)
        process.terminate()
        assert process.wait(20) in ENDED
    told = [line for line in said.read_text().splitlines() if "under one user" in line]
    assert told == [f"idvault: {EMBEDDED}"]
    assert all(word in EMBEDDED for word in ("promises 3", "4", "thieves", "taken over", "SECURITY.md"))


@pytest.mark.once
def test_serve_says_nothing_of_one_user_where_the_agent_has_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for separate in (True, False):
        monkeypatch.setattr(running, "is_separate", lambda _, says=separate: says)
        warn_of_one_user(Settings())
        assert (EMBEDDED in capsys.readouterr().err) is not separate


@pytest.mark.once
def test_the_openapi_document_is_one_line_where_json_is_asked_for(home: Path) -> None:
    told, shown = (run(home, "openapi", *more).stdout for more in ([], ["--json"]))
    assert (shown.count("\n"), json.loads(shown)) == (1, json.loads(told))
    assert told.count("\n") > 1000
