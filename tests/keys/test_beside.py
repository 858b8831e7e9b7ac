"""Commands that are said where no agent runs: one is started for their time, where that is safe."""

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keys.agent.settings import socket_folder
from keys.cli import beside
from keys.cli.main import cli
from tests.keys.agents import Agent
from vault import unfinished

pytestmark = pytest.mark.sqlite  # of a key store elsewhere no command starts the agent
STARTED = "idvault-keys: no key agent ran; one was started for this command alone\n"


@pytest.fixture
def vault(tmp_path: Path) -> Agent:
    """A whole vault with the development seal; its agent does not run."""
    return Agent(tmp_path / "home")


def say(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--home", str(home)])


def test_a_command_that_asks_for_keys_has_an_agent_of_its_own_which_ends_with_it(vault: Agent, tmp_path: Path) -> None:
    for arguments in (("status",), ("keys",), ("rotate", "kek"), ("rewrap",), ("destroy", "kek", "--version", "1"),
                      ("migrate-seal", "shares")):  # fmt: skip
        done = say(vault.home, *arguments, "--json")
        wanted = 1 if arguments[0] == "migrate-seal" else 0  # there are no officers
        assert (done.exit_code, STARTED in done.stderr) == (wanted, True), (arguments, done.stderr)
        assert wanted or json.loads(done.stdout)
        assert vault.status() == {}, "it has ended"
    vault.start()
    assert vault.status()["names"] == "open"
    assert vault.stop() == 0
    assert say(vault.home, "officers", "export", str(tmp_path / "file")).stderr.startswith(STARTED)


def test_a_command_beside_an_agent_that_runs_starts_none_and_leaves_that_one(vault: Agent) -> None:
    vault.start()
    done = say(vault.home, "keys", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert vault.status()["names"] == "open"
    assert vault.stop() == 0


def test_a_vault_that_was_sealed_on_purpose_stays_so_under_an_agent_of_a_command(vault: Agent) -> None:
    vault.start()
    vault.order("seal")
    vault.await_state("sealed", "sealed")
    vault.stop()
    for arguments in (("status",), ("keys",), ("rotate", "kek"), ("rewrap",)):
        done = say(vault.home, *arguments)
        assert (done.exit_code, STARTED in done.stderr) == (3, True), (arguments, done.stderr)
    assert (vault.home / "agent.shut").read_text() == "sealed"


def test_a_vault_of_a_passphrase_stays_shut_under_an_agent_of_a_command(vault: Agent, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.touch(0o600)
    words.write_text("correct horse battery staple\n")
    made = say(vault.home, "migrate-seal", "passphrase", "--passphrase-file", str(words))
    assert (made.exit_code, STARTED in made.stderr) == (0, True), made.stderr
    for verb in ("status", "keys", "rewrap"):
        done = say(vault.home, verb)
        assert (done.exit_code, STARTED in done.stderr) == (3, True), (verb, done.stderr)


def test_a_vault_of_officers_stays_shut_under_an_agent_of_a_command(tmp_path: Path) -> None:
    officers = Agent(tmp_path / "home", sealed=False)
    for verb in ("status", "keys", "rewrap"):
        assert say(officers.home, verb).exit_code == 3


@pytest.mark.parametrize("arguments", [("seal",), ("lockdown",), ("unseal",), ("unseal", "--directory")])
def test_what_shuts_or_opens_a_vault_is_said_to_an_agent_that_stays(vault: Agent, arguments: tuple[str, ...]) -> None:
    before = sorted(vault.home.iterdir())
    done = say(vault.home, *arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    told = "idvault-keys: the key agent cannot be reached; start it: idvault serve, or idvault-keys agent\n"
    assert done.stderr == told
    assert sorted(vault.home.iterdir()) == before


def _elsewhere(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDVAULT_KEYS_URL", "postgresql://nobody@/nothing")


def _elsewhere_by_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home.parent / "idvault.toml"
    file.write_text('keys_url = "postgresql://nobody@/nothing"\n')
    monkeypatch.setenv("IDVAULT_CONFIG", str(file))


def _service(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDVAULT_AGENT", str(home / "agent"))


def _another_user(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)


def _restoring(home: Path, _: pytest.MonkeyPatch) -> None:
    (home / beside.UNFINISHED[0]).mkdir()


def _half(home: Path, _: pytest.MonkeyPatch) -> None:
    (home / "keys.db").unlink()


@pytest.mark.parametrize(
    "alter",
    [
        _elsewhere,
        _elsewhere_by_the_file,
        _service,
        _another_user,
        _restoring,
        _half,
    ],
)
def test_no_command_starts_an_agent_that_is_not_for_it_to_start(
    vault: Agent, monkeypatch: pytest.MonkeyPatch, alter: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    alter(vault.home, monkeypatch)
    before = sorted(vault.home.iterdir())
    done = say(vault.home, "keys")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "idvault-keys: the key agent cannot be reached; is it running?\n"
    assert sorted(vault.home.iterdir()) == before


def test_the_folders_of_a_restore_are_those_that_the_vault_names() -> None:
    assert set(beside.UNFINISHED) == {unfinished.BUILD, unfinished.KEYS_BUILD}


def test_an_agent_that_cannot_start_is_told_with_its_own_line_above(vault: Agent) -> None:
    (vault.home / "seal.json").chmod(0o644)
    done = say(vault.home, "keys")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "idvault-keys: the key agent cannot start; its line above says why\n"


def test_a_command_waits_for_an_agent_that_is_going_and_not_for_ever(
    vault: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = socket_folder(vault.home)
    folder.mkdir(mode=0o700)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def let_go() -> None:
            time.sleep(0.5)
            fcntl.flock(lock, fcntl.LOCK_UN)

        thread = threading.Thread(target=let_go)
        thread.start()
        assert say(vault.home, "keys").exit_code == 0
        thread.join()
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(beside, "_WAIT_SECONDS", 0.3)
        done = say(vault.home, "keys")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cannot be reached" in done.stderr
