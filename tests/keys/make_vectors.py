"""Write tests/keys/vectors: `python -m tests.keys.make_vectors`, by hand, when a format is added. Deterministic.

The vectors are made by the package; `test_vectors.py` checks each against `reference.py`, which shares no code with it.
"""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from keys import fields, frame, links, tags, tokens
from keys.officers import Card
from keys.primitives import Ed25519Signer, HybridReceiver, Secret
from keys.quorum import Kind, Request
from tests.keys.reference import pattern

FOLDER = Path(__file__).parent / "vectors"
KEY = bytes(range(32))
SIV_KEY = bytes(range(64))
SALT = bytes(range(0x80, 0x98))
PLACE: dict[str, Any] = {
    "deployment": bytes(range(16)).hex(),
    "table": "identity.record",
    "address": bytes(range(0x40, 0x50)).hex(),
    "field": "legal_name",
    "revision": 2,
}
SIZES = (0, 1, 16_383, 16_384, 16_385)
KEY_ID = bytes(range(0xA0, 0xB0))
VERSION = 3


def place() -> frame.Place:
    return frame.Place(
        bytes.fromhex(PLACE["deployment"]), PLACE["table"], bytes.fromhex(PLACE["address"]), PLACE["field"],
        PLACE["revision"],
    )  # fmt: skip


def _sealed(plaintext: bytes) -> bytes:
    header = frame.header_of(frame.Purpose.FIELD, KEY_ID, VERSION)
    return header + frame.encrypt(Secret(KEY), frame._context(header, place()), plaintext, salt=SALT)


def _frame(**more: Any) -> dict[str, Any]:
    return {
        "key": KEY.hex(), "purpose": 1, "key_id": KEY_ID.hex(), "version": VERSION, "place": PLACE,
        "salt": SALT.hex(), **more,
    }  # fmt: skip


def frames() -> dict[str, dict[str, Any]]:
    made = {}
    for size in SIZES:
        sealed = _sealed(pattern(size))
        made[f"frame-{size}"] = _frame(
            plaintext_bytes=size, frame_bytes=len(sealed), frame_sha256=hashlib.sha256(sealed).hexdigest(),
            frame_start=sealed[:98].hex(),
        )  # fmt: skip
    return made


def faults() -> dict[str, dict[str, Any]]:
    whole = _sealed(pattern(40))
    at = {
        "magic": 0, "suite": 4, "purpose": 5, "key_id": 6, "version": 25, "salt": 26, "commitment": 50, "chunk": 82,
        "tag": len(whole) - 1,
    }  # fmt: skip
    broken = {name: whole[:i] + bytes((whole[i] ^ 1,)) + whole[i + 1 :] for name, i in at.items()}
    broken |= {"truncated": whole[:-1], "lengthened": whole + b"\x00"}
    return {
        f"frame-fault-{name.replace('_', '-')}": _frame(fault=name, frame=sealed.hex(), error="open")
        for name, sealed in {"none": whole, **broken}.items()
    }


def siv_values() -> dict[str, dict[str, Any]]:
    keys = {7: Secret(SIV_KEY)}
    pid, rid, uid, jti = (bytes(range(start, start + 16)) for start in (0x10, 0x20, 0x30, 0x50))
    pairwise, directory = tokens.PairwiseTokens("shop.example", keys), tokens.DirectoryTokens(keys)
    linked = links.Links("shop.example", keys)
    access = tokens.Access("cli_reader", frozenset(("b.write", "a.read")), 1_767_225_600, jti)
    base: dict[str, Any] = {"key": SIV_KEY.hex(), "key_version": 7}
    sector = {"sector": "shop.example"}
    return {
        "token-nym": base | sector | {
            "pid": pid.hex(), "generation": 5, "text": pairwise.encode(tokens.Pseudonym(pid, 5))},
        "token-vat": base | {
            "client": access.client, "scopes": sorted(access.scopes), "expires": access.expires, "jti": jti.hex(),
            "text": directory.encode_access(access)},
        "token-cur": base | {
            "list": "accounts", "client": "cli_reader", "after": rid.hex(),
            "text": directory.encode_cursor("accounts", "cli_reader", rid)},
        "record-link": base | sector | {"rid": rid.hex(), "pid": pid.hex(), "link": linked.link(rid, pid).hex()},
        "person-tag": base | sector | {"uid": uid.hex(), "tag": linked.tag(uid).hex()},
    }  # fmt: skip


