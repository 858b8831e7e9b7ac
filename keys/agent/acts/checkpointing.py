"""The acts behind `log.sock`: commitments for the directory's audit rows, and the signature on a checkpoint.

The agent builds what it signs from a size and a root, and signs only what continues what it signed last: shown by a
consistency proof, persisted before the signature leaves.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keys import leaves
from keys.agent.arguments import Args, listed, octets, text, whole
from keys.agent.wire import Dialogue
from keys.checkpoints import Checkpoint, signed
from keys.details import detail_keys, open_detail
from keys.entries import SIGN_LOG
from keys.errors import NoteError, OpenError, ProtocolError, RefusedError
from keys.heads import Heads
from keys.keyring import Keyring
from keys.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, check_consistency
from keys.notes import check_name
from keys.primitives import Ed25519Signer, Secret, random_bytes

MOST_ROWS: Final = 10_000
MOST_HASHES: Final = 63
"""Of a consistency proof (c2sp.org/tlog-witness)."""
_CLIENT_LABEL: Final = b"idvault/v1/log-client"


@dataclass(frozen=True, slots=True)
class Signing:
    """The log's key and its last head; one checkpoint is signed at a time."""

    keyring: Keyring
    heads: Heads
    lock: threading.Lock

    def _signers(self) -> list[Ed25519Signer]:
        """Return the log's keys, the newest first; while two overlap both sign, for those who know one of them."""
        self.keyring.refresh(SIGN_LOG)
        return [Ed25519Signer(key.secret) for key in self.keyring.active(SIGN_LOG)]

    def head(self, _args: Args, _: Dialogue) -> dict[str, Any]:
        """Return {origin, size, root, public}: what was signed last, and the newest key; no origin if nothing was."""
        last = self.heads.last()
        found = Checkpoint("", 0, EMPTY_ROOT) if last is None else last
        return {"origin": found.origin, "size": found.size, "root": found.root, "public": self._signers()[0].public()}

    def sign(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Return {signatures: [{name, id, signature}]} on a checkpoint {origin, size, root}, by each key in force.

        It is signed if `proof` shows that it continues the last.

        Raises:
            RefusedError: another origin; or the log is shorter than what was signed: its store is an older one.
            ProofError: it does not continue the last one.
            ConflictError: another process signed meanwhile.
        """
        asked = _checkpoint(args)
        proof = [one for one in listed(args, "proof", most=MOST_HASHES) if isinstance(one, bytes)]
        with self.lock:
            last = self.heads.last()
            if last is not None and last.origin != asked.origin:
                raise RefusedError("this log was signed under another origin")
            if last is not None and last.size > asked.size:
                raise RefusedError(
                    f"the log store ends at {asked.size}, and {last.size} entries were signed: it is an older one; "
                    "restore one that is not, or fill it up from a mirror: idvault log refill"
                )
            old_size, old_root = (0, EMPTY_ROOT) if last is None else (last.size, last.root)
            check_consistency(old_size, asked.size, proof, old_root, asked.root)
            if asked != last:
                self.heads.advance(last, asked)
        made = [signed(asked, signer) for signer in self._signers()]
        return {"signatures": [{"name": one.name, "id": one.key_id, "signature": one.value} for one in made]}

    def commit(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Return {entries} for audit rows of the directory, in their order.

        Args:
            args: {rows: [[id, type, minute, address, detail, facts]]}; `facts` is a mapping, empty for most types.
            _: unused.
        """
        committing = _Committing(self.keyring)
        return {"entries": [committing.entry(*_row(one)) for one in listed(args, "rows", most=MOST_ROWS)]}

    def opening(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Return {opening} of the leaf of an act {id, address} of a client: it opens that leaf and no other."""
        return {"opening": opening_of(self.keyring, octets(args, "address"), octets(args, "id")).expose_cleartext()}


class _Committing:
    """Makes the entries of many rows: what they have in common is derived once."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring, self._details = keyring, detail_keys(keyring.secrets("directory").values())
        self._clients: dict[bytes, Secret] = {}

    def entry(
        self, audit_id: bytes, kind: str, minute: int, client: bytes, sealed: bytes, facts: Mapping[str, Any]
    ) -> bytes:
        """Return the entry of a row."""
        named = leaves.PLACES[leaves.type_of(kind)] > 0
        return leaves.entry(kind, minute, [self._subject(audit_id, kind, client, sealed)] if named else [], facts)

    def _subject(self, audit_id: bytes, kind: str, client: bytes, sealed: bytes) -> bytes:
        """Return the subject of a row; of one whose detail was altered there is none, and its place is random."""
        try:
            detail = open_detail(self._details, self._keyring.deployment, audit_id, sealed) if sealed else b""
        except OpenError:
            return random_bytes(leaves.SUBJECT_BYTES)
        key = self._clients.get(client)
        if key is None:
            key = self._clients[client] = _client_key(self._keyring, client)
        return leaves.client_subject(leaves.client_opening(key, audit_id), kind, client, detail)


def opening_of(keyring: Keyring, client: bytes, audit_id: bytes) -> Secret:
    """Return what opens the leaf of one act of a client."""
    return leaves.client_opening(_client_key(keyring, client), audit_id)


def _client_key(keyring: Keyring, client: bytes) -> Secret:
    """Return the key that the openings of a client's leaves come from."""
    return Secret(keyring.mac("index", _CLIENT_LABEL).of(client))


def _row(one: object) -> tuple[bytes, str, int, bytes, bytes, Mapping[str, Any]]:
    match one:
        case [bytes(audit_id), str(kind), int(minute), bytes(client), bytes(sealed), dict(facts)]:
            return audit_id, kind, minute, client, sealed, facts
    raise ProtocolError("rows: [id, type, minute, address, detail, facts] each")


def _checkpoint(args: Args) -> Checkpoint:
    asked = Checkpoint(text(args, "origin"), whole(args, "size"), octets(args, "root", HASH_BYTES))
    check_name(asked.origin)
    if not 0 <= asked.size <= MAX_SIZE or (asked.size == 0 and asked.root != EMPTY_ROOT):
        raise NoteError("a checkpoint has a size and its root")
    return asked


def signing(keyring: Keyring, heads: Heads) -> Signing:
    """Return the acts of one holder."""
    return Signing(keyring, heads, threading.Lock())
