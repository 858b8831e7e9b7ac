"""Processes of a served vault: who ends with whom, what is open to others, what seal and unseal do to them."""

import os
import signal
import sqlite3
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from keys.agent.settings import SOCKETS
from tests.forking import is_agent
from tests.people import person
from tests.serving import BIN, Client, Server
from tests.turns import SHORT, scheduled

pytestmark = pytest.mark.sqlite  # the stores are files that one process locks

BASIC_SECONDS = 15.0
"""How long what comes by itself is waited for: on a machine under load, and never where it has come."""
READY_SECONDS = 5.0
"""How long a readiness answer may take at most."""
LOADED_SECONDS = 2.0
"""What a machine under load adds to a second that is promised."""


@pytest.fixture
def unstarted(tmp_path: Path) -> Iterator[Server]:
    """A server that the test starts, and ends in its own way; whatever it leaves is ended here."""
    server = Server(tmp_path / "home")
    server.first_run, server.forks_agent = True, False
    yield server
    for client in server.clients:
        client.http.close()
    for pid in server.processes():
        os.kill(pid, signal.SIGKILL)
    if server.process is not None:
        server.process.wait(10)


def eventually(holds: Callable[[], bool], seconds: float = BASIC_SECONDS) -> bool:
    end, pause = time.monotonic() + seconds, 0.02
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(pause)
        pause = min(1.2 * pause, 0.2)  # to look is work too, which keeps what is waited for from being done
    return holds()


def parent_of(pid: int) -> int:
    """Return the pid of a process's parent; 0 once it ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _children(server: Server) -> dict[int, str]:
    """Return what the serving process forked, but the agent: pid → name."""
    assert server.process is not None
    named = dict[int, str]()
    for pid in server.processes():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if parent_of(pid) == server.process.pid and not is_agent(pid):
                named[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
    return named


def workers(server: Server) -> list[int]:
    """Return the pids of the serving workers."""
    return [pid for pid, name in _children(server).items() if name != "housekeeping"]


def holders(server: Server) -> dict[str, int]:
    """Return the pids of the two key holders by name, told apart by the listening socket that each kept."""
    inodes = {}
    for line in Path("/proc/net/unix").read_text().splitlines():
        parts = line.split()
        if parts[-1].startswith(str(server.home)) and parts[3] == "00010000":  # SO_ACCEPTCON: it listens
            inodes[f"socket:[{parts[6]}]"] = Path(parts[-1]).stem
    agents = [pid for pid in server.processes() if is_agent(pid)]
    found = {}
    for pid in agents:
        if parent_of(pid) not in agents:
            continue  # the supervisor, which has all
        for target in _held(pid):
            if target in inodes:
                found["standing" if inodes[target] in {"directory", "log"} else "names"] = pid
    return found


def _held(pid: int, least: int = 0) -> list[str]:
    """Return what the descriptors of a process are of, from a number on; none once it ended."""
    found = list[str]()
    with suppress(FileNotFoundError, ProcessLookupError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found += [str(descriptor.readlink())] if int(descriptor.name) >= least else []
    return found


def is_ready(server: Server) -> bool:
    return server.readiness() == httpx.codes.OK


def _second(server: Server, **settings: str) -> subprocess.CompletedProcess[str]:
    """Start another server with the same settings but these; it is expected to end by itself."""
    process = subprocess.Popen(
        [BIN / "idvault", "serve"], env={**server.environment, **settings}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate(timeout=10)
        raise AssertionError("the second server serves on") from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _clear(done: subprocess.CompletedProcess[str]) -> None:
    """The failure is told in one line for people, among log lines at most."""
    assert done.returncode == 1, done.stderr[-600:]
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("idvault: ") and "serving on" not in line]
    assert [line for line in lines if "warning" not in line and "made an" not in line], done.stderr[-600:]
    assert "serving on" not in done.stderr, "it says that it serves, and does not"


def test_kill_of_serve_leaves_no_process_and_no_orphan_on_the_port(unstarted: Server) -> None:
    unstarted.start()
    seven = eventually(lambda: len(unstarted.processes()) == 7)
    assert seven, "main, two workers, housekeeping, supervisor, two holders"
    unstarted.kill()
    assert eventually(lambda: not unstarted.processes()), unstarted.processes()
    unstarted.start()
    assert unstarted.stop() == 0
    assert unstarted.processes() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_cleanly_and_an_accepted_request_is_finished(unstarted: Server, number: int) -> None:
    unstarted.start()
    chat = unstarted.provider("chat")
    chat.authorise()
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(chat.register(person(1), "slow")))
    block = sqlite3.connect(unstarted.home / "directory.db", isolation_level=None, check_same_thread=False)
    block.execute("begin immediate")
    thread.start()
    time.sleep(0.5)
    assert unstarted.process is not None
    unstarted.process.send_signal(number)
    time.sleep(0.7)
    assert thread.is_alive(), "the request waits for the lock that this test holds"
    block.execute("rollback")
    block.close()
    thread.join(10)
    assert [answer.status_code for answer in answers] == [202]
    assert unstarted.process.wait(20) == 0
    assert eventually(lambda: not unstarted.processes())
    unstarted.start()
    assert chat.registration(answers[0].json()["id"])["state"] == "in_review"
    assert unstarted.stop() == 0


def test_a_second_server_on_the_same_home_and_port_is_refused(unstarted: Server) -> None:
    unstarted.start()
    _clear(_second(unstarted))
    assert is_ready(unstarted)
    assert len(holders(unstarted)) == 2
    assert unstarted.stop() == 0


def test_a_second_server_on_the_same_port_is_refused(unstarted: Server, tmp_path: Path) -> None:
    unstarted.start()
    _clear(_second(unstarted, IDVAULT_HOME=str(tmp_path / "other")))
    assert is_ready(unstarted)
    assert unstarted.stop() == 0


def test_a_second_server_on_the_same_home_is_refused(unstarted: Server) -> None:
    """Else it lives on the first one's agent, and falls with it."""
    unstarted.start()
    other = Server(unstarted.home)
    _clear(_second(unstarted, IDVAULT_BIND=f"127.0.0.1:{other.port}"))
    assert is_ready(unstarted)
    assert unstarted.stop() == 0


