"""Signed notes, checkpoints and cosignatures: vectors on disk with one fault each, public ones among them; A26, A30."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.checkpoints import Checkpoint, log_key, signed
from keys.errors import NoteError
from keys.notes import ED25519, ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, Note, Signature, VerifierKey
from keys.primitives import Ed25519Signer, MlDsa44Signer, Secret
from tests.log.make_vectors import FOLDER, GO_KEY, NEUMANN_KEY, NOTES, written
from vault.log.cosignatures import cosigned, cosigner_key, holds, time_of

GOLDEN: Final[dict[str, Any]] = json.loads((FOLDER / "golden.json").read_text())
LOG: Final = Ed25519Signer(Secret(bytes(range(32))))
WITNESS: Final = Ed25519Signer(Secret(bytes(range(32, 64))))
TIME: Final = 1_767_225_600
NAMES: Final = st.text(st.characters(exclude_characters="+", exclude_categories=["Z", "C"]), min_size=1, max_size=60)


def vector(name: str) -> tuple[str, bytes]:
    """Return what refuses it, and the bytes."""
    head, _, raw = (FOLDER / "notes" / name).read_bytes().partition(b"\n\n")
    return head.decode().rpartition(": ")[2], raw


def accept(raw: bytes) -> str:
    """Return what refuses a note: note, signature, checkpoint or none."""
    try:
        note = Note.parse(raw)
    except NoteError:
        return "note"
    keys = [VerifierKey.parse(text) for text in (GOLDEN["log_vkey"], GOLDEN["witness_vkey"], GO_KEY, NEUMANN_KEY)]
    try:
        note.signed_by(keys, holds)
    except NoteError:
        refused_by = "signature"
    else:
        refused_by = "none"
    try:
        Checkpoint.parse(note.text)
    except NoteError:
        return "checkpoint"
    return refused_by


@pytest.mark.parametrize("name", NOTES)
def test_a30_a_vector_is_refused_by_what_it_names(name: str) -> None:
    assert (FOLDER / "notes" / name).read_bytes() == written(name)
    refused_by, raw = vector(name)
    found = accept(raw)
    if refused_by == "no checkpoint":
        refused_by = "checkpoint"
    if NOTES[name][0] != "own":
        assert str(Note.parse(raw)).encode() == raw
    if name in {"c2sp-cosignature", "size-zero", "extension"}:  # texts that the known keys did not sign
        refused_by = "signature"
    assert found == refused_by


def test_a_real_checkpoint_of_the_go_checksum_database_holds_by_its_public_key() -> None:
    note = Note.parse(vector("go-checksum-database")[1])
    key = VerifierKey.parse(GO_KEY)
    assert note.signed_by([key], holds) == [key]
    assert Checkpoint.parse(note.text).size == 3_935_567


def test_the_example_of_go_holds_by_its_key() -> None:
    key = VerifierKey.parse(NEUMANN_KEY)
    assert Note.parse(vector("go-note")[1]).signed_by([key], holds) == [key]


def test_a26_the_golden_checkpoint_is_made_byte_for_byte() -> None:
    root = bytes.fromhex(GOLDEN["roots"][4])
    checkpoint = Checkpoint("vault.example/log/1", 5, root)
    key = cosigner_key("witness.example/w1", WITNESS)
    assert [str(log_key(checkpoint.origin, LOG)), str(key)] == [GOLDEN["log_vkey"], GOLDEN["witness_vkey"]]
    note = Note(str(checkpoint), (signed(checkpoint, LOG), cosigned(str(checkpoint), key, WITNESS, TIME)))
    assert str(note) == GOLDEN["checkpoint"]
    assert note.signed_by([log_key(checkpoint.origin, LOG), key], holds) == [log_key(checkpoint.origin, LOG), key]
    assert time_of(note.signatures[1].value) == TIME


def test_a_cosignature_with_ml_dsa_44_holds_for_its_name_time_and_checkpoint_alone() -> None:
    signer = MlDsa44Signer(Secret(bytes(32)))
    key, text = cosigner_key("w.example", signer), str(Checkpoint("log.example", 5, bytes(32)))
    value = cosigned(text, key, signer, TIME).value
    assert len(value) == 8 + 2420
    assert holds(key, text, value)
    assert holds(key, text + "an extension is not covered\n", value)
    later = (TIME + 1).to_bytes(8, "big") + value[8:]
    others = (str(Checkpoint(*what)) for what in (("log.example", 6, bytes(32)), ("log2.example", 5, bytes(32))))
    assert not any(holds(key, other, value) for other in others)
    assert not holds(key, text, later)
    assert not holds(VerifierKey("v.example", ML_DSA_44_COSIGNATURE, signer.public()), text, value)
    assert not holds(key, "no checkpoint\n", value)


def test_a_cosignature_with_ed25519_covers_every_line_and_its_time() -> None:
    key, text = cosigner_key("w.example", WITNESS), str(Checkpoint("log.example", 5, bytes(32)))
    value = cosigned(text, key, WITNESS, TIME).value
    assert holds(key, text, value)
    assert not holds(key, text + "an extension is covered\n", value)
    assert not holds(key, text, (TIME + 1).to_bytes(8, "big") + value[8:])


@pytest.mark.parametrize("time", [0, -1, 2**63])
def test_a_witness_says_when_and_within_63_bits(time: int) -> None:
    key = cosigner_key("w.example", WITNESS)
    text = str(Checkpoint("log.example", 5, bytes(32)))
    with pytest.raises(NoteError):
        cosigned(text, key, WITNESS, time)
    value = cosigned(text, key, WITNESS, TIME).value
    assert not holds(key, text, bytes(8) + value[8:])
    assert not holds(key, text, value[:-1])


def test_the_log_does_not_sign_as_a_witness_nor_a_witness_as_the_log() -> None:
    text = str(Checkpoint("log.example", 5, bytes(32)))
    as_witness, as_log = cosigner_key("log.example", LOG), log_key("log.example", LOG)
    assert as_witness.public == as_log.public
    assert as_witness.id != as_log.id
    cosignature = cosigned(text, as_witness, LOG, TIME)
    assert not holds(as_log, text, cosignature.value)
    assert not holds(as_witness, text, signed(Checkpoint.parse(text), LOG).value)


KINDS: Final = {ED25519: 32, ED25519_COSIGNATURE: 32, ML_DSA_44_COSIGNATURE: 1312}


@given(NAMES, st.sampled_from(sorted(KINDS)), st.binary(min_size=1312, max_size=1312))
def test_every_verifier_key_reads_back_as_it_was_written(name: str, kind: int, material: bytes) -> None:
    key = VerifierKey(name, kind, material[: KINDS[kind]])
    assert VerifierKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "text",
    ["", "a", "a+b", "a+8645b290+", "vault.example/log/1+8645b291+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4",
     "vault.example/log/1+8645B290+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4", "a+00000000+AQ==", "+8645b290+AQ==",
     "a+00000000+AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
)  # fmt: skip
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(text)


LINES: Final = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=40)
SIGNATURES: Final = st.builds(Signature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))


@given(st.lists(LINES, min_size=1), st.lists(SIGNATURES, min_size=1, max_size=5))
def test_every_note_reads_back_as_it_was_written(lines: list[str], signatures: list[Signature]) -> None:
    note = Note("".join(f"{line}\n" for line in lines), tuple(signatures))
    if note.text != "\n":
        assert Note.parse(str(note).encode()) == note


@given(NAMES, st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32), st.lists(LINES.filter(bool), max_size=3))
def test_every_checkpoint_reads_back_as_it_was_written(origin: str, size: int, root: bytes, more: list[str]) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(more))
    assert Checkpoint.parse(str(checkpoint)) == checkpoint


def test_the_vectors_on_disk_are_those_of_the_generator() -> None:
    assert {path.name for path in Path(FOLDER / "notes").iterdir()} == set(NOTES)
