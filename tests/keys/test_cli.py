"""The officers' command line: exit codes, one line of text, JSON alone on request."""

import json
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keys.agent import settings
from keys.agent.settings import AgentSettings, socket_folder
from keys.cli import main as commands
from keys.cli import rotation, seat
from keys.cli.status import MODE
from tests.keys.agents import Agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    started = Agent(tmp_path / "home").start()
    yield started
    started.stop()


def _run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(commands.cli, [*arguments, "--home", str(home)])


def test_seal_and_unseal_wait_until_it_is_so_and_status_tells(agent: Agent) -> None:
    lines = "seal      development\nnames     {0}\nstanding  {0}\n"
    for verb, state, code in (("status", "open", 0), ("seal", "sealed", 0), ("status", "sealed", 3),
                              ("seal", "sealed", 0), ("unseal", "open", 0), ("status", "open", 0)):  # fmt: skip
        done = _run(agent.home, verb)
        assert (done.exit_code, done.stdout) == (code, lines.format(state) + (f"{MODE}\n" if verb == "status" else ""))
        assert done.stderr == ""


def test_a_vault_whose_workers_have_another_user_than_its_agent_is_not_told_to_be_embedded(agent: Agent) -> None:
    agent.stop()
    agent.environment |= {"IDVAULT_DIRECTORY_SOCKET_UIDS": "60002", "IDVAULT_DIRECTORY_SOCKET_GID": str(os.getgid())}
    agent.start()
    assert json.loads(_run(agent.home, "status", "--json").stdout)["embedded"] is False
    assert "embedded" not in _run(agent.home, "status").stdout


def test_json_stands_alone_on_standard_output(agent: Agent) -> None:
    for verb in ("status", "unseal"):
        done = _run(agent.home, verb, "--json")
        assert json.loads(done.stdout) == {
            "seal": "development", "embedded": True, "shut": "", "names": "open", "standing": "open",
        }  # fmt: skip
    assert _run(agent.home, "status", "--sockets", str(agent.sockets)).exit_code == 0


def test_without_an_agent_and_a_vault_each_command_says_so_and_fails(tmp_path: Path) -> None:
    for verb in ("status", "seal", "lockdown", "unseal", "keys", "rewrap"):
        done = _run(tmp_path, verb)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("idvault-keys: the key agent cannot be reached; ")
        assert len(done.stderr.splitlines()) == 1


def test_an_agent_that_does_not_follow_in_time_is_told(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seat, "_WAIT_SECONDS", 0.0)
    done = _run(agent.home, "unseal")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "did not follow in time" in done.stderr


def test_an_agent_that_is_just_forking_its_holders_ends_when_told_to(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "home")
    for milliseconds in (0, 1, 2, 4, 8, 16):
        agent.start()
        agent.order("unseal")
        time.sleep(milliseconds / 1000)
        assert agent.stop() == 0


def test_the_module_is_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["keys", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("keys", run_name="__main__")
    assert caught.value.code == 0
    assert "Usage: idvault-keys" in capsys.readouterr().out


def test_the_agent_command_runs_the_agent_of_that_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[AgentSettings, int | None]] = []
    said: list[str] = []

    def run_agent(given: AgentSettings, parent_fd: int | None, ready: str) -> int:
        seen.append((given, parent_fd))
        said.append(ready)
        return 7

    monkeypatch.setattr(commands, "run_agent", run_agent)
    assert _run(tmp_path, "agent", "--parent-fd", "9").exit_code == 7
    assert _run(tmp_path, "agent", "--keys-url", "sqlite:////x", "--sockets", "/s", "--json").exit_code == 7
    assert said == ["ready", '{"service":"agent","sockets":"/s"}']
    (one, parent), (other, none) = seen
    assert (one.keys_url, one.sockets, parent) == (f"sqlite:///{tmp_path}/keys.db", tmp_path / "agent", 9)
    assert (other.keys_url, other.sockets, none) == ("sqlite:////x", Path("/s"), None)
    assert (one.seal, one.shut) == (tmp_path / "seal.json", tmp_path / "agent.shut")


def test_the_file_of_the_service_says_where_home_sockets_and_key_store_are_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[AgentSettings] = []

    def run_agent(given: AgentSettings, _: int | None, __: str) -> int:
        seen.append(given)
        return 0

    monkeypatch.setattr(commands, "run_agent", run_agent)
    file = tmp_path / "idvault.toml"
    file.write_text(f'home = "{tmp_path}"\nagent = "/run/idvault"\nkeys_url = "sqlite:////x"\nworkers = 3\n')
    monkeypatch.setenv("IDVAULT_CONFIG", str(file))
    assert CliRunner().invoke(commands.cli, ["agent"]).exit_code == 0
    assert (seen[0].home, seen[0].sockets, seen[0].keys_url) == (tmp_path, Path("/run/idvault"), "sqlite:////x")
    monkeypatch.setenv("IDVAULT_AGENT", "/run/other")
    monkeypatch.setenv("IDVAULT_KEYS_URL", "sqlite:////y")
    monkeypatch.setenv("IDVAULT_HOME", str(tmp_path / "other"))
    assert CliRunner().invoke(commands.cli, ["agent"]).exit_code == 0
    assert (seen[1].home, seen[1].sockets) == (tmp_path / "other", Path("/run/other"))
    assert seen[1].keys_url == "sqlite:////y"


