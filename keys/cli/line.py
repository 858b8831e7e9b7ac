"""An officer's line to the agent, over the vault's address: the vault between them only relays."""

import base64
import json
import ssl
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from keys.errors import MessageError, OfficerError, UnavailableError
from keys.identity import BOOT_BYTES, Statement
from keys.messages import answered, message
from keys.officers import Officer
from keys.primitives import random_bytes

MAX_ANSWER_BYTES: Final = 1024 * 1024
TIMEOUT_SECONDS: Final = 30
_PAUSES_SECONDS: Final = (0.1, 0.3, 0.6)
"""Between tries to read: a vault that was just sealed ends the workers that held keys, and starts others."""
_STATUS: Final = "/v1/keys/status"
_MESSAGES: Final = "/v1/keys/messages"


class _NoAnswerError(UnavailableError):
    default = "the vault does not answer; what was asked for may have been done: look again"


class Line:
    """A line to one vault."""

    def __init__(self, url: str) -> None:
        """Take the vault's address.

        Raises:
            OfficerError: not an address, or one in the clear that leaves this machine.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme not in {"https", "http"} or not parts.hostname or parts.path.strip("/") or parts.query:
            raise OfficerError("--vault: an address such as https://vault.example")
        if parts.scheme == "http" and not _is_own(parts.hostname):
            raise OfficerError("--vault: https, but for a vault on this machine")
        self.url, self._secure = url.rstrip("/"), parts.scheme == "https"
        self._host, self._port = parts.hostname, port

    def statement(self) -> Statement:
        """Return what the agent states of itself now.

        Raises:
            UnavailableError: the vault or its agent does not answer.
            MessageError: what was answered is no agent's statement, or an earlier one.
        """
        nonce = random_bytes(BOOT_BYTES)
        raw = self._read(f"{_STATUS}?nonce={nonce.hex()}")
        try:
            said = json.loads(raw)
            parts = [base64.b64decode(said[part], validate=True) for part in ("statement", "signature")]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise MessageError("statement: not of its form") from None
        found = Statement.parse(*parts)
        if found.nonce != nonce:
            raise MessageError("statement: an earlier one, of another question; nothing was sent")
        return found

    def ask(self, officer: Officer, to: Statement, do: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the agent's answer to an officer's message.

        Args:
            officer: who says it.
            to: the agent's statement, checked by the caller.
            do: what is asked for.
            args: of it.

        Raises:
            KeysError: of the kind that the agent answered.
            UnavailableError: the vault or its agent does not answer: whether it was done is not known.
            MessageError: what was answered is not the agent's answer.
        """
        raw, digest = message(officer, to, do, args)
        return answered(self._ask("POST", _MESSAGES, raw), officer, to.agent, digest)

    def _read(self, path: str) -> bytes:
        for pause in _PAUSES_SECONDS:
            try:
                return self._ask("GET", path, b"")
            except _NoAnswerError:
                time.sleep(pause)
        return self._ask("GET", path, b"")

    def _ask(self, method: str, path: str, body: bytes) -> bytes:
        if self._secure:
            context = ssl.create_default_context()
            connection: HTTPConnection = HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, body or None, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            raw = answer.read(MAX_ANSWER_BYTES)
        except (OSError, HTTPException):
            raise _NoAnswerError from None
        finally:
            connection.close()
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise MessageError("message: the agent did not hear it; it may have been started anew: try again")
        if answer.status != HTTPStatus.OK:
            raise UnavailableError(f"the vault answered {answer.status}; its agent may be away: try again")
        return raw


def _is_own(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
