"""Receipts of acts for the client that did them: found by the act's object, without a table of whose leaf is whose.

The log store knows which of its leaves an audit row became. Where it was filled up from a copy it does not: there the
leaf is sought by the commitment that its opening gives, from the minute of the act on.
"""

from dataclasses import dataclass
from typing import Any, Final

from keys import leaves
from keys.agent.client import AgentClient
from keys.primitives import Secret
from vault.domain.ids import AccountId, SanctionId
from vault.errors import Kind, VaultError
from vault.log import receipts
from vault.services.held_keys import HeldKeys
from vault.services.reading_log import LogReader
from vault.stores import log, sanctions, standings
from vault.stores.unit import Store

BOUND: Final = "account.bound"
SET: Final = "sanction.set"
SEARCHED: Final = 65_536
"""Entries that are searched for one that was filled in: an hour of 18 acts a second, by which a row may be late."""
_AT_ONCE: Final = 4096
_NOT_YET: Final = "the act is not in the signed log yet; ask again in a moment"


@dataclass(frozen=True, slots=True)
class Receipts:
    """Reads the log, and when an act was in the directory; the agent gives the opening of one leaf."""

    directory: Store
    keys: HeldKeys
    log: LogReader
    signer: AgentClient

    def of(self, client_id: str, kind: str, named: AccountId | SanctionId) -> dict[str, Any]:
        """Return the receipt of an act that a client did to an object of its own.

        Raises:
            VaultError: the act is not in the log yet, or a store cannot be read now.
            KeysError: the agent is sealed or not there.
        """
        ids = self.keys.audit_ids(kind, named.raw)
        for audit_id in ids:
            found = self.log.store.rows(log.NUMBER, id=audit_id)
            if found:
                return self._made(client_id, kind, named, self._opening(client_id, audit_id), int(found[0][0]))
        for audit_id in ids:
            opening = self._opening(client_id, audit_id)
            number = self._filled_in(client_id, kind, named, opening)
            if number is not None:
                return self._made(client_id, kind, named, opening, number)
        raise VaultError(Kind.CONFLICT, _NOT_YET, retry_after_seconds=1)

    def _opening(self, client_id: str, audit_id: bytes) -> bytes:
        return bytes(self.signer.call("log.opening", {"id": audit_id, "address": client_id.encode()})["opening"])

    def _filled_in(self, client_id: str, kind: str, named: AccountId | SanctionId, opening: bytes) -> int | None:
        """Return the number of the leaf that commits to an act; None if it is not among those from its minute on."""
        subject = leaves.client_subject(Secret(opening), kind, client_id.encode(), named.raw)
        told, size = receipts.text_of(subject).encode(), self.log.size()
        first = self.log.place_of(self._minute(client_id, named), size)
        for place in range(first, min(size, first + SEARCHED), _AT_ONCE):
            for index, entry in enumerate(self.log.entries(place, _AT_ONCE), place):
                if told in entry:
                    return index
        return None

    def _minute(self, client_id: str, named: AccountId | SanctionId) -> int:
        with self.directory.reading() as unit:
            if isinstance(named, AccountId):
                account = standings.account_by_id(unit, client_id, named.raw)
                return 0 if account is None else account.created // 60
            sanction = sanctions.find(unit, client_id, named.raw)
            return 0 if sanction is None else sanction.starts // 60

    def _made(
        self, client_id: str, kind: str, named: AccountId | SanctionId, opening: bytes, number: int
    ) -> dict[str, Any]:
        try:
            proof, entry = self.log.proof(number)
        except VaultError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            raise VaultError(Kind.CONFLICT, _NOT_YET, retry_after_seconds=1) from None
        return {
            "act": kind, "object": str(named), "client": client_id, "minute": receipts.minute_of(entry),
            "opening": receipts.text_of(opening), "leaf": entry.decode(), "proof": str(proof),
        }  # fmt: skip
