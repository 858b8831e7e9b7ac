"""The sequencer: exactly once however often it is cut off, shuffled, signed; and no second history."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from keys.checkpoints import Checkpoint
from keys.errors import LockdownError, RefusedError
from keys.leaves import read
from keys.merkle import folded, leaf_hash
from keys.notes import Note, VerifierKey
from tests.fresh import kept, refusing
from tests.log.ledger import CutError, Ledger
from vault.errors import VaultError
from vault.log import tiles
from vault.log.cosignatures import holds
from vault.stores import log


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.close()


def check(ledger: Ledger, acts: int) -> Checkpoint:
    """Check that each act is one leaf, that tiles and checkpoint are those of the leaves; return the checkpoint."""
    entries = ledger.entries()
    kinds = [read(entry)["type"] for entry in entries]
    assert [kinds.count(kind) for kind in ("registration.created", "sanction.set")] == [acts, acts]
    assert len(kinds) == 2 * acts
    assert len(set(entries)) == len(entries)
    hashes = [leaf_hash(entry) for entry in entries]
    with ledger.log.reading() as unit:
        newest = log.newest(unit)
    assert newest is not None
    for tile in tiles.of_level(0, len(entries)):
        (held,) = log.read_tiles(ledger.log, [(0, tile.number)]).values()
        assert held == b"".join(hashes[tile.first : tile.first + tile.width])
    note = Note.parse(newest[1])
    public = ledger.call("log.head", {})["public"]
    note.signed_by([VerifierKey("log.example", 1, public)], holds)
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.size, checkpoint.root) == (len(entries), folded(hashes))
    return checkpoint


def test_an_empty_log_is_signed_and_every_act_becomes_one_leaf(ledger: Ledger) -> None:
    sequencer = ledger.sequencer()
    assert sequencer.once() == 0
    check(ledger, 0)
    ledger.act(5)
    assert sequencer.once() == 10
    assert sequencer.once() == 0
    check(ledger, 5)
    assert ledger.waiting() == 0


def test_what_is_more_than_one_round_takes_goes_in_several(ledger: Ledger) -> None:
    ledger.act(7)
    sequencer = ledger.sequencer(rows=3)
    assert [sequencer.once() for _ in range(4)] == [6, 6, 2, 0]
    check(ledger, 7)


def test_a_round_that_is_cut_at_any_step_loses_nothing_and_tells_nothing_twice(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.act(2)
    cuts = acts = 0
    acts = 2
    for cut in range(1, 60):
        ledger.steps, ledger.cut_at = 0, cut
        try:
            ledger.sequencer().once()
        except CutError:
            cuts += 1
        else:
            break
        ledger.cut_at = -1
        if cut % 3 == 0:  # others go on meanwhile
            ledger.act()
            acts += 1
        recovered = ledger.sequencer()
        recovered.once()
        assert ledger.waiting() == 0
        check(ledger, acts)
        ledger.act()
        acts += 1
    assert cuts > 12, "the steps of a round were cut one by one"
    ledger.close()


def test_cuts_upon_cuts_lose_nothing_either(ledger: Ledger) -> None:
    chance, acts = random.Random(7), 0  # noqa: S311 - a test's
    for _ in range(60):
        if chance.random() < 0.5:
            ledger.act()
            acts += 1
        ledger.steps, ledger.cut_at = 0, chance.randint(1, 24)
        try:
            ledger.sequencer(rows=chance.randint(1, 4)).once()
        except CutError:
            continue
    ledger.cut_at = -1
    sequencer = ledger.sequencer(rows=3)
    while sequencer.once():
        pass
    check(ledger, acts)


def test_the_order_within_a_round_is_not_that_of_the_outboxes(ledger: Ledger) -> None:
    """A test of chance: 40 rows stay in the order that they were taken in once in 10^47 rounds."""
    ledger.act(20)
    ledger.sequencer().once()
    kinds = [read(entry)["type"] for entry in ledger.entries()]
    assert kinds != sorted(kinds)
    assert kinds != sorted(kinds, reverse=True)


def test_a26_the_tree_is_the_same_at_every_size_where_something_changes(ledger: Ledger) -> None:
    sequencer = ledger.sequencer()
    sequencer.once()
    for acts in (1, 127, 128, 129, 140):
        ledger.act(acts - ledger.written)
        sequencer.once()
        check(ledger, acts)
    fresh = ledger.sequencer()
    ledger.act(3)
    fresh.once()
    check(ledger, 143)


def test_names_that_are_closed_hold_up_their_own_acts_alone(ledger: Ledger) -> None:
    ledger.act(3)

    def locked(_args: object, _talk: object) -> dict[str, object]:
        raise LockdownError

    acts = dict(ledger._acts)
    ledger._acts |= {"outbox.take": locked, "outbox.settle": locked}
    sequencer = ledger.sequencer()
    assert sequencer.once() == 3
    ledger.act(1)
    for again in (sequencer, ledger.sequencer()):  # also one that starts anew meanwhile
        ledger.act(1)
        assert again.once() == (2 if again is sequencer else 1)
    ledger._acts |= acts
    assert sum(ledger.sequencer().once() for _ in range(2)) == 6
    assert ledger.waiting() == 0
    check(ledger, 6)


def test_rows_that_names_could_not_settle_when_they_were_closed_are_settled_later_by_the_same_sequencer(
    ledger: Ledger,
) -> None:
    """Others are told in between; what is owed is not forgotten over them."""

    def locked(_args: object, _talk: object) -> dict[str, object]:
        raise LockdownError

    acts = dict(ledger._acts)
    sequencer = ledger.sequencer()
    sequencer.once()
    ledger.act(2)
    ledger._acts |= {"outbox.settle": locked}
    assert sequencer.once() == 4
    ledger._acts |= {"outbox.take": locked}
    ledger.act(1)
    assert sequencer.once() == 1
    assert ledger.waiting() == 3, "two that stand in the log, and one that waits for names"
    ledger._acts |= acts
    assert sequencer.once() == 1
    assert ledger.waiting() == 0
    check(ledger, 3)


def test_an_older_log_store_is_refused_before_it_grows_a_branch(ledger: Ledger, tmp_path: Path) -> None:
    sequencer = ledger.sequencer()
    ledger.act(3)
    sequencer.once()
    ledger.log.close()
    put_back = kept(tmp_path, "log")
    ledger.act(2)
    sequencer.once()
    ledger.log.close()
    make_whole = kept(tmp_path, "log")
    put_back()
    ledger.act(4)
    for _ in range(2):
        with pytest.raises(RefusedError, match="ends at 6, and 10 entries were signed: it is an older one; restore"):
            ledger.sequencer().once()
    assert len(ledger.entries()) == 6, "nothing was appended to the older one"
    ledger.log.close()
    make_whole()
    ledger.sequencer().once()
    check(ledger, 9)


def test_a_log_store_whose_tree_was_replaced_is_refused(ledger: Ledger) -> None:
    ledger.act(3)
    ledger.sequencer().once()
    ledger.sql("UPDATE tile SET hashes = ?", bytes(32 * 6))
    ledger.act()
    with pytest.raises(RefusedError, match="not the one that was signed"):
        ledger.sequencer().once()


def test_a_second_writer_appends_nothing_beside_the_first(ledger: Ledger) -> None:
    one, other = ledger.sequencer(), ledger.sequencer()
    one.once()
    other.once()
    ledger.act(2)
    assert one.once() == 4
    ledger.act(1)
    with pytest.raises(RefusedError, match="another sequencer"):
        other.once()
    assert other.once() == 2, "it reads the store anew and goes on"
    check(ledger, 3)


def test_a_log_store_that_cannot_be_written_holds_everything_back_until_it_can(ledger: Ledger) -> None:
    sequencer = ledger.sequencer()
    sequencer.once()
    ledger.act(2)
    with refusing(ledger.log.engine, "INSERT", "leaf"), pytest.raises((VaultError, Exception), match="refused here"):
        sequencer.once()
    assert ledger.waiting() == 4
    assert sequencer.once() == 4
    check(ledger, 2)