def _sealed_everywhere(chat: Client, token: str) -> bool:
    """Tell whether every one of many requests, spread over the workers, is refused."""
    form, basic = {"token": token}, (chat.id, chat.secret)
    try:
        answers = [chat.http.post("/oauth/introspect", data=form, auth=basic) for _ in "12345"]
    except httpx.TransportError:  # workers with keys end, and those without have not begun
        return False
    return {answer.status_code for answer in answers} == {503}


def test_a19_seal_closes_all_and_unseal_opens_all_without_a_restart(unstarted: Server) -> None:
    unstarted.start()
    chat, rita = unstarted.provider("chat"), unstarted.reviewer("rita")
    made = chat.registered(person(1), "one")
    rita.authorise()
    assert not _sealed_everywhere(chat, made["token"])  # each worker has the sector's keys now
    held_keys = {*workers(unstarted), *holders(unstarted).values()}
    sealed = unstarted.json("keys", "seal")
    assert {sealed["names"], sealed["standing"]} == {"sealed"}
    gone = eventually(lambda: not held_keys & set(unstarted.processes()), 1.0 + LOADED_SECONDS)
    assert gone, "a process that held keys lives on"
    assert eventually(lambda: _sealed_everywhere(chat, made["token"]))
    for path in ("/oauth/introspect", "/oauth/token"):
        form = {"token": made["token"], "grant_type": "client_credentials"}
        answer = chat.http.post(path, data=form, auth=(chat.id, chat.secret))
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert set(answer.json()) <= {"error", "error_description"}
    calls = [
        chat.get(f"/v1/registrations/{made['id']}"), chat.get("/v1/accounts"), chat.register(person(2), "two"),
        rita.get("/v1/reviews"), rita.post("/v1/reviews/next"), rita.decide(made["id"]),
        chat.http.get("/v1/accounts", headers={"Authorization": "Bearer vat_forged"}),
    ]  # fmt: skip
    for answer in calls:
        assert answer.status_code == 503, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:idvault:problem:sealed"
    assert len({answer.text for answer in calls}) == 1, "every route refuses with the same body"
    assert chat.http.get("/healthz").status_code == 200
    assert chat.http.get("/readyz").status_code == 503
    assert unstarted.json("keys", "status", code=3)["names"] == "sealed"
    unstarted.run("fsck", code=3)
    opened = unstarted.json("keys", "unseal")
    assert {opened["names"], opened["standing"]} == {"open"}
    assert eventually(lambda: is_ready(unstarted))
    assert chat.introspect(made["token"])["active"] is True
    assert chat.registration(made["id"])["state"] == "in_review"
    rita.approve(made["id"])
    assert chat.register(person(2), "two").status_code == 202
    assert unstarted.stop() == 0


