"""The really started agent: what stands behind its sockets, and what is left when a part of it is killed."""

import contextlib
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from keys.agent.settings import SOCKETS
from keys.agent.wire import MAX_MESSAGE_BYTES, receive
from keys.errors import (
    ConflictError,
    KeysError,
    LockdownError,
    MissingError,
    ProtocolError,
    RefusedError,
    SealedError,
    UnavailableError,
)
from tests.keys.agents import Agent, until
from tests.keys.stores import BANK, SHOP

PID = bytes(range(16))
ACTS = {
    "identity": ("hello", "create", "create.check", "create.done", "create.undo", "create.open", "revise",
                 "revise.done", "review.open", "review.decide", "evidence", "evidence.drop",
                 "handoff.expire", "unite", "intents", "verify", "receipts"),
    "directory": ("hello", "keys.directory", "keys.sector", "account.bind"),
    "officer": ("enrol", "reviewer.disable", "verify.own", "verify.lines", "keys.list", "keys.rotate", "keys.rewrap",
                "keys.destroy", "keys.destroy_sector"),
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent for what does not disturb it."""
    started = Agent(tmp_path_factory.mktemp("agent") / "home").start()
    started.officer.call("enrol", {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"})
    started.officer.call("enrol", {"what": "provider", "sector": BANK, "client": "cli_b", "name": "Bank"})
    yield started
    assert started.stop() == 0


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent of the test's own."""
    started = Agent(tmp_path / "home").start()
    yield started
    started.stop()


def _create(agent: Agent, pid: bytes = PID, sector: str = SHOP) -> dict[str, object]:
    made = agent.identity.call("create", {"sector": sector, "items": [{"pid": pid, "fields": ["legal_name", "phone"]}]})
    item: dict[str, object] = made["items"][0]
    return item


def _gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_the_sockets_are_the_owners_alone(shared: Agent) -> None:
    found = {path.name: path.stat().st_mode for path in shared.sockets.glob("*.sock")}
    assert set(found) == {f"{name}.sock" for name in SOCKETS}
    assert all(stat.S_ISSOCK(mode) and mode & 0o777 == 0o600 for mode in found.values())
    assert shared.sockets.stat().st_mode & 0o777 == 0o700


def test_a_holder_leaves_no_core_file(shared: Agent) -> None:
    for pid in shared.holders():
        assert "Max core file size        0                    0" in Path(f"/proc/{pid}/limits").read_text()


@pytest.mark.parametrize("door", ["identity", "directory", "officer"])
@pytest.mark.parametrize("verb", ["", "nonsense", "HELLO", "unite ", "__class__"])
def test_an_unknown_act_is_refused_and_the_connection_goes_on(shared: Agent, door: str, verb: str) -> None:
    client = getattr(shared, door)
    with pytest.raises(ProtocolError):
        client.call(verb, {})
    assert client.alive()


@pytest.mark.parametrize("door", list(ACTS))
def test_the_acts_of_one_socket_are_not_reached_through_another(shared: Agent, door: str) -> None:
    own = set(ACTS[door])
    for verb in {verb for verbs in ACTS.values() for verb in verbs} - own:
        with pytest.raises(ProtocolError, match="not of the agent's protocol"):
            getattr(shared, door).call(verb, {})
    if door != "officer":
        for verb in ("status", "seal", "lockdown", "unseal"):
            with pytest.raises(ProtocolError):
                getattr(shared, door).call(verb, {})


JUNK = {
    "nothing": b"",
    "half a length": b"\x00\x00",
    "a length and no message": (100).to_bytes(4, "big") + b"\x80",
    "an oversize length": (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"),
    "the largest length": b"\xff\xff\xff\xff",
    "an empty message": bytes(4),
    "no msgpack": b"\x00\x00\x00\x01\xc1",
    "more than one value": b"\x00\x00\x00\x02\x80\x80",
    "a list": b"\x00\x00\x00\x01\x90",
    "a number": b"\x00\x00\x00\x01\x07",
    "a text that is not UTF-8": b"\x00\x00\x00\x02\xa1\xff",
    "deep nesting": (100_000).to_bytes(4, "big") + b"\x91" * 100_000,
    "a request of the web": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("door", ["identity", "directory", "officer"])
@pytest.mark.parametrize("name", list(JUNK))
def test_junk_on_a_socket_leaves_the_agent_serving(shared: Agent, door: str, name: str) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(shared.sockets / f"{door}.sock"))
        raw.sendall(JUNK[name])
        raw.shutdown(socket.SHUT_WR)
        answers = []
        with contextlib.suppress(OSError, KeysError):
            while True:
                answers.append(receive(raw))
    assert all(answer["error"] == "protocol" for answer in answers)
    client = getattr(shared, door)
    assert client.call("status" if door == "officer" else "hello", {})


@pytest.mark.parametrize(
    "message", [{}, {"verb": "hello"}, {"verb": "hello", "args": []}, {"args": {}}, {"verb": 7, "args": {}}, {1: 2}]
)
def test_a_request_without_verb_and_args_is_refused(shared: Agent, message: dict[object, object]) -> None:
    packed = msgpack.packb(message)
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(shared.sockets / "identity.sock"))
        for _ in range(2):
            raw.sendall(len(packed).to_bytes(4, "big") + packed)
            assert receive(raw)["error"] == "protocol"


def test_both_holders_are_of_one_deployment(shared: Agent) -> None:
    one, other = shared.identity.call("hello", {}), shared.directory.call("hello", {})
    assert one == other
    assert len(one["deployment"]) == 16


def test_the_directory_socket_gives_token_keys_by_sector_and_binds_accounts(shared: Agent) -> None:
    shop, bank = (shared.directory.call("keys.sector", {"sector": sector})["keys"] for sector in (SHOP, BANK))
    assert len(shop[1]) == len(bank[1]) == 64
    assert shop != bank
    assert len(shared.directory.call("keys.directory", {})["keys"][1]) == 64
    account = {"provider": "prov", "handle": "anna", "pid": PID, "account": PID}
    macs = shared.directory.call("account.bind", {"accounts": [account, {**account, "handle": "bob"}, account]})["macs"]
    assert macs[0] == macs[2] != macs[1]
    with pytest.raises(MissingError):
        shared.directory.call("keys.sector", {"sector": "unknown.example"})


def test_a_creation_ends_in_review_and_may_be_finished_twice(shared: Agent) -> None:
    made = _create(shared)
    keys = made["keys"]
    assert isinstance(keys, dict)
    assert {name: len(key) for name, key in keys.items()} == {"legal_name": 32, "phone": 32}
    waiting = shared.identity.call("create.open", {"older_minutes": 0, "limit": 1000})["open"]
    assert {"rid": made["rid"], "sector": SHOP, "pid": PID} in waiting
    done = {"items": [{"sector": SHOP, "pid": PID, "link": made["link"], "rid": made["rid"]}]}
    assert shared.identity.call("create.done", done) == shared.identity.call("create.done", done) == {}
    waiting = shared.identity.call("create.open", {"older_minutes": 0, "limit": 1000})["open"]
    assert made["rid"] not in [row["rid"] for row in waiting]
    with pytest.raises(ConflictError):
        shared.identity.call("create.undo", {"rids": [made["rid"]]})


def test_a_creation_is_not_finished_with_the_link_of_another_row(shared: Agent) -> None:
    one, other = _create(shared, bytes(16)), _create(shared, bytes(15) + b"\x01")
    for wrong in (
        {"sector": SHOP, "pid": bytes(16), "link": other["link"]},
        {"sector": SHOP, "pid": bytes(15) + b"\x01", "link": one["link"]},
        {"sector": BANK, "pid": bytes(16), "link": one["link"]},
        {"sector": SHOP, "pid": bytes(16), "link": one["link"], "rid": other["rid"]},
        {"sector": SHOP, "pid": bytes(16), "link": b""},
    ):
        with pytest.raises(RefusedError):
            shared.identity.call("create.done", {"items": [wrong]})
    open_rids = [row["rid"] for row in shared.identity.call("create.open", {"older_minutes": 0, "limit": 9})["open"]]
    assert {one["rid"], other["rid"]} <= set(open_rids)


def test_a_creation_that_is_undone_leaves_nothing_and_may_be_undone_twice(shared: Agent) -> None:
    made = _create(shared)
    for _ in range(2):
        assert shared.identity.call("create.undo", {"rids": [made["rid"]]}) == {}
    with pytest.raises(MissingError):
        shared.identity.call("create.done", {"items": [{"sector": SHOP, "pid": PID, "link": made["link"]}]})


def test_the_agents_own_rows_are_good(shared: Agent) -> None:
    found = shared.officer.call("verify.own", {})
    assert all(table["bad"] == 0 for table in found["tables"].values())
    assert found["tables"]["key"]["rows"] == 15


def test_seal_closes_everything_at_once_and_across_restarts_until_unseal(agent: Agent) -> None:
    agent.officer.call("enrol", {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"})
    assert agent.identity.call("hello", {})
    assert agent.directory.call("hello", {})
    agent.order("seal")
    agent.await_state("sealed", "sealed")
    assert not agent.identity.alive()
    assert not agent.directory.alive()
    for _ in range(2):
        for door, verbs in ACTS.items():
            for verb in (*verbs, "nonsense"):
                with pytest.raises(SealedError) as caught:
                    getattr(agent, door).call(verb, {})
                assert caught.value.kind == "sealed"
        agent.restart()
        assert agent.status() == {
            "seal": "development", "embedded": True, "shut": "sealed", "names": "sealed", "standing": "sealed",
        }  # fmt: skip
    agent.order("unseal")
    agent.await_state("open", "open")
    assert agent.directory.call("keys.sector", {"sector": SHOP})
    assert _create(agent)["rid"]


def test_lockdown_closes_names_alone_and_does_not_weaken_a_seal(agent: Agent) -> None:
    assert agent.directory.call("hello", {})
    agent.order("lockdown")
    agent.await_state("lockdown", "open")
    with pytest.raises(LockdownError):
        agent.identity.call("hello", {})
    assert agent.directory.alive()
    assert agent.directory.call("keys.directory", {})
    # A standing that dies under lockdown has nobody to get its key from: shut, not open without keys.
    os.kill(agent.holder("standing"), signal.SIGKILL)
    agent.await_state("lockdown", "sealed")
    with pytest.raises(SealedError):
        agent.directory.call("hello", {})
    agent.order("seal")
    agent.await_state("sealed", "sealed")
    agent.order("lockdown")
    agent.await_state("sealed", "sealed")
    agent.order("unseal")
    agent.await_state("open", "open")


@pytest.mark.parametrize("name", ["names", "standing"])
def test_a_killed_holder_is_replaced_and_serves_again(agent: Agent, name: str) -> None:
    agent.officer.call("enrol", {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"})
    made = _create(agent)
    keys = agent.directory.call("keys.sector", {"sector": SHOP})
    killed = agent.holder(name)
    os.kill(killed, signal.SIGKILL)
    until(lambda: _gone(killed), "the holder's end")
    until(lambda: len(agent.holders()) == 2 and killed not in agent.holders(), "a new holder")
    agent.await_state("open", "open")
    agent.identity.close()
    agent.directory.close()
    assert agent.directory.call("keys.sector", {"sector": SHOP}) == keys
    assert agent.identity.call("create.done", {"items": [{"sector": SHOP, "pid": PID, "link": made["link"]}]}) == {}
    assert {"holder": name, "code": -9, "event": "holder_died"}.items() <= next(
        event for event in agent.events() if event["event"] == "holder_died"
    ).items()


def test_an_act_whose_holder_dies_in_the_middle_is_unavailable_and_leaves_nothing(agent: Agent) -> None:
    agent.officer.call("enrol", {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"})
    assert agent.identity.call("hello", {})
    os.kill(agent.holder("names"), signal.SIGSTOP)
    names = agent.holder("names")
    end = threading.Timer(0.3, os.kill, (names, signal.SIGKILL))  # amid the act: it waits for the holder that stands
    end.start()
    with pytest.raises(UnavailableError):
        _create(agent)
    end.join()
    until(lambda: names not in agent.holders(), "the holder's end")
    agent.await_state("open", "open")
    assert agent.identity.call("create.open", {"older_minutes": 0, "limit": 9}) == {"open": []}


def test_the_holders_die_with_a_killed_supervisor_and_the_folder_is_free_again(agent: Agent) -> None:
    holders, process = agent.holders(), agent.process
    assert process is not None
    assert len(holders) == 2
    process.kill()
    process.wait(20)
    until(lambda: all(_gone(pid) for pid in holders), "the holders' end")
    with pytest.raises(UnavailableError):
        agent.identity.call("hello", {})
    agent.stop()
    agent.start()
    agent.await_state("open", "open")


def test_the_agent_ends_when_its_parents_pipe_closes(tmp_path: Path) -> None:
    theirs, ours = os.pipe()
    agent = Agent(tmp_path / "home").start("--parent-fd", str(theirs), pass_fds=(theirs,))
    os.close(theirs)
    holders = agent.holders()
    os.close(ours)
    assert agent.process is not None
    assert agent.process.wait(20) == 0
    assert all(_gone(pid) for pid in holders)
    agent.stop()


def test_a_second_agent_on_the_same_folder_does_not_start_and_disturbs_nothing(agent: Agent) -> None:
    assert agent.identity.call("hello", {})
    second = agent.spawn()
    assert second.stdout is not None
    assert second.wait(20) == 75
    assert second.stdout.read() == b""
    second.stdout.close()
    assert agent.events()[-1]["reason"] == "another key agent serves this vault already"
    assert agent.identity.alive()
    assert agent.identity.call("hello", {})


def test_the_agent_ends_at_once_when_told_to(agent: Agent) -> None:
    holders, start = agent.holders(), time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - start < 5
    assert all(_gone(pid) for pid in holders)
    agent.start()


@pytest.mark.parametrize(
    "fault",
    [
        "no seal",
        "an open seal",
        "another seal",
        *(pytest.param(fault, marks=pytest.mark.sqlite) for fault in ("no store", "an altered key")),
    ],
)
def test_an_agent_that_cannot_open_its_keys_ends_with_one_line_and_no_value(tmp_path: Path, fault: str) -> None:
    agent, home = Agent(tmp_path / "home"), tmp_path / "home"
    seal, root = home / "seal.json", (home / "seal.json").read_text()
    if fault == "no seal":
        seal.unlink()
    elif fault == "an open seal":
        seal.chmod(0o644)
    elif fault == "another seal":
        other = Agent(tmp_path / "other")
        seal.write_text((other.home / "seal.json").read_text())
    elif fault == "no store":
        (home / "keys.db").unlink()
    else:
        raw = (home / "keys.db").read_bytes()
        at = raw.index(b"IVR1") + 60
        (home / "keys.db").write_bytes(raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :])
    agent.process = agent.spawn()
    assert agent.process.stdout is not None
    assert agent.process.wait(20) == 1
    assert agent.process.stdout.read() == b""
    agent.process.stdout.close()
    events = [event["event"] for event in agent.events()]
    assert "agent_cannot_start" in events
    assert "Traceback" not in agent.log.read_text()
    assert root[30:60] not in agent.log.read_text()


def test_errors_come_back_as_the_class_that_was_raised(shared: Agent) -> None:
    for args, error in (
        ({"sector": "unknown.example", "items": [{"pid": PID, "fields": ["phone"]}]}, MissingError),
        ({"sector": SHOP, "items": [{"pid": b"", "fields": ["phone"]}]}, ProtocolError),
        ({"sector": SHOP, "items": [{"pid": PID, "fields": []}]}, ProtocolError),
        ({"sector": SHOP, "items": [{"pid": PID, "fields": ["phone", "phone"]}]}, ProtocolError),
        ({"sector": SHOP, "items": [{"pid": PID, "fields": ["ssn"]}]}, ProtocolError),
        ({"sector": 7, "items": [{"pid": PID, "fields": ["phone"]}]}, ProtocolError),
        ({"sector": SHOP, "items": []}, ProtocolError),
        ({"sector": SHOP, "items": [7]}, ProtocolError),
    ):
        with pytest.raises(error):
            shared.identity.call("create", args)
