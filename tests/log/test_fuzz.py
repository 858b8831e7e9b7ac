"""A30: whatever bytes a parser of the log is given, it returns or raises the one error; 60 s each in full."""

import json
import random
import time
from collections.abc import Callable
from typing import Final

import pytest

from keys.checkpoints import Checkpoint
from keys.errors import NoteError
from keys.notes import Note, Signature, VerifierKey
from tests.log.make_vectors import NOTES
from tests.log.test_proofs_and_policies import EXAMPLE, GOLDEN, NESTED, PROOF
from vault.log import receipts, tiles
from vault.log.policy import Policy
from vault.log.proofs import LogProof
from vault.log.witness import Request

SHORT_SECONDS, FULL_SECONDS = 0.5, 60.0


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda raw: parse(raw.decode("utf-8", "surrogateescape"))


def _receipt(shown: str) -> bytes:
    said = {"act": "account.bound", "object": "acc_A", "client": "cli_A", "minute": 5, shown: "a.b.c", "leaf": "{}"}
    return json.dumps({**said, "proof": PROOF}).encode()


PARSERS: Final[dict[str, tuple[Callable[[bytes], object], list[bytes]]]] = {
    "note": (Note.parse, [raw for *_, raw in NOTES.values()]),
    "checkpoint": (_text(Checkpoint.parse), [raw.rpartition(b"\n\n")[0] + b"\n" for *_, raw in NOTES.values()]),
    "signature": (_text(Signature.parse), [raw.rpartition(b"\n\n")[2] for *_, raw in NOTES.values()]),
    "verifier key": (_text(VerifierKey.parse), [GOLDEN["log_vkey"].encode(), GOLDEN["witness_vkey"].encode()]),
    "proof": (LogProof.parse, [PROOF.encode(), EXAMPLE.encode()]),
    "request of a witness": (Request.parse, [b"old 3\n" + PROOF.partition("index 2\n")[2].encode()]),
    "policy": (Policy.parse, [NESTED.encode()]),
    "path": (_text(tiles.Tile.parse), [b"tile/0/x001/x234/067.p/12", b"tile/entries/000"]),
    "bundle": (tiles.entries_of, [tiles.bundle([b"", b"a", bytes(300)])]),
    "receipt": (receipts.parse, [_receipt("opening"), _receipt("statement")]),
    "keys that state receipts": (receipts.keys_of, [b'{"keys": [{"crv": "P-256", "kid": "a", "x": "AA", "y": "AA"}]}']),
    "tile": (tiles.hashes_of, [bytes(32), bytes(64)]),
}
TOKENS: Final = [
    b"\n",
    b"\n\n",
    b" ",
    b"+",
    b"=",
    b"0",
    b"\xe2\x80\x94 ",
    b"\xff",
    b"\0",
    b"group ",
    b"none",
    b".p/",
    b"x",
    b"/",
]


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    raw = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        place = chance.randint(0, len(raw))
        match chance.randint(0, 4):
            case 0:
                raw[place:place] = chance.choice(TOKENS)
            case 1:
                del raw[place : place + chance.randint(1, 40)]
            case 2:
                raw[place : place + 1] = chance.randbytes(chance.randint(0, 3))
            case 3:
                raw[place:place] = raw[chance.randint(0, len(raw)) :][: chance.randint(0, 80)]
            case _:
                raw[place:] = chance.choice(seeds)[chance.randint(0, 60) :]
    return bytes(raw)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PARSERS)
def test_a30_a_parser_returns_or_refuses_and_reads_again_what_it_read(name: str, *, full: bool) -> None:
    parse, seeds = PARSERS[name]
    seed = random.SystemRandom().randint(0, 2**32)
    chance, end, read = random.Random(seed), time.monotonic() + (FULL_SECONDS if full else SHORT_SECONDS), 0  # noqa: S311 - a test's
    while time.monotonic() < end:
        raw = mutated(chance, seeds)
        try:
            found = parse(raw)
        except NoteError:
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__} for {raw!r}") from error
        read += 1
        if isinstance(found, (Note, LogProof)):
            assert str(found).encode() == raw, f"seed {seed}: a second spelling of {raw!r}"
        elif isinstance(found, (Checkpoint, VerifierKey)):
            assert str(found).encode("utf-8", "surrogateescape") == raw, f"seed {seed}: a second spelling of {raw!r}"
    assert read, "no input was ever taken: the mutations are too wild to test anything"