def test_readiness_says_in_bounded_time_that_a_key_holder_hangs_and_that_it_goes_on(unstarted: Server) -> None:
    unstarted.start()
    holder = holders(unstarted)["standing"]
    os.kill(holder, signal.SIGSTOP)
    started = time.monotonic()
    answer = httpx.get(unstarted.url + "/readyz", timeout=20)
    assert time.monotonic() - started < READY_SECONDS
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    parts = {"identity": "ok", "directory": "ok", "log": "ok", "agent.directory": "unavailable", "agent.identity": "ok"}
    assert answer.json()["parts"] == parts
    assert httpx.get(unstarted.url + "/healthz").status_code == httpx.codes.OK
    os.kill(holder, signal.SIGCONT)
    assert eventually(lambda: is_ready(unstarted))
    assert unstarted.stop() == 0


def _open_stores(pid: int) -> list[str]:
    return [one for one in _held(pid) if ".db" in Path(one).name]


def _housekeeping(server: Server) -> list[int]:
    return [pid for pid, name in _children(server).items() if name == "housekeeping"]


def test_the_process_that_forks_workers_opens_no_store_so_that_none_is_born_with_a_lock_held(
    unstarted: Server,
) -> None:
    """A fork has a copy of what SQLite knows of its locks: one that another thread held is held in it for ever."""
    unstarted.start()
    unstarted.provider("chat").registered(person(1), "one")
    assert unstarted.process is not None
    assert any(_open_stores(worker) for worker in workers(unstarted)), "workers open stores: the test can see them"
    time.sleep(2.5)  # housekeeping has had a round
    assert _open_stores(unstarted.process.pid) == []
    assert unstarted.stop() == 0


def _shared_with(server: Server, pid: int) -> set[str]:
    """Return the pipes and sockets of a process, beyond the standard three, that the serving process has too."""
    assert server.process is not None
    own, main = (
        {one for one in _held(of, 3) if one.startswith(("pipe", "socket"))} for of in (pid, server.process.pid)
    )
    return own & main


def test_housekeeping_holds_nothing_open_by_which_others_learn_who_has_ended(unstarted: Server) -> None:
    """A pipe whose end tells `serve` of a worker's would stay open in it: a stop took ten seconds."""
    unstarted.start()
    assert _shared_with(unstarted, workers(unstarted)[0]), "a fork has them all: the test can see them"
    [first] = _housekeeping(unstarted)
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: _housekeeping(unstarted) not in ([], [first]))
    [second] = _housekeeping(unstarted)
    assert eventually(lambda: not _shared_with(unstarted, second))
    assert unstarted.stop() == 0


def test_housekeeping_that_was_killed_is_started_again(unstarted: Server) -> None:
    unstarted.start()
    (first,) = _housekeeping(unstarted)
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: [pid for pid in _housekeeping(unstarted) if pid != first] != [])
    assert unstarted.stop() == 0


def test_lockdown_closes_names_in_every_worker_within_a_second_and_leaves_standing_open(unstarted: Server) -> None:
    unstarted.start()
    chat, rita = unstarted.provider("chat"), unstarted.reviewer("rita")
    made = chat.registered(person(1), "one")
    rita.authorise()
    before = chat.introspect(made["token"])
    state = unstarted.json("keys", "lockdown")
    assert (state["names"], state["standing"]) == ("lockdown", "open")

    def closed() -> bool:
        calls = [chat.register(person(2), "two"), rita.reveal_answer(made["id"]), rita.get("/v1/reviews")] * 3
        return all((a.status_code, a.json()["type"]) == (503, "urn:idvault:problem:lockdown") for a in calls)

    assert eventually(closed, 1.0 + LOADED_SECONDS)
    assert chat.introspect(made["token"]) == before
    assert chat.get(f"/v1/accounts/{made['account']}").status_code == 200
    assert unstarted.json("keys", "status", code=3)["names"] == "lockdown"
    unstarted.kill()
    assert eventually(lambda: not unstarted.processes())
    unstarted.run("keys", "unseal", code=1)  # no agent runs: said, and nothing done
    opened = _after_restart(unstarted)
    assert opened["names"] == "lockdown"
    unstarted.json("keys", "unseal")
    assert eventually(lambda: is_ready(unstarted))
    assert rita.reveal(made["id"])["fields"]["legal_name"].startswith("SPECIMEN")
    assert unstarted.stop() == 0


def _after_restart(server: Server) -> dict[str, str]:
    """Start the server again where it cannot get ready, and return what the agent says."""
    server.start(httpx.codes.SERVICE_UNAVAILABLE)
    status: dict[str, str] = server.json("keys", "status", code=3)
    return status


def test_a_seal_stays_across_a_restart(unstarted: Server) -> None:
    unstarted.start()
    unstarted.run("keys", "seal")
    unstarted.kill()
    assert eventually(lambda: not unstarted.processes())
    unstarted.start(httpx.codes.SERVICE_UNAVAILABLE)
    assert httpx.get(unstarted.url + "/healthz").status_code == 200
    unstarted.run("keys", "unseal")
    assert eventually(lambda: is_ready(unstarted))
    assert unstarted.stop() == 0


