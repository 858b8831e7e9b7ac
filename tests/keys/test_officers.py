"""Officers' key files and cards: made once, opened by one passphrase, of one spelling; nothing secret is shown."""

import base64
import hashlib
import json
import os
import pty
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shamir_mnemonic.wordlist import WORDLIST

from keys import officers, passphrases
from keys.errors import OfficerError, OpenError
from keys.officers import Card, person_of
from keys.passphrases import Cost
from keys.primitives import HYBRID_PUBLIC_BYTES, HYBRID_SEED_BYTES, Ed25519Signer, HybridReceiver, Secret, seal_to

CHEAPEST: Final = Cost(1, 8, 1)
PASSPHRASE: Final = "correct horse battery staple"
SEED: Final = bytes(range(96))
RUN: Final = "import sys; sys.argv[0] = 'idvault-keys'; from keys.cli.main import main; main()"


def made(path: Path, name: str = "Maria Lindqvist") -> Card:
    return officers.create(path, name, PASSPHRASE, CHEAPEST)


def fixed(name: str = "Maria Lindqvist") -> Card:
    """Return a card of keys that are always the same."""
    signer, receiver = Ed25519Signer(Secret(bytes(range(32)))), HybridReceiver(Secret(SEED))
    return Card(name, signer.public(), receiver.public())


def test_what_is_sealed_to_a_card_opens_with_its_file_alone(tmp_path: Path) -> None:
    card, other = made(tmp_path / "maria"), made(tmp_path / "otto", "Otto")
    maria, otto = (officers.open_file(tmp_path / name, PASSPHRASE) for name in ("maria", "otto"))
    assert (maria.card, otto.card) == (card, other)
    sealed = seal_to(card.receives, b"a share", b"set 1")
    assert maria.receiver.open(sealed, b"set 1") == b"a share"
    for receiver, altered, info in (
        (otto.receiver, sealed, b"set 1"), (maria.receiver, sealed, b"set 2"), (maria.receiver, sealed[:-1], b"set 1"),
        (maria.receiver, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"set 1"), (maria.receiver, b"", b"set 1"),
    ):  # fmt: skip
        with pytest.raises(OpenError):
            receiver.open(altered, info)
    with pytest.raises(OpenError):
        seal_to(bytes(HYBRID_PUBLIC_BYTES - 1), b"x", b"")


def test_a53_a_file_is_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "maria"
    card = made(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        made(path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):  # noqa: PT011 - FileExistsError or ELOOP, as the system has it
        made(link)
    assert (path.read_bytes(), (tmp_path / "elsewhere").exists()) == (before, False)
    path.chmod(0o640)
    for read in (officers.read_card, lambda file: officers.open_file(file, PASSPHRASE)):
        with pytest.raises(OfficerError, match="0600"):
            read(path)
    path.chmod(0o600)
    (tmp_path / "to").symlink_to(path)
    with pytest.raises(OfficerError, match="symbolic link"):
        officers.read_card(tmp_path / "to")
    assert officers.read_card(path) == card


def test_a_disk_that_is_full_leaves_no_cut_file_and_a_retry_works(tmp_path: Path) -> None:
    path, limits = tmp_path / "maria", resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            made(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.iterdir())
    assert made(path) == officers.open_file(path, PASSPHRASE).card


def test_a_wrong_passphrase_and_an_altered_file_are_told_alike(tmp_path: Path) -> None:
    path = tmp_path / "maria"
    made(path)
    content = json.loads(path.read_text())
    with pytest.raises(OfficerError, match="wrong passphrase, or the file was altered"):
        officers.open_file(path, PASSPHRASE + " ")
    sealed = base64.b64decode(content["sealed"])
    changes: list[dict[str, Any]] = [
        {"sealed": base64.b64encode(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]).decode()}
        for place in range(0, len(sealed), 7)
    ]
    changes += [{"sealed": base64.b64encode(sealed[:-1]).decode()}, {"card": str(fixed())},
                {"argon2id": content["argon2id"] | {"passes": 2}}]  # fmt: skip
    for change in changes:
        path.write_text(json.dumps(content | change))
        with pytest.raises(OfficerError, match="wrong passphrase, or the file was altered"):
            officers.open_file(path, PASSPHRASE)
    for change in ({"v": 2}, {"card": 5}, {"card": "idvault-officer-1 x y"}, {"argon2id": {}}, {"sealed": "é"},
                   {"argon2id": content["argon2id"] | {"memory_kib": 10**9}},
                   {"argon2id": content["argon2id"] | {"salt": 5}}):  # fmt: skip
        path.write_text(json.dumps(content | change))
        with pytest.raises(OfficerError):
            officers.open_file(path, PASSPHRASE)
    for raw in ("", "[]", "{", '"x"', "[" * 100_000):
        path.write_text(raw)
        with pytest.raises(OfficerError):
            officers.open_file(path, PASSPHRASE)


