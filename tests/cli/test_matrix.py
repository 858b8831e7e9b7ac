"""Which command of the host does what in which state of a vault of officers (A18): none without its line here.

What needs M officers prints a request and does nothing; what needs names is refused in lockdown, what needs any key
while sealed, both by exit code 3. Officers' own commands speak by messages: `tests/keys/test_officers_served.py` has
their matrix.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import httpx
import pytest
from click.testing import CliRunner

from keys.cli.main import cli as keys_cli
from tests.days import day
from tests.forking import in_fork
from tests.http.test_imports import begin, row, stands
from tests.http.test_log import await_checkpoint
from tests.http.test_officers import PASSPHRASE, Machines, citizen
from tests.serving import Server
from vault.cli.main import cli as vault_cli

ORDER: Final = ("--case", "4 Js 1/26", "--legal-basis", "law", "--authority", "court", "--ordered-by", "judge")
MAY: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    # command                             what it needs: nothing, standing, names; what comes of it while that is open
    "idvault approve-import":             ("names",    "pending", ("{import}", "--method", "in_person")),
    "idvault backup":                     ("names",    "done",    ("{new}", "--key-file", "{new}.key")),
    "idvault db compact":                 ("nothing",  "done",    ()),
    "idvault db distribute":              ("nothing",  "done",    ()),
    "idvault db grants":                  ("nothing",  "done",    ()),
    "idvault db upgrade":                 ("nothing",  "done",    ()),
    "idvault fsck":                       ("names",    "done",    ("--grace-minutes", "0")),
    "idvault hold lift":                  ("names",    "refused", ("{account}", *ORDER)),
    "idvault hold list":                  ("names",    "done",    ("{account}",)),
    "idvault hold put":                   ("names",    "pending", ("{account}", *ORDER, "--until", str(day(60)))),
    "idvault log checkpoint":             ("standing", "done",    ()),
    "idvault log export":                 ("nothing",  "done",    ("{new}",)),
    "idvault log mirror":                 ("nothing",  "done",    ("{new}",)),
    "idvault log proof":                  ("nothing",  "done",    ("0", "{new}")),
    "idvault log verify":                 ("standing", "done",    ()),
    "idvault operator add":               ("standing", "done",    ("op{n}",)),
    "idvault operator disable":           ("nothing",  "refused", ("nobody",)),
    "idvault operator list":              ("nothing",  "done",    ()),
    "idvault provider add":               ("names",    "pending", ("new{n}", "--sector", "new{n}.example")),
    "idvault provider allow-exchange":    ("names",    "pending", ("chat", "blog", "--purpose", "p", "--basis",
                                                                   "legal")),
    "idvault provider change":            ("names",    "pending", ("chat", "--file", "{policy}")),
    "idvault provider list":              ("nothing",  "done",    ()),
    "idvault provider renew":             ("names",    "pending", ("late", "--until", str(day(200)))),
    "idvault provider revoke-exchange":   ("names",    "refused", ("chat", "blog", "--purpose", "p")),
    "idvault provider rotate-secret":     ("standing", "done",    ("blog",)),
    "idvault provider show":              ("names",    "done",    ("chat",)),
    "idvault provider suspend":           ("standing", "done",    ("late",)),
    "idvault report transparency":        ("nothing",  "done",    ("2026",)),
    "idvault reseal":                     ("names",    "refused", ()),
    "idvault retag":                      ("names",    "done",    ()),
    "idvault reviewer add":               ("names",    "pending", ("rev{n}",)),
    "idvault reviewer disable":           ("nothing",  "refused", ("nobody",)),
    "idvault reviewer list":              ("nothing",  "done",    ()),
    "idvault-keys destroy":               ("names",    "refused", ("kek", "--version", "1")),
    "idvault-keys keys":                  ("names",    "done",    ()),
    "idvault-keys migrate-seal passphrase": ("names",  "pending", ("--passphrase-file", "{passphrase}")),
    "idvault-keys migrate-seal shares":   ("names",    "pending", ()),
    "idvault-keys officers export":       ("names",    "done",    ("{new}",)),
    "idvault-keys rewrap":                ("names",    "done",    ()),
    "idvault-keys rotate":                ("names",    "pending", ("token", "--sector", "chat.example")),
    "idvault-keys status":                ("names",    "done",    ()),
}  # fmt: skip
ELSEWHERE: Final = {
    "idvault demo": "plays in a vault of its own: tests/cli/test_demo.py",
    "idvault housekeeping": "a service: tests/http/test_three_uids.py",
    "idvault import": "a provider's client of POST /v1/imports: tests/cli/test_import.py",
    "idvault log receipt": "reads a file: tests/http/test_receipts.py",
    "idvault log refill": "only while nothing is served: tests/log/test_refilling.py",
    "idvault openapi": "reads no vault: tests/cli/test_commands.py",
    "idvault restore": "only into an empty vault: tests/http/test_backups.py",
    "idvault sequencer": "a service: tests/http/test_three_uids.py",
    "idvault serve": "serves: all of tests/http",
    "idvault witness new": "another's: tests/log/test_witness.py",
    "idvault witness serve": "another's: tests/log/test_witness.py",
    "idvault-keys backup": "idvault backup, by another name: tests/http/test_backups_of_keys.py",
    "idvault-keys restore": "only where there is no key store: tests/http/test_backups_of_keys.py",
    "idvault-keys agent": "the agent itself: tests/keys/test_agent.py",
    "idvault-keys migrate-seal aws-kms": "as passphrase, with a backend: tests/keys/test_seals_served.py",
    "idvault-keys migrate-seal pkcs11": "as passphrase, with a backend: tests/keys/test_seals_served.py",
    "idvault-keys migrate-seal transit": "as passphrase, with a backend: tests/keys/test_seals_served.py",
    "idvault-keys open-package": "the recipient's: tests/http/test_disclosures.py",
    **dict.fromkeys(("idvault-keys officer new", "idvault-keys officer show"), "an officer's own: test_officers.py"),
    **{
        f"idvault-keys {verb}": "an officer's, by messages: tests/keys/test_officers_served.py"
        for verb in (
            "approve", "confirm", "init", "lockdown", "reject", "rekey", "replace-officer", "request", "requests",
            "seal", "show", "trust", "unseal", "verify-share", "watch", "withdraw",
        )
    },
}  # fmt: skip
STATES: Final = {"open": {"nothing", "standing", "names"}, "lockdown": {"nothing", "standing"}, "sealed": {"nothing"}}


def commands(group: click.Command, name: str) -> Iterator[str]:
    if isinstance(group, click.Group):
        for own, command in group.commands.items():
            yield from commands(command, f"{name} {own}")
    else:
        yield name


def test_every_command_has_its_line() -> None:
    found = {*commands(vault_cli, "idvault"), *commands(keys_cli, "idvault-keys")}
    assert found == MAY.keys() | ELSEWHERE.keys()
    assert not MAY.keys() & ELSEWHERE.keys()


class Host:
    """A vault of officers, and commands said on its host."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, 0
        self.server = server = Server(folder / "home")
        server.for_officers = True
        server.environment |= {"IDVAULT_SEQUENCER": "yes", "IDVAULT_LOG_MILLISECONDS": "100"}
        server.start(httpx.codes.SERVICE_UNAVAILABLE)
        self.machines = Machines(server, folder / "machines").ceremony()
        for name in ("chat", "blog", "late"):
            asked = server.json("provider", "add", name, "--sector", f"{name}.example")
            self.machines.approved(asked["request"], "anna", "maria")
        chat = server.provider("chat")
        for name in ("blog", "late"):
            server.json("provider", "add", name, "--sector", f"{name}.example")
        server.json("provider", "suspend", "late")
        account = chat.registered(citizen(1), "anna_1")["account"]
        imported = begin(chat)["id"]
        stands(chat, imported, 1, [row(2, identity=citizen(2))])
        (folder / "policy.toml").write_text("[policy]\ncaps = {personal = 2}\n")
        await_checkpoint(server)
        self.given: dict[str, str] = {
            "{account}": account, "{import}": imported, "{policy}": str(folder / "policy.toml"),
            "{passphrase}": str(self.machines.folder / "passphrase"),
        }  # fmt: skip

    def say(self, command: str, arguments: tuple[str, ...]) -> tuple[int, str]:
        """Say a command; return its exit code and what it printed."""
        self.said += 1
        made = [self._filled(one) for one in arguments]
        program, *verbs = command.split()
        if program == "idvault-keys":
            done = CliRunner().invoke(keys_cli, [*verbs, *made, "--home", str(self.server.home), "--json"])
            return done.exit_code, done.stdout
        said = in_fork([*verbs, *made, "--json"], self.server.environment | self.server.databases, forks=True)
        return said.returncode, said.stdout

    def _filled(self, argument: str) -> str:
        new = str(self.folder / f"new{self.said}")
        return self.given.get(argument, argument).replace("{new}", new).replace("{n}", str(self.said))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made = Host(tmp_path_factory.mktemp("matrix"))
    yield made
    assert made.server.stop() == 0


@pytest.mark.timeout(600)
def test_a18_what_each_command_of_the_host_does_in_each_state(host: Host) -> None:
    requests: dict[str, Any] = {}
    for state, is_open in STATES.items():
        if state != "open":
            host.machines.say("anna", "seal" if state == "sealed" else "lockdown")
        for command, (needs, then, arguments) in MAY.items():
            code, printed = host.say(command, arguments)
            verdict = {0: "done", 1: "refused", 3: "shut"}.get(code, code)
            if code == 0 and printed and json.loads(printed) is not None and '"state":"pending"' in printed:
                verdict, requests[command] = "pending", json.loads(printed)["request"]
            assert verdict == (then if needs in is_open else "shut"), (command, state)
    assert len(set(requests.values())) == len(requests), "each waits for officers by a request of its own"
    assert PASSPHRASE not in host.server.log.read_text()
