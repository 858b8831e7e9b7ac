"""Receipts: that an act is in the log, and which of its leaves it is, shown to whoever is given one and to nobody else.

    receipt = {"act", "object", "client", "minute", "opening", "leaf", "proof"}

`proof` (c2sp.org/tlog-proof) shows that `leaf` is in the log. Its one subject is HMAC(opening, LP(act) ‖ LP(client) ‖
LP(object)): whoever has the opening sees that this leaf tells this act, and can tell no other leaf by it.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from keys import leaves
from keys.errors import NoteError
from keys.notes import VerifierKey
from keys.primitives import Secret, equal
from vault.log.proofs import LogProof

MEMBERS: Final = frozenset({"act", "object", "client", "minute", "opening", "leaf", "proof"})
_MAX_BYTES: Final = 1_000_000


def text_of(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def minute_of(entry: bytes) -> int:
    """Return the minute since 1970 that a leaf says."""
    return int(leaves.read(entry)["minute"])


def _raw(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("opening and object of a receipt are base64url") from None


def parse(raw: bytes) -> dict[str, Any]:
    """Return a receipt of its file; nothing of it is checked yet.

    Raises:
        NoteError: it is none.
    """
    try:
        said = json.loads(raw[:_MAX_BYTES])
    except (ValueError, RecursionError):
        raise NoteError("a receipt is JSON") from None
    if not isinstance(said, dict) or said.keys() != MEMBERS or not isinstance(said["minute"], int):
        raise NoteError("a receipt has the members of its version")
    if not all(isinstance(value, str) for name, value in said.items() if name != "minute"):
        raise NoteError("a receipt has texts, and a minute")
    return said


def check(
    said: Mapping[str, Any], keys: Iterable[VerifierKey], holds: Callable[[VerifierKey, str, bytes], bool]
) -> int:
    """Check a receipt; return the number of its leaf.

    Args:
        said: the receipt.
        keys: of the log and of witnesses.
        holds: checks one signature.

    Raises:
        NoteError: nobody known signed the checkpoint, or the leaf tells another act.
        ProofError: the leaf is not in that checkpoint.
    """
    entry, proof = said["leaf"].encode(), LogProof.parse(said["proof"].encode())
    proof.check(entry, keys, holds)
    leaf = leaves.read(entry)
    object_id = _raw(said["object"].partition("_")[2])
    wanted = leaves.client_subject(Secret(_raw(said["opening"])), said["act"], said["client"].encode(), object_id)
    subject = leaf["subjects"][0] if leaf["subjects"] else b""
    if (leaf["type"], leaf["minute"]) != (said["act"], said["minute"]) or not equal(subject, wanted):
        raise NoteError("the leaf tells another act than the receipt says")
    return proof.index
