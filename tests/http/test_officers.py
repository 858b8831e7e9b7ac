"""Officers at their own machines, by the command line and over the vault's address, as the handbook has it."""

import json
import shutil
import sqlite3
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from click.testing import CliRunner, Result

from keys import officers
from keys.cli.main import cli
from keys.cli.status import MODE
from keys.identity import Statement
from keys.passphrases import Cost
from keys.pins import Pins
from keys.primitives import Ed25519Signer, Secret
from tests.days import day
from tests.http.test_imports import begin, row, stands
from tests.http.test_processes import eventually
from tests.people import person
from tests.serving import NO_TLS, Client, Server

pytestmark = pytest.mark.sampled

PASSPHRASE: Final = "seven drawn words are better"
CHEAP: Final = Cost(1, 64, 1)
"""Of a guess: what is tested here is not what Argon2id costs."""
NAMES: Final = ("anna", "maria", "nikos", "petra")


def citizen(number: int) -> dict[str, Any]:
    """Return somebody whose document is of a state: specimens are for development."""
    document = {"type": "passport", "country": "FIN", "number": f"FP{number:07}", "expires": "2034-01-01"}
    return {**person(number), "document": document}


class Machines:
    """Each officer's own machine: a folder with his file, and nothing of the vault but its address."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder, self.url = server, folder, server.url
        folder.mkdir(mode=0o700)
        (folder / "passphrase").touch(mode=0o600)
        (folder / "passphrase").write_text(PASSPHRASE + "\n")
        for name in NAMES:
            card = officers.create(self.file(name), name.title(), PASSPHRASE, CHEAP)
            (folder / f"{name}.card").write_text(f"{card}\n")
        self.words = ""

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.officer"

    def say(self, who: str, verb: str, *arguments: str, code: int = 0) -> Any:
        """Run a command of `idvault-keys` as an officer; return what it printed, as JSON, or what it refused with."""
        done = self.done(who, verb, *arguments)
        assert done.exit_code == code, done.stderr[-600:]
        return json.loads(done.stdout) if done.stdout else done.stderr

    def done(self, who: str, verb: str, *arguments: str) -> Result:
        """Run a command with nobody at the terminal."""
        secret = ["--passphrase-file", str(self.folder / "passphrase")]
        return CliRunner().invoke(cli, [verb, *arguments, "--as", str(self.file(who)), "--json", *secret])

    def init(self, *names: str, threshold: int = 2) -> dict[str, Any]:
        done = self.begun(*names, threshold=threshold)
        assert done.exit_code == 0, done.stderr
        made: dict[str, Any] = json.loads(done.stdout)
        self.words = " ".join(made["agent"])
        return made

    def begun(self, *names: str, threshold: int) -> Result:
        """Run `init` beside the agent."""
        cards = [str(self.folder / f"{name}.card") for name in names]
        home = ["--home", str(self.server.home)]
        return CliRunner().invoke(cli, ["init", "--threshold", str(threshold), *home, "--json", *cards])

    def confirm(self, who: str, *more: str) -> int:
        return int(self.say(who, "confirm", "--vault", self.url, "--words", self.words, *more)["needed"])

    def ceremony(self) -> "Machines":
        self.init("anna", "maria", "nikos")
        assert [self.confirm("anna"), self.confirm("maria")] == [1, 0]
        return self

    def approved(self, request: str, *names: str) -> None:
        for name in names:
            self.say(name, "approve", request, "--yes")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A vault without keys, for officers."""
    served = Server(tmp_path / "home")
    served.for_officers = True
    served.start(httpx.codes.SERVICE_UNAVAILABLE)
    yield served
    assert served.stop() == 0


@pytest.fixture
def machines(server: Server, tmp_path: Path) -> Machines:
    return Machines(server, tmp_path / "machines")