def test_a_passphrase_is_the_same_in_every_unicode_spelling(tmp_path: Path) -> None:
    officers.create(tmp_path / "maria", "Maria", "Ångström åäö ﬁnal", CHEAPEST)
    assert officers.open_file(tmp_path / "maria", "Ångström åäö final").card.name == "Maria"


@pytest.mark.parametrize("passphrase", ["", "short", "x" * 11, "with\x00a null byte", "x" * 1025, "new\nline " * 3])
def test_a23_what_is_no_passphrase_is_refused_before_it_is_hashed(tmp_path: Path, passphrase: str) -> None:
    with pytest.raises(OfficerError, match="passphrase: "):
        officers.create(tmp_path / "maria", "Maria", passphrase, CHEAPEST)
    assert not list(tmp_path.iterdir())


def test_a23_the_cost_is_that_of_rfc_9106_and_a_million_bytes_are_refused_at_once() -> None:
    assert Cost(3, 65_536, 4) == passphrases.LOW_MEMORY
    started = time.perf_counter()
    with pytest.raises(OfficerError):
        passphrases.stretched("x" * 1_000_000, bytes(16), passphrases.LOW_MEMORY)
    assert time.perf_counter() - started < 1
    for cost in (Cost(0, 64, 1), Cost(1, 7, 1), Cost(1, 2**22, 1), Cost(65, 64, 1), Cost(1, 64, 0)):
        with pytest.raises(OfficerError, match="within bounds"):
            passphrases.stretched("x", bytes(16), cost)


@pytest.mark.parametrize(
    ("memory_kib", "tag"),
    [(2**8, "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
     (2**16, "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7")],
)  # fmt: skip
def test_argon2id_gives_the_tags_that_its_reference_program_is_tested_by(memory_kib: int, tag: str) -> None:
    """P-H-C/phc-winner-argon2, src/test.c: Argon2id, version 19, two passes, one lane."""
    found = passphrases.stretched("password", b"somesalt", Cost(2, memory_kib, 1))
    assert found.expose_cleartext().hex() == tag


NAMES: Final = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)


@settings(max_examples=50)
@given(NAMES, st.binary(min_size=32, max_size=32))
def test_every_card_reads_back_from_its_one_spelling(name: str, seed: bytes) -> None:
    try:
        spelled = officers.check_name(name)
    except OfficerError:
        return  # NFKC made it longer than a name may be, or of other characters
    card = Card(spelled, seed, HybridReceiver(Secret(SEED)).public())
    assert Card.parse(str(card)) == card
    assert Card.parse(f"  {card}\n") == card


def test_a_card_that_was_cut_mistyped_or_spelled_otherwise_is_refused() -> None:
    text = str(fixed())
    body = text.rpartition(" ")[2]
    wrong = [
        "", "idvault-officer-1", text[:-1], text[:-4], text + "A", text.replace("officer-1", "officer-2"),
        text.replace("Maria", "Mara"), text.replace("Maria Lindqvist", "Maria  Lindqvist"), text.replace(" Maria", ""),
        text.replace("Maria Lindqvist", "Maria\u202eLindqvist"), text.replace(body, body + "="), text.upper(),
        text.replace("Maria Lindqvist", "x" * 65),
        *(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :] for at in range(40, len(text), 97)),
    ]  # fmt: skip
    for one in wrong:
        with pytest.raises(OfficerError):
            Card.parse(one)