def hashes() -> dict[str, dict[str, Any]]:
    person = {
        "legal_name": fields.FieldValue(b"-", (b"ANNA MARIA ERIKSSON",)),
        "names": fields.FieldValue(b"-", (b"ERIKSSON ANNA",)),
        "birth_date": fields.FieldValue(b"-", (b"1974-08-12",)),
        "document": fields.FieldValue(b"-", (b"passport", b"UTO", b"L898902C3")),
    }
    base: dict[str, Any] = {
        "key": KEY.hex(), "key_version": 4,
        "match": {name: [form.decode() for form in value.match] for name, value in person.items()},
    }  # fmt: skip
    found = tags.fingerprints(Secret(KEY), 4, person)
    local = tags.local_tags(Secret(KEY), 4, "shop.example", person)
    return {
        "fingerprints": base | {"tags": [[tag.kind, tag.value.hex()] for tag in found]},
        "local-tags": base | {"sector": "shop.example", "tags": [[tag.kind, tag.value.hex()] for tag in local]},
    }


def officer() -> dict[str, dict[str, Any]]:
    """Return the card of an officer whose keys are made of counted bytes."""
    signer, receiver = Ed25519Signer(Secret(bytes(range(32)))), HybridReceiver(Secret(bytes(range(96))))
    card = Card("Maria Lindqvist", signer.public(), receiver.public())
    made_of = "Ed25519 seed 00 … 1f; ML-KEM seed 00 … 3f, X25519 private key 40 … 5f"
    return {"officer": {"made_of": made_of, "card": str(card), "key": card.key_id, "words": card.words()}}


def approval() -> dict[str, dict[str, Any]]:
    """Return a request, the message that approves it, and the signature of the officer who asked."""
    signer = Ed25519Signer(Secret(bytes([1]) * 32))
    card = Card("Anna", signer.public(), HybridReceiver(Secret(bytes(96))).public())
    request = Request(
        bytes(range(16)), 3, Kind.DISCLOSE, "acc_AAECAwQFBgcICQoLDA0ODw", {"case": "K 12/26", "fields": ["legal_name"]},
        card.key_id, 1_767_225_600, 1_767_312_000, bytes(range(0x20, 0x30)),
    )  # fmt: skip
    nonce, not_after = bytes(range(0x30, 0x40)), 1_767_312_000
    message = b"idvault/approval/v1\n" + request.digest + nonce + not_after.to_bytes(8, "big") + b"\0\0\0\7officer"
    made = {"request": bytes(request).decode(), "digest": request.digest.hex(), "nonce": nonce.hex(),
            "not_after": not_after, "message": message.hex(), "signature": signer.sign(message).hex()}  # fmt: skip
    return {"approval": made}


def ceremony() -> dict[str, dict[str, Any]]:
    """Return the record of a ceremony of counted bytes, and what it commits to; its shares open nothing."""
    deployment, root = bytes(range(16)), bytes(range(0x60, 0x80))
    info = b"idvault/v1/root" + deployment + (7).to_bytes(4, "big")
    commitment = hmac.digest(root, info + b"\1", "sha256")  # HKDF-Expand of one block, RFC 5869 section 2.3
    record: dict[str, Any] = {
        "v": 1, "deployment": deployment.hex(), "generation": 7, "set": 4711, "threshold": 2, "root": commitment.hex(),
        "officers": [{"key": bytes([n] * 16).hex(), "share": hashlib.sha256(f"academic {n}".encode()).hexdigest()}
                     for n in (1, 2, 3)],
    }  # fmt: skip
    faults: dict[str, dict[str, Any]] = {
        "version": {"v": 2}, "generation": {"generation": 0}, "threshold": {"threshold": 4}, "one": {"threshold": 1},
        "set": {"set": 1 << 15}, "officer twice": {"officers": [record["officers"][0]] * 2}, "member": {"more": 1},
        "no officers": {"officers": []}, "a number as text": {"generation": "7"},
    }  # fmt: skip
    return {"ceremony": {
        "root": root.hex(), "record": _canonical(record), "digest": _digest(record),
        "faults": {name: _canonical(record | change) for name, change in faults.items()} | {
            "spelling": json.dumps(record, indent=1),
        },
    }}  # fmt: skip


