"""python -m keys.agent.rewrapper FD: seals wrapped keys anew, a batch a request, in a process of its own.

Python runs one thread at a time, and a sweep over all records would take the holder's. A rewrapper is given the key
encryption key's versions and the key of row MACs over a socket pair, no other key, and ends with its holder. It yields
to everything else on the machine (nice).
"""

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from keys.agent.process import forbid_dumps, log_failure, name_process
from keys.agent.wire import error_of, receive, send
from keys.engine import open_engine, repeated
from keys.entries import KEK, Key
from keys.errors import KeysError, UnavailableError
from keys.primitives import Mac, Secret
from keys.rewrapping import Batch, Wrapping, rewrap_records
from keys.states import State
from keys.uses import Uses

NAME: Final = "idvault-rewrap"
_IDLE_SECONDS: Final = 5.0
_BUSY_SECONDS: Final = 60
_NICENESS: Final = 10
_USES: Final = 4096
"""How many uses one sets aside at a time: there are several, and each lives for a sweep."""


class _Process:
    """One of them, as the holder has it."""

    def __init__(self, engine: Engine, wrapping: Wrapping) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "keys.agent.rewrapper", str(theirs.fileno())], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        self.version = wrapping.current.version
        send(self._socket, {"url": str(engine.url), **_told(wrapping)})

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return its answer to one request.

        Raises:
            KeysError: of the kind that it answered; UnavailableError where it ended.
        """
        try:
            send(self._socket, request)
            answer = receive(self._socket)
        except OSError:
            raise UnavailableError from None
        if "error" in answer:
            raise error_of(answer)
        return answer

    def end(self) -> None:
        """End it, and wait until it is gone, its keys with it."""
        self._socket.close()
        self._popen.kill()
        self._popen.wait()


@dataclass(frozen=True, slots=True)
class Rewrappers:
    """Those of a holder, as many as it is asked at a time; each ends when its work does, or is waited for too long."""

    _idle: dict[_Process, threading.Timer] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rewrap(self, engine: Engine, wrapping: Wrapping, after: bytes, until: bytes, most: int) -> Batch:
        """Have a batch sealed anew; see `keys.rewrapping.rewrap_records`.

        Raises:
            UnavailableError: the process ended; said again, the batch is done.
            UsesError: the newest version may not seal so many.
        """
        process = self._taken(wrapping.current.version) or _Process(engine, wrapping)
        try:
            answer = process.ask({"after": after, "until": until, "most": most})
            done = Batch(answer["sealed"], answer["last"], answer["altered"])
        except BaseException:
            process.end()
            raise
        if not done.last:
            process.end()
            return done
        self._keep(process)
        return done

    def _taken(self, version: int) -> _Process | None:
        """Return one that waits and has the newest version, or None."""
        with self._lock:
            found = next((one for one in self._idle if one.version == version), None)
            if found is not None:
                self._idle.pop(found).cancel()
        return found

    def _keep(self, process: _Process) -> None:
        """Have it wait for the next batch, and end if none comes."""
        timer = threading.Timer(_IDLE_SECONDS, self._expire, (process,))
        timer.daemon = True
        with self._lock:
            self._idle[process] = timer
        timer.start()

    def _expire(self, process: _Process) -> None:
        with self._lock:
            taken = self._idle.pop(process, None) is None
        if not taken:
            process.end()


def _told(wrapping: Wrapping) -> dict[str, Any]:
    keys = [
        {"version": key.version, "id": key.id, "state": str(key.state), "secret": key.secret.expose_cleartext()}
        for key in wrapping.keys.values()
    ]
    return {"deployment": wrapping.deployment, "keys": keys, "current": wrapping.current.version,
            "rows": wrapping.rows.expose_cleartext(), "uses": wrapping.uses}  # fmt: skip


def _wrapping(engine: Engine, told: Mapping[str, Any]) -> Wrapping:
    rows = Secret(told["rows"])
    uses = Uses(engine, partial(Mac, rows), told["uses"], _USES)
    keys = {
        one["version"]: Key(KEK, "", one["version"], one["id"], State(one["state"]), Secret(one["secret"]),
                            partial(uses.take, one["id"]))
        for one in told["keys"]
    }  # fmt: skip
    return Wrapping(told["deployment"], keys[told["current"]], keys, rows, told["uses"])


def _end_with(holder: socket.socket) -> None:
    """End at once when the holder does, in the midst of a batch too: it is done whole or not at all."""
    poll = select.poll()
    poll.register(holder, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


def _answered(engine: Engine, wrapping: Wrapping, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        batch = repeated(lambda: rewrap_records(engine, wrapping, request["after"], request["until"], request["most"]))
        return batch._asdict()
    except KeysError as error:
        return {"error": error.kind, "message": str(error)}
    except DBAPIError as error:
        log_failure("key_store_failed", error)
        return {"error": UnavailableError.kind, "message": "the key store cannot be written or read"}
    except Exception as error:  # noqa: BLE001 - its text may hold values: logged by type and place
        log_failure("rewrapper.failed", error)
        return {"error": KeysError.kind, "message": KeysError.default}


def main() -> None:
    """Answer the requests of the holder at the other end, until it ends."""
    name_process(NAME)
    forbid_dumps()
    os.nice(_NICENESS)
    holder = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(holder,), daemon=True).start()
    with suppress(UnavailableError, OSError):  # the holder ended
        told = receive(holder)
        engine = open_engine(told["url"], busy_seconds=_BUSY_SECONDS)
        wrapping = _wrapping(engine, told)
        while True:
            send(holder, _answered(engine, wrapping, receive(holder)))


if __name__ == "__main__":
    main()
