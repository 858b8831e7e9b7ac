"""The protocol on a real socket pair: what is read, what is refused, and that a dialogue may break off anywhere."""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from keys.agent import arguments, holder
from keys.agent.client import AgentClient
from keys.agent.holder import Door
from keys.agent.wire import Dialogue, error_of, receive, send
from keys.errors import BY_KIND, BudgetError, KeysError, LockdownError, ProtocolError, SealedError, UnavailableError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@contextmanager
def _pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
@settings(deadline=None)
def test_a_message_reads_back(message: dict[str, Any]) -> None:
    with _pair() as (one, other):
        send(one, message)
        assert receive(other) == message


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x00\x00\x00\x05\x80"])
def test_a_message_that_ends_early_is_the_end_of_the_peer(raw: bytes) -> None:
    with _pair() as (one, other):
        one.sendall(raw)
        one.close()
        with pytest.raises(UnavailableError):
            receive(other)


@pytest.mark.parametrize(
    "raw", [b"\x01\x00\x00\x01", b"\x00\x00\x00\x00", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x01\x90"]
)
def test_a_message_that_is_too_long_or_no_map_is_refused(raw: bytes) -> None:
    with _pair() as (one, other):
        one.sendall(raw)
        with pytest.raises(ProtocolError):
            receive(other)


def test_a_message_in_pieces_is_read_whole() -> None:
    with _pair() as (one, other):
        found: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: found.append(receive(other)))
        thread.start()
        for byte in b"\x00\x00\x00\x04\x81\xa1a\x07":
            one.sendall(bytes((byte,)))
        thread.join(10)
        assert found == [{"a": 7}]


def test_an_act_may_ask_and_is_told_when_its_caller_is_gone_or_answers_something_else() -> None:
    with _pair() as (one, other):
        dialogue = Dialogue(one, 0, threading.Event())
        send(other, {"answer": [1]})
        assert dialogue.ask("records", values=[b"x"]) == [1]
        assert receive(other) == {"ask": "records", "args": {"values": [b"x"]}}
        send(other, {"verb": "hello"})
        with pytest.raises(ProtocolError):
            dialogue.ask("records")
        assert not dialogue.gone.is_set()
        other.close()
        with pytest.raises(UnavailableError):
            dialogue.ask("records")
        assert dialogue.gone.is_set()


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_every_error_crosses_the_socket_as_itself(kind: str) -> None:
    error = error_of({"error": kind, "message": "why"})
    assert (type(error), str(error)) == (BY_KIND[kind], "why")
    assert str(error_of({"error": kind})) == BY_KIND[kind].default


def test_an_unknown_error_is_the_general_one() -> None:
    assert type(error_of({"error": "new"})) is KeysError
    assert type(error_of({})) is KeysError


# What a holder makes of requests


def _failing(error: Exception) -> Callable[..., dict[str, Any]]:
    def act(_args: Mapping[str, Any], _: Dialogue) -> dict[str, Any]:
        raise error

    return act


def _asking(args: Mapping[str, Any], dialogue: Dialogue) -> dict[str, Any]:
    return {"got": dialogue.ask("rows", values=args["values"])}


ACTS = {
    "echo": lambda args, _: dict(args),
    "ask": _asking,
    "budget": _failing(BudgetError()),
    "store": _failing(OperationalError("SELECT secret", {}, Exception("secret"))),
    "fault": _failing(RuntimeError("secret")),
}