def test_words_differ_by_card_and_are_those_of_the_vector() -> None:
    """The key and the words are computed here a second time, from the text of the card alone."""
    digest = hashlib.sha256(VECTOR["card"].encode()).digest()
    bits = f"{int.from_bytes(digest, 'big'):0256b}"
    assert VECTOR["words"] == [WORDLIST[int(bits[place : place + 10], 2)] for place in range(0, 100, 10)]
    assert VECTOR["key"] == digest.hex()[:32]
    assert str(fixed()) == VECTOR["card"]
    assert fixed().key_id == VECTOR["key"]
    assert fixed().words() == VECTOR["words"]
    others = {tuple(fixed(name).words()) for name in ("Maria Lindqvist", "Maria Lindquist", "maria Lindqvist")}
    assert len(others) == 3


def test_a34_names_are_told_apart_after_one_normalisation() -> None:
    same = ["Maria Lindqvist", "maria lindqvist", "MARIA  LINDQVIST", " Maria Lindqvist ", "\uff2daria Lindqvist"]
    assert {person_of(name) for name in same} == {"maria lindqvist"}
    assert person_of("Maria Lindquist") != person_of("Maria Lindqvist")
    for name in ("", "  ", "x" * 65, "a\x00b", "a\u200bb", "a\u202eb", "a\nb\x07"):
        with pytest.raises(OfficerError, match="name: "):
            officers.check_name(name)


def typed(arguments: list[str], *lines: str) -> tuple[int, str]:
    """Run the command at a terminal of its own, type lines when it asks, and return exit code and all that was seen."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", RUN, *arguments])  # noqa: S606 - our own interpreter
    seen, left = b"", list(lines)
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
        if (left and seen.rstrip().endswith(b":") and b"assphrase" in seen) or (left and seen.endswith(b"again: ")):
            time.sleep(0.05)  # the terminal stops echoing before it asks, and so do we wait
            os.write(terminal, left.pop(0).encode() + b"\n")
            seen += b"|"
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), seen.decode()


def test_at_the_terminal_a_passphrase_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    path = str(tmp_path / "maria")
    code, seen = typed(["officer", "new", path, "--name", "Maria Lindqvist"], PASSPHRASE, PASSPHRASE)
    assert code == 0, seen
    assert PASSPHRASE not in seen
    assert "idvault-officer-1 Maria Lindqvist " in seen
    code, seen = typed(["officer", "show", path, "--check"], PASSPHRASE)
    assert (code, PASSPHRASE in seen) == (0, False)
    code, seen = typed(["officer", "show", path, "--check"], "another passphrase")
    assert code == 1
    assert "wrong passphrase, or the file was altered" in seen


def ran(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


def test_the_commands_print_the_card_and_its_words(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    secret.chmod(0o600)
    path = str(tmp_path / "maria")
    said = json.loads(ran("officer", "new", path, "--name", "Maria", "--passphrase-file", str(secret), "--json").stdout)
    card = Card.parse(said["card"])
    assert (said["name"], said["key"], said["words"]) == ("Maria", card.key_id, card.words())
    shown = ran("officer", "show", path)
    assert shown.stdout == f"{card}\n"
    assert shown.stderr.endswith(f"{' '.join(card.words())}\n")
    (tmp_path / "card").write_text(shown.stdout)
    assert ran("officer", "show", str(tmp_path / "card")).stdout == shown.stdout
    again = ran("officer", "new", path, "--name", "Maria", "--passphrase-file", str(secret), code=1)
    assert "there is a file already" in again.stderr
    secret.chmod(0o644)
    refused = ran("officer", "show", path, "--passphrase-file", str(secret), code=1)
    assert "--passphrase-file: readable for others" in refused.stderr


VECTOR: Final[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "officer.json").read_text())
assert len(SEED) == HYBRID_SEED_BYTES
