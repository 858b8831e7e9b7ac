"""The production form: agent, workers of either role and sequencer under uids of their own, with files that each reads.

Needs root, to start processes under numeric uids that have no user; it makes no user and no group.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.people import person
from tests.ports import free_port
from tests.proxy import proxied
from tests.serving import NO_TLS, Client, Server
from vault import embedded
from vault.config import load

pytestmark = [pytest.mark.full_only, pytest.mark.sqlite]

AGENT, DIRECTORY, IDENTITY, OPERATOR, STRANGER, SEQUENCER = 64_101, 64_102, 64_103, 64_104, 64_105, 64_106
ROWS, AT_IDENTITY, OFFICERS, AT_LOG = 64_112, 64_113, 64_114, 64_115
"""Groups: who may write the directory's files and connect to its socket; to identity's; officers; to the log's."""
GROUPS = {
    AGENT: [ROWS, AT_IDENTITY, OFFICERS, AT_LOG], DIRECTORY: [ROWS, AT_LOG], IDENTITY: [ROWS, AT_IDENTITY],
    OPERATOR: [ROWS, OFFICERS], STRANGER: [ROWS, AT_IDENTITY, OFFICERS, AT_LOG], SEQUENCER: [ROWS, AT_LOG],
}  # fmt: skip
START_SECONDS = 60.0
PACKAGES = sysconfig.get_path("purelib")
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Form:
    """The folders, sockets and processes of one vault in production form."""

    base: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)

    @property
    def python(self) -> Path:
        return self.base / "python/bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"

    @property
    def sockets(self) -> Path:
        return self.base / "run"

    def environment(self, home: str, **more: str) -> dict[str, str]:
        stores = {"IDENTITY": "identity", "DIRECTORY": "rows", "LOG": "rows", "KEYS": "keys"}
        urls = {
            f"IDVAULT_{name}_URL": f"sqlite:///{self.base / folder / name.lower()}.db"
            for name, folder in stores.items()
        }
        kept = {
            "PATH": os.environ["PATH"], "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{PACKAGES}",
            "LD_LIBRARY_PATH": str(self.base / "python/lib"),
        }  # fmt: skip
        own = {"IDVAULT_HOME": str(self.base / home), "IDVAULT_AGENT": str(self.sockets), "HOME": str(self.base / home)}
        return {**kept, **urls, **own, **more}

    def popen(self, uid: int, command: list[object], environment: dict[str, str], log: str) -> subprocess.Popen[bytes]:
        with (self.base / f"{log}.log").open("ab") as file:
            started = subprocess.Popen(
                [str(part) for part in command], env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                user=uid, group=uid, extra_groups=GROUPS[uid], umask=0o007, cwd=self.base, start_new_session=True,
            )  # fmt: skip
        self.processes.append(started)
        return started

    def serve(self, role: str, uid: int, **more: str) -> str:
        """Start a worker of one role; return its address."""
        bind = f"127.0.0.1:{free_port()}"
        settings = self.environment(role, IDVAULT_ROLE=role, IDVAULT_BIND=bind, IDVAULT_WORKERS="1", **more)
        self.popen(uid, [self.python, "-m", "vault.cli.main", "serve"], settings, role)
        return f"http://{bind}"

    def command(self, uid: int, *arguments: str) -> dict[str, str]:
        done = subprocess.run(
            [self.python, "-m", "vault.cli.main", *arguments, "--json"],
            env=self.environment("operator", IDVAULT_ROLE="directory"),
            user=uid, group=uid, extra_groups=GROUPS[uid], umask=0o007, cwd=self.base, capture_output=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-800:]
        result: dict[str, str] = json.loads(done.stdout)
        return result

    def said(self, log: str) -> str:
        return (self.base / f"{log}.log").read_text()[-1500:]

    def end(self) -> None:
        for client in [one for server in self.servers for one in server.clients]:
            client.http.close()
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _folders(base: Path) -> None:
    """Lay out a fresh vault's files for their owners."""
    embedded.ensure(load({"IDVAULT_HOME": str(base / "new")}), int(time.time()))
    for name, owner, group, mode in (
        ("keys", AGENT, AGENT, 0o700), ("run", AGENT, AGENT, 0o711), ("identity", IDENTITY, IDENTITY, 0o700),
        ("rows", 0, ROWS, 0o2770), ("directory", DIRECTORY, DIRECTORY, 0o700),
        ("operator", OPERATOR, OPERATOR, 0o700), ("all", IDENTITY, IDENTITY, 0o700),
        ("sequencer", SEQUENCER, SEQUENCER, 0o700),
    ):  # fmt: skip
        (base / name).mkdir()
        os.chown(base / name, owner, group)
        (base / name).chmod(mode)
    for name, folder, owner, group, mode in (
        ("keys.db", "keys", AGENT, AGENT, 0o600), ("seal.json", "keys", AGENT, AGENT, 0o600),
        ("identity.db", "identity", IDENTITY, IDENTITY, 0o600), ("directory.db", "rows", 0, ROWS, 0o660),
        ("log.db", "rows", 0, ROWS, 0o660),
    ):  # fmt: skip
        moved = (base / "new" / name).rename(base / folder / name)
        os.chown(moved, owner, group)
        moved.chmod(mode)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture
