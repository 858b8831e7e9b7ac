"""What each holder puts behind its doors, without a process: the loop that serves them is the edge."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from keys.agent import handover, holders, process, supervisor
from keys.agent.acts import offered
from keys.agent.holder import Door
from keys.agent.settings import AgentSettings
from keys.agent.supervisor import DOORS, run_agent
from keys.entries import STANDING_KEK
from keys.errors import AlreadyServedError, LockdownError, MissingError, ProtocolError, SealedError, SetupError
from tests.keys.stores import SHOP, KeyStore, dialogue

PID = bytes(16)


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> dict[str, Door]:
    """The doors that a holder serves, in place of serving them."""
    served: dict[str, Door] = {}
    monkeypatch.setattr(holders, "serve", lambda doors, _over: served.update({door.name: door for door in doors}))
    return served


def _settings(store: KeyStore) -> AgentSettings:
    return AgentSettings(store.home, str(store.engine.url), store.home / "agent", uids={"identity": frozenset((7,))})


@contextmanager
def _listeners(holder: str) -> Iterator[dict[str, socket.socket]]:
    made = {name: socket.socket(socket.AF_UNIX) for name in DOORS[holder]}
    yield made
    for listener in made.values():
        listener.close()


def _act(door: Door, verb: str, **args: object) -> dict[str, Any]:
    with dialogue() as talk:
        return dict(door.acts[verb](args, talk))


class Names:
    """The holder `names` without a process: what it asked and told its supervisor, and the way to `standing`."""

    def __init__(self, store: KeyStore, reason: str = "") -> None:
        self.asked: list[str] = []
        self.told: list[str] = []
        self.end, self.standing = handover.pair()
        with _listeners("names") as listeners:
            self.code = holders.run_names(_settings(store), listeners, self.end, self._asked, self.told.append, reason)

    def _asked(self, verb: str) -> dict[str, Any]:
        self.asked.append(verb)
        return {"names": "open", "standing": "sealed"}

    def close(self) -> None:
        self.standing.close()  # ends the thread that answers
        self.end.close()


CONTROL = {"status", "seal", "lockdown", "unseal", "begin"}
MESSAGE = {"statement", "message", "describe"}


def test_names_hands_over_the_standing_key_alone_and_serves_identity_and_officers(
    store: KeyStore, doors: dict[str, Door]
) -> None:
    names = Names(store)
    key = store.keyring.current(STANDING_KEK)
    for _ in range(2):  # as often as `standing` is started anew
        taken, nonce = handover.take(names.standing)
        assert (taken.id, taken.version) == (key.id, 1)
        assert taken.secret.expose_cleartext() == key.secret.expose_cleartext()
        handover.have(names.standing, nonce)
    assert set(doors) == {"identity", "exchange", "officer", "outbox", "message"}
    assert set(doors["outbox"].acts) == {"hello", "outbox.take", "outbox.settle"}
    assert set(doors["exchange"].acts) == {"hello", "exchange.open", "exchange.redeem", "exchange.done"}
    assert set(doors["message"].acts) == MESSAGE
    assert (set(doors["identity"].uids), set(doors["officer"].uids)) == ({7}, set())
    assert set(doors["identity"].acts) == {*offered.IDENTITY_ACTS, "create", "create.done", "hello"}
    assert set(doors["officer"].acts) == {*offered.OFFICER_ACTS, "verify.lines", *CONTROL}
    assert names.told == ["open"]
    assert _act(doors["identity"], "hello") == {"deployment": store.keyring.deployment, "development": True}
    assert _act(doors["officer"], "seal")["names"] == "open"
    assert names.asked == ["seal"]
    assert _act(doors["identity"], "create.open", older_minutes=0, limit=1) == {"open": []}
    names.close()


def test_an_answer_to_an_earlier_standing_is_passed_over_by_the_next(store: KeyStore, doors: dict[str, Door]) -> None:
    assert doors == {}
    names = Names(store)
    for _ in range(3):  # three that asked and were killed before they read
        names.standing.send(msgpack.packb({"take": os.urandom(16)}))
    taken, _ = handover.take(names.standing)
    assert taken.id == store.keyring.current(STANDING_KEK).id
    names.close()


def test_a_shut_names_opens_where_it_stands(store: KeyStore, doors: dict[str, Door]) -> None:
    names = Names(store, "sealed")
    assert names.told == ["sealed"]
    assert {name for name, door in doors.items() if door.acts} == {"officer", "message"}
    assert {door.refusal for name, door in doors.items() if name != "message"} == {SealedError}
    assert set(doors["officer"].acts) == CONTROL
    for _ in range(2):  # the second time it is open
        assert _act(doors["officer"], "unseal")["names"] == "open"
    assert (names.asked, names.told) == (["opened", "status", "status"], ["sealed", "open"])
    assert _act(doors["identity"], "hello") == {"deployment": store.keyring.deployment, "development": True}
    assert {door.refusal for door in doors.values()} == {ProtocolError}
    names.close()


def test_a_names_that_opens_standing_alone_hands_over_and_ends_and_opens_nothing_itself(
    store: KeyStore, doors: dict[str, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(holders, "after_answer", lambda do: ended.append(do.__self__.is_set()))
    names = Names(store, "lockdown")
    taken: list[bytes] = []

    def standing() -> None:
        key, nonce = handover.take(names.standing)
        taken.append(key.id)
        handover.have(names.standing, nonce)

    thread = threading.Thread(target=standing)
    thread.start()
    _act(doors["officer"], "unseal", directory=True)
    thread.join(10)
    assert taken == [store.keyring.current(STANDING_KEK).id]
    assert (names.asked, names.told, ended) == (["opened.directory", "status"], ["lockdown"], [False])
    assert {door.refusal for name, door in doors.items() if name != "message"} == {LockdownError}
    assert not doors["identity"].acts
    assert names.code == holders.HANDED_OVER
    names.close()


def test_standing_serves_the_directory_with_what_it_was_handed(store: KeyStore, doors: dict[str, Door]) -> None:
    end, standing = handover.pair()
    told: list[str] = []
    thread = threading.Thread(target=handover.give, args=(end, store.keyring, 10.0))
    thread.start()
    with _listeners("standing") as listeners:
        holders.run_standing(_settings(store), listeners, standing, told.append)
    thread.join(10)
    assert not thread.is_alive()  # it was told that its key arrived
    door, log = doors["directory"], doors["log"]
    assert told == ["open"]
    assert set(log.acts) == {"hello", "log.head", "log.sign", "log.commit", "log.opening"}
    assert set(door.acts) == {
        "hello", "keys.directory", "keys.sector", "account.bind", "sign.introspection", "keys.public",
        "figures", "statement.seal",
    }  # fmt: skip
    assert _act(door, "hello") == {"deployment": store.keyring.deployment, "development": True}
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
    end.close()
    standing.close()


def test_a_standing_without_its_key_answers_that_it_is_sealed(store: KeyStore, doors: dict[str, Door]) -> None:
    told: list[str] = []
    with _listeners("standing") as listeners:
        holders.run_shut(_settings(store), listeners, told.append)
    assert told == ["sealed"]
    assert {name: (door.refusal, dict(door.acts)) for name, door in doors.items()} == {
        "directory": (SealedError, {}), "log": (SealedError, {}),
    }  # fmt: skip


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
