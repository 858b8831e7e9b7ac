"""The command line: help, exit codes, what goes to which stream, what it leaves behind."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner

from keys.cli.main import cli as keys_cli
from tests.forking import in_fork
from tests.people import person
from tests.ports import free_port
from tests.serving import BIN, Server
from vault.cli.main import cli as vault_cli
from vault.domain.clock import SystemClock

OWN = ["identity.db", "directory.db", "keys.db", "log.db", "seal.json"]
GROUPS = {"idvault": vault_cli, "idvault-keys": keys_cli}


def environment(home: Path, **more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("IDVAULT_")}
    # Not the default address: whoever runs the tests may have a vault served there.
    return {**plain, "IDVAULT_HOME": str(home), "IDVAULT_BIND": f"127.0.0.1:{free_port()}", **more}


def run(home: Path, *arguments: str, program: str = "idvault", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a fork; the agent that it may start is a program of its own, and `left_over` where it stays."""
    return in_fork(arguments, environment(home, **more), program=program)


def said(served: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command beside a served vault; whoever may upgrade stores owns them."""
    return in_fork(arguments, served.environment | served.databases)


def run_program(home: Path, *arguments: str, program: str = "idvault") -> subprocess.CompletedProcess[str]:
    """Run a command as whoever types it does."""
    return subprocess.run(
        [BIN / program, *arguments], env=environment(home), capture_output=True, text=True, check=False, timeout=60
    )


def left_over(home: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(home).encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command failed with one line for people on standard error, and nothing on standard output."""
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len([line for line in said if "warning" not in line and "made an" not in line]) == 1, done.stderr
    for word in words:
        assert word in done.stderr, (word, done.stderr)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault made by the first command in an empty home; tests take copies of it."""
    home = tmp_path_factory.mktemp("made") / "home"
    done = run(home, "db", "upgrade", "--json")
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("served") / "home").start()
    yield server
    assert server.stop() == 0


def _commands(group: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from _commands(command, (*path, name))


ALL = [(program, path, command) for program, cli in GROUPS.items() for path, command in _commands(cli, ())]


@pytest.mark.once
def test_the_commands_are_those_of_the_design_that_exist() -> None:
    paths = {" ".join((program, *path)) for program, path, command in ALL if not isinstance(command, click.Group)}
    assert paths >= {
        "idvault serve", "idvault fsck", "idvault openapi", "idvault db upgrade", "idvault provider add",
        "idvault provider list", "idvault provider show", "idvault reviewer add", "idvault reviewer list",
        "idvault reviewer disable", "idvault-keys agent", "idvault-keys status", "idvault-keys seal",
        "idvault-keys unseal",
    }  # fmt: skip


@pytest.mark.once
@pytest.mark.costly
@pytest.mark.parametrize(("words", "completed"), [
    ("idvault re", {"report", "reseal", "restore", "retag", "reviewer"}), ("idvault provider su", {"suspend"}),
    ("idvault-keys ro", {"rotate"}), ("idvault-keys rotate fi", {"fingerprint"}),
    ("idvault-keys rewrap --d", {"--deep"}),
])  # fmt: skip
def test_commands_arguments_and_options_are_completed_in_the_shell(words: str, completed: set[str]) -> None:
    program, *rest = words.split()
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    environment = {**os.environ, variable: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(rest))}
    done = subprocess.run([BIN / program], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == completed
    environment[variable] = "bash_source"
    script = subprocess.run([BIN / program], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert f"complete -o nosort -F _{program.replace('-', '_')}_completion {program}" in script.stdout


@pytest.mark.once
@pytest.mark.parametrize(("program", "path", "command"), ALL, ids=[" ".join((p, *path)) for p, path, _ in ALL])
def test_help_of_every_command_explains_it_and_names_its_options(
    program: str, path: tuple[str, ...], command: click.Command
) -> None:
    result = CliRunner().invoke(GROUPS[program], [*path, "--help"])
    assert result.exit_code == 0, result.output
    assert command.help
    assert command.help.split()[0] in result.output
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all((name in result.output) is not parameter.hidden for name in parameter.opts)
            assert parameter.hidden or parameter.help, f"{parameter.name} is explained"
        else:
            assert parameter.make_metavar(click.Context(command)) in result.output
    for name in command.commands if isinstance(command, click.Group) else ():
        assert name in result.output


LEAVES = [entry for entry in ALL if not isinstance(entry[2], click.Group)]
"""Commands that do something: what is no group."""


@pytest.mark.once
@pytest.mark.parametrize(("program", "path", "command"), LEAVES, ids=[" ".join((p, *path)) for p, path, _ in LEAVES])
def test_every_command_prints_json_if_told(program: str, path: tuple[str, ...], command: click.Command) -> None:
    assert path
    assert "--json" in {name for parameter in command.params for name in parameter.opts}, program


@pytest.mark.once
def test_without_a_command_it_shows_what_there_is() -> None:
    done = subprocess.run([BIN / "idvault"], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "provider" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.once
@pytest.mark.parametrize("arguments", [
    ["nonsense"], ["provider", "add"], ["provider", "add", "x"], ["fsck", "--grace-minutes", "-1"],
    ["fsck", "--nonsense"], ["serve", "--role", "admin"], ["provider", "add", "x", "--sector", "s.x", "--file", "/no"],
])  # fmt: skip
def test_wrong_usage_is_exit_code_2_and_makes_no_vault(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path / "home", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.once
@pytest.mark.parametrize("command", [["serve"], ["fsck"], ["provider", "list"]])
def test_an_unknown_setting_stops_the_start_naming_the_key_only(tmp_path: Path, command: list[str]) -> None:
    done = run(tmp_path / "home", *command, IDVAULT_NONSENSE="value-4711")
    one_line(done, 1, "nonsense")
    assert "4711" not in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.once
@pytest.mark.parametrize("bind", ["256.0.0.1:8400", "127.0.0.1:70000", "192.0.2.7:8400"])
def test_an_address_that_cannot_be_bound_ends_serve_with_one_line(home: Path, bind: str) -> None:
    try:
        done = subprocess.run(
            [BIN / "idvault", "serve"], env=environment(home, IDVAULT_BIND=bind), capture_output=True, text=True,
            check=False, timeout=30,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise AssertionError("it goes on without an address") from None
    assert done.returncode == 1, done.stderr[-400:]
    assert "Traceback" not in done.stderr
    assert "serving on" not in done.stderr
    assert left_over(home) == []


@pytest.mark.once
def test_the_first_command_makes_the_vault_and_warns_on_standard_error_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "notes.txt").write_text("mine")
    (home / "folder").mkdir()
    done = run(home, "provider", "add", "chat", "--sector", "chat.example", "--json")
    assert done.returncode == 0, done.stderr
    assert "development seal" in done.stderr
    assert str(home) in done.stderr
    shown = json.loads(done.stdout)
    assert set(shown) == {"client_id", "client_secret", "sector"}
    assert shown["client_secret"] not in done.stderr
    assert {path.name for path in home.iterdir()} >= {*OWN, "notes.txt", "folder"}
    assert (home / "notes.txt").read_text() == "mine"
    assert left_over(home) == [], "the agent was for the command's time"


@pytest.mark.once
def test_a_half_made_vault_is_finished_or_made_anew(made: Path, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    for target in (whole, half):
        (target / ".new").mkdir(parents=True)
    for name in OWN:
        shutil.copy(made / name, (whole if name == OWN[0] else whole / ".new") / name)
    (whole / ".new" / "whole").touch()
    (half / ".new" / "keys.db").write_bytes(b"half")
    for target in (whole, half):
        done = run(target, "fsck", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["clean"] is True
        assert not (target / ".new").exists()
    assert (whole / "seal.json").read_bytes() == (made / "seal.json").read_bytes()


@pytest.mark.once
@pytest.mark.parametrize("store", ["identity", "directory", "keys", "log"])
def test_a_missing_store_stops_the_start_and_is_named(home: Path, store: str) -> None:
    (home / f"{store}.db").unlink()
    one_line_or_log(run(home, "serve"), store, home)
    assert not (home / f"{store}.db").exists()


@pytest.mark.once
@pytest.mark.parametrize("store", ["identity", "directory", "keys", "log"])
def test_a_missing_table_stops_the_start_and_is_named_with_its_store(home: Path, store: str) -> None:
    connection = sqlite3.connect(home / f"{store}.db")
    rows = connection.execute("select name from sqlite_master where type = 'table' order by name").fetchall()
    table = next(name for (name,) in rows if "alembic" not in name and "sqlite" not in name)
    connection.execute(f'drop table "{table}"')
    connection.commit()
    connection.close()
    done = run(home, "serve")
    one_line_or_log(done, store, home)
    assert table in done.stderr


@pytest.mark.once
def test_a_missing_seal_stops_the_start_and_is_named(home: Path) -> None:
    (home / "seal.json").unlink()
    one_line_or_log(run(home, "serve"), "seal", home)
    one_line_or_log(run(home, "provider", "list"), "seal", home)
    assert not (home / "seal.json").exists()


@pytest.mark.once
def test_a_seal_that_others_can_read_stops_the_start(home: Path) -> None:
    (home / "seal.json").chmod(0o644)
    one_line_or_log(run(home, "serve"), "seal", home)


def one_line_or_log(done: subprocess.CompletedProcess[str], word: str, home: Path) -> None:
    """The service did not start: a line says why (the agent's own is a log line), and nothing is left."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if word in line and "development_seal" not in line]
    assert told, done.stderr
    assert "serving on" not in done.stderr
    assert left_over(home) == []


@pytest.mark.once
def test_no_command_leaves_a_process_also_when_it_fails(home: Path) -> None:
    assert run_program(home, "provider", "list").returncode == 0
    assert left_over(home) == []
    one_line(run_program(home, "provider", "show", "nobody"), 1, "no provider")
    assert left_over(home) == []
    one_line(run_program(home, "reviewer", "disable", "nobody"), 1, "no reviewer")
    assert left_over(home) == []


@pytest.mark.once
def test_keys_commands_that_shut_or_open_say_that_there_is_no_agent(home: Path) -> None:
    for verb in ("seal", "lockdown", "unseal"):
        one_line(run(home, verb, program="idvault-keys"), 1, "cannot be reached", "idvault serve")


@pytest.mark.once
def test_keys_commands_that_ask_have_an_agent_of_their_own_and_leave_none(home: Path) -> None:
    for verb in ("status", "keys", "rewrap"):
        done = run_program(home, verb, "--json", program="idvault-keys")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
        assert left_over(home) == []


@pytest.mark.once
def test_a_sealed_vault_is_exit_code_3_and_stays_sealed_for_commands_of_their_own(home: Path) -> None:
    (home / "agent.shut").write_text("sealed")
    one_line(run(home, "fsck", "--json"), 3, "sealed")
    one_line(run(home, "provider", "add", "x", "--sector", "x.example"), 3, "sealed")
    (home / "people.jsonl").write_text("")
    one_line(run(home, "import", str(home / "people.jsonl"), "--provider", "x"), 3, "sealed")
    assert left_over(home) == []


def test_a_provider_is_added_once(served: Server) -> None:
    arguments = ["provider", "add", "twice", "--sector", "twice.example"]
    assert served.json(*arguments)["client_id"].startswith("cli_")
    one_line(said(served, *arguments), 1, "name", "exists already")
    one_line(said(served, "provider", "add", "other", "--sector", "twice.example"), 1, "sector", "exists already")
    one_line(said(served, "provider", "add", "Twice ", "--sector", "z.example"), 1)
    assert [row["name"] for row in served.json("provider", "list")].count("twice") == 1


@pytest.mark.parametrize("sector", ["", "UPPER.example", "a b", "ä.example", "../x", "a" * 300, "x\ny"])
def test_a_bad_sector_is_refused_and_nothing_is_made(served: Server, sector: str) -> None:
    before = len(served.json("provider", "list"))
    one_line(said(served, "provider", "add", f"bad{len(sector)}", "--sector", sector), 1, "sector")
    assert len(served.json("provider", "list")) == before


def test_a_policy_file_is_kept_and_in_force(served: Server, tmp_path: Path) -> None:
    file = tmp_path / "enrolment.toml"
    file.write_text('[policy]\nrequired = ["phone"]\nexpired_documents = "refuse"\nlegacy_scope = ""\n')
    strict = served.provider("strict", file=str(file))
    assert served.json("provider", "show", "strict")["policy"] == {
        "required": ["phone"], "expired_documents": "refuse", "legacy_scope": "",
    }  # fmt: skip
    answer = strict.register(person(1), "one")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/identity/phone")
    assert strict.register({**person(1), "phone": "+46700000000"}, "one").status_code == 202


@pytest.mark.parametrize(("content", "word"), [
    ("[policy", "--file"), ("[other]\na = 1", "other"), ("scope = ['register']", "scope"), ("policy = 1", "--file"),
    ("[policy]\nx = 1", "policy"),
    ('[policy]\nrequired = "phone"', "policy"), ('[policy]\nrequired = ["shoe_size"]', "policy"),
    ("[policy]\nrequired = [['phone']]", "policy"), ('[policy]\nexpired_documents = "maybe"', "policy"),
    ('[policy]\nlegacy_scope = "read publish"', "policy"), ("[policy]\nreview_needs_reveal = 1", "policy"),
    ("\udcff\udcfe", "--file"),
    ("scopes = []", "scopes"), ("scopes = 'register'", "scopes"), ("scopes = [1]", "scopes"),
    ("scopes = ['register', 'review']", "scopes"), ("scopes = [['register']]", "scopes"),
    ("expires = 2020-01-01", "expires"), ("expires = 2040-01-01", "expires"), ("expires = 'soon'", "expires"),
    ("expires = 1", "expires"), ("expires = 2027-01-01T00:00:00", "expires"),
])  # fmt: skip
def test_a_bad_enrolment_file_is_refused(served: Server, tmp_path: Path, content: str, word: str) -> None:
    file = tmp_path / "enrolment.toml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    one_line(said(served, "provider", "add", "bad", "--sector", "bad.example", "--file", str(file)), 1, word)


def test_an_enrolment_file_says_what_a_provider_may_do_and_until_when(served: Server, tmp_path: Path) -> None:
    file, day = tmp_path / "enrolment.toml", SystemClock().now().date() + timedelta(days=30)
    file.write_text(f'scopes = ["register", "introspect"]\nexpires = {day}\n')
    narrow = served.provider("narrow", file=str(file))
    ends = f"{day + timedelta(days=1)}T00:00:00Z"
    shown = served.json("provider", "show", "narrow")
    assert (shown["scopes"], shown["expires"], shown["policy"]) == ("introspect register", ends, {})
    made = narrow.registered(person(41), "narrow")
    assert narrow.introspect(made["token"])["active"] is True
    sanction = {"account": made["account"], "rung": "warn", "ground": "spam", "facts": "as seen", "by": "mod-1"}
    assert narrow.post("/v1/sanctions", sanction).status_code == httpx.codes.FORBIDDEN
    served.sql("directory", "update provider set expires = 1 where client = ?", narrow.id)
    assert narrow.get("/v1/accounts").status_code == httpx.codes.UNAUTHORIZED
    assert "expires" not in served.json("provider", "show", served.provider("endless").id)


@pytest.mark.parametrize(("more", "word"), [("scopes = ['register']", "scopes"), ("expires = 2027-01-01", "expires")])
def test_a_change_of_policy_takes_nothing_else_of_an_enrolment_file(
    served: Server, tmp_path: Path, more: str, word: str
) -> None:
    if "same" not in [row["name"] for row in served.json("provider", "list")]:
        served.provider("same")
    file = tmp_path / "enrolment.toml"
    file.write_text(f"{more}\n[policy]\ncaps = {{personal = 1}}\n")
    one_line(said(served, "provider", "change", "same", "--file", str(file)), 1, word)
    assert served.json("provider", "show", "same")["policy"] == {}


def test_a_disabled_reviewer_is_refused_by_the_vault_and_by_the_agent(served: Server) -> None:
    chat, rita = served.provider("disabling"), served.reviewer("rita")
    one_line(said(served, "reviewer", "add", "rita"), 1, "exists already")
    one_line(said(served, "reviewer", "add", "rob", "--provider", "nobody"), 1, "no provider")
    made = chat.registered(person(7), "seven")
    rita.reveal(made["id"])
    assert served.json("reviewer", "disable", "rita") == {"name": "rita", "state": "disabled"}
    assert rita.get("/v1/reviews").status_code == 401
    answer = rita.http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=(rita.id, rita.secret))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    states = {row["name"]: row["state"] for row in served.json("reviewer", "list")}
    assert states["rita"] == "disabled"
    # An administrator who switches him on again in the directory alone gets nothing opened.
    served.sql("directory", "update client set state = 'active' where id = ?", rita.id)
    rita.authorise()
    assert rita.get("/v1/reviews").status_code == 200
    body = {"purpose": "review", "fields": ["legal_name"]}
    for refused in (rita.post(f"/v1/reviews/{made['id']}/reveal", body), rita.decide(made["id"])):
        assert refused.status_code >= 400, refused.text
        assert person(7)["legal_name"] not in refused.text
    assert chat.registration(made["id"])["state"] == "in_review"


@pytest.mark.parametrize("arguments", [
    ["provider", "list"], ["reviewer", "list"], ["fsck"], ["db", "upgrade"], ["provider", "show", "shown"],
])  # fmt: skip
def test_json_stands_alone_on_standard_output(served: Server, arguments: list[str]) -> None:
    if arguments[-1] == "shown" and "shown" not in [row["name"] for row in served.json("provider", "list")]:
        served.provider("shown")
    done = said(served, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    json.loads(done.stdout)
    plain = said(served, *arguments)
    assert plain.returncode == 0
    with pytest.raises(json.JSONDecodeError):
        json.loads(plain.stdout)


def test_fsck_is_exit_code_4_and_names_the_row_when_one_is_not_as_written(served: Server) -> None:
    chat = served.provider("broken")
    one, two = (chat.registered(person(number), f"b{number}") for number in (31, 32))
    standings = "select pid, link from standing where provider = ? order by created, pid limit 2"
    [(pid, link), (other, other_link)] = served.sql("directory", standings, chat.id)
    served.sql("directory", "update standing set link = ? where pid = ?", other_link, pid)
    try:
        done = said(served, "fsck", "--json")
        assert done.returncode == 4, done.stderr
        report = json.loads(done.stdout)
        assert report["clean"] is False
        assert pid.hex() in json.dumps(report["findings"])
        assert other.hex() not in json.dumps([f for f in report["findings"] if "standing" in f["row"]])
        assert said(served, "fsck").stdout.splitlines()[-1] == f"{len(report['findings'])} findings"
    finally:
        served.sql("directory", "update standing set link = ? where pid = ?", link, pid)
    assert served.json("fsck")["clean"] is True
    assert {one["state"], two["state"]} == {"in_review"}


def test_openapi_is_the_document_that_the_server_gives(served: Server) -> None:
    document = json.loads(served.run("openapi"))
    assert document["openapi"].startswith("3.")
    assert set(document["paths"]) == {
        "/v1/registrations", "/v1/registrations/batch",
        "/v1/registrations/{id}", "/v1/registrations/{id}/evidence/{name}", "/v1/reviews",
        "/v1/reviews/next", "/v1/reviews/{id}/reveal", "/v1/reviews/{id}/evidence/{name}",
        "/v1/reviews/{id}/decision", "/v1/reviews/{id}/split", "/v1/accounts", "/v1/accounts/{id}",
        "/v1/accounts/{id}/operators", "/v1/accounts/{id}/receipt", "/v1/sanctions/{id}/receipt",
        "/v1/registrations/{id}/receipts",
        "/v1/disclosures", "/v1/disclosures/{id}", "/v1/disclosures/{id}/package",
        "/v1/tokens/introspect", "/v1/tokens/translate", "/v1/tokens/exchange",
        "/v1/events", "/v1/sanctions", "/v1/sanctions/{id}", "/v1/sanctions/{id}/lift", "/v1/provider/secrets",
        "/v1/imports", "/v1/imports/{id}", "/v1/imports/{id}/chunks/{number}", "/v1/imports/{id}/results",
        "/v1/imports/{id}/refused", "/v1/imports/{id}/undo", "/v1/imports/{id}/decision",
    }  # fmt: skip
    assert httpx.get(served.url + "/openapi.json").json() == document


@pytest.mark.once
def test_the_version_is_shown() -> None:
    done = subprocess.run([BIN / "idvault", "--version"], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, "0." in done.stdout) == (0, True)
