"""Receipts: that an act is in the log, and which of its leaves it is, shown to whoever is given one and to nobody else.

    receipt = {"act", "object", "client", "minute", "opening", "leaf", "proof"}

`proof` (c2sp.org/tlog-proof) shows that `leaf` is in the log. Its one subject is HMAC(opening, LP(act) ‖ LP(client) ‖
LP(object)): whoever has the opening sees that this leaf tells this act, and can tell no other leaf by it. What was done
with a registration has no such opening: `statement` is in its place, a JWT in which the vault says whose leaf it is.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from keys import leaves
from keys.errors import NoteError
from keys.merkle import leaf_hash
from keys.notes import VerifierKey
from keys.primitives import Secret, equal, p256_holds
from vault.log.proofs import LogProof

MEMBERS: Final = frozenset({"act", "object", "client", "minute", "opening", "leaf", "proof"})
STATED: Final = MEMBERS - {"opening"} | {"statement"}
STATEMENT: Final = "log-receipt+jwt"
_MAX_BYTES: Final = 1_000_000
_OTHER: Final = "the leaf tells another act than the receipt says"


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
    if not isinstance(said, dict) or said.keys() not in (MEMBERS, STATED) or not isinstance(said["minute"], int):
        raise NoteError("a receipt has the members of its version")
    texts = [value for name, value in said.items() if name != "minute"]
    try:
        "".join(texts).encode()
    except (TypeError, UnicodeEncodeError):
        raise NoteError("a receipt has texts, and a minute") from None
    return said


def keys_of(raw: bytes) -> list[dict[str, Any]]:
    """Return the keys of a JWK set (RFC 7517).

    Raises:
        NoteError: it is none.
    """
    try:
        said = json.loads(raw[:_MAX_BYTES])
    except (ValueError, RecursionError):
        said = None
    keys = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise NoteError("a JWK set has keys")
    return keys


def check(
    said: Mapping[str, Any], keys: Iterable[VerifierKey], holds: Callable[[VerifierKey, str, bytes], bool],
    jwks: Iterable[Mapping[str, Any]] = (),
) -> int:  # fmt: skip
    """Check a receipt; return the number of its leaf.

    Args:
        said: the receipt.
        keys: of the log and of witnesses.
        holds: checks one signature.
        jwks: the keys of the vault that statements are signed under, each a JWK (RFC 7517).

    Raises:
        NoteError: nobody known signed the checkpoint, or the leaf or the statement tells another act.
        ProofError: the leaf is not in that checkpoint.
    """
    entry, proof = said["leaf"].encode(), LogProof.parse(said["proof"].encode())
    proof.check(entry, keys, holds)
    leaf = leaves.read(entry)
    if (leaf["type"], leaf["minute"]) != (said["act"], said["minute"]):
        raise NoteError(_OTHER)
    if "statement" in said:
        _check_stated(said, entry, list(jwks))
    else:
        _check_opened(said, leaf)
    return proof.index


def _check_opened(said: Mapping[str, Any], leaf: Mapping[str, Any]) -> None:
    object_id = _raw(said["object"].partition("_")[2])
    wanted = leaves.client_subject(Secret(_raw(said["opening"])), said["act"], said["client"].encode(), object_id)
    if not equal(leaf["subjects"][0] if leaf["subjects"] else b"", wanted):
        raise NoteError(_OTHER)


def _check_stated(said: Mapping[str, Any], entry: bytes, jwks: Sequence[Mapping[str, Any]]) -> None:
    signed, _, signature = said["statement"].rpartition(".")
    header, claims = (_object(part) for part in (signed.partition(".")[::2]))
    if header.get("typ") != STATEMENT or header.get("alg") != "ES256":
        raise NoteError("the statement is none of a receipt")
    if not any(
        p256_holds(_raw(str(key.get("x"))), _raw(str(key.get("y"))), _raw(signature), signed.encode())
        for key in jwks if key.get("kid") == header.get("kid") and key.get("crv") == "P-256"
    ):  # fmt: skip
        raise NoteError("no key of the vault signed the statement")
    account = said["object"].partition("_")[2]
    told = {"act": said["act"], "leaf": text_of(leaf_hash(entry)), "account": account}
    if claims.get("log_receipt") != told or claims.get("aud") != said["client"]:
        raise NoteError(_OTHER)


def _object(part: str) -> dict[str, Any]:
    try:
        found = json.loads(_raw(part))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NoteError("a statement is a JWT")
    return found
