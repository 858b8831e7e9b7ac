"""Proofs in files and policies of witnesses: what holds, what is refused, and every spelling that is none."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.checkpoints import Checkpoint, log_key, signed
from keys.errors import NoteError, ProofError
from keys.notes import Note, Signature, VerifierKey, encoded
from keys.primitives import Ed25519Signer, MlDsa44Signer, Secret
from tests.log.make_vectors import FOLDER
from vault.log.cosignatures import cosigned, cosigner_key, holds
from vault.log.policy import Policy
from vault.log.proofs import LogProof

GOLDEN: Final[dict[str, Any]] = json.loads((FOLDER / "golden.json").read_text())
PROOF: Final = (
    "c2sp.org/tlog-proof@v1\nindex 2\n" + "\n".join(GOLDEN["inclusion_2_of_5"]) + "\n\n" + GOLDEN["checkpoint"]
)
KEYS: Final = [VerifierKey.parse(GOLDEN[name]) for name in ("log_vkey", "witness_vkey")]
EXAMPLE: Final = (
    "c2sp.org/tlog-proof@v1\nextra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6\nindex 73894\n"
    "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\nB95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n"
    "EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\nRoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n"
    "AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n\nexample.com/fancylog\n109482\n"
    "sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\n— example.com/fancylog hI2DJw==\n"
).replace("hI2DJw==", "hI2DJ5eX")
"""The example of c2sp.org/tlog-proof, whose signatures and last characters are cut there."""


def test_a_proof_file_shows_its_entry_in_its_checkpoint_and_no_other() -> None:
    proof = LogProof.parse(PROOF.encode())
    assert proof.check(b"c", KEYS, holds) == KEYS
    for entry in (b"b", b"", b"c\n"):
        with pytest.raises(ProofError):
            proof.check(entry, KEYS, holds)
    with pytest.raises(NoteError):
        proof.check(
            b"c", [VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")], holds
        )


def test_a_proof_file_is_made_byte_for_byte() -> None:
    assert str(LogProof.parse(PROOF.encode())) == PROOF
    read = LogProof.parse(EXAMPLE.encode())
    assert (read.index, read.extra, str(read)) == (73_894, b"age-v1.2.1-darwin-arm64.tar.gz", EXAMPLE)


@pytest.mark.parametrize(
    ("old", "new"),
    [("@v1", "@v2"), ("index 2\n", "index 02\n"), ("index 2\n", "index -2\n"), ("index 2\n", "index\n"),
     ("index 2\n", "index 2 \n"), ("index 2\n", ""), ("index 2\n", "index 2\nextra AA==\n"),
     ("index 2\n", "extra A\nindex 2\n"), ("index 2\n", "extra AA==\nextra AA==\nindex 2\n"),
     ("0HDcW42", "0HDcW4"), ("index 2\n", "index 2\n" + "0HDcW42prqfcD1rUwp2JllIABZyaDOyjq9XaJJLctx0=\n" * 61),
     ("8Q=\n\n", "8Q=\n"), ("8Q=\n", "8R=\n"), ("— vault", "- vault"), ("index 2", "index 2\r")],
)  # fmt: skip
def test_what_is_no_proof_file_is_refused(old: str, new: str) -> None:
    assert old in PROOF
    with pytest.raises(NoteError):
        LogProof.parse(PROOF.replace(old, new, 1).encode())


HASHES: Final = st.lists(st.binary(min_size=32, max_size=32), max_size=63)


@given(st.integers(0, 2**63 - 1), HASHES, st.one_of(st.none(), st.binary(max_size=50)))
def test_every_proof_reads_back_as_it_was_written(index: int, hashes: list[bytes], extra: bytes | None) -> None:
    note = Note(str(Checkpoint("log.example", 1, bytes(32))), (Signature("log.example", bytes(4), b"s"),))
    proof = LogProof(index, tuple(hashes), note, extra)
    assert LogProof.parse(str(proof).encode()) == proof


SIGNERS: Final = [Ed25519Signer(Secret(bytes([number]) * 32)) for number in range(6)]
ML_DSA: Final = MlDsa44Signer(Secret(bytes(32)))
LOG: Final = log_key("log.example", SIGNERS[0])
WITNESSES: Final = [cosigner_key(f"w{number}.example", signer) for number, signer in enumerate(SIGNERS)][1:]
QUANTUM: Final = cosigner_key("q.example", ML_DSA)
NESTED: Final = "\n".join(
    [f"log {LOG}", *(f"witness X{n} {WITNESSES[n]} https://x{n}.example/" for n in range(3)), "# two of three",
     "group X-witnesses 2 X0 X1 X2", *(f"  witness\tY{n} {WITNESSES[n]}" for n in (3, 4)), "",
     "group Y-witnesses any Y3 Y4", "group X-and-Y all X-witnesses Y-witnesses", "quorum X-and-Y", ""]
)  # fmt: skip


@pytest.mark.parametrize(
    ("signed_by", "suffices"),
    [
        ([0, 1, 3], True),
        ([0, 2, 4], True),
        ([0, 1, 2, 3, 4], True),
        ([0, 1, 2], False),
        ([0, 3, 4], False),
        ([], False),
    ],
)
def test_a_quorum_of_nested_groups_counts_its_members(signed_by: list[int], *, suffices: bool) -> None:
    policy, signed_keys = Policy.parse(NESTED.encode()), [LOG, *(WITNESSES[n] for n in signed_by)]
    if suffices:
        policy.check(signed_keys)
    else:
        with pytest.raises(NoteError, match="too few witnesses"):
            policy.check(signed_keys)
    with pytest.raises(NoteError, match="no log"):
        policy.check(signed_keys[1:])


def test_a_policy_of_both_algorithms_is_held_against_a_checkpoint_that_both_cosigned() -> None:
    policy = Policy.parse(
        f"log {LOG}\nwitness a {WITNESSES[0]}\nwitness b {QUANTUM}\ngroup g all a b\nquorum g\n".encode()
    )
    checkpoint = Checkpoint("log.example", 5, bytes(32))
    text, own = str(checkpoint), signed(checkpoint, SIGNERS[0])
    both = (cosigned(text, WITNESSES[0], SIGNERS[1], 1), cosigned(text, QUANTUM, ML_DSA, 2))
    policy.check(Note(text, (own, *both)).signed_by(policy.keys(), holds))
    with pytest.raises(NoteError):
        policy.check(Note(text, (own, both[1])).signed_by(policy.keys(), holds))
    Policy.parse(f"log {LOG}\nquorum none".encode()).check([LOG])


A, B = WITNESSES[:2]


@pytest.mark.parametrize(
    "text",
    ["", f"log {LOG}", "quorum none\nquorum none", "quorum a", f"quorum a\nwitness a {A}", f"log {A}\nquorum none",
     f"log {LOG}\nlog {LOG}\nquorum none", f"witness a {LOG}\nquorum none", f"witness a {A}\nwitness a {B}\nquorum a",
     f"witness a {A}\nwitness b {A}\nquorum a", f"witness none {A}\nquorum none", f"witness a {A} u v\nquorum a",
     f"log {LOG} u v\nquorum none", f"witness a {A}\ngroup g 2 a\nquorum g", f"witness a {A}\ngroup g 0 a\nquorum g",
     f"witness a {A}\ngroup g 01 a\nquorum g", f"witness a {A}\ngroup g some a\nquorum g", "group g any\nquorum g",
     f"witness a {A}\ngroup g any a a\nquorum g", f"witness a {A}\ngroup g any a b\nquorum g",
     f"witness a {A}\ngroup g any none\nquorum g", f"witness a {A}\ngroup a any a\nquorum a",
     f"witness a {A}\ngroup g any a\ngroup h any a\nquorum g", "group g any g\nquorum g", "quorum", "quorum none none",
     "other line\nquorum none", "quorum none\r\n", "quorum none\0", "witness a b\nquorum none", "log\nquorum none"],
)  # fmt: skip
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        Policy.parse(text.encode())


def test_a_key_under_another_name_is_the_same_key() -> None:
    again = VerifierKey("other.example", A.kind, A.public)
    assert encoded(again.public) == encoded(A.public)
    with pytest.raises(NoteError):
        Policy.parse(f"witness a {A}\nwitness b {again}\nquorum a".encode())
