"""Officers and the agent, who speak to each other through the vault: it relays, and can neither read nor change it."""

import base64
from typing import Any

from keys.agent.client import AgentClient
from keys.errors import MessageError
from keys.quorum import kept_by
from vault.errors import Kind, VaultError


class Officers:
    """The relay."""

    def __init__(self, message: AgentClient) -> None:
        """Take the socket behind which officers' messages are heard, in whatever state the vault is."""
        self._message = message

    def status(self, nonce: bytes = b"") -> dict[str, Any]:
        """Return {seal, names, threshold, officers, generation}, and the agent's {statement, signature} in base64.

        Args:
            nonce: 16 bytes that the statement repeats, so that it is not an earlier one; or none.

        Raises:
            UnavailableError: the agent, or its store, does not answer.
        """
        described, stated = self._message.call("describe", {}), self._message.call("statement", {"nonce": nonce})
        return described | {part: base64.b64encode(stated[part]).decode() for part in ("statement", "signature")}

    def kept_by(self) -> str:
        """Return by how many persons the vault is kept, in words.

        Raises:
            UnavailableError: the agent, or its store, does not answer.
        """
        told = self._message.call("describe", {})
        return kept_by(told["threshold"], told["officers"], told["seal"])

    def relay(self, message: bytes) -> bytes:
        """Return the agent's answer to an officer's message.

        Raises:
            VaultError: malformed: it is no officer's to this start of the agent.
            UnavailableError: the agent, or its store, does not answer.
        """
        try:
            return bytes(self._message.call("message", {"message": message})["answer"])
        except MessageError:
            detail = "not an officer's message to this start of the agent; read /v1/keys/status again"
            raise VaultError(Kind.MALFORMED, detail) from None