def _open_to_others(folder: Path) -> list[str]:
    entries = [folder, *folder.rglob("*")]
    return [str(path.relative_to(folder)) for path in entries if stat.S_IMODE(path.lstat().st_mode) & 0o077]


def test_files_and_sockets_are_for_the_owner_alone_whatever_the_umask(unstarted: Server) -> None:
    before = os.umask(0)
    try:
        unstarted.start()
        unstarted.provider("chat").registered(person(1), "one")
        sockets = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (unstarted.home / "agent").glob("*.sock")}
        assert sockets == dict.fromkeys((f"{name}.sock" for name in SOCKETS), 0o600)
        assert _open_to_others(unstarted.home) == []
        unstarted.run("keys", "seal")
        assert _open_to_others(unstarted.home) == []
    finally:
        os.umask(before)
    assert unstarted.stop() == 0


def _listening(pids: list[int]) -> set[tuple[str, str, int]]:
    """Return (protocol, address in hex, port) of what these processes listen on, from /proc."""
    held = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                held.add(str(descriptor.readlink()))
            except OSError:
                continue
    found = set()
    for protocol, listens in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == listens and f"socket:[{parts[9]}]" in held:
                address, port = parts[1].split(":")
                found.add((protocol, address, int(port, 16)))
    return found


def test_nothing_listens_but_the_one_port(unstarted: Server) -> None:
    unstarted.start()
    unstarted.provider("chat").registered(person(1), "one")
    here = struct.pack("=I", 0x7F000001)[::-1] if struct.pack("=H", 1) == struct.pack(">H", 1) else b"\x01\x00\x00\x7f"
    assert _listening(unstarted.processes()) == {("tcp", here.hex().upper(), unstarted.port)}
    assert unstarted.stop() == 0


def test_key_holders_and_workers_cannot_be_dumped(unstarted: Server) -> None:
    unstarted.start()
    for pid in [*holders(unstarted).values(), *workers(unstarted)]:
        limits = Path(f"/proc/{pid}/limits").read_text()
        [core] = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core.split()[4:6] == ["0", "0"]
    assert unstarted.stop() == 0


def test_every_thread_of_a_worker_takes_short_turns_of_a_core_and_none_of_the_key_holders(unstarted: Server) -> None:
    unstarted.start()  # which waits for an answer, that one worker gives while the other may not have begun
    assert eventually(lambda: [len(_threads(pid)) > 1 for pid in workers(unstarted)] == [True] * 2)
    unstarted.provider("chat").registered(person(1), "one")
    assert [_slices(pid) for pid in workers(unstarted)] == [{SHORT}] * 2
    kept = [_slices(pid) for pid in holders(unstarted).values()]
    assert len(kept) == 2
    assert not any(500_000 in of_holder for of_holder in kept)
    assert unstarted.stop() == 0


def _slices(pid: int) -> set[int]:
    return {scheduled(thread)[-1] for thread in _threads(pid)}


def _threads(pid: int) -> list[int]:
    return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]


def test_serve_does_not_outlive_its_agent_unawares(unstarted: Server) -> None:
    """When the supervisor is killed, `serve` has a new agent or ends with an error: it never answers 503 for ever."""
    unstarted.start()
    os.kill(parent_of(holders(unstarted)["names"]), signal.SIGKILL)
    process = unstarted.process
    assert process is not None
    time.sleep(0.5)
    assert eventually(lambda: is_ready(unstarted) or process.poll() is not None)
    if process.poll() is None:
        assert unstarted.stop() == 0
    else:
        assert process.returncode != 0
        assert eventually(lambda: not unstarted.processes())


@pytest.mark.parametrize("which", ["names", "standing", "worker"])
def test_the_vault_comes_back_after_one_of_its_processes_is_killed(unstarted: Server, which: str) -> None:
    unstarted.start()
    chat = unstarted.provider("chat")
    made = chat.registered(person(1), "one")
    pid = workers(unstarted)[0] if which == "worker" else holders(unstarted)[which]
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: pid not in unstarted.processes())

    def works() -> bool:
        try:
            form, basic = {"token": made["token"]}, (chat.id, chat.secret)
            return all(chat.http.post("/oauth/introspect", data=form, auth=basic).is_success for _ in "12345")
        except httpx.TransportError:
            return False

    assert eventually(lambda: works() and len(workers(unstarted)) == 2)
    assert chat.register(person(2), "two").status_code == 202
    assert unstarted.stop() == 0
    assert eventually(lambda: not unstarted.processes())
