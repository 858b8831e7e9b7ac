"""The golden vectors: made once, checked against the package and against a second computation of the formats."""

import hashlib
import json
from typing import Any

import pytest

from keys import frame, tags
from keys.errors import OpenError
from keys.fields import FieldValue
from keys.links import Links
from keys.primitives import Secret, Siv
from keys.tokens import Access, DirectoryTokens, PairwiseTokens, Pseudonym
from tests.keys import make_vectors, reference

VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(make_vectors.FOLDER.glob("*.json"))}
SIZED = [name for name in VECTORS if name.removeprefix("frame-").isdigit()]
FAULTS = [name for name in VECTORS if name.startswith("frame-fault-") and name != "frame-fault-none"]


def _bytes(vector: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(vector[name])


def _place(vector: dict[str, Any]) -> frame.Place:
    place = vector["place"]
    return frame.Place(
        _bytes(place, "deployment"), place["table"], _bytes(place, "address"), place["field"], place["revision"]
    )


def _reference_frame(vector: dict[str, Any], plaintext: bytes) -> bytes:
    head, place = reference.header(vector["purpose"], _bytes(vector, "key_id"), vector["version"]), vector["place"]
    context = reference.context(
        head, _bytes(place, "deployment"), place["table"], _bytes(place, "address"), place["field"], place["revision"]
    )
    return head + reference.cobblestone(_bytes(vector, "key"), _bytes(vector, "salt"), context, plaintext)


def _open(vector: dict[str, Any], sealed: bytes) -> bytes:
    return frame.open_frame(
        Secret(_bytes(vector, "key")), frame.Purpose(vector["purpose"]), _place(vector), sealed,
        key_id=_bytes(vector, "key_id"), version=vector["version"],
    )  # fmt: skip


def test_the_files_are_what_the_generator_makes_and_nothing_else() -> None:
    assert make_vectors.vectors() == VECTORS


def test_there_is_a_vector_for_every_size_and_fault() -> None:
    assert {VECTORS[name]["plaintext_bytes"] for name in SIZED} == {0, 1, 16_383, 16_384, 16_385}
    assert {VECTORS[name]["fault"] for name in FAULTS} == {
        "magic", "suite", "purpose", "key_id", "version", "salt", "commitment", "chunk", "tag", "truncated",
        "lengthened",
    }  # fmt: skip


@pytest.mark.parametrize("name", SIZED)
def test_a_frame_is_byte_for_byte_that_of_the_specification(name: str) -> None:
    vector = VECTORS[name]
    plaintext = reference.pattern(vector["plaintext_bytes"])
    sealed = _reference_frame(vector, plaintext)
    assert len(sealed) == vector["frame_bytes"]
    assert hashlib.sha256(sealed).hexdigest() == vector["frame_sha256"]
    assert sealed[:98].hex() == vector["frame_start"]
    assert _open(vector, sealed) == plaintext


@pytest.mark.parametrize("name", FAULTS)
def test_a_frame_with_one_fault_does_not_open(name: str) -> None:
    with pytest.raises(OpenError) as caught:
        _open(VECTORS[name], _bytes(VECTORS[name], "frame"))
    assert str(caught.value) == "the sealed value does not open"
    assert caught.value.kind == VECTORS[name]["error"]
    assert caught.value.__cause__ is None


def test_each_fault_is_one_fault() -> None:
    """The same frame without the fault opens, so nothing but the fault is what refuses it."""
    whole = _bytes(VECTORS["frame-fault-none"], "frame")
    assert _open(VECTORS["frame-fault-none"], whole) == reference.pattern(40)
    for name in FAULTS:
        broken = _bytes(VECTORS[name], "frame")
        changed = sum(a != b for a, b in zip(whole, broken, strict=False)) + abs(len(whole) - len(broken))
        assert changed == 1


def test_a_pairwise_token_is_that_of_the_specification() -> None:
    vector = VECTORS["token-nym"]
    key, sector, version = _bytes(vector, "key"), vector["sector"], bytes((vector["key_version"],))
    plain = _bytes(vector, "pid") + vector["generation"].to_bytes(4, "big")
    assert reference.spelt("nym_", reference.siv(key, plain, sector.encode(), version) + version) == vector["text"]
    codec = PairwiseTokens(sector, {vector["key_version"]: Secret(key)})
    assert codec.decode(vector["text"]) == Pseudonym(_bytes(vector, "pid"), vector["generation"])


def test_an_access_token_is_that_of_the_specification() -> None:
    vector = VECTORS["token-vat"]
    key, version = _bytes(vector, "key"), bytes((vector["key_version"],))
    plain = reference.lp(vector["client"].encode(), " ".join(vector["scopes"]).encode())
    plain += vector["expires"].to_bytes(8, "big") + _bytes(vector, "jti")
    assert reference.spelt("vat_", reference.siv(key, plain, b"vat", version) + version) == vector["text"]
    access = DirectoryTokens({vector["key_version"]: Secret(key)}).decode_access(vector["text"])
    assert access == Access(vector["client"], frozenset(vector["scopes"]), vector["expires"], _bytes(vector, "jti"))


def test_a_cursor_is_that_of_the_specification() -> None:
    vector = VECTORS["token-cur"]
    key, version = _bytes(vector, "key"), bytes((vector["key_version"],))
    plain = reference.lp(vector["list"].encode(), vector["client"].encode(), _bytes(vector, "after"))
    assert reference.spelt("cur_", reference.siv(key, plain, b"cur", version) + version) == vector["text"]
    codec = DirectoryTokens({vector["key_version"]: Secret(key)})
    assert codec.decode_cursor(vector["list"], vector["client"], vector["text"]) == _bytes(vector, "after")


def test_a_record_link_is_that_of_the_specification() -> None:
    vector = VECTORS["record-link"]
    key, version = _bytes(vector, "key"), bytes((vector["key_version"],))
    rid, pid, sector = _bytes(vector, "rid"), _bytes(vector, "pid"), vector["sector"]
    assert reference.siv(key, rid, sector.encode(), version, pid) + version == _bytes(vector, "link")
    assert Links(sector, {vector["key_version"]: Secret(key)}).rid(_bytes(vector, "link"), pid) == rid


def test_a_person_tag_is_that_of_the_specification() -> None:
    vector = VECTORS["person-tag"]
    key, version, sector = _bytes(vector, "key"), bytes((vector["key_version"],)), vector["sector"]
    assert reference.siv(key, _bytes(vector, "uid"), sector.encode(), version) + version == _bytes(vector, "tag")
    assert Links(sector, {vector["key_version"]: Secret(key)}).tag(_bytes(vector, "uid")) == _bytes(vector, "tag")


def _person(vector: dict[str, Any]) -> dict[str, FieldValue]:
    return {name: FieldValue(b"", tuple(form.encode() for form in forms)) for name, forms in vector["match"].items()}


def _wanted(vector: dict[str, Any], *label: bytes) -> list[list[str]]:
    match = {name: [form.encode() for form in forms] for name, forms in vector["match"].items()}
    birth, document = match["birth_date"], match["document"]
    values = [("document_birth", document + birth), ("document", document)]
    values += [("name_birth", [form, *birth]) for form in sorted(match["legal_name"] + match["names"])]
    found = []
    for kind, parts in values:
        mac = reference.hmac256(_bytes(vector, "key"), reference.lp(*label, kind.encode(), *parts))
        found.append([kind, (bytes((vector["key_version"],)) + mac).hex()])
    return found


def test_fingerprints_are_those_of_the_specification() -> None:
    vector = VECTORS["fingerprints"]
    assert vector["tags"] == _wanted(vector, b"fingerprint")[:2]
    made = tags.fingerprints(Secret(_bytes(vector, "key")), vector["key_version"], _person(vector))
    assert [[tag.kind, tag.value.hex()] for tag in made] == vector["tags"]


def test_local_tags_are_those_of_the_specification() -> None:
    vector = VECTORS["local-tags"]
    assert vector["tags"] == _wanted(vector, b"local", vector["sector"].encode())
    made = tags.local_tags(Secret(_bytes(vector, "key")), vector["key_version"], vector["sector"], _person(vector))
    assert [[tag.kind, tag.value.hex()] for tag in made] == vector["tags"]


def test_siv_gives_the_example_of_rfc_5297_appendix_a1() -> None:
    key = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    associated = bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")
    plaintext = bytes.fromhex("112233445566778899aabbccddee")
    sealed = bytes.fromhex("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c")
    assert Siv(Secret(key)).seal(plaintext, associated) == sealed
    assert Siv(Secret(key)).open(sealed, associated) == plaintext
    assert reference.siv(key, plaintext, associated) == sealed


@pytest.mark.parametrize("size", [1, 15, 16, 17, 40])
def test_siv_with_256_bit_keys_agrees_with_a_second_computation(size: int) -> None:
    key, plaintext = bytes(range(64)), reference.pattern(size)
    assert Siv(Secret(key)).seal(plaintext, b"one", b"two") == reference.siv(key, plaintext, b"one", b"two")
