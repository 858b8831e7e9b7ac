"""What each holder puts behind its doors, without a process: the loop that serves them is the edge."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keys.agent import holders, process, supervisor
from keys.agent.holder import Door
from keys.agent.settings import SOCKETS, AgentSettings
from keys.agent.supervisor import run_agent
from keys.agent.wire import receive, send
from keys.errors import AlreadyServedError, LockdownError, MissingError, ProtocolError, SealedError, SetupError
from keys.keyring import STANDING_KEK
from tests.keys.stores import SHOP, KeyStore, dialogue

PID = bytes(16)


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> list[Door]:
    """The doors that a holder serves, in place of serving them."""
    served: list[Door] = []
    monkeypatch.setattr(holders, "serve", served.extend)
    return served


def _settings(store: KeyStore) -> AgentSettings:
    return AgentSettings(store.home, str(store.engine.url), store.home / "agent", uids={"identity": frozenset((7,))})


@contextmanager
def _listeners() -> Iterator[dict[str, socket.socket]]:
    made = {name: socket.socket(socket.AF_UNIX) for name in SOCKETS}
    yield made
    for listener in made.values():
        listener.close()


def _act(door: Door, verb: str, **args: object) -> dict[str, Any]:
    with dialogue() as talk:
        return dict(door.acts[verb](args, talk))


def test_names_hands_over_the_standing_key_alone_and_serves_identity_and_officers(
    store: KeyStore, doors: list[Door]
) -> None:
    mine, other = socket.socketpair()
    ready: list[str] = []
    asked: list[str] = []

    def control(verb: str) -> dict[str, Any]:
        asked.append(verb)
        return {"names": "open"}

    with _listeners() as listeners, other:
        holders.run_names(_settings(store), listeners, mine, control, lambda: ready.append("yes"))
        key = store.keyring.current(STANDING_KEK)
        assert receive(other) == {"id": key.id, "version": 1, "secret": key.secret.expose_cleartext()}
    identity, exchange, officer, outbox = doors
    assert [door.name for door in doors] == ["identity", "exchange", "officer", "outbox"]
    assert set(outbox.acts) == {"hello", "outbox.take", "outbox.settle"}
    assert set(exchange.acts) == {"hello", "exchange.open", "exchange.redeem", "exchange.done"}
    assert (set(identity.uids), set(officer.uids)) == ({7}, set())
    assert set(identity.acts) == {*holders.IDENTITY_ACTS, "create", "create.done", "hello"}
    assert set(officer.acts) == {*holders.OFFICER_ACTS, "verify.lines", "status", "seal", "lockdown", "unseal"}
    assert ready == ["yes"]
    assert _act(identity, "hello") == {"deployment": store.keyring.deployment}
    assert _act(officer, "seal") == {"names": "open"}
    assert asked == ["seal"]
    assert _act(identity, "create.open", older_minutes=0, limit=1) == {"open": []}


def test_names_starts_though_nobody_takes_the_standing_key(store: KeyStore, doors: list[Door]) -> None:
    mine, other = socket.socketpair()
    other.close()
    with _listeners() as listeners:
        holders.run_names(_settings(store), listeners, mine, lambda _: {}, lambda: None)
    assert len(doors) == 4


def test_standing_serves_the_directory_with_what_it_was_handed(store: KeyStore, doors: list[Door]) -> None:
    mine, other = socket.socketpair()
    key = store.keyring.current(STANDING_KEK)
    with _listeners() as listeners, other:
        send(other, {"id": key.id, "version": key.version, "secret": key.secret.expose_cleartext()})
        holders.run_standing(_settings(store), listeners, mine, lambda: None)
    door, log = doors
    assert (door.name, log.name) == ("directory", "log")
    assert set(log.acts) == {"hello", "log.head", "log.sign", "log.commit", "log.opening"}
    assert set(door.acts) == {
        "hello", "keys.directory", "keys.sector", "account.bind", "sign.introspection", "keys.public",
        "figures", "statement.seal",
    }  # fmt: skip
    assert _act(door, "hello") == {"deployment": store.keyring.deployment}
    secret = store.keyring.current("directory").secret.expose_cleartext()
    assert _act(door, "keys.directory") == {"keys": {1: secret}}
    assert set(_act(door, "keys.sector", sector=SHOP)["keys"]) == {1}
    with pytest.raises(MissingError):
        _act(door, "keys.sector", sector="unknown.example")
    account = {"provider": "p", "handle": "h", "pid": PID, "account": PID}
    assert [len(mac) for mac in _act(door, "account.bind", accounts=[account, account])["macs"]] == [32, 32]
    for wrong in ({"pid": b""}, {"account": "x"}, {"handle": 7}, {"provider": None}):
        with pytest.raises(ProtocolError):
            _act(door, "account.bind", accounts=[account, {**account, **wrong}])


@pytest.mark.parametrize(("reason", "refusal"), [("sealed", SealedError), ("lockdown", LockdownError)])
def test_a_shut_holder_serves_nothing_but_the_officers_control(
    store: KeyStore, doors: list[Door], reason: str, refusal: type[SealedError]
) -> None:
    with _listeners() as listeners:
        holders.run_shut(_settings(store), listeners, lambda _: {}, reason, lambda: None)
        holders.run_shut(_settings(store), listeners, None, reason, lambda: None)
    assert {door.refusal for door in doors} == {refusal}
    assert [(door.name, set(door.acts)) for door in doors if door.acts] == [
        ("officer", {"status", "seal", "lockdown", "unseal"})
    ]


def test_the_clock_of_the_agent_is_in_seconds() -> None:
    assert 1_700_000_000 < holders._now() < 10_000_000_000


def test_a_failure_is_logged_by_type_and_place_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("secret")  # noqa: TRY301 - it needs a place
    except ValueError as error:
        process.log_failure("failed", error, holder="names")
    process.log_failure("failed", ValueError("secret"))
    one, other = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (one["event"], one["error"], one["holder"]) == ("failed", "ValueError", "names")
    assert one["place"].startswith("test_holders.py:")
    assert other["place"] == "?"


def _mode(folder: Path, mode: int) -> Path:
    folder.mkdir()
    folder.chmod(mode)
    return folder


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_socket_folder_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SetupError, match="not writable for others"):
        supervisor._locked_folder(_mode(tmp_path / "agent", mode))


def test_a_socket_folder_behind_a_link_or_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, link = _mode(tmp_path / "target", 0o700), tmp_path / "agent"
    link.symlink_to(target)
    with pytest.raises(SetupError):
        supervisor._locked_folder(link)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12_345)
        with pytest.raises(SetupError):
            supervisor._locked_folder(target)


def test_a_socket_folder_serves_one_agent(tmp_path: Path) -> None:
    lock = supervisor._locked_folder(tmp_path / "agent")
    with pytest.raises(AlreadyServedError):
        supervisor._locked_folder(tmp_path / "agent")
    lock.close()
    supervisor._locked_folder(tmp_path / "agent").close()


def test_a_socket_takes_the_place_of_one_left_over(tmp_path: Path) -> None:
    settings = AgentSettings(tmp_path, "sqlite:////none", tmp_path)
    for _ in range(2):
        supervisor._listen(settings, "officer").close()
    assert (tmp_path / "officer.sock").stat().st_mode & 0o777 == 0o600


def test_a_socket_is_for_its_group_where_the_settings_name_one(tmp_path: Path) -> None:
    settings = AgentSettings(tmp_path, "sqlite:////none", tmp_path, gids={"officer": os.getgid()})
    supervisor._listen(settings, "officer").close()
    found = (tmp_path / "officer.sock").stat()
    assert (found.st_mode & 0o777, found.st_gid) == (0o660, os.getgid())


def test_a_group_that_the_agent_is_not_of_stops_the_start(tmp_path: Path) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    settings = AgentSettings(tmp_path, "sqlite:////none", tmp_path, gids={"identity": 64_000})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "chown", refused)
        with pytest.raises(SetupError, match=r"^identity\.sock: "):
            supervisor._listen(settings, "identity")
    assert (tmp_path / "identity.sock").stat().st_mode & 0o777 == 0o600


def test_an_agent_that_cannot_have_its_folder_ends_by_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.umask(0o077)
    try:
        settings = AgentSettings(tmp_path, "sqlite:////none", tmp_path / "agent")
        lock = supervisor._locked_folder(settings.sockets)
        assert run_agent(settings, None) == 75
        lock.close()
        settings.sockets.chmod(0o777)
        assert run_agent(settings, None) == 1
    finally:
        os.umask(before)
    assert capsys.readouterr().err.count("agent_cannot_start") == 2
