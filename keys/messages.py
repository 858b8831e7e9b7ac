"""What officers and the agent say to each other through a relay that can neither read nor change it.

    message   = RFC 8785 form of {"v": 1, "boot", "sealed"}
    sealed    = HPKE to the boot key, with info LP("idvault/v1/message") ‖ LP(statement's agent) ‖ LP(boot), of signed
    signed    = signature(64) ‖ said
    said      = RFC 8785 form of {"v": 1, "from": key id, "boot", "do", "args", "nonce"}
    signature = Ed25519 of the officer over "idvault/message/v1" ‖ newline ‖ said

    answer    = RFC 8785 form of {"v": 1, "sealed", "signature"}
    sealed    = HPKE to the officer's card, with info LP("idvault/v1/answer") ‖ LP(SHA-256 of signed), of the answer
    signature = Ed25519 of the agent's identity over "idvault/answer/v1" ‖ newline ‖ SHA-256 of signed ‖ sealed

Guarantees: a message is an officer's, to this start of this agent, and is taken once; an answer is this agent's, to
that message and that officer. Nobody's clock counts.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import rfc8785

from keys.errors import BY_KIND, KeysError, MessageError, OpenError
from keys.frame import length_prefixed
from keys.identity import Statement
from keys.officers import Card, Officer
from keys.primitives import Ed25519Signer, HybridReceiver, ed25519_holds, equal, random_bytes, seal_to

MAX_BYTES: Final = 64 * 1024
SIGNATURE_BYTES: Final = 64
_NONCE_BYTES: Final = 16
_MESSAGE: Final = b"idvault/message/v1\n"
_ANSWER: Final = b"idvault/answer/v1\n"
_HEX: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_FORM: Final = "message: not one of an officer to this start of the agent"


@dataclass(frozen=True, slots=True)
class Said:
    """One message, as it was said."""

    card: Card
    do: str
    args: Mapping[str, Any]
    nonce: str
    digest: bytes
    """SHA-256 of the signed message: what its answer is to."""


def message(officer: Officer, to: Statement, do: str, args: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return (message, digest): what the relay carries, and by what the answer to it is known.

    Raises:
        MessageError: too long.
        OpenError: the statement has no such key.
    """
    said = rfc8785.dumps({
        "v": 1, "from": officer.card.key_id, "boot": to.boot.hex(), "do": do, "args": dict(args),
        "nonce": random_bytes(_NONCE_BYTES).hex(),
    })  # fmt: skip
    signed = officer.signer.sign(_MESSAGE + said) + said
    sealed = seal_to(to.key, signed, _message_info(to.agent, to.boot))
    raw = rfc8785.dumps({"v": 1, "boot": to.boot.hex(), "sealed": base64.b64encode(sealed).decode()})
    if len(raw) > MAX_BYTES:
        raise MessageError("message: too long")
    return raw, hashlib.sha256(signed).digest()


def heard(raw: bytes, receiver: HybridReceiver, agent: bytes, boot: bytes, card_of: Callable[[str], Card]) -> Said:
    """Return what an officer said to this start of an agent.

    Args:
        raw: the message.
        receiver: the boot key.
        agent: the identity's public key.
        boot: names the start.
        card_of: key id → card of whoever may speak; raises MessageError for anybody else.

    Raises:
        MessageError: not a message of such an officer to this start; deliberately not told why.
    """
    try:
        outer = _members(raw, {"v", "boot", "sealed"})
        if outer["boot"] != boot.hex():
            raise MessageError("message: sealed to another start of the agent; look again, and send it anew")
        signed = receiver.open(base64.b64decode(outer["sealed"], validate=True), _message_info(agent, boot))
        said = signed[SIGNATURE_BYTES:]
        inner = _members(said, {"v", "from", "boot", "do", "args", "nonce"})
        card = card_of(str(inner["from"]))
        if inner["boot"] != boot.hex() or not isinstance(inner["args"], dict) or not _HEX.fullmatch(inner["nonce"]):
            raise MessageError(_FORM)
    except (ValueError, KeyError, TypeError, RecursionError, OpenError):
        raise MessageError(_FORM) from None
    if not ed25519_holds(card.signs, signed[:SIGNATURE_BYTES], _MESSAGE + said):
        raise MessageError(_FORM)
    return Said(card, str(inner["do"]), inner["args"], inner["nonce"], hashlib.sha256(signed).digest())


def answer(said: Said, identity: Ed25519Signer, given: Mapping[str, Any]) -> bytes:
    """Return the answer to a message."""
    sealed = seal_to(said.card.receives, rfc8785.dumps(dict(given)), _answer_info(said.digest))
    signature = identity.sign(_ANSWER + said.digest + sealed)
    return rfc8785.dumps({
        "v": 1, "sealed": base64.b64encode(sealed).decode(), "signature": base64.b64encode(signature).decode(),
    })  # fmt: skip


def answered(raw: bytes, officer: Officer, agent: bytes, digest: bytes) -> dict[str, Any]:
    """Return what the agent answered to the message of a digest.

    Raises:
        MessageError: not this agent's answer to that message.
        KeysError: of the kind that the agent answered.
    """
    try:
        outer = _members(raw, {"v", "sealed", "signature"})
        sealed, signature = (base64.b64decode(outer[part], validate=True) for part in ("sealed", "signature"))
        if not ed25519_holds(agent, signature, _ANSWER + digest + sealed):
            raise MessageError(_NO_ANSWER)
        given: Any = json.loads(officer.receiver.open(sealed, _answer_info(digest)))
    except (ValueError, KeyError, TypeError, RecursionError, OpenError):
        raise MessageError(_NO_ANSWER) from None
    if isinstance(given, dict) and "error" in given:
        raise BY_KIND.get(str(given["error"]), KeysError)(str(given.get("message", "")))
    if not isinstance(given, dict) or not isinstance(given.get("ok"), dict):
        raise MessageError(_NO_ANSWER)
    found: dict[str, Any] = given["ok"]
    return found


_NO_ANSWER: Final = "answer: not this agent's answer to what was asked"


def _members(raw: bytes, wanted: set[str]) -> dict[str, Any]:
    said: Any = json.loads(raw)
    if not isinstance(said, dict) or said.keys() != wanted or said["v"] != 1 or not equal(rfc8785.dumps(said), raw):
        raise MessageError(_FORM)
    return said


def _message_info(agent: bytes, boot: bytes) -> bytes:
    return length_prefixed(b"idvault/v1/message", agent, boot)


def _answer_info(digest: bytes) -> bytes:
    return length_prefixed(b"idvault/v1/answer", digest)
