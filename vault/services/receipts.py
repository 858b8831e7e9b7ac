"""Receipts of acts for the client that did them: found by the act's object, without a table of whose leaf is whose."""

from dataclasses import dataclass
from typing import Any, Final

from keys.agent.client import AgentClient
from vault.domain.ids import AccountId, SanctionId
from vault.errors import Kind, VaultError
from vault.log import receipts
from vault.services.held_keys import HeldKeys
from vault.services.reading_log import LogReader
from vault.stores import log

BOUND: Final = "account.bound"
SET: Final = "sanction.set"
_NOT_YET: Final = "the act is not in the signed log yet; ask again in a moment"


@dataclass(frozen=True, slots=True)
class Receipts:
    """Reads the log; the agent gives the opening of one leaf."""

    keys: HeldKeys
    log: LogReader
    signer: AgentClient

    def of(self, client_id: str, kind: str, named: AccountId | SanctionId) -> dict[str, Any]:
        """Return the receipt of an act that a client did to an object of its own.

        Raises:
            VaultError: the act is not in the log yet, or a store cannot be read now.
            KeysError: the agent is sealed or not there.
        """
        for audit_id in self.keys.audit_ids(kind, named.raw):
            found = self.log.store.rows(log.NUMBER, id=audit_id)
            if found:
                return self._made(client_id, kind, named, audit_id, int(found[0][0]))
        raise VaultError(Kind.CONFLICT, _NOT_YET, retry_after_seconds=1)

    def _made(
        self, client_id: str, kind: str, named: AccountId | SanctionId, audit_id: bytes, number: int
    ) -> dict[str, Any]:
        try:
            proof, entry = self.log.proof(number)
        except VaultError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            raise VaultError(Kind.CONFLICT, _NOT_YET, retry_after_seconds=1) from None
        opening = self.signer.call("log.opening", {"id": audit_id, "address": client_id.encode()})["opening"]
        return {
            "act": kind, "object": str(named), "client": client_id, "minute": receipts.minute_of(entry),
            "opening": receipts.text_of(opening), "leaf": entry.decode(), "proof": str(proof),
        }  # fmt: skip
