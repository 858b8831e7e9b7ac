"""The files under deploy/ agree with the code and with each other."""

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from keys.agent import settings as agent_settings
from keys.cli.main import cli as officers
from tests.web.stub import StubSettings, StubVault
from vault.cli.main import cli
from vault.config import load
from vault.web.app import create_app

DEPLOY = Path(__file__).parents[1] / "deploy"
UNITS = {path.stem.removeprefix("idvault-"): path for path in sorted(DEPLOY.glob("*.service"))}
HARD = {
    "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "ProtectSystem": "strict", "ProtectHome": "yes",
    "PrivateTmp": "yes", "PrivateDevices": "yes", "ProtectKernelModules": "yes", "ProtectProc": "invisible",
    "RestrictNamespaces": "yes", "RestrictSUIDSGID": "yes", "LimitCORE": "0", "MemorySwapMax": "0", "UMask": "0077",
    "SystemCallFilter": "@system-service", "KillMode": "mixed",
}  # fmt: skip
MOST_EXPOSURE = 20
"""What systemd-analyze may find, in tenths of its scale of 0 to 10."""


def _assignments(path: Path) -> list[tuple[str, str]]:
    lines = [line.partition("=") for line in path.read_text().splitlines() if re.match(r"[A-Za-z_]+=", line)]
    return [(name, value) for name, _, value in lines]


def _environment() -> dict[str, str]:
    return dict(_assignments(DEPLOY / "idvault.env"))


def _users() -> dict[str, tuple[str, set[str]]]:
    """Return each user's number and groups."""
    users: dict[str, tuple[str, set[str]]] = {}
    for line in (DEPLOY / "idvault.sysusers").read_text().splitlines():
        kind, name, *rest = line.split()
        if kind == "u":
            users[name] = rest[0], set()
        elif kind == "m":
            users[name][1].add(rest[0])
    return users


def test_agent_workers_and_sequencer_each_run_under_a_user_of_their_own() -> None:
    assert set(UNITS) == {"agent", "directory", "identity", "sequencer"}
    assert {name: dict(_assignments(path))["User"] for name, path in UNITS.items()} == {
        name: f"idvault-{name}" for name in UNITS
    }


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_is_hardened(name: str) -> None:
    given = dict(_assignments(UNITS[name]))
    assert {key: given.get(key) for key in HARD} == HARD


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_every_unit_right_and_little_exposed(name: str, tmp_path: Path) -> None:
    unit = tmp_path / UNITS[name].name
    unit.write_text(UNITS[name].read_text().replace("/opt/idvault/.venv/bin/", "/bin/"))
    for program in ("idvault", "idvault-keys"):
        unit.write_text(unit.read_text().replace(f"/bin/{program} ", "/bin/true "))
    for command in (["verify", str(unit)], ["security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(unit)]):
        done = subprocess.run(["systemd-analyze", *command], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_starts_a_command_that_there_is(name: str) -> None:
    program, *arguments = dict(_assignments(UNITS[name]))["ExecStart"].split()
    group = {"idvault": cli, "idvault-keys": officers}[Path(program).name]
    assert CliRunner().invoke(group, [*arguments, "--help"]).exit_code == 0


@pytest.mark.parametrize("name", UNITS)
def test_the_settings_of_every_unit_are_settings(name: str) -> None:
    own = {value.partition("=")[0]: value.partition("=")[2] for key, value in _assignments(UNITS[name])
           if key == "Environment"}  # fmt: skip
    settings = load(_environment() | own)
    assert settings.home == Path(f"/var/lib/idvault/{name}")
    assert settings.sockets == Path("/run/idvault")


def test_who_may_connect_to_a_socket_is_of_its_group_and_nobody_else_is_but_the_agent() -> None:
    users = _users()
    names = {number: name for name, (number, _) in users.items()}
    uids, gids = agent_settings.peers(_environment())
    groups = {int(line.split()[2]): line.split()[1] for line in (DEPLOY / "idvault.sysusers").read_text().splitlines()
              if line.startswith("g ")}  # fmt: skip
    allowed = {door: {names[str(uid)] for uid in uids[door]} for door in uids}
    assert allowed == {
        "directory": {"idvault-directory", "idvault-identity", "idvault-operator"},
        "exchange": {"idvault-directory"}, "identity": {"idvault-identity"}, "officer": {"idvault-operator"},
        "outbox": {"idvault-sequencer"}, "log": {"idvault-operator", "idvault-sequencer"},
        "message": {"idvault-directory"},
    }  # fmt: skip
    for door, group in gids.items():
        assert groups[group] in users["idvault-agent"][1]
        assert all(groups[group] in users[name][1] for name in allowed[door])


def _served(role: str) -> set[str]:
    return {rule.rule for rule in create_app(StubVault(StubSettings(role)).vault).url_map.iter_rules()}


def test_the_proxy_sends_to_the_identity_role_what_that_role_serves_and_limits_bodies_no_tighter_than_the_vault() -> (
    None
):
    text = (DEPLOY / "nginx.conf").read_text()
    to_identity = tuple(re.findall(r"location (/\S+) +{ proxy_pass http://idvault_identity; }", text))
    at_identity, at_directory = _served("identity"), _served("directory")
    both = at_identity & at_directory
    assert all(rule.startswith(to_identity) for rule in at_identity - both)
    assert not any(rule.startswith(to_identity) for rule in at_directory)
    assert not any(rule.startswith("/v1") for rule in both)
    [most] = re.findall(r"client_max_body_size (\d+)m;", text)
    assert int(most) * 1024 * 1024 >= load({}).max_evidence_bytes