def form() -> Iterator[Form]:
    assert os.geteuid() == 0, "this test starts processes under three uids: run it as root"
    base = Path(tempfile.mkdtemp(prefix="idvault-uids-", dir="/var/tmp"))
    base.chmod(0o711)
    # The interpreter may lie where only its owner can reach it; links to its files do not.
    shutil.copytree(sys.base_prefix, base / "python", copy_function=_link, symlinks=True,
                    ignore=shutil.ignore_patterns("site-packages", "test", "share"))  # fmt: skip
    _folders(base)
    made = Form(base)
    settings = made.environment("keys") | {
        "IDVAULT_DIRECTORY_SOCKET_UIDS": f"{DIRECTORY},{IDENTITY},{OPERATOR}",
        "IDVAULT_DIRECTORY_SOCKET_GID": str(ROWS),
        "IDVAULT_EXCHANGE_SOCKET_UIDS": f"{DIRECTORY}",
        "IDVAULT_EXCHANGE_SOCKET_GID": str(ROWS),
        "IDVAULT_IDENTITY_SOCKET_UIDS": f"{IDENTITY}",
        "IDVAULT_IDENTITY_SOCKET_GID": str(AT_IDENTITY),
        "IDVAULT_OFFICER_SOCKET_UIDS": f"{OPERATOR}",
        "IDVAULT_OFFICER_SOCKET_GID": str(OFFICERS),
        "IDVAULT_OUTBOX_SOCKET_UIDS": f"{SEQUENCER}",
        "IDVAULT_OUTBOX_SOCKET_GID": str(AT_LOG),
        "IDVAULT_LOG_SOCKET_UIDS": f"{DIRECTORY},{SEQUENCER}",
        "IDVAULT_LOG_SOCKET_GID": str(AT_LOG),
    }
    made.popen(AGENT, [made.python, "-m", "keys", "agent"], settings, "agent")
    end = time.monotonic() + START_SECONDS
    while not (made.base / "agent.log").read_text().endswith("ready\n"):
        assert time.monotonic() < end, made.said("agent")
        time.sleep(0.05)
    yield made
    made.end()
    failing = [log.name for log in base.glob("*.log") if "Traceback" in log.read_text()]
    shutil.rmtree(base)
    assert not failing, f"a process of these failed, perhaps again and again: {failing}"


def _ready(form: Form, role: str, url: str) -> Client:
    """Wait until a worker is ready; return a client of nobody yet, at its address."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            if httpx.get(url + "/readyz", verify=NO_TLS).status_code == 200:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    else:
        raise AssertionError(form.said(role))
    server = Server(form.base / role)
    server.url = url
    form.servers.append(server)
    return Client(server, "", "")


def _as(form: Form, uid: int, attempt: str, *arguments: object) -> str:
    """Run a line of Python under a uid; return what it prints."""
    done = subprocess.run(
        [form.python, "-c", attempt, *(str(argument) for argument in arguments)], user=uid, group=uid,
        extra_groups=GROUPS[uid], env=form.environment("operator"), capture_output=True, text=True, check=False,
        timeout=30, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-800:]
    return done.stdout.strip()


READ = """
import sys
try:
    open(sys.argv[1], "rb").read(1); print("read")
except PermissionError: print("refused")
"""
HELLO = """
import sys
from keys.agent.client import AgentClient
from keys.errors import KeysError
try:
    AgentClient(sys.argv[1], 5).call(sys.argv[2], {}); print("answered")
