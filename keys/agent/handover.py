"""How the standing key comes from `names` to `standing`: on a pair of sockets that outlives both, and in no file.

    standing  {"take": 16 random bytes}                          asks, as often as it is started anew
    names     {"take", "id", "version", "secret"}                answers, for as long as it is open
    standing  {"have": the same}                                 tells that it serves

Guarantees: a message comes whole or not at all (seqpacket, unix(7)), so that a holder killed in between leaves nothing
that the next one could misread; an answer to an earlier asker is passed over by the next.
"""

import socket
from typing import Any, Final

import msgpack

from keys.entries import STANDING_KEK, Key
from keys.errors import UnavailableError
from keys.keyring import Keyring
from keys.primitives import Secret, random_bytes
from keys.states import State

_NONCE_BYTES: Final = 16
_MAX_BYTES: Final = 1024


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the end of `names` and the end of `standing`."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def give(end: socket.socket, keyring: Keyring, seconds: float | None = None) -> None:
    """Answer whoever asks, until the process ends; with `seconds`, until one told that it serves, or they passed."""
    end.settimeout(seconds)
    try:
        while True:
            said = _read(end)
            if "take" in said:
                key = keyring.current(STANDING_KEK)
                given = {"id": key.id, "version": key.version, "secret": key.secret.expose_cleartext()}
                end.send(msgpack.packb({"take": said["take"], **given}))
            elif seconds is not None:
                return
    except (OSError, UnavailableError):  # a time-out, or nobody is at the other end any more
        return


def take(end: socket.socket) -> tuple[Key, bytes]:
    """Ask for the standing key and wait for it; return it, and what `have` names it by.

    Raises:
        UnavailableError: the other end was closed.
    """
    nonce = random_bytes(_NONCE_BYTES)
    end.send(msgpack.packb({"take": nonce}))
    while True:
        given = _read(end)
        if given.get("take") == nonce:
            secret = Secret(given["secret"])
            return Key(STANDING_KEK, "", given["version"], given["id"], State.ACTIVE, secret), nonce


def have(end: socket.socket, nonce: bytes) -> None:
    """Tell that the key arrived, and that whoever asked for it serves."""
    end.send(msgpack.packb({"have": nonce}))


def _read(end: socket.socket) -> dict[str, Any]:
    raw = end.recv(_MAX_BYTES)
    if not raw:
        raise UnavailableError
    said: dict[str, Any] = msgpack.unpackb(raw)
    return said