@contextmanager
def _held(door: Door, path: Path) -> Iterator[AgentClient]:
    """Serve one connection of a door in a thread, and give a client for it."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def once() -> None:
        connection, _ = listener.accept()
        holder._converse(door, connection)

    thread = threading.Thread(target=once)
    thread.start()
    client = AgentClient(str(path), 10)
    with listener:
        yield client
        client.close()
        thread.join(10)
    assert not thread.is_alive()


def _door(refusal: type[KeysError] = ProtocolError, *, acts: bool = True) -> Door:
    listener = socket.socket(socket.AF_UNIX)
    listener.close()
    return Door("identity", listener, frozenset(), ACTS if acts else {}, refusal)


def test_a_holder_runs_one_act_after_another_and_answers_failures_by_kind_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _held(_door(), tmp_path / "s") as client:
        assert client.call("echo", {"a": 1}) == {"a": 1}
        assert client.call("ask", {"values": [1]}, lambda what, args: [what, args]) == {
            "got": ["rows", {"values": [1]}]
        }
        with pytest.raises(BudgetError):
            client.call("budget", {})
        with pytest.raises(UnavailableError):
            client.call("store", {})
    with _held(_door(), tmp_path / "t") as client:
        with pytest.raises(KeysError, match=r"^the key agent failed$"):
            client.call("fault", {})
        with pytest.raises(ProtocolError):
            client.call("nothing", {})
    logged = capsys.readouterr().err
    assert '"event": "act_failed"' in logged
    assert '"event": "key_store_failed"' in logged
    assert "secret" not in logged


@pytest.mark.parametrize("refusal", [SealedError, LockdownError])
def test_a_shut_holder_refuses_every_act_the_same(tmp_path: Path, refusal: type[KeysError]) -> None:
    with _held(_door(refusal, acts=False), tmp_path / "s") as client:
        for verb in ("hello", "create", "nonsense"):
            with pytest.raises(refusal) as caught:
                client.call(verb, {})
            assert type(caught.value) is refusal


def test_a_dialogue_that_the_caller_breaks_off_ends_the_act_and_the_connection(tmp_path: Path) -> None:
    def broken(_what: str, _args: Mapping[str, Any]) -> object:
        raise ZeroDivisionError

    with _held(_door(), tmp_path / "s") as client:
        with pytest.raises(ZeroDivisionError):
            client.call("ask", {"values": []}, broken)
        assert not client.alive()


def test_an_act_that_asks_for_more_than_its_caller_gives_is_broken_off(tmp_path: Path) -> None:
    with (
        _held(_door(), tmp_path / "s") as client,
        pytest.raises(ProtocolError, match="the agent asked for rows, which this act does not give"),
    ):
        client.call("ask", {"values": []})


def test_a_caller_that_is_gone_before_its_answer_or_sends_junk_ends_its_connection_alone() -> None:
    for raw in (b"\x00\x00\x00\x01\x90", b"\x00"):
        one, other = socket.socketpair()
        other.sendall(raw)
        other.close()
        holder._converse(_door(), one)
        assert one.fileno() == -1


def test_an_answer_that_nobody_takes_ends_the_connection() -> None:
    one, other = socket.socketpair()
    send(other, {"verb": "echo", "args": {}})
    other.close()
    holder._converse(_door(), one)
    assert one.fileno() == -1


# The workers' side


def test_a_client_without_an_agent_says_so(tmp_path: Path) -> None:
    client = AgentClient(str(tmp_path / "none"))
    assert not client.alive()
    with pytest.raises(UnavailableError, match="is it running"):
        client.call("hello", {})
    client.close()


def test_a_client_takes_up_a_new_connection_after_the_old_holder_went_away(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with _held(_door(), path) as first:
        assert first.call("echo", {}) == {}
        assert first.alive()
    path.unlink()
    with _held(_door(), path) as client:
        client._kept = first._kept
        assert not client.alive()
        assert client.call("echo", {"b": 2}) == {"b": 2}


def test_an_answer_that_is_no_map_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        client = AgentClient(str(path), 10)
        client._connection()
        connection, _ = listener.accept()
        with connection:
            send(connection, {"ok": [1]})
            with pytest.raises(ProtocolError):
                client.call("hello", {})
        assert not client.alive()
        client.close()


def test_a_connection_is_not_shared_with_a_forked_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _held(_door(), tmp_path / "s") as client:
        assert client.call("echo", {}) == {}
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            assert not client.alive()
        assert client.alive()


# What acts take


@pytest.mark.parametrize(
    ("take", "value"),
    [
        (arguments.text, 7), (arguments.text, None), (arguments.text, "x" * 257), (arguments.octets, "x"),
        (arguments.octets, None), (arguments.whole, "1"), (arguments.whole, True), (arguments.whole, None),
        (arguments.listed, ()), (arguments.listed, [0] * 10_001),
    ],
)  # fmt: skip
def test_an_argument_of_another_type_or_size_is_refused_and_not_repeated(
    take: Callable[[dict[str, object], str], object], value: object
) -> None:
    with pytest.raises(ProtocolError, match=r"^name: "):
        take({"name": value}, "name")


def test_arguments_of_the_right_form_are_taken() -> None:
    args = {"t": "x", "o": b"xy", "w": 3, "l": [1]}
    assert arguments.text(args, "t") == "x"
    assert arguments.octets(args, "o") == arguments.octets(args, "o", 2) == b"xy"
    assert arguments.whole(args, "w") == 3
    assert arguments.listed(args, "l") == [1]
    assert arguments.sealed_fields({"a": b""}) == {"a": b""}
    with pytest.raises(ProtocolError):
        arguments.octets(args, "o", 3)
    wrongs: list[object] = [{"a": "text"}, [], {1: b""}]
    for wrong in wrongs:
        with pytest.raises(ProtocolError):
            arguments.sealed_fields(wrong)