except KeysError as error: print(error.kind)
"""


def test_the_story_works_under_three_uids_and_none_reaches_what_is_anothers(form: Form) -> None:
    at_directory = _ready(form, "directory", form.serve("directory", DIRECTORY))
    at_identity = _ready(form, "identity", form.serve("identity", IDENTITY))
    form.popen(
        SEQUENCER, [form.python, "-m", "vault.cli.main", "sequencer"],
        form.environment("sequencer", IDVAULT_LOG_ORIGIN="vault.example/log"), "sequencer",
    )  # fmt: skip
    clients = {
        name: form.command(OPERATOR, *arguments)
        for name, arguments in {
            "chat": ("provider", "add", "chat", "--sector", "chat.example"),
            "blog": ("provider", "add", "blog", "--sector", "blog.example"),
            "rita": ("reviewer", "add", "rita"),
        }.items()
    }
    form.command(OPERATOR, "provider", "allow-exchange", "chat", "blog", "--purpose", "contact", "--basis", "legal")

    def client(name: str, at: Client) -> Client:
        made = Client(at.server, clients[name]["client_id"], clients[name]["client_secret"])
        made.token = Client(at_directory.server, made.id, made.secret).authorise()
        return made

    chat, rita, asking = client("chat", at_identity), client("rita", at_identity), client("chat", at_directory)
    made = chat.registered(person(1), "one")
    assert asking.introspect(made["token"])["scope"] == "read"
    rita.reveal(made["id"])
    rita.approve(made["id"])
    assert asking.introspect(made["token"])["scope"] == "read publish"
    exchanged = _exchange(clients["chat"], clients["blog"], made["token"], asking)
    # Whom an exchange brought to blog registers there later: the token stays his, though no field stood behind it.
    later = client("blog", at_identity).registered(person(1), "uno")
    rita.reveal(later["id"])
    rita.approve(later["id"])
    assert client("blog", at_directory).introspect(exchanged)["scope"] == "read publish"
    _told(form, at_directory.server.url)
    _both_behind_one_proxy(form, clients["chat"], at_directory, at_identity)
    _reach(form)
    _all_is_refused(form)


def _both_behind_one_proxy(form: Form, chat: dict[str, str], at_directory: Client, at_identity: Client) -> None:
    """Through the proxy a client sees one vault, and none of it knows which role answers."""
    addresses = [at.server.url.removeprefix("http://") for at in (at_directory, at_identity)]
    with proxied(form.base / "proxy", *addresses) as proxy:
        client = Client(Server(form.base / "proxied"), chat["client_id"], chat["client_secret"])
        client.http = httpx.Client(base_url=proxy.url, timeout=30, verify=proxy.trusting())
        made = client.registered(person(2), "two")
        assert client.introspect(made["token"])["scope"] == "read"
        assert client.get("/v1/accounts").status_code == 200
        assert client.get("/v1/disclosures/dis_nothing").status_code == 404
        assert {"/v1/registrations", "/v1/accounts"} <= set(client.get("/openapi.json").json()["paths"])
        client.http.close()


def _told(form: Form, url: str) -> None:
    """What was done at either worker stands in the log that the directory's serves, signed."""
    end, kinds = time.monotonic() + START_SECONDS, b""
    wanted = (b"registration.created", b"review.decided", b"exchange.redeemed", b"provider.enrolled")
    while not all(kind in kinds for kind in wanted):
        assert time.monotonic() < end, form.said("sequencer")
        time.sleep(0.2)
        checkpoint = httpx.get(f"{url}/log/checkpoint", verify=NO_TLS)
        if checkpoint.status_code == 200:
            origin, size = checkpoint.text.split("\n")[:2]
            assert origin == "vault.example/log"
            kinds = httpx.get(f"{url}/log/tile/entries/000.p/{size}", verify=NO_TLS).content


def _exchange(giver: dict[str, str], taker: dict[str, str], token: str, at: Client) -> str:
    """Hand a person over; return the taker's token."""
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"}
    opened = at.http.post(
        "/oauth/token", auth=(giver["client_id"], giver["client_secret"]),
        data=grant | {"subject_token": token, "subject_token_type": "urn:idvault:token-type:pseudonym",
                      "audience": taker["client_id"], "scope": "contact"},
    )  # fmt: skip
    assert opened.status_code == 200, opened.text
    redeemed = at.http.post(
        "/oauth/token", auth=(taker["client_id"], taker["client_secret"]),
        data=grant | {"subject_token": opened.json()["access_token"],
                      "subject_token_type": "urn:idvault:token-type:handoff"},
    )  # fmt: skip
    assert redeemed.status_code == 200, redeemed.text
    return str(redeemed.json()["access_token"])


def _reach(form: Form) -> None:
    """Each uid reads the stores and is answered at the sockets that are its own, and no others."""
    files = {"identity": form.base / "identity/identity.db", "keys": form.base / "keys/keys.db",
             "seal": form.base / "keys/seal.json", "directory": form.base / "rows/directory.db"}  # fmt: skip
    readable = {
        uid: {name for name, path in files.items() if _as(form, uid, READ, path) == "read"}
        for uid in (AGENT, DIRECTORY, IDENTITY)
    }
    assert readable == {
        AGENT: {"keys", "seal", "directory"}, DIRECTORY: {"directory"}, IDENTITY: {"identity", "directory"},
    }  # fmt: skip
    answered = {
        uid: {
            door for door, verb in (("directory", "hello"), ("identity", "hello"), ("exchange", "hello"),
                                    ("officer", "status"), ("outbox", "hello"), ("log", "hello"))
            if _as(form, uid, HELLO, form.sockets / f"{door}.sock", verb) == "answered"
        }
        for uid in (DIRECTORY, IDENTITY, OPERATOR, STRANGER, SEQUENCER)
    }  # fmt: skip
    # The stranger is of every group, so that his file permissions let him connect: the agent looks at his uid too.
    assert answered == {
        DIRECTORY: {"directory", "exchange", "log"}, IDENTITY: {"directory", "identity"},
        OPERATOR: {"directory", "officer"}, STRANGER: set(), SEQUENCER: {"outbox", "log"},
    }  # fmt: skip


def _all_is_refused(form: Form) -> None:
    form.serve("all", IDENTITY)
    assert form.processes[-1].wait(START_SECONDS) == 1
    assert "the key agent runs under a user of its own" in form.said("all")
    form.processes.pop()
    told = form.serve("all", IDENTITY, IDVAULT_ALLOW_ROLE_ALL_BESIDE_A_SEPARATE_AGENT="yes", IDVAULT_SEQUENCER="no")
    _ready(form, "all", told)
