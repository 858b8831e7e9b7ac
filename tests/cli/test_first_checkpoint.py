"""The log of a vault that was never served: its own commands sign the first checkpoint, and no second in its place."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_commands import left_over, one_line, run
from tests.serving import Server

OWN = (
    ("log", "verify"), ("log", "checkpoint"), ("log", "proof", "0", "{new}"), ("log", "export", "{new}"),
    ("log", "mirror", "{new}"), ("report", "transparency", "2026"),
)  # fmt: skip
NAMES = [" ".join(one[:2]) for one in OWN]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault that was told of one provider, and never served."""
    home = tmp_path_factory.mktemp("made") / "home"
    done = run(home, "provider", "add", "chat", "--sector", "chat.example")
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home", ignore=shutil.ignore_patterns("*.sock")))


def filled(home: Path, command: tuple[str, ...]) -> list[str]:
    return [one.replace("{new}", str(home.parent / "new")) for one in command]


def of(home: Path, store: str, statement: str) -> list[Any]:
    with closing(sqlite3.connect(home / f"{store}.db", timeout=10)) as connection, connection:
        return connection.execute(statement).fetchall()


@pytest.mark.once
@pytest.mark.parametrize("command", OWN, ids=NAMES)
def test_a_vaults_own_command_writes_what_waits_into_its_log_and_signs_a_checkpoint_where_there_was_none(
    home: Path, command: tuple[str, ...]
) -> None:
    done = run(home, *filled(home, command), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert of(home, "directory", "select count(*) from audit_outbox") == [(0,)]
    assert of(home, "log", "select count(*), max(size) from checkpoint") == [(1, 1)]
    assert left_over(home) == []
    assert json.loads(run(home, "log", "verify", "--json").stdout)["types"] == {"provider.enrolled": 1}


@pytest.mark.once
@pytest.mark.parametrize("command", OWN[:2], ids=NAMES[:2])
def test_where_the_agent_has_signed_and_the_log_store_has_no_checkpoint_none_is_signed_in_its_place(
    home: Path, command: tuple[str, ...]
) -> None:
    assert run(home, "log", "verify").returncode == 0
    assert run(home, "operator", "add", "watch").returncode == 0
    of(home, "log", "delete from checkpoint")
    done = run(home, *filled(home, command))
    assert (done.returncode, "checkpoint is missing" in done.stdout + done.stderr) == (4, True), done.stderr
    assert "Traceback" not in done.stderr
    assert of(home, "log", "select count(*) from checkpoint") == [(0,)]
    assert of(home, "directory", "select count(*) from audit_outbox") == [(1,)]


@pytest.mark.once
@pytest.mark.parametrize("command", OWN[-2:], ids=NAMES[-2:])
def test_where_the_log_is_left_to_another_process_the_command_says_that_there_is_no_checkpoint_yet(
    home: Path, command: tuple[str, ...]
) -> None:
    one_line(run(home, *filled(home, command), IDVAULT_SEQUENCER="no"), 1, "no checkpoint yet", "idvault sequencer")
    assert of(home, "directory", "select count(*) from audit_outbox") == [(1,)]


@pytest.mark.once
def test_a_sealed_vault_signs_nothing_and_is_exit_code_3(home: Path) -> None:
    (home / "agent.shut").write_text("sealed")
    for command in OWN[1:3]:
        one_line(run(home, *filled(home, command)), 3, "sealed")
    assert of(home, "log", "select count(*) from checkpoint") == [(0,)]


@pytest.mark.once
def test_the_log_of_another_place_has_nothing_signed_by_this_vault(home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    key = "log.example+d4ba9b6c+AVyLbuUVYDyNjpgQTpAXbfSY2YHKzjSkLCw0F1XQTxbC"
    verify, export = ["verify", str(empty), "--key", key], ["export", str(tmp_path / "new"), "--from", str(empty)]
    for code, command in ((4, verify), (1, export)):
        done = run(home, "log", *command)
        assert (done.returncode, "checkpoint" in done.stdout + done.stderr) == (code, True)
    assert of(home, "log", "select count(*) from checkpoint") == [(0,)]


@pytest.mark.once
def test_a_proof_of_an_entry_that_the_log_has_not_is_refused_naming_the_argument(home: Path) -> None:
    one_line(run(home, "log", "proof", "7", str(home.parent / "new")), 1, "INDEX", "no such entry")
    assert not (home.parent / "new").exists()


def test_a_vault_of_databases_signs_its_first_checkpoint_by_the_roles_of_its_sequencer(tmp_path: Path) -> None:
    server = Server(tmp_path / "home").start()
    server.provider("chat")
    assert server.stop() == 0
    server.environment["IDVAULT_SEQUENCER"] = "yes"
    assert server.json("log", "verify")["types"] == {"provider.enrolled": 1}
