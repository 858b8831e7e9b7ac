"""Witnesses: each answer of the specification, nothing signed twice two ways, and a log that goes on without them."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.checkpoints import Checkpoint, log_key, signed
from keys.errors import NoteError
from keys.merkle import EMPTY_ROOT, leaf_hash
from keys.notes import Note, Signature
from keys.primitives import Ed25519Signer, MlDsa44Signer, Secret
from tests.log.ledger import Ledger
from tests.log.reference import consistency, root
from vault.cli.witness import _handler
from vault.log import sources
from vault.log.cosignatures import cosigner_key, holds, time_of
from vault.log.policy import Policy
from vault.log.witness import Request, Witness
from vault.services.witnessing import REST_SECONDS, Witnesses

pytestmark = pytest.mark.sampled

ORIGIN: Final = "log.example"
LOG: Final = Ed25519Signer(Secret(bytes(range(32))))
OTHER: Final = Ed25519Signer(Secret(bytes([9]) * 32))
LEAVES: Final = [leaf_hash(bytes([number])) for number in range(40)]
NOW: Final = 1_767_225_600


def note(size: int, *, signer: Ed25519Signer = LOG, origin: str = ORIGIN, top: bytes | None = None) -> Note:
    checkpoint = Checkpoint(origin, size, root(LEAVES[:size]) if top is None else top)
    return Note(str(checkpoint), (signed(checkpoint, signer),))


def request(old: int, size: int, **more: Any) -> bytes:
    proof = more.pop("proof", consistency(old, LEAVES[:size]) if 0 < old < size else [])
    return bytes(Request(old, tuple(proof), note(size, **more)))


@pytest.fixture(params=["ed25519", "ml-dsa-44"])
def witness(request: pytest.FixtureRequest, tmp_path: Path) -> Witness:
    seed = Secret(bytes(range(32, 64)))
    signer = Ed25519Signer(seed) if request.param == "ed25519" else MlDsa44Signer(seed)
    return Witness(cosigner_key("w.example", signer), signer, {ORIGIN: log_key(ORIGIN, LOG)}, tmp_path)


def test_a_log_that_grows_is_signed_each_time_and_remembered(witness: Witness) -> None:
    for old, size in ((0, 0), (0, 5), (5, 5), (5, 12), (12, 40)):
        answer = witness.add_checkpoint(request(old, size), NOW + size)
        assert answer.status == 200
        signature = Signature.parse(answer.body.decode().removesuffix("\n"))
        assert Note(note(size).text, (signature,)).signed_by([witness.key], holds) == [witness.key]
        assert time_of(signature.value) == NOW + size
    [kept] = [path for path in witness.folder.iterdir() if not path.suffix]
    served = witness.checkpoint(kept.name)
    assert served is not None
    assert Note.parse(served).signed_by([witness.key], holds)
    assert witness.checkpoint("0" * 64) is None


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (400, lambda: b""), (400, lambda: b"old 5\n\n"), (400, lambda: request(5, 12).replace(b"old 5", b"old 05")),
        (400, lambda: request(5, 12).replace(b"old", b"new")), (400, lambda: request(13, 12)),
        (400, lambda: request(5, 12, proof=[bytes(32)] * 64)), (400, lambda: request(5, 12).replace(b"\n\n", b"\n")),
        (400, lambda: request(5, 12).replace(b"\n12\n", b"\n012\n")[:-1]),
        (404, lambda: request(5, 12, origin="other.example")),
        (403, lambda: request(5, 12, signer=OTHER)), (403, lambda: request(5, 12).replace(b"\n12\n", b"\n13\n")),
        (409, lambda: request(0, 12)), (409, lambda: request(4, 12)), (409, lambda: request(12, 12)),
        (422, lambda: request(5, 12, proof=[])), (422, lambda: request(5, 12, proof=consistency(6, LEAVES[:12]))),
        (422, lambda: request(5, 12, top=bytes(32))), (422, lambda: request(5, 5, top=bytes(32))),
        (422, lambda: request(0, 0, top=bytes(32))), (422, lambda: request(5, 5, proof=[bytes(32)])),
    ],
)  # fmt: skip
def test_what_is_not_as_it_must_be_is_answered_as_specified_and_moves_nothing(
    witness: Witness, status: int, raw: Callable[[], bytes]
) -> None:
    assert witness.add_checkpoint(request(0, 5), NOW).status == 200
    answer = witness.add_checkpoint(raw(), NOW)
    assert answer.status == status
    if status == 409:
        assert (answer.body, answer.content_type) == (b"5\n", "text/x.tlog.size")
    else:
        assert answer.body == b""
    assert witness.add_checkpoint(request(5, 12), NOW).status == 200


def test_from_nothing_a_proof_is_refused(witness: Witness) -> None:
    assert witness.add_checkpoint(request(0, 5, proof=[bytes(32)]), NOW).status == 422
    assert witness.add_checkpoint(request(0, 0, top=EMPTY_ROOT), NOW).status == 200


def test_of_many_at_once_those_that_are_signed_are_one_history(witness: Witness) -> None:
    witness.add_checkpoint(request(0, 5), NOW)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda size: witness.add_checkpoint(request(5, size), NOW), range(6, 30)))
    assert sorted(answer.status for answer in found) == [200] + [409] * 23


def test_what_was_signed_is_on_disk_before_the_answer(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    witness.add_checkpoint(request(0, 5), NOW)

    def full(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr("vault.log.witness.replace_durably", full)
        with pytest.raises(OSError):  # noqa: PT011 - it has no text
            witness.add_checkpoint(request(5, 12), NOW)
    assert witness.add_checkpoint(request(5, 13), NOW).status == 200, "what was not written was not signed"


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_every_request_reads_back_as_it_was_written(old: int, proof: list[bytes]) -> None:
    made = Request(old, tuple(proof), note(5))
    assert Request.parse(bytes(made)) == made


@contextmanager
def served(witness: Witness) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(witness))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_log_has_its_checkpoints_signed_and_goes_on_while_a_witness_is_away_or_lost_an_answer(tmp_path: Path) -> None:
    ledger, clock = Ledger(tmp_path), [0.0]
    key = log_key(ORIGIN, Ed25519Signer(ledger.keys.keyring.current("sign/log").secret))
    (tmp_path / "w").mkdir()
    signer = Ed25519Signer(Secret(bytes(range(32, 64))))
    witness = Witness(cosigner_key("w.example", signer), signer, {ORIGIN: key}, tmp_path / "w")
    with served(witness) as url:
        policy = Policy.parse(f"log {key}\nwitness w {witness.key} {url}\nquorum w\n".encode())
        witnesses = Witnesses(policy, lambda: clock[0])
        sequencer = ledger.sequencer(cosign=witnesses.cosign)

        def signers() -> list[str]:
            ledger.act()
            sequencer.once()
            found = Note.parse(ledger.reader().checkpoint())
            return [one.name for one in found.signed_by(policy.keys(), holds)]

        assert [signers() for _ in range(3)] == [[ORIGIN, "w.example"]] * 3
        witnesses._sizes.clear()  # a fresh process does not know how far it was
        assert signers() == [ORIGIN, "w.example"]
    assert signers() == [ORIGIN], "away"
    assert signers() == [ORIGIN], "it is left alone for a while"
    with served(witness) as url:
        policy.witnesses["w"] = type(policy.witnesses["w"])(witness.key, url)
        assert signers() == [ORIGIN]
        clock[0] += REST_SECONDS + 1
        assert signers() == [ORIGIN, "w.example"], "it is asked again, over all that it missed"
    ledger.close()


def test_a_witness_that_lies_adds_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    key = log_key(ORIGIN, Ed25519Signer(ledger.keys.keyring.current("sign/log").secret))
    (tmp_path / "w").mkdir()
    liar = Witness(cosigner_key("w.example", LOG), OTHER, {ORIGIN: key}, tmp_path / "w")
    with served(liar) as url:
        policy = Policy.parse(f"log {key}\nwitness w {liar.key} {url}\nquorum w\n".encode())
        sequencer = ledger.sequencer(cosign=Witnesses(policy).cosign)
        ledger.act()
        sequencer.once()
        found = Note.parse(ledger.reader().checkpoint())
        assert found.signed_by(policy.keys(), holds) == [key]
        with pytest.raises(NoteError, match="too few"):
            policy.check(found.signed_by(policy.keys(), holds))
    ledger.close()


def verified(mirror: Path, policy: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vault.cli.main", "log", "verify", str(mirror), "--policy", str(policy), *options]
    return subprocess.run(command, check=False, capture_output=True, timeout=60)


def test_the_verifier_asks_for_the_quorum_of_a_policy(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    key = log_key(ORIGIN, Ed25519Signer(ledger.keys.keyring.current("sign/log").secret))
    (tmp_path / "w").mkdir()
    signer = Ed25519Signer(Secret(bytes(range(32, 64))))
    witness = Witness(cosigner_key("w.example", signer), signer, {ORIGIN: key}, tmp_path / "w")
    stranger = cosigner_key("s.example", Ed25519Signer(Secret(bytes(range(64, 96)))))
    with served(witness) as url:
        asked = Policy.parse(f"log {key}\nwitness w {witness.key} {url}\nquorum w\n".encode())
        ledger.act(3)
        ledger.sequencer(cosign=Witnesses(asked).cosign).once()
    mirror, policy = tmp_path / "mirror", tmp_path / "policy"
    sources.mirror(ledger.reader().read, mirror)
    lines = f"log {key}\nwitness w {witness.key}\nwitness s {stranger}\ngroup both all w s\n"
    for quorum, code, said in (
        ("w", 0, b""),
        ("none", 0, b""),
        ("s", 4, b"too few"),
        ("both", 4, b"too few"),
    ):
        policy.write_text(f"{lines}quorum {quorum}\n")
        done = verified(mirror, policy)
        assert (done.returncode, said in done.stdout) == (code, True), done.stderr
    other = log_key(ORIGIN, OTHER)
    policy.write_text(f"log {other}\nwitness w {witness.key}\nquorum w\n")
    assert verified(mirror, policy).returncode == 4, "the policy is another log's"
    assert verified(mirror, policy, "--key", str(key)).returncode == 4, "signed by the key, not by the policy's log"
    policy.write_text("quorum\n")
    done = verified(mirror, policy)
    assert (done.returncode, b"--policy: the file cannot be read" in done.stderr) == (1, True)
    ledger.close()
