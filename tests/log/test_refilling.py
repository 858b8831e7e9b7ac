"""A log store that lost its end is filled up from anybody's copy, verified, and goes on as if nothing had happened."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keys.errors import LockdownError, RefusedError
from tests.fresh import kept
from tests.http.test_log import await_checkpoint
from tests.log.ledger import MINUTE, Ledger, enrol
from tests.log.test_sequencer import check
from tests.serving import Server
from vault.log import sources
from vault.log.sources import reader
from vault.log.verify import BadLogError
from vault.services import refilling
from vault.services.refilling import Refilled, Refilling
from vault.stores import refusals


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.close()


def refill(ledger: Ledger, copy: Path) -> Refilled:
    made = Refilling(ledger.directory, ledger.log, ledger, ledger, origin="log.example")  # type: ignore[arg-type]
    return made.refill(reader(str(copy)), MINUTE, lambda _: None)


def lose_the_end(ledger: Ledger, folder: Path, first: int, lost: int) -> None:
    """Do so many acts, keep the store as it is then, do more, mirror the log, and put the older store back."""
    sequencer = ledger.sequencer()
    sequencer.once()
    ledger.act(first)
    sequencer.once()
    ledger.log.close()
    put_back = kept(folder, "log")
    ledger.act(lost)
    sequencer.once()
    sources.mirror(ledger.reader().read, folder / "mirror")
    ledger.log.close()
    put_back()


@pytest.mark.parametrize(("first", "lost"), [(3, 2), (0, 5), (127, 1), (128, 150), (300, 400), (1, 128)])
def test_a_store_that_lost_its_end_is_filled_up_and_the_log_goes_on(
    ledger: Ledger, tmp_path: Path, first: int, lost: int
) -> None:
    lose_the_end(ledger, tmp_path, first, lost)
    ledger.act(4)
    with pytest.raises(RefusedError, match="idvault log refill"):
        ledger.sequencer().once()
    assert refill(ledger, tmp_path / "mirror") == Refilled(2 * first, 2 * (first + lost), 0)
    assert refill(ledger, tmp_path / "mirror").before == 2 * (first + lost), "a second time there is nothing to do"
    ledger.sequencer().once()
    check(ledger, first + lost + 4)
    assert ledger.waiting() == 0


@pytest.mark.parametrize("most", [2, 10_000])
def test_rows_that_wait_though_their_leaf_was_signed_are_not_told_again(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Names were closed in between: what the key store's outbox had was signed, and could not be settled.

    There may be more of them than the agent takes at once.
    """
    monkeypatch.setattr(refilling, "MOST_IDS", most)
    call = ledger.call

    def closed(verb: str, args: object) -> object:
        if verb == "outbox.settle":
            raise LockdownError
        return call(verb, args)  # type: ignore[arg-type]

    sequencer = ledger.sequencer()
    sequencer.once()
    ledger.log.close()
    put_back = kept(tmp_path, "log")
    ledger.act(6)
    monkeypatch.setattr(ledger, "call", closed)
    sequencer.once()
    monkeypatch.setattr(ledger, "call", call)
    assert ledger.waiting() == 6
    sources.mirror(ledger.reader().read, tmp_path / "mirror")
    ledger.log.close()
    put_back()
    assert refill(ledger, tmp_path / "mirror") == Refilled(0, 12, 6)
    ledger.act(1)
    ledger.sequencer().once()
    check(ledger, 7)


def test_refused_attempts_that_were_signed_and_are_back_in_the_outbox_are_not_told_again(
    ledger: Ledger, tmp_path: Path
) -> None:
    """The directory and the log were put back to before a round whose leaves others have."""
    enrol(ledger)
    with ledger.directory.writing() as unit:
        assert refusals.add(unit, "cli_a", "scope", MINUTE - 5, bytes(16), 3)
    for store in (ledger.directory, ledger.log):
        store.close()
    put_back = kept(tmp_path, "directory", "log")
    assert ledger.sequencer().once() == 1
    sources.mirror(ledger.reader().read, tmp_path / "mirror")
    for store in (ledger.directory, ledger.log):
        store.close()
    put_back()
    assert refill(ledger, tmp_path / "mirror") == Refilled(0, 1, 1)
    assert ledger.sequencer().once() == 0


def test_a_copy_that_is_too_short_altered_or_another_log_is_refused_and_nothing_is_filled_in(
    ledger: Ledger, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lose_the_end(ledger, tmp_path, 200, 100)
    mirror = tmp_path / "mirror"
    bundle = mirror / "tile" / "entries" / "001"
    raw = bundle.read_bytes()
    bundle.write_bytes(raw.replace(b"sanction.set", b"sanction.sat", 1))
    with pytest.raises(BadLogError, match="entry "):
        refill(ledger, mirror)
    bundle.write_bytes(raw)
    other = Ledger(tmp_path_factory.mktemp("other"))
    other.act(300)
    other.sequencer().once()
    sources.mirror(other.reader().read, tmp_path / "another")
    other.close()
    with pytest.raises(BadLogError, match="not signed by the log's key"):
        refill(ledger, tmp_path / "another")
    assert len(ledger.entries()) == 400
    refill(ledger, mirror)
    ledger.sequencer().once()
    check(ledger, 300)


def test_a_store_that_is_not_the_beginning_of_the_copy_is_left_alone(ledger: Ledger, tmp_path: Path) -> None:
    lose_the_end(ledger, tmp_path, 5, 5)
    ledger.sql("UPDATE tile SET hashes = ?", bytes(32 * 10))
    with pytest.raises(BadLogError, match="earlier checkpoint"):
        refill(ledger, tmp_path / "mirror")
    assert len(ledger.entries()) == 10


def test_a_copy_that_ends_before_what_was_signed_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    ledger.act(3)
    sequencer = ledger.sequencer()
    sequencer.once()
    sources.mirror(ledger.reader().read, tmp_path / "mirror")
    ledger.act(3)
    sequencer.once()
    with pytest.raises(BadLogError, match="lost its end"):
        refill(ledger, tmp_path / "mirror")


def test_the_command_fills_up_a_vault_from_a_mirror_and_refuses_beside_a_sequencer(tmp_path: Path) -> None:
    server = Server(tmp_path / "home", IDVAULT_SEQUENCER="yes", IDVAULT_LOG_MILLISECONDS="100").start()
    mirror = str(tmp_path / "mirror")
    server.provider("chat")
    await_checkpoint(server)
    while server.json("log", "verify").get("size", 0) < 1:
        pass
    server.json("log", "mirror", mirror)
    server.run("log", "refill", "--from", mirror, code=1)
    assert server.stop() == 0
    for table in ("leaf", "detail", "drained", "tile", "checkpoint", "daily"):
        server.sql("log", f"delete from {table}")  # noqa: S608 - our own names
    assert server.json("fsck", code=4)["findings"]
    done = server.json("log", "refill", "--from", mirror)
    assert (done["before"], done["after"]) == (0, 1)
    assert server.json("fsck")["findings"] == []
