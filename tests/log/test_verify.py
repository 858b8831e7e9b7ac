"""A31: whatever is altered in a log, by SQL or in a file, its verifier names the first entry that shows it."""

import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keys.errors import NoteError
from keys.merkle import folded, leaf_hash
from keys.notes import VerifierKey
from tests.log.ledger import MINUTE, Ledger
from vault.log import sources
from vault.log.cosignatures import holds
from vault.log.sources import SourceError, reader
from vault.log.verify import BadLogError, Verified, continues, head_of, verify

ENTRIES = 700


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ledger, str]]:
    ledger = Ledger(tmp_path_factory.mktemp("log"))
    ledger.act(ENTRIES // 2)
    ledger.sequencer().once()
    key = str(VerifierKey("log.example", 1, ledger.call("log.head", {})["public"]))
    yield ledger, key
    ledger.close()


@pytest.fixture(scope="module")
def whole(made: tuple[Ledger, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror") / "log"
    assert sources.mirror(made[0].reader().read, folder) == (ENTRIES, 7)
    return folder


@pytest.fixture
def mirror(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "log"))


def verified(where: Path, key: str) -> Verified:
    return verify(reader(str(where)), key, MINUTE)


def test_a_log_is_verified_from_its_store_a_mirror_and_an_export_alike(
    made: tuple[Ledger, str], mirror: Path, tmp_path: Path
) -> None:
    ledger, key = made
    read = ledger.reader().read
    export = tmp_path / "log.tar"
    assert sources.export(read, export) == ENTRIES
    found = [verify(read, key, MINUTE), verified(mirror, key), verified(export, key)]
    assert found[0] == found[1] == found[2]
    assert found[0].head.size == ENTRIES
    assert found[0].types == {"registration.created": ENTRIES // 2, "sanction.set": ENTRIES // 2}
    assert sources.mirror(read, mirror) == (ENTRIES, 0), "what is there is not fetched again"
    with pytest.raises(SourceError, match="there already"):
        sources.export(read, export)


def test_an_entry_is_proved_by_a_file_that_stands_alone(made: tuple[Ledger, str]) -> None:
    ledger, key = made
    for index in (0, 255, 256, ENTRIES - 1):
        proof, entry = ledger.reader().proof(index)
        proof.check(entry, [VerifierKey.parse(key)], holds)
        with pytest.raises(NoteError):
            proof.check(entry, [VerifierKey("other.example", 1, bytes(32))], holds)


def _bundle(mirror: Path, number: int) -> Path:
    return mirror / "tile/entries" / (f"{number:03}" if number < ENTRIES // 256 else f"{number:03}.p/{ENTRIES % 256}")


def _altered(mirror: Path) -> int:
    path = _bundle(mirror, 1)
    path.write_bytes(path.read_bytes().replace(b"29453760", b"29453761", 1))
    return 256


def _swapped(mirror: Path) -> int:
    path = _bundle(mirror, 2)
    entries = _split(path.read_bytes())
    other = next(n for n, entry in enumerate(entries) if entry != entries[5] and n > 5)
    entries[5], entries[other] = entries[other], entries[5]
    path.write_bytes(_joined(entries))
    return 512 + 5


def _deleted(mirror: Path) -> int:
    path = _bundle(mirror, 0)
    entries = _split(path.read_bytes())
    del entries[100]
    path.write_bytes(_joined(entries))
    return 100


def _inserted(mirror: Path) -> int:
    path = _bundle(mirror, 0)
    entries = _split(path.read_bytes())
    entries.insert(30, entries[0])
    path.write_bytes(_joined(entries))
    return 30


def _bundle_missing(mirror: Path) -> int:
    _bundle(mirror, 1).unlink()
    return 256


def _bundle_cut(mirror: Path) -> int:
    path = _bundle(mirror, 2)
    path.write_bytes(path.read_bytes()[:-1])
    return ENTRIES - 1


def _tile_altered(mirror: Path) -> int:
    path = mirror / "tile/0/001"
    raw = bytearray(path.read_bytes())
    raw[32 * 7] ^= 1
    path.write_bytes(raw)
    return 256 + 7


def _level_altered(mirror: Path) -> int:
    path = mirror / "tile/1/000.p/2"
    raw = bytearray(path.read_bytes())
    raw[32] ^= 1
    path.write_bytes(raw)
    return 256


def _consistently_replaced(mirror: Path) -> int:
    """Entry, leaf hash and the hash above: only the signed root is not theirs."""
    entries = [entry for number in range(3) for entry in _split(_bundle(mirror, number).read_bytes())]
    entries[300] = entries[300].replace(b"29453760", b"29453761")
    hashes = [leaf_hash(entry) for entry in entries]
    _bundle(mirror, 1).write_bytes(_joined(entries[256:512]))
    (mirror / "tile/0/001").write_bytes(b"".join(hashes[256:512]))
    (mirror / "tile/1/000.p/2").write_bytes(folded(hashes[:256]) + folded(hashes[256:512]))
    return ENTRIES - 1


def _split(raw: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 2], "big")
        found.append(raw[place + 2 : place + 2 + length])
        place += 2 + length
    return found


def _joined(entries: list[bytes]) -> bytes:
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


@pytest.mark.parametrize(
    "fault",
    [_altered, _swapped, _deleted, _inserted, _bundle_missing, _bundle_cut, _tile_altered, _level_altered,
     _consistently_replaced],
)  # fmt: skip
def test_a31_the_first_entry_that_is_not_as_it_must_be_is_named(
    made: tuple[Ledger, str], mirror: Path, fault: Callable[[Path], int]
) -> None:
    index = fault(mirror)
    with pytest.raises(BadLogError) as caught:
        verified(mirror, made[1])
    assert caught.value.index == index


def test_a31_a_lost_end_shows_against_a_checkpoint_that_was_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    sequencer, read = ledger.sequencer(), ledger.reader().read
    ledger.act(5)
    sequencer.once()
    key = str(VerifierKey("log.example", 1, ledger.call("log.head", {})["public"]))
    earlier = read("checkpoint")
    ledger.act(5)
    sequencer.once()
    kept = [head_of(note, key) for note in (earlier, read("checkpoint"))]
    for head in kept:
        continues(verify(read, key, MINUTE), head)
    # Whoever has the store takes back the end, checkpoint and all: the log as such is whole.
    ledger.sql("DELETE FROM leaf WHERE number >= 10")
    ledger.sql("DELETE FROM checkpoint WHERE size > 10")
    ledger.sql("UPDATE tile SET hashes = substr(hashes, 1, 320)")
    found = verify(read, key, MINUTE)
    continues(found, kept[0])
    with pytest.raises(BadLogError, match="lost its end"):
        continues(found, kept[1])
    ledger.close()


def test_a_log_of_another_key_or_name_is_refused(made: tuple[Ledger, str], mirror: Path) -> None:
    public = VerifierKey.parse(made[1]).public
    for key in (VerifierKey("other.example", 1, public), VerifierKey("log.example", 1, bytes(32))):
        with pytest.raises(BadLogError, match="not signed"):
            verified(mirror, str(key))
    note = (mirror / "checkpoint").read_bytes()
    for bad in (note.replace(b"\n700\n", b"\n701\n"), note[:-10] + note[-9:], b"", note.replace(b"\n\n", b"\n")):
        (mirror / "checkpoint").write_bytes(bad)
        with pytest.raises(BadLogError):
            verified(mirror, made[1])


def test_what_is_no_log_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder, export or URL"):
        reader(str(tmp_path / "nothing"))
    (tmp_path / "file").write_bytes(b"no archive")
    with pytest.raises(SourceError, match="no export"):
        reader(str(tmp_path / "file"))
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(SourceError, match="no checkpoint"):
        sources.size_at(reader(str(tmp_path / "empty.tar")))
    with pytest.raises(SourceError, match="does not answer"):
        reader("http://127.0.0.1:1/log")("checkpoint")
