"""The fork guard: what was signed last is in the store and in a file, and neither being put back opens a second way."""

from pathlib import Path

import pytest

from keys.checkpoints import Checkpoint, signed
from keys.entries import SIGN_LOG
from keys.errors import ConflictError, RefusedError, SetupError
from keys.heads import FILE_NAME, Heads
from keys.notes import Note
from keys.primitives import Ed25519Signer, Secret
from tests.fresh import refusing
from tests.keys.stores import KeyStore

ORIGIN = "vault.example/log"


def head(size: int, fill: int = 7) -> Checkpoint:
    return Checkpoint(ORIGIN, size, bytes([fill]) * 32)


@pytest.fixture
def heads(store: KeyStore) -> Heads:
    return Heads(store.engine, store.keyring, store.home)


def forget_row(store: KeyStore) -> None:
    store.execute("DELETE FROM log_head")


def test_what_was_signed_last_is_told_after_it_was_made_durable(heads: Heads) -> None:
    assert heads.last() is None
    heads.advance(None, head(5))
    assert heads.last() == head(5)
    heads.advance(head(5), head(9))
    assert heads.last() == head(9)
    assert (heads.home / FILE_NAME).read_text() == str(head(9))


def test_a_head_is_swapped_for_the_one_that_stands_and_no_other(heads: Heads) -> None:
    heads.advance(None, head(5))
    for former in (None, head(4), head(5, fill=8)):
        with pytest.raises(ConflictError):
            heads.advance(former, head(6))
    assert heads.last() == head(5)


def test_a_key_store_put_back_does_not_make_the_file_forget(heads: Heads, store: KeyStore) -> None:
    heads.advance(None, head(5))
    row = store.rows("log_head")[0]
    heads.advance(head(5), head(9))
    store.execute("UPDATE log_head SET size = :s, root = :r, mac = :m", s=row.size, r=row.root, m=row.mac)
    assert heads.last() == head(9)
    forget_row(store)
    assert heads.last() == head(9)


def test_a_file_put_back_does_not_make_the_key_store_forget(heads: Heads) -> None:
    heads.advance(None, head(5))
    heads.advance(head(5), head(9))
    (heads.home / FILE_NAME).write_text(str(head(5)))
    assert heads.last() == head(9)


def test_a_lost_file_stops_all_signing_and_any_copy_of_the_newest_checkpoint_brings_it_back(heads: Heads) -> None:
    heads.advance(None, head(9))
    (heads.home / FILE_NAME).unlink()
    with pytest.raises(RefusedError, match="put the newest checkpoint of this log there"):
        heads.last()
    note = f"{head(9)}\n— {ORIGIN} AAAAAAAA\n"
    (heads.home / FILE_NAME).write_text(note)
    assert heads.last() == head(9)


@pytest.mark.parametrize("text", ["", "nonsense", str(head(9, fill=8)), str(Checkpoint("other.example", 9, bytes(32)))])
def test_a_file_that_is_not_of_this_log_stops_all_signing(heads: Heads, text: str) -> None:
    heads.advance(None, head(9))
    (heads.home / FILE_NAME).write_text(text)
    with pytest.raises(RefusedError, match="no checkpoint of this log"):
        heads.last()


@pytest.mark.parametrize("column", ["size", "root", "origin", "mac"])
def test_a_row_that_was_altered_stops_all_signing(heads: Heads, store: KeyStore, column: str) -> None:
    heads.advance(None, head(9))
    value = {"size": 3, "origin": "other.example"}.get(column, bytes(32))
    store.execute(f"UPDATE log_head SET {column} = :value", value=value)  # noqa: S608 - a constant
    with pytest.raises(RefusedError, match="altered"):
        heads.last()


def test_a_crash_between_file_and_row_leaves_the_newer_head(heads: Heads, store: KeyStore, tmp_path: Path) -> None:
    heads.advance(None, head(5))
    # A refusal stands for the crash: the file was written, the row was not.
    with refusing(store.engine, "UPDATE", "log_head"), pytest.raises(Exception, match="refused here"):
        heads.advance(head(5), head(9))
    assert heads.last() == head(9)
    assert not list(tmp_path.glob("*.new"))


def mirrored(heads: Heads, checkpoint: Checkpoint, secret: Secret | None = None) -> Path:
    """Return a mirror with a checkpoint, signed by the log's key or by another's."""
    folder = heads.home / "mirror"
    folder.mkdir(exist_ok=True)
    signer = Ed25519Signer(secret or heads.keyring.current(SIGN_LOG).secret)
    (folder / "checkpoint").write_text(str(Note(str(checkpoint), (signed(checkpoint, signer),))))
    return folder


def test_a_mirror_with_a_later_checkpoint_shows_that_all_was_put_back(heads: Heads) -> None:
    heads.check_mirror(heads.home / "nothing")
    with pytest.raises(SetupError, match="5 entries, this vault signed 0"):
        heads.check_mirror(mirrored(heads, head(5)))
    heads.advance(None, head(5))
    for known in (head(1), head(4), head(5)):
        heads.check_mirror(mirrored(heads, known))
    for later in (head(6), head(5, fill=8), head(2**40)):
        with pytest.raises(SetupError, match="put back"):
            heads.check_mirror(mirrored(heads, later))
    heads.advance(head(5), head(6))
    heads.check_mirror(mirrored(heads, head(6)))
    (heads.home / FILE_NAME).unlink()  # the row alone says it as well
    heads.check_mirror(mirrored(heads, head(6)))


def test_a_mirror_of_another_log_or_of_none_is_told_as_such(heads: Heads) -> None:
    heads.advance(None, head(5))
    folder = mirrored(heads, head(5), Secret(bytes(32)))
    for raw in (None, b"", b"\xff", str(head(5)).encode()):
        if raw is not None:
            (folder / "checkpoint").write_bytes(raw)
        with pytest.raises(SetupError, match="cannot be read, or is not signed by this log"):
            heads.check_mirror(folder)
