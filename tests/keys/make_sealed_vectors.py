"""`python -m tests.keys.make_sealed_vectors` records what is sealed to a person: each opens, its faults do not.

HPKE draws an ephemeral key for each, so that these cannot be made again byte for byte as those of `make_vectors` are:
they were recorded once, and a change of the formats shows by them.
"""

import base64
import json
from pathlib import Path
from typing import Any, Final

import rfc8785

from keys import disclosures
from keys.frame import length_prefixed
from keys.messages import Said, answer
from keys.primitives import Ed25519Signer, HybridReceiver, Secret, seal_to
from tests.keys.test_acts_disclosing import NAMED, ORDER
from tests.keys.test_chain import officer

FOLDER: Final = Path(__file__).parent / "vectors" / "sealed"
ANNA, MARIA = officer(1, "Anna"), officer(2, "Maria")
IDENTITY, BOOT_KEY = Ed25519Signer(Secret(bytes([9]) * 32)), HybridReceiver(Secret(bytes([10]) * 96))
BOOT, DEPLOYMENT = bytes(range(16)), bytes(range(0x10, 0x20))
KEYS: Final = "officer n: Ed25519 seed n 32 times, HPKE seed n 96 times (Anna 1, Maria 2); agent: 9; boot key: 10"
_SAID: Final[dict[str, Any]] = {
    "v": 1, "from": ANNA.card.key_id, "boot": BOOT.hex(), "do": "look", "args": {"n": 7}, "nonce": "ab" * 16,
}  # fmt: skip


def _message(said: dict[str, Any], *, label: bytes = b"idvault/message/v1\n", by: Ed25519Signer = ANNA.signer,
             boot: bytes = BOOT, raw: bytes | None = None) -> str:  # fmt: skip
    inner = raw or rfc8785.dumps(said)
    info = length_prefixed(b"idvault/v1/message", IDENTITY.public(), boot)
    sealed = seal_to(BOOT_KEY.public(), by.sign(label + inner) + inner, info)
    return rfc8785.dumps({"v": 1, "boot": BOOT.hex(), "sealed": base64.b64encode(sealed).decode()}).decode()


def message() -> dict[str, Any]:
    """Return a message of Anna to one start of an agent, and others that are not heard."""
    good = _message(_SAID)
    outer = json.loads(good)
    sealed = bytearray(base64.b64decode(outer["sealed"]))
    sealed[-1] ^= 1
    faults = {
        "a bit": rfc8785.dumps(outer | {"sealed": base64.b64encode(bytes(sealed)).decode()}).decode(),
        "another start": rfc8785.dumps(outer | {"boot": "00" * 16}).decode(),
        "sealed to another start": _message(_SAID, boot=bytes(16)),
        "another start inside": _message(_SAID | {"boot": "00" * 16}),
        "another's signature": _message(_SAID, by=MARIA.signer),
        "another label": _message(_SAID, label=b"idvault/answer/v1\n"),
        "a member more": _message(_SAID | {"more": 1}),
        "a version": _message(_SAID | {"v": 2}),
        "a nonce": _message(_SAID | {"nonce": "ab" * 15}),
        "arguments that are none": _message(_SAID | {"args": []}),
        "a spelling inside": _message(_SAID, raw=json.dumps(_SAID).encode()),
        "a spelling": json.dumps(outer),
        "an officer who is none": _message(_SAID | {"from": "00" * 16}),
    }
    return {"keys": KEYS, "boot": BOOT.hex(), "message": good, "do": "look", "args": {"n": 7}, "faults": faults}


def answered() -> dict[str, Any]:
    """Return the agent's answer to Anna's message of a digest, and others that are none."""
    digest = bytes([5]) * 32
    ok: dict[str, Any] = {"ok": {"names": "open"}}
    to = Said(ANNA.card, "look", {}, "ab" * 16, digest)
    good = json.loads(answer(to, IDENTITY, ok))
    signature = bytearray(base64.b64decode(good["signature"]))
    signature[0] ^= 1
    faults = {
        "a bit": good | {"signature": base64.b64encode(bytes(signature)).decode()},
        "another agent": json.loads(answer(to, Ed25519Signer(Secret(bytes([8]) * 32)), ok)),
        "to another message": json.loads(answer(Said(ANNA.card, "look", {}, "ab" * 16, bytes(32)), IDENTITY, ok)),
        "to another officer": json.loads(answer(Said(MARIA.card, "look", {}, "ab" * 16, digest), IDENTITY, ok)),
        "neither an answer nor a refusal": json.loads(answer(to, IDENTITY, {"else": {}})),
        "a member more": good | {"more": 1},
    }
    made = {name: rfc8785.dumps(one).decode() for name, one in faults.items()}
    return {"keys": KEYS, "digest": digest.hex(), "answer": rfc8785.dumps(good).decode(), "ok": ok["ok"],
            "faults": made | {"a spelling": json.dumps(good)}}  # fmt: skip


def package() -> dict[str, Any]:
    """Return the package of a disclosure to Maria, and others that do not open."""
    detail: dict[str, Any] = {**NAMED, **ORDER, "recipient": str(MARIA.card)}
    request = rfc8785.dumps({"v": 1, "kind": "disclose", "subject": "dis_1", "detail": detail})
    said = {"made": "2026-01-01T00:00Z", "state": "verified", "assurance": "vault", "fields": {"legal_name": "ANNA"}}
    good = json.loads(disclosures.seal_package("dis_1", DEPLOYMENT, request, MARIA.card.receives, said))
    sealed = bytearray(base64.b64decode(good["sealed"]))
    sealed[-1] ^= 1
    to_another = json.loads(disclosures.seal_package("dis_1", DEPLOYMENT, request, ANNA.card.receives, said))
    faults = {
        "a bit": good | {"sealed": base64.b64encode(bytes(sealed)).decode()},
        "another case": good | {"request": good["request"].replace(ORDER["case"], "4 Js 18/26")},
        "another vault": good | {"deployment": "00" * 16},
        "to another": to_another,
        "a version": good | {"v": 2},
        "a member more": good | {"more": 1},
        "a member less": {name: one for name, one in good.items() if name != "id"},
    }
    return {"keys": KEYS, "package": json.dumps(good), "said": said,
            "faults": {name: json.dumps(one) for name, one in faults.items()}}  # fmt: skip


def main() -> None:
    """Record them; those that are there are written over."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in {"message": message(), "answer": answered(), "package": package()}.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
