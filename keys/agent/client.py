"""The workers' side of a socket: one connection a slot of work, or thread, reopened after its holder was replaced."""

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from keys.agent.wire import error_of, receive, send
from keys.errors import KeysError, ProtocolError, UnavailableError
from keys.slots import Kept

DEFAULT_TIMEOUT_SECONDS: Final = 30.0
Observe = Callable[[str, str, float], None]
Answers = Callable[[str, Mapping[str, Any]], object]


def _no_answers(what: str, args: Mapping[str, Any]) -> object:
    del args
    raise ProtocolError(f"the agent asked for {what}, which this act does not give")


class AgentClient:
    """Calls acts on one socket of the agent."""

    def __init__(
        self, path: str, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, observe: Observe | None = None
    ) -> None:
        """Take the socket's path, and who is told (act, outcome, seconds) of each call."""
        self._path, self._timeout_seconds, self._kept = path, timeout_seconds, Kept()
        self._observe = observe

    def _connection(self) -> socket.socket:
        held: tuple[int, socket.socket] | None = getattr(self._kept.here(), "connection", None)
        if held is not None and held[0] == os.getpid() and not _closed(held[1]):
            return held[1]
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The kernel's time-outs, not Python's: those would turn the peek below into a wait.
            timeout = struct.pack("ll", int(self._timeout_seconds), 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise UnavailableError from None
        if held is not None:
            held[1].close()
        self._kept.here().connection = (os.getpid(), connection)
        return connection

    def alive(self) -> bool:
        """Peek: False once the holder behind this thread's connection is gone (one system call, no round trip)."""
        held: tuple[int, socket.socket] | None = getattr(self._kept.here(), "connection", None)
        return held is not None and held[0] == os.getpid() and not _closed(held[1])

    def watch(self) -> Callable[[], bool]:
        """Return what tells, to any thread, whether the holder that answers now is still there: a system call.

        Raises:
            KeysError: it has no keys, or is not there.
        """
        own = AgentClient(self._path, self._timeout_seconds)
        own.call("hello", {})
        # Never closed but with the last who asks: the descriptor of one that was closed could be another's by then.
        connection: socket.socket = own._kept.here().connection[1]
        return lambda: not _closed(connection)

    def await_end(self) -> None:
        """Wait until the holder behind this thread's connection is gone; returns at once without a connection."""
        held: tuple[int, socket.socket] | None = getattr(self._kept.here(), "connection", None)
        if held is not None:
            select.select([held[1]], [], [])

    def close(self) -> None:
        """Close this thread's connection."""
        held: tuple[int, socket.socket] | None = getattr(self._kept.here(), "connection", None)
        if held is not None:
            held[1].close()
            del self._kept.here().connection

    def call(self, verb: str, args: Mapping[str, Any], answers: Answers = _no_answers) -> dict[str, Any]:
        """Run one act and return its answer; `answers` serves what the act asks for on its way.

        Raises:
            KeysError: of the kind that the agent answered.
            UnavailableError: the agent is not there, or went away: whether the act happened is not known.
        """
        if self._observe is None:
            return self._call(verb, args, answers)
        started, outcome = time.perf_counter(), "broken_off"
        try:
            answer = self._call(verb, args, answers)
            outcome = "ok"
        except KeysError as error:
            outcome = error.kind
            raise
        finally:
            self._observe(verb, outcome, time.perf_counter() - started)
        return answer

    def _call(self, verb: str, args: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
        connection = self._connection()
        try:
            send(connection, {"verb": verb, "args": args})
            while True:
                message = receive(connection)
                if "ask" not in message:
                    break
                send(connection, {"answer": answers(str(message["ask"]), message["args"])})
        except (OSError, UnavailableError):
            self.close()
            raise UnavailableError from None
        except BaseException:
            # The dialogue was broken off in the middle: the agent sees the end of file and drops the act.
            self.close()
            raise
        if "error" in message:
            raise error_of(message)
        answer = message.get("ok")
        if not isinstance(answer, dict):
            raise ProtocolError
        return answer


def _closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