def statement() -> dict[str, dict[str, Any]]:
    """Return an agent's statement with its signature, and others that are refused."""
    identity, boot = Ed25519Signer(Secret(bytes([9]) * 32)), HybridReceiver(Secret(bytes([10]) * 96))
    said: dict[str, Any] = {
        "v": 1, "agent": base64.b64encode(identity.public()).decode(), "boot": bytes(range(16)).hex(),
        "key": base64.b64encode(boot.public()).decode(), "deployment": bytes(range(16)).hex(), "version": "0.1.0",
        "code": "ab" * 32, "names": "sealed", "generation": 7, "ceremony": "cd" * 32, "head": "ef" * 32,
        "nonce": bytes(range(0x70, 0x80)).hex(),
    }  # fmt: skip
    other = Ed25519Signer(Secret(bytes([11]) * 32))
    changes: dict[str, dict[str, Any]] = {
        "version": {"v": 2}, "boot": {"boot": "00" * 15}, "key": {"key": "AAAA"}, "agent": {"agent": "AAAA"},
        "deployment": {"deployment": "00"}, "generation": {"generation": "7"}, "nonce": {"nonce": "00" * 17},
        "member": {"more": ""}, "names": {"names": 1},
    }  # fmt: skip
    signed = {name: said | change for name, change in changes.items()}
    label = b"idvault/statement/v1\n"
    faults = {name: [_canonical(one), identity.sign(label + _canonical(one).encode()).hex()]
              for name, one in signed.items()}  # fmt: skip
    raw = _canonical(said)
    faults["another's signature"] = [raw, other.sign(label + raw.encode()).hex()]
    faults["without the label"] = [raw, identity.sign(raw.encode()).hex()]
    faults["spelling"] = [json.dumps(said), identity.sign(label + json.dumps(said).encode()).hex()]
    good = identity.sign(label + raw.encode()).hex()
    return {"statement": {"statement": raw, "signature": good, "faults": faults}}


def pins() -> dict[str, dict[str, Any]]:
    """Return what an officer's machine remembers of a vault, as its file, and others that he did not write."""
    maria, other = Ed25519Signer(Secret(bytes(range(32)))), Ed25519Signer(Secret(bytes([11]) * 32))
    octets = {"agent": bytes([9]) * 32, "record": b"record", "sealed": b"share", "next_record": b"", "next_sealed": b""}
    said: dict[str, Any] = {name: base64.b64encode(value).decode() for name, value in octets.items()} | {
        "vault": "https://vault.example", "deployment": bytes(range(16)).hex(), "version": "0.1.0", "code": "ab" * 32,
        "generation": 7,
    }  # fmt: skip
    label = b"idvault/pins/v1\n"

    def file(said: dict[str, Any], *, label: bytes = label, by: Ed25519Signer = maria, **more: Any) -> str:
        signature = base64.b64encode(by.sign(label + _canonical(said).encode())).decode()
        return json.dumps({"v": 1, "said": said, "signature": signature, **more}, indent=2) + "\n"

    good = json.loads(file(said))
    return {"pins": {"said": said, "file": file(said), "faults": {
        "version": file(said, v=2), "member": file(said, more=1), "member within": file(said | {"more": 1}),
        "a number as text": file(said | {"generation": "7"}), "not base64": file(said | {"agent": "*" * 44}),
        "another base64": file(said | {"record": "cmVjb3Jk\n"}),
        "altered": json.dumps(good | {"said": said | {"generation": 6}}),
        "missing": file({name: value for name, value in said.items() if name != "sealed"}),
        "another's signature": file(said, by=other), "without the label": file(said, label=b""),
        "cut": file(said)[:-3], "a list": "[]", "nothing": "",
    }}}  # fmt: skip


def _canonical(said: dict[str, Any]) -> str:
    """RFC 8785, of texts in ASCII and integers: names in order, no spaces."""
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


def _digest(said: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(said).encode()).hexdigest()


def vectors() -> dict[str, dict[str, Any]]:
    """Return every vector by its file's stem."""
    return {
        **frames(),
        **faults(),
        **siv_values(),
        **hashes(),
        **officer(),
        **approval(),
        **ceremony(),
        **statement(),
        **pins(),
    }


def main() -> None:
    for name, content in vectors().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
