"""The act `receipts`: which leaves of the log are of a provider's registration, stated under the vault's signature.

Only the agent can tell which leaf is a record's, so the agent says so, in a statement of its own making. It goes by
entries that its caller shows to be in a log that it signed: one who could make an entry up would learn of any leaf
whether it is this record's, whatever that leaf says. Of what is in the log a provider learns of its own acts
(`keys.leaves.OF_PROVIDERS`), and of those of others whose leaves name the record by the label `told`
(`keys.leaves.TOLD`); and only where they were done to this record first. Of what authorities ordered it learns when
that is no secret any more: of a disclosure once its person was told, of a hold once it is over. Of a registration that
ended it learns that it did, by the row that is left of it (`keys.ended`).
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from sqlalchemy import Connection

from keys import disclosures, ended, holds, leaves
from keys.agent.acts.draining import commitment_keys, counted
from keys.agent.acts.signing import issuer_of, signed
from keys.agent.arguments import Args, listed, octets, text, whole
from keys.agent.names import Names, check_named
from keys.agent.wire import Dialogue
from keys.checkpoints import Checkpoint, log_key, log_signature_holds
from keys.engine import reading
from keys.entries import SIGN_LOG
from keys.errors import OpenError, ProtocolError, RefusedError
from keys.merkle import check_inclusion, leaf_hash
from keys.notes import Note
from keys.primitives import Ed25519Signer

TYPE: Final = "log-receipt+jwt"
MOST: Final = 4096
_MOST_HASHES: Final = 63
_MOST_NOTE_CHARACTERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Known:
    """By what a leaf is known to be a registration's, and to be no secret from its provider."""

    own: frozenset[bytes]
    told: frozenset[bytes]
    """Subjects by the label `told`."""
    notified: frozenset[str]
    """Disclosures whose persons were told, as leaves name them."""
    held: int | None
    """The minute in which the first hold began that still runs."""
    ended: Mapping[bytes, int]
    """Subject → minute of the leaves that tell that a registration of the account ended."""

    @classmethod
    def of(cls, names: Names, connection: Connection, args: Args) -> Self:
        rids: tuple[bytes, ...] = ()
        if args.get("standing") is not None:
            rids = check_named(names, connection, args)[0].rids
        keys, numbers = commitment_keys(names, connection, rids), counted(connection, rids)
        places = [(keys[rid], number) for rid in keys for number in range(numbers.get(rid, 0))]
        own, told = (frozenset(leaves.record_subject(*one, told=told) for one in places) for told in (False, True))
        disclosed = disclosures.of_records(connection, names.keyring, rids)
        try:
            running = [one for rid in rids for one in holds.of_record(connection, names.keyring, rid, names.now())]
            over = ended.of(connection, names.keyring, text(args, "client"), octets(args, "account", 16))
        except OpenError:
            raise RefusedError from None
        notified = frozenset(_text(made.digest) for made in disclosed if made.notified is not None)
        return cls(own, told, notified, min((one.since // 60 for one in running), default=None), over)

    def may_be_told(self, leaf: Mapping[str, Any]) -> bool:
        """Tell whether a leaf is the registration's, and its provider may know; what it was told of once it may."""
        kind, first = leaf["type"], leaf["subjects"][0]
        if kind in leaves.DISCLOSED:
            return first in self.own and leaf["disclosure"] in self.notified
        if kind in leaves.HELD:
            return first in self.own and (self.held is None or leaf["minute"] < self.held)
        if kind == leaves.ERASED:
            return first in self.ended
        return first in (self.own if kind in leaves.OF_PROVIDERS else self.told)


def receipts(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return {receipts: [{index, jwt}], ended}: of those entries that tell an act on a provider's registration.

    `ended` is the minute in which a registration of the account first ended, nil if none did.

    Args:
        names: the holder.
        args: {client, standing, account: whose registration, `standing` nil where nobody stands there any more; issuer,
            now, note: a checkpoint that this vault signed, entries: [[index, entry, proof]] of it}.
        _: unused.

    Raises:
        RefusedError: the rows do not agree, or the account is not that client's.
        NoteError: the checkpoint is not signed by this log.
        ProofError: an entry is not in it.
    """
    entries = [_entry(one) for one in listed(args, "entries", most=MOST)]
    with reading(names.engine) as connection:
        known = _Known.of(names, connection, args)
    checkpoint = _signed(names, text(args, "note", max_chars=_MOST_NOTE_CHARACTERS))
    told = list[tuple[int, dict[str, object]]]()
    for index, entry, proof in entries:
        hashed = leaf_hash(entry)
        check_inclusion(index, checkpoint.size, hashed, proof, checkpoint.root)
        leaf = leaves.read(entry)
        if leaf["type"] in leaves.RECEIPTED and known.may_be_told(leaf):
            told.append((index, {"act": leaf["type"], "leaf": _text(hashed)}))
    common = {
        "iss": issuer_of(text(args, "issuer")), "aud": text(args, "client"), "iat": whole(args, "now"),
    }  # fmt: skip
    account = _text(octets(args, "account"))
    made = signed(names.keyring, TYPE, [{**common, "log_receipt": {**said, "account": account}} for _, said in told])
    return {
        "receipts": [{"index": index, "jwt": jwt} for (index, _), jwt in zip(told, made, strict=True)],
        "ended": min(known.ended.values(), default=None),
    }


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _entry(one: object) -> tuple[int, bytes, list[bytes]]:
    match one:
        case [int(index), bytes(entry), [*hashes]] if len(hashes) <= _MOST_HASHES:
            return index, entry, [hashed for hashed in hashes if isinstance(hashed, bytes)]
    raise ProtocolError("entries: [index, entry, proof] each")


def _signed(names: Names, raw: str) -> Checkpoint:
    note = Note.parse(raw.encode())
    checkpoint = Checkpoint.parse(note.text)
    names.keyring.refresh(SIGN_LOG)
    signers = [Ed25519Signer(key.secret) for key in names.keyring.active(SIGN_LOG)]
    note.signed_by([log_key(checkpoint.origin, signer) for signer in signers], log_signature_holds)
    return checkpoint
