"""Receipts of what was done with a provider's registration: searched in the log a page at a time, stated by the agent.

No table says which leaf is a record's, and the service cannot tell. It shows the agent entries of the kinds that a
provider may be told of, each with its proof; the agent says which are this registration's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from keys.errors import NoteError, ProofError, RefusedError
from keys.leaves import RECEIPTED
from keys.notes import Note
from vault.domain.ids import AccountId
from vault.errors import Kind, VaultError
from vault.log.proofs import LogProof
from vault.services.access import Client
from vault.services.linking import Linking
from vault.services.reading_log import LogReader
from vault.services.registering import Registering
from vault.stores.standings import StandingRow

_NOBODY: Final = "nobody is registered behind this registration any more"
SEARCHED: Final = 4096
"""Entries that one request searches."""


@dataclass(frozen=True, slots=True)
class RecordReceipts:
    """Reads log and directory; the agent checks the rows, and the entries, and signs."""

    registering: Registering
    linking: Linking
    log: LogReader
    issuer: str
    now: Callable[[], int]

    def of(self, client: Client, reg: str, first: int | None) -> dict[str, Any]:
        """Return {receipts, next} of a registration, from an entry on.

        Args:
            client: whose registration.
            reg: its id.
            first: the entry to begin with; None where the log was when the registration was handed in, or of one that
                ended, when it did.

        Raises:
            VaultError: no such registration, nobody behind it any more and no end that is known, or a store cannot be
                read now.
        """
        row, standing = self.registering.own(client, reg)
        if row.account is None:
            raise VaultError(Kind.NOT_FOUND, "nobody is registered behind this registration")
        size, note = self.log.newest()
        args = {
            "client": client.id, "account": row.account, "issuer": self.issuer, "now": self.now(),
            "note": note.decode(),
        }  # fmt: skip
        minute = standing.created // 60 if standing.link is not None else self._ended(args)
        place = self.log.place_of(minute, size) if first is None else first
        after = min(place + SEARCHED, size)
        tree, found = self.log.tree(size), list[tuple[int, bytes, list[bytes]]]()
        for index, entry in enumerate(self.log.entries(place, max(0, after - place)), place):
            if orjson.loads(entry)["type"] in RECEIPTED:
                found.append((index, entry, tree.inclusion(index)))
        acted = self._acted(standing, {**args, "entries": found}) if found else {"receipts": []}
        shown = {index: (entry, proof) for index, entry, proof in found}
        told = [
            _receipt(one["jwt"], shown[one["index"]][0],
                     LogProof(one["index"], tuple(shown[one["index"]][1]), Note.parse(note)),
                     str(AccountId(row.account)), client.id)
            for one in acted["receipts"]
        ]  # fmt: skip
        return {"receipts": told, "next": after if after < size else None}

    def _acted(self, standing: StandingRow, args: dict[str, Any]) -> dict[str, Any]:
        try:
            acted = self.linking.act("receipts", standing, args)
            return self._without_standing(args) if acted is None else acted
        except RefusedError:
            raise VaultError(Kind.CONFLICT, _NOBODY) from None
        except (NoteError, ProofError):
            raise VaultError(Kind.UNAVAILABLE, "the log store is not the one that was signed") from None

    def _without_standing(self, args: dict[str, Any]) -> dict[str, Any]:
        return self.linking.agent.call("receipts", {**args, "standing": None})

    def _ended(self, args: dict[str, Any]) -> int:
        """Return the minute in which a registration ended that nobody stands behind any more."""
        minute = self._without_standing({**args, "entries": []})["ended"]
        if minute is None:
            raise VaultError(Kind.CONFLICT, _NOBODY)
        return int(minute)


def _receipt(jwt: str, entry: bytes, proof: LogProof, account: str, client: str) -> dict[str, Any]:
    leaf = orjson.loads(entry)
    return {
        "act": leaf["type"], "object": account, "client": client, "minute": leaf["minute"], "statement": jwt,
        "leaf": entry.decode(), "proof": str(proof),
    }  # fmt: skip
