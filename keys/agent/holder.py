"""A key holder's loop: accepts on its sockets, a thread a connection, and runs one act after another on each."""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import DBAPIError

from keys.agent.process import log_failure
from keys.agent.wire import Dialogue, receive, send
from keys.engine import repeated
from keys.errors import KeysError, ProtocolError, UnavailableError

Act = Callable[[Mapping[str, Any], Dialogue], Mapping[str, Any]]


@dataclass(slots=True)
class Door:
    """One socket: who may connect, which acts there are behind it, and how all others are refused."""

    name: str
    listener: socket.socket
    uids: frozenset[int]
    acts: Mapping[str, Act] = field(default_factory=dict)
    refusal: type[KeysError] = ProtocolError

    def open(self, acts: Mapping[str, Act]) -> None:
        """Put acts behind it, and answer others as unknown from now on."""
        self.acts, self.refusal = acts, ProtocolError


def serve(doors: Iterable[Door], over: threading.Event) -> None:
    """Serve until the process is ended, or is over."""
    for door in doors:
        threading.Thread(target=_accept, args=(door,), name=door.name, daemon=True).start()
    over.wait()


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _accept(door: Door) -> None:
    while True:
        connection, _ = door.listener.accept()
        if _peer_uid(connection) not in door.uids | {os.geteuid()}:
            connection.close()
            continue
        threading.Thread(target=_converse, args=(door, connection), daemon=True).start()


def _converse(door: Door, connection: socket.socket) -> None:
    dialogue = Dialogue(connection, _peer_uid(connection), gone=threading.Event())
    with connection:
        while not dialogue.gone.is_set():
            try:
                request = receive(connection)
            except (OSError, UnavailableError):
                return
            except ProtocolError as error:
                _answer(connection, {"error": error.kind, "message": error.default})
                return
            if not _answer(connection, _run(door, request, dialogue)):
                return


def _answer(connection: socket.socket, message: Mapping[str, Any]) -> bool:
    try:
        send(connection, message)
    except OSError:
        return False
    return True


def _run(door: Door, request: Mapping[str, Any], dialogue: Dialogue) -> dict[str, Any]:
    act = door.acts.get(str(request.get("verb")))
    args = request.get("args")
    if act is None or not isinstance(args, dict):
        return {"error": door.refusal.kind, "message": door.refusal.default}
    try:
        # An act that gave way to another is as if never called; what it asks of its caller it may ask twice.
        return {"ok": repeated(lambda: act(args, dialogue))}
    except KeysError as error:
        return {"error": error.kind, "message": str(error)}
    except DBAPIError as error:
        log_failure("key_store_failed", error)
        return {"error": UnavailableError.kind, "message": "the key store cannot be written or read"}
    except Exception as error:  # noqa: BLE001 - nothing but the kind may leave, and the holder lives on
        log_failure("act_failed", error)
        return {"error": KeysError.kind, "message": KeysError.default}
