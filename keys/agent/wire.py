"""The agent's protocol: length-prefixed msgpack over a Unix socket, one dialogue at a time on a connection.

    message  = u32be length ‖ msgpack
    request  = {"verb": text, "args": map}
    answer   = {"ok": map} | {"error": kind} | {"ask": text, "args": map}      an ask is answered {"answer": map}

An act may ask for sealed rows while it runs: so the agent's code reads from top to bottom, and what is opened for it
never leaves in between.
"""

import socket
import threading
from collections.abc import Mapping
from typing import Any, Final

import msgpack

from keys.errors import BY_KIND, KeysError, ProtocolError, UnavailableError

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
Message = Mapping[str, Any]


def send(connection: socket.socket, message: Message) -> None:
    """Send one message.

    Raises:
        OSError: the peer is gone.
    """
    packed: bytes = msgpack.packb(message)
    connection.sendall(len(packed).to_bytes(4, "big") + packed)


def _read(connection: socket.socket, size: int) -> bytes:
    data = connection.recv(size, socket.MSG_WAITALL)
    while len(data) < size:  # MSG_WAITALL may be cut short by a signal
        more = connection.recv(size - len(data), socket.MSG_WAITALL)
        if not more:
            raise UnavailableError
        data += more
    return data


def receive(connection: socket.socket) -> dict[str, Any]:
    """Return one message.

    Raises:
        UnavailableError: the peer closed.
        ProtocolError: too long, or not a msgpack map.
        OSError: the peer is gone.
    """
    size = int.from_bytes(_read(connection, 4), "big")
    if size > MAX_MESSAGE_BYTES:
        raise ProtocolError
    try:
        message = msgpack.unpackb(_read(connection, size), strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        raise ProtocolError from None
    if not isinstance(message, dict):
        raise ProtocolError
    return message


class Dialogue:
    """The agent's side of one act: it may ask its caller for rows, never for a decision."""

    def __init__(self, connection: socket.socket, peer_uid: int, gone: threading.Event) -> None:
        self._connection, self.peer_uid, self.gone = connection, peer_uid, gone

    def ask(self, what: str, **args: object) -> Any:  # noqa: ANN401 - untrusted input: each act checks what it takes
        """Return the caller's answer.

        Raises:
            UnavailableError: the caller is gone.
            ProtocolError: it answered something else.
        """
        try:
            send(self._connection, {"ask": what, "args": args})
            answer = receive(self._connection)
        except (OSError, UnavailableError):
            self.gone.set()
            raise UnavailableError from None
        if "answer" not in answer:
            raise ProtocolError
        return answer["answer"]


def error_of(answer: Message) -> KeysError:
    """Return the error that an answer carries."""
    return BY_KIND.get(str(answer.get("error")), KeysError)(str(answer.get("message", "")))