@pytest.mark.parametrize(("content", "name"), [
    ("nonsense = 4711", "nonsense"), ("home = 4711", "home"), ("home = '4711'\nhome =", "IDVAULT_CONFIG"),
    ("handoff_seconds = 30", "handoff_seconds"), (None, "IDVAULT_CONFIG"),
])  # fmt: skip
def test_a_file_that_says_what_is_no_setting_stops_each_command_naming_the_key_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, name: str
) -> None:
    file = tmp_path / "idvault.toml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("IDVAULT_CONFIG", str(file))
    for verb in ("agent", "status", "keys"):
        done = CliRunner().invoke(commands.cli, [verb])
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(f"idvault-keys: {name}: ")
        assert "4711" not in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_an_unknown_setting_stops_the_agent_naming_the_key_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "run_agent", lambda *_: 0)
    for name in ("IDVAULT_ISSUER", "IDVAULT_LOG_MIRROR", "IDVAULT_HANDOFF_SECONDS", "IDVAULT_CONFIG"):
        monkeypatch.setenv(name, {"IDVAULT_LOG_MIRROR": str(tmp_path), "IDVAULT_CONFIG": ""}.get(name, "30"))
    assert _run(tmp_path, "agent").exit_code == 0
    monkeypatch.setenv("IDVAULT_HANDOFF_SECOND", "4711")
    done = _run(tmp_path, "agent")
    assert (done.exit_code, done.stderr) == (1, "idvault-keys: IDVAULT_HANDOFF_SECOND: no such setting\n")


def test_sockets_of_a_home_with_a_long_path_lie_in_a_short_folder_of_its_own(tmp_path: Path) -> None:
    deep, other = tmp_path / ("a" * 120), tmp_path / ("b" * 120)
    assert socket_folder(tmp_path) == tmp_path / "agent"
    assert len(str(socket_folder(deep) / "directory.sock")) <= settings._MAX_SOCKET_PATH_BYTES
    assert socket_folder(deep) != socket_folder(other)
    assert socket_folder(deep) == socket_folder(deep)


def test_sockets_lie_in_a_short_folder_also_where_the_temporary_folder_has_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 120)))
    assert len(str(socket_folder(tmp_path / ("a" * 120)) / "directory.sock")) <= settings._MAX_SOCKET_PATH_BYTES


def test_keys_that_rotate_are_named_as_they_are_listed_or_shorter(agent: Agent) -> None:
    for verb, purpose, version in (("rotate", "sign/es256", 2), ("rotate", "signing", 3), ("rotate", "sign/log", 2),
                                   ("rotate", "kek", 2)):  # fmt: skip
        done = _run(agent.home, verb, purpose, "--json")
        assert (done.exit_code, done.stderr) == (0, "")
        assert json.loads(done.stdout)["version"] == version
    done = _run(agent.home, "destroy", "sign/es256", "--version", "1", "--yes", "--json")
    assert json.loads(done.stdout)["state"] == "destroyed"


@pytest.mark.parametrize(("said", "purpose", "sector"), [
    (("token/shop.example",), "token", "shop.example"), (("link/shop.example",), "link", "shop.example"),
    (("token", "--sector", "shop.example"), "token", "shop.example"),
    (("token/shop.example", "--sector", "shop.example"), "token", "shop.example"), (("log",), "log", ""),
])  # fmt: skip
def test_a_providers_own_key_is_named_with_its_sector_in_one_word_or_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[str, ...], purpose: str, sector: str
) -> None:
    asked: list[Any] = []

    def answer(_home: Path, _sockets: Path | None, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        asked.append((verb, args["purpose"], args["sector"]))
        return {"pending": "0" * 16}

    monkeypatch.setattr(rotation, "_asked", answer)
    assert _run(tmp_path, "rotate", *said).exit_code == 0
    assert _run(tmp_path, "destroy", *said, "--version", "1", "--yes").exit_code == 0
    assert asked == [("keys.rotate", purpose, sector), ("keys.destroy", purpose, sector)]


@pytest.mark.parametrize("said", [
    ("token/",), ("sign/rs256",), ("map",), ("kek/shop.example",), ("signing/shop.example",), ("sector/shop.example",),
    ("token/shop.example", "--sector", "bank.example"),
])  # fmt: skip
@pytest.mark.parametrize("verb", ["rotate", "destroy"])
def test_what_names_no_key_that_rotates_is_wrong_usage(tmp_path: Path, verb: str, said: tuple[str, ...]) -> None:
    done = _run(tmp_path, verb, *said, *(("--version", "1") if verb == "destroy" else ()))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Usage:" in done.stderr