def status(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/v1/keys/status", verify=NO_TLS).json()
    return found


def _is_closed(chat: Client) -> bool:
    try:
        return chat.get("/v1/accounts").status_code == httpx.codes.SERVICE_UNAVAILABLE
    except httpx.TransportError:  # workers are being replaced
        return False


def test_a_vault_is_made_opened_locked_down_and_sealed_by_its_officers(machines: Machines) -> None:
    server = machines.server
    assert (status(server)["names"], status(server)["seal"]) == ("new", "shares")
    made = machines.init("anna", "maria", "nikos")
    assert [one["name"] for one in made["officers"]] == ["Anna", "Maria", "Nikos"]
    assert machines.confirm("anna") == 1
    assert httpx.get(f"{server.url}/readyz", verify=NO_TLS).json()["kept_by"] == "nobody yet"
    assert machines.confirm("nikos") == 0
    ready = httpx.get(f"{server.url}/readyz", verify=NO_TLS)
    assert (ready.status_code, ready.json()["kept_by"]) == (200, "any 2 of 3 officers")

    asked = server.json("provider", "add", "chat", "--sector", "chat.example")
    assert asked["state"] == "pending"
    machines.approved(asked["request"], "nikos", "anna")
    chat = server.provider("chat")
    chat.registered(citizen(1), "anna_1")
    specimen = chat.register(person(2), "specimen")
    assert specimen.status_code == httpx.codes.UNPROCESSABLE_ENTITY, "specimen documents are for development"

    assert machines.say("nikos", "lockdown")["names"] == "lockdown"
    refused = chat.register(citizen(3), "three")
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:idvault:problem:lockdown")
    assert chat.get("/v1/accounts").status_code == httpx.codes.OK
    assert machines.say("anna", "unseal")["needed"] == 1
    maria_has_none = machines.done("maria", "unseal", "--vault", machines.url)
    assert "compare the agent's words" in maria_has_none.stderr
    assert machines.say("nikos", "unseal")["needed"] == 0
    chat.registered(citizen(3), "three")

    assert machines.say("anna", "seal")["names"] == "sealed"
    assert eventually(lambda: _is_closed(chat)), "once the workers have ended that the seal ends"
    assert machines.say("anna", "status", code=3)["needed"] == {}
    for name in ("anna", "nikos"):
        machines.say(name, "unseal", "--directory")
    assert status(server)["names"] == "lockdown"
    assert chat.register(citizen(4), "four").json()["type"] == "urn:idvault:problem:lockdown"
    for name in ("anna", "nikos"):
        machines.say(name, "unseal")
    chat.registered(citizen(4), "four")
    found = machines.say("nikos", "status")
    assert [seat["name"] for seat in found["officers"] if seat["proven"] is None] == ["Maria"]
    assert found["control"]["embedded"] is True
    secret = ["--passphrase-file", str(machines.folder / "passphrase")]
    told = CliRunner().invoke(cli, ["status", "--as", str(machines.file("nikos")), *secret]).stdout
    assert MODE in told
    assert any("Maria" in due["what"] for due in found["to_do"])

    report = server.log.read_text()
    for words in (PASSPHRASE, *_shares(machines)):
        assert words not in report


def _shares(machines: Machines) -> list[str]:
    """Return the first words of each paper: none of them may stand in a log."""
    found = []
    for name in ("anna", "nikos"):
        paper = machines.folder / f"{name}.paper"
        machines.say(name, "confirm", "--paper", str(paper))
        assert paper.stat().st_mode & 0o777 == 0o600
        found.append(" ".join(line.split()[1] for line in paper.read_text().splitlines() if line[:2].strip().isdigit()))
        assert len(found[-1].split()) == 33
        machines.say(name, "verify-share", "--share-file", str(paper))
        assert "never overwritten" in machines.done(name, "confirm", "--paper", str(paper)).stderr
    return found


def test_a_share_on_paper_opens_the_vault_from_another_machine(machines: Machines) -> None:
    machines.ceremony()
    paper = machines.folder / "anna.paper"
    machines.say("anna", "confirm", "--paper", str(paper))
    machines.file("anna").with_suffix(".officer.pins").unlink()
    machines.say("maria", "seal")
    assert "compare the agent's words" in str(machines.say("anna", "unseal", "--vault", machines.url, code=1))
    machines.say("anna", "trust", "--vault", machines.url, "--words", machines.words)
    text = paper.read_text().split("\n")
    wrong = machines.folder / "wrong.paper"
    wrong.touch(mode=0o600)
    wrong.write_text("\n".join(text[:-3] + text[-2:]))
    assert machines.say("anna", "unseal")["needed"] == 1  # the agent keeps it sealed to her
    assert "mistyped" in str(machines.say("anna", "verify-share", "--share-file", str(wrong), code=1))
    wrong.chmod(0o644)
    assert "readable for others" in str(machines.say("anna", "verify-share", "--share-file", str(wrong), code=1))
    assert machines.say("anna", "unseal", "--share-file", str(paper))["needed"] == 1  # said again
    assert machines.say("maria", "unseal")["needed"] == 0


def test_another_root_key_and_another_officer(machines: Machines) -> None:
    machines.ceremony()
    machines.confirm("nikos")
    machines.say("anna", "rekey", "--remove", "Nikos", "--add", str(machines.folder / "petra.card"))
    assert machines.done("anna", "confirm").exit_code == 1  # nobody said that these are the officers
    assert machines.confirm("anna") == 1
    assert machines.say("anna", "verify-share")["generation"] == 1
    machines.confirm("petra")
    assert "no such request" in str(machines.say("anna", "approve", "abcdef", "--yes", code=1))
    asked = machines.say("anna", "request", "rekey", "--yes")
    assert (asked["kind"], asked["state"]) == ("officer-replace", "pending")
    machines.approved(asked["id"], "nikos")
    assert machines.say("anna", "status")["generation"] == 2
    assert machines.say("anna", "verify-share", "--tell")["generation"] == 2
    machines.say("petra", "seal")
    assert machines.done("nikos", "unseal").exit_code == 1
    assert machines.say("maria", "unseal")["needed"] == 1  # her new share is fetched
    assert machines.say("petra", "unseal")["needed"] == 0


def test_an_officer_is_replaced_by_one_command_and_confirmed_and_approved_as_any_rekey(machines: Machines) -> None:
    machines.ceremony()
    machines.confirm("nikos")
    petra, nikos = (str(machines.folder / f"{name}.card") for name in ("petra", "nikos"))
    for old, new, word in (("Nobody", petra, "OLD: no officer"), ("Anna", nikos, "one person has one share"),
                           ("Anna", str(machines.folder / "none.card"), "none.card: cannot be read")):  # fmt: skip
        assert word in str(machines.say("anna", "replace-officer", old, new, code=1))
    begun = machines.say("anna", "replace-officer", "Nikos", petra)
    assert (begun["generation"], begun["officers"]) == (2, ["Anna", "Maria", "Petra"])
    key = next(one["key"] for one in machines.say("anna", "status")["officers"] if one["name"] == "Nikos")
    assert "--replace" in str(machines.say("anna", "replace-officer", key, petra, code=1)), "one waits already"
    begun = machines.say("anna", "replace-officer", key, petra, "--replace", "--threshold", "3", "--no-spare")
    assert begun["officers"] == ["Anna", "Maria", "Petra"]
    for name in ("anna", "maria", "petra"):
        machines.confirm(name)
    asked = machines.say("anna", "request", "rekey", "--yes")
    assert (asked["kind"], asked["state"]) == ("officer-replace", "pending")
    machines.approved(asked["id"], "nikos")
    found = machines.say("petra", "status")
    assert (found["generation"], found["threshold"]) == (begun["generation"], 3)
    assert [one["name"] for one in found["officers"]] == ["Anna", "Maria", "Petra"]


def test_officers_whose_clocks_are_a_day_apart_hold_a_ceremony_approve_and_unseal(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time

    def by_the_clock_of(who: str) -> None:
        days = {"anna": 1, "maria": -1}[who]
        monkeypatch.setattr(time, "time", lambda: real() + days * 86_400)

    by_the_clock_of("anna")
    machines.init("anna", "maria", "nikos")
    assert machines.confirm("anna") == 1
    by_the_clock_of("maria")
    assert machines.confirm("maria") == 0
    by_the_clock_of("anna")
    asked = machines.say("anna", "request", "raise-budget", "creates_per_hour", "--set", "per_hour=5", "--yes",
                         "--hours", "1")  # fmt: skip
    by_the_clock_of("maria")
    assert machines.say("maria", "approve", asked["id"], "--yes", "--hours", "1")["state"] == "done"
    machines.say("maria", "seal")
    for name in ("anna", "maria"):
        by_the_clock_of(name)
        machines.say(name, "unseal")
    monkeypatch.undo()
    assert status(machines.server)["names"] == "open"


def test_what_widens_a_provider_waits_for_officers_and_what_narrows_it_does_not(
    machines: Machines, tmp_path: Path
) -> None:
    machines.ceremony()
    server = machines.server
    machines.approved(server.json("provider", "add", "chat", "--sector", "chat.example")["request"], "anna", "maria")
    server.json("provider", "add", "chat", "--sector", "chat.example")
    soon, later = (("renew", "chat", "--until", str(day(ahead))) for ahead in (200, 560))
    assert server.json("provider", *soon)["state"] == "active", "an end where there was none is narrower"
    assert server.json("provider", "suspend", "chat")["state"] == "suspended"
    renewed = server.json("provider", *soon)
    assert renewed["state"] == "pending"
    machines.approved(renewed["request"], "anna", "maria")
    assert server.json("provider", *later)["request"] != renewed["request"], "approved is that day alone"
    assert server.json("provider", *soon)["state"] == "active"
    server.json("provider", "suspend", "chat")
    again = server.json("provider", *soon)
    assert (again["state"], again["request"] != renewed["request"]) == ("pending", True), "an approval is used once"
    file = tmp_path / "policy.toml"
    file.write_text("[policy]\ncaps = {personal = 2}\n")
    change = ("provider", "change", "chat", "--file", str(file))
    machines.approved(server.json(*change)["request"], "maria", "anna")
    file.write_text("[policy]\ncaps = {personal = 3}\n")
    assert server.json(*change)["state"] == "pending"
    file.write_text("[policy]\ncaps = {personal = 2}\n")
    assert server.json(*change)["policy"] == {"caps": {"personal": 2}}


def test_officers_approve_just_the_scopes_and_the_end_that_a_provider_is_enrolled_with(
    machines: Machines, tmp_path: Path
) -> None:
    machines.ceremony()
    server, file = machines.server, tmp_path / "enrolment.toml"
    add = ("provider", "add", "chat", "--sector", "chat.example", "--file", str(file))
    narrow = 'scopes = ["register"]\nexpires = 2027-06-30\n'
    file.write_text(narrow)
    asked = server.json(*add)
    terms = machines.say("anna", "show", asked["request"])["request"]["detail"]["terms"]
    assert terms == {"scopes": "register", "policy": {}, "expires": "2027-06-30"}
    machines.approved(asked["request"], "anna", "maria")
    for wider in (narrow.replace("06-30", "07-31"), narrow.replace("[", '["sanction", ')):
        file.write_text(wider)
        assert server.json(*add)["state"] == "pending", "what they approved is not this"
    file.write_text(narrow)
    server.json(*add)
    shown = server.json("provider", "show", "chat")
    assert (shown["scopes"], shown["expires"]) == ("register", "2027-07-01T00:00:00Z")


@pytest.mark.sqlite
def test_a_whole_home_folder_that_was_put_back_does_not_open_while_a_mirror_knows_better(
    machines: Machines, tmp_path: Path
) -> None:
    server, mirror, before = machines.server, tmp_path / "mirror", tmp_path / "before"
    mirror.mkdir()
    server.environment |= {"IDVAULT_SEQUENCER": "yes", "IDVAULT_LOG_MILLISECONDS": "100",
                           "IDVAULT_LOG_MIRROR": str(mirror)}  # fmt: skip
    machines.ceremony()
    server.stop()
    server.start(httpx.codes.SERVICE_UNAVAILABLE)
    machines.say("anna", "unseal")
    machines.say("maria", "unseal")
    assert eventually(lambda: httpx.get(f"{server.url}/log/checkpoint", verify=NO_TLS).status_code == httpx.codes.OK)
    server.stop()
    shutil.copytree(server.home, before, ignore=shutil.ignore_patterns("*.sock"))
    server.start(httpx.codes.SERVICE_UNAVAILABLE)
    machines.say("anna", "unseal")
    machines.say("maria", "unseal")
    asked = machines.say("anna", "request", "raise-budget", "creates_per_hour", "--set", "per_hour=5", "--yes")
    machines.approved(asked["id"], "maria")
    size = status_of_log(server)
    assert eventually(lambda: status_of_log(server) > size)
    server.json("log", "mirror", str(mirror))
    server.stop()
    shutil.rmtree(server.home)
    shutil.copytree(before, server.home)
    server.start(httpx.codes.SERVICE_UNAVAILABLE)
    machines.say("anna", "unseal")
    assert "put back to an earlier state" in str(machines.say("maria", "unseal", code=1))
    assert status(server)["names"] == "sealed"


@pytest.mark.sqlite
def test_a32_officers_decide_nothing_while_the_log_store_cannot_be_written_and_reads_go_on(machines: Machines) -> None:
    server = machines.server
    server.environment |= {"IDVAULT_SEQUENCER": "yes", "IDVAULT_LOG_MILLISECONDS": "100"}
    machines.ceremony()
    server.stop()
    server.start(httpx.codes.SERVICE_UNAVAILABLE)
    machines.say("anna", "unseal")
    machines.say("maria", "unseal")
    assert eventually(lambda: httpx.get(f"{server.url}/log/checkpoint", verify=NO_TLS).status_code == httpx.codes.OK)
    ask = ("request", "raise-budget", "creates_per_hour", "--yes", "--set")
    asked = machines.say("anna", *ask, "per_hour=5")
    assert eventually(lambda: not server.sql("keys", "SELECT 1 FROM audit_outbox"))
    with closing(sqlite3.connect(server.home / "log.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        machines.say("maria", "reject", asked["id"], "--reason", "too few")
        size = status_of_log(server)
        server.sql("keys", "UPDATE audit_outbox SET minute = minute - 11")  # as if it waited for so long
        for who, said in (("anna", (*ask, "per_hour=6")), ("maria", ("approve", asked["id"], "--yes"))):
            assert "the public log is more than 10 minutes behind" in str(machines.say(who, *said, code=1))
        assert status_of_log(server) == size
        other.execute("ROLLBACK")
    assert eventually(lambda: not server.sql("keys", "SELECT 1 FROM audit_outbox"))
    machines.approved(asked["id"], "maria")
    assert eventually(lambda: status_of_log(server) > size)


def status_of_log(server: Server) -> int:
    """Return how many entries the newest checkpoint has."""
    return int(httpx.get(f"{server.url}/log/checkpoint", verify=NO_TLS).text.splitlines()[1])


def test_officers_approve_an_import_as_a_whole_and_no_more_of_it_than_they_saw(machines: Machines) -> None:
    machines.ceremony()
    server = machines.server
    machines.approved(server.json("provider", "add", "chat", "--sector", "chat.example")["request"], "anna", "maria")
    chat = server.provider("chat")
    imported = begin(chat)["id"]
    stands(chat, imported, 1, [row(number, identity=citizen(number)) for number in (1, 2)])
    approve = ("approve-import", imported, "--method", "provider_attested")
    asked = server.json(*approve)
    assert asked["state"] == "pending"
    detail = machines.say("anna", "show", asked["request"])["request"]["detail"]
    assert (detail["sector"], detail["count"], detail["method"]) == ("chat.example", 2, "provider_attested")
    machines.approved(asked["request"], "anna", "maria")
    stands(chat, imported, 2, [row(3, identity=citizen(3))], first=2)
    assert server.json(*approve)["state"] == "pending", "three are not the two that were approved"
    assert [one["state"] for one in chat.get("/v1/registrations").json()["items"]] == ["in_review"] * 3


def test_what_waits_is_listed_shown_rejected_withdrawn_and_watched(machines: Machines) -> None:
    machines.ceremony()
    asked = machines.say("anna", "request", "raise-budget", "creates_per_hour", "--set", "per_hour=5", "--yes")
    assert machines.done("maria", "approve", asked["id"]).exit_code == 1  # nobody said yes
    for kind, how in (("end-lockdown", "unseal --as FILE"), ("restore", "idvault restore")):
        refused = machines.done("anna", "request", kind, "--yes")
        assert (refused.exit_code, how in refused.stderr) == (2, True)
    found = machines.say("maria", "reject", asked["id"], "--reason", "too few")
    assert found["against"] == [{"name": "Maria", "reason": "too few"}]
    shown = machines.say("maria", "show", asked["id"])
    assert (shown["state"], shown["approved"], shown["request"]["detail"]) == ("pending", ["Anna"], {"per_hour": 5})
    assert [one["id"] for one in machines.say("maria", "requests")["requests"]] == [asked["id"]]
    watched = machines.done("maria", "watch", "--times", "1").stdout.splitlines()
    assert {json.loads(line)["changed"] for line in watched} == {"names", asked["id"]}
    machines.say("anna", "withdraw", asked["id"])
    assert "withdrawn" in str(machines.say("maria", "approve", asked["id"], "--yes", code=1))
    policy = machines.say("anna", "request", "policy", "--set", "raise-budget=3", "--yes")
    machines.approved(policy["id"], "maria")
    assert machines.say("anna", "status")["policy"]["more"] == {"raise-budget": 3}


class Relay:
    """Between officers and the vault: counts what officers send, and may answer for the vault."""

    def __init__(self, server: Server, instead: Callable[[bytes], bytes]) -> None:
        self.sent = 0
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(instead(self._asked("GET", b"")))

            def do_POST(self) -> None:
                relay.sent += 1
                self._answer(self._asked("POST", self.rfile.read(int(self.headers["Content-Length"]))))

            def _asked(self, method: str, body: bytes) -> bytes:
                connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
                connection.request(method, self.path, body or None, {"Content-Type": "application/json"})
                found = connection.getresponse().read()
                connection.close()
                return found

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(10)


def _stated_by_another(answer: bytes) -> bytes:
    """The statement, signed by a key of the relay's own."""
    said = json.loads(answer)
    own = Ed25519Signer(Secret(bytes(32)))
    found = Statement.parse(b64decode(said["statement"]), b64decode(said["signature"]))
    made = replace(found, agent=own.public())
    return json.dumps(said | {"statement": b64encode(bytes(made)).decode(),
                              "signature": b64encode(made.signed(own)).decode()}).encode()  # fmt: skip


def test_a69_a_relay_that_is_another_agent_or_repeats_an_earlier_statement_is_sent_nothing(machines: Machines) -> None:
    machines.ceremony()
    machines.say("anna", "seal")
    old = httpx.get(f"{machines.url}/v1/keys/status?nonce={'0' * 32}", verify=NO_TLS).content
    answers: list[tuple[Callable[[bytes], bytes], str]] = [
        (_stated_by_another, "not the one that this officer knows"), (lambda _: old, "an earlier one"),
        (lambda _: b"{}", "not of its form"), (lambda _: b"\xff", "not of its form"),
    ]  # fmt: skip
    for instead, told in answers:
        relay = Relay(machines.server, instead)
        try:
            assert told in str(machines.say("anna", "unseal", "--vault", relay.url, code=1))
            assert relay.sent == 0
        finally:
            relay.close()
    honest = Relay(machines.server, lambda answer: answer)
    try:
        assert machines.say("anna", "unseal", "--vault", honest.url)["needed"] == 1
        assert honest.sent == 1
    finally:
        honest.close()
    assert "https" in str(machines.say("anna", "unseal", "--vault", "http://vault.example", code=1))


def test_a_changed_software_and_a_vault_that_was_put_back_are_told_before_anything_is_sent(machines: Machines) -> None:
    machines.ceremony()
    machines.say("anna", "seal")
    anna = officers.open_file(machines.file("anna"), PASSPHRASE)
    pins = Pins.read(machines.file("anna"), anna.card)
    assert pins is not None
    changed = replace(pins, code="ab" * 32, generation=1)
    changed.write(machines.file("anna"), anna)
    done = machines.done("anna", "unseal")
    assert (done.exit_code, "CHANGED" in done.stderr) == (1, True)
    assert machines.say("maria", "unseal")["needed"] == 1  # Anna's was not given
    replace(pins, generation=2).write(machines.file("anna"), anna)
    assert "put back" in str(machines.say("anna", "unseal", code=1))
    replace(pins, deployment=bytes(16)).write(machines.file("anna"), anna)
    assert "another one than this officer knows" in str(machines.say("anna", "unseal", code=1))
    path = machines.file("anna").with_suffix(".officer.pins")
    path.write_text(path.read_text().replace('"generation": 1', '"generation": 0'))
    assert "not what this officer wrote" in str(machines.say("anna", "unseal", code=1))
    changed.write(machines.file("anna"), anna)
    assert machines.say("anna", "unseal", "--accept-change")["needed"] == 0


@pytest.mark.parametrize(("names", "threshold", "told"), [
    (("anna",), 1, "one person alone: who has that file and passphrase has everything"),
    (("anna", "maria"), 2, "2 persons, all of them needed: one lost share loses the vault"),
])  # fmt: skip
def test_a_vault_of_one_or_two_persons_works_and_says_what_it_is(
    machines: Machines, names: tuple[str, ...], threshold: int, told: str
) -> None:
    server = machines.server
    machines.init(*names, threshold=threshold)
    for name in names:
        machines.confirm(name)
    assert httpx.get(f"{server.url}/readyz", verify=NO_TLS).json()["kept_by"] == told
    asked = server.json("provider", "add", "chat", "--sector", "chat.example")
    machines.approved(asked["request"], *names)
    assert server.provider("chat").registered(citizen(1), "one")["state"] == "in_review"
    command = ["keys", "status", "--as", str(machines.file("anna"))]
    assert told in server.run(*command, "--passphrase-file", str(machines.folder / "passphrase"))


def test_the_first_ceremony_keeps_to_its_rules(machines: Machines) -> None:
    trio = NAMES[:3]
    for threshold, names in ((1, trio), (4, trio), (3, trio), (2, ("anna", "anna")), (0, ("anna", "maria"))):
        refused = machines.begun(*names, threshold=threshold)
        assert (refused.exit_code, refused.stdout) == (1, "")
    machines.init(*trio)
    assert "--replace" in machines.begun(*trio, threshold=2).stderr
    first = machines.done("anna", "confirm", "--vault", machines.url, "--words", "not these words at all")
    assert "not the words of the agent" in first.stderr
    assert not machines.file("anna").with_suffix(".officer.pins").exists()
    assert "--vault" in machines.done("anna", "confirm").stderr
    assert machines.done("petra", "confirm", "--vault", machines.url, "--words", machines.words).exit_code == 1
