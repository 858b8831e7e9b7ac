"""The count law: each line of a record stands in the log, and what has no leaf is named; the agent tells no more."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from keys import store
from keys.agent.acts.lines import verify_lines
from keys.engine import writing
from keys.errors import ProofError, ProtocolError, RefusedError
from keys.filters import Filter
from keys.heads import Heads
from keys.merkle import CompactRange, folded, leaf_hash
from keys.primitives import random_bytes
from tests.keys.stores import dialogue
from tests.log.ledger import Ledger
from tests.serving import Server
from vault.services import counting
from vault.stores import directory


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.close()


def checked(ledger: Ledger, entries: list[bytes] | None = None) -> dict[str, Any]:
    """Ask the agent as `fsck` does; with entries, as somebody who gives it others than there are."""
    own = counting._Answers(ledger.log, lambda _: None)

    def answer(what: str, args: Mapping[str, Any]) -> object:
        if what == "entries" and entries is not None:
            return entries[args["first"] :]
        return own.answer(what, args)

    heads = Heads(ledger.keys.engine, ledger.keys.keyring, ledger.keys.home)
    with dialogue(answer) as talk:
        return verify_lines(ledger.keys.names(), heads, {}, talk)


def test_every_line_of_every_record_is_found_in_the_log(ledger: Ledger) -> None:
    assert checked(ledger)["lines"] == 0
    ledger.act(600)
    ledger.sequencer().once()
    ledger.act(3)
    found = checked(ledger)
    assert found == {"records": 600, "lines": 600, "missing": 0, "where": [], "waiting": 3, "views": 0}


def test_a_line_that_is_not_in_the_log_is_counted_and_its_record_is_named(ledger: Ledger) -> None:
    ledger.act(20)
    ledger.sequencer().once()
    with writing(ledger.keys.engine) as connection:
        [rid] = connection.execute(store.leaf_count.select().limit(1)).scalars()
        connection.execute(update(store.leaf_count).where(store.leaf_count.c.rid == rid).values(leaves=3))
    found = checked(ledger)
    assert (found["missing"], found["where"], found["lines"]) == (2, [rid], 22)


def test_a_caller_who_leaves_an_entry_out_or_changes_one_learns_nothing(ledger: Ledger) -> None:
    ledger.act(20)
    ledger.sequencer().once()
    entries = ledger.entries()
    for given in (
        [entries[1], entries[0], *entries[2:]], [*entries[:7], entries[6], *entries[8:]], [entries[0]] * len(entries),
    ):  # fmt: skip
        with pytest.raises(ProofError):
            checked(ledger, given)
    for given in (entries[:-1], []):
        with pytest.raises(ProtocolError):
            checked(ledger, given)
    assert checked(ledger, [*entries, b"more than was signed"])["missing"] == 0


def test_a_log_that_is_not_signed_to_its_end_is_not_counted(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_WAIT_SECONDS", 0)
    ledger.act(5)
    sequencer = ledger.sequencer()
    sequencer.once()
    ledger.act(5)
    sequencer._drain()
    with pytest.raises(RefusedError, match="not signed to its end"):
        checked(ledger)


def test_a_filter_holds_what_was_added_and_next_to_nothing_else() -> None:
    known, values = Filter(2000), [random_bytes(32) for _ in range(2000)]
    for value in values:
        known.add(value)
    assert all(value in known for value in values)
    assert sum(random_bytes(32) in known for _ in range(5000)) < 20, "one in 7,000 is expected"


def test_a_compact_range_has_the_root_of_the_tree_at_every_size() -> None:
    tree, hashes = CompactRange(), [leaf_hash(bytes([n])) for n in range(130)]
    for size, hashed in enumerate(hashes):
        assert tree.root() == folded(hashes[:size])
        tree.append(hashed)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("counted") / "home", IDVAULT_SEQUENCER="yes").start()
    server.provider("chat")
    end = time.monotonic() + 20
    while server.sql("directory", "select count(*) from audit_outbox") != [(0,)]:
        assert time.monotonic() < end
        time.sleep(0.1)
    yield server
    server.stop()


def named(server: Server) -> set[str]:
    return {finding["row"] for finding in server.json("fsck", code=4)["findings"]}


def test_a_sanction_or_client_that_was_planted_without_an_act_is_named_by_fsck(served: Server) -> None:
    assert served.json("fsck")["findings"] == []
    served.sql(
        "directory",
        "insert into sanction (id, provider, pid, rung, starts, ground, automated, source, origin)"
        " values (?, 'cli_x', ?, 1, 1, 'spam', 'none', 'report', ?)",
        bytes(16), bytes(16), bytes(16),
    )  # fmt: skip
    assert named(served) == {"log.leaf sanction.set"}
    served.sql("directory", "delete from sanction")
    copied = ", ".join(column.name for column in directory.client.columns if column.name not in {"id", "role"})
    served.sql("directory", f"insert into client (id, role, {copied}) select 'cli_p', 'operator', {copied} from client")  # noqa: S608 - names of columns
    assert named(served) == {"log.leaf operator.enrolled"}
    served.sql("directory", "delete from client where id = 'cli_p'")
    assert served.json("fsck")["findings"] == []


def test_counts_by_day_that_are_not_those_of_the_leaves_are_named_by_fsck(served: Server) -> None:
    served.sql("log", "update daily set leaves = leaves + 6 where type = 'provider.enrolled'")
    assert named(served) == {"log.daily"}
    served.sql("log", "update daily set leaves = leaves - 6 where type = 'provider.enrolled'")
    assert served.json("fsck")["findings"] == []
