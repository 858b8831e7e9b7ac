"""What was read while a stamp holds is what reading now would give, whoever writes meanwhile or is killed at it."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from keys.driver import Prepared, once
from keys.engine import open_engine
from keys.errors import SetupError
from tests.fresh import fresh_store
from tests.http.test_full_disks import disk
from tests.http.test_store_faults import fill
from vault.errors import Kind, VaultError
from vault.services.remembering import RememberedClients
from vault.stores import answers, changes, clients, exchanges, sanctions, standings
from vault.stores.changes import Changes, Stamp, of_store
from vault.stores.directory import account, audit_outbox, provider, review, standing
from vault.stores.standings import AccountRow, Newcomer, StandingRow
from vault.stores.unit import Store, Unit, end, insert_last, run

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

ANNA, BERT, CARL, DORA = (bytes([n]) * 16 for n in (1, 2, 3, 4))
WRITES, WRITERS, READERS = 60, 2, 2
_NOBODY = 65_534
_fork = multiprocessing.get_context("fork")


class Directory:
    """A directory with its counters, as each process opens it."""

    def __init__(self, url: str, file: Path) -> None:
        engine = open_engine(url)
        self.url, self.named, self.others = url, file, list[Directory]()
        self.file = file if engine.dialect.name == "postgresql" else Path(f"{engine.url.database}.changes")
        found = of_store(engine, file)
        assert found is not None
        self.changes, self.store = found, Store(engine)

    def again(self) -> "Directory":
        """Open it once more, as another process does."""
        self.others.append(Directory(self.url, self.named))
        return self.others[-1]


def _newcomer(pid: bytes) -> Newcomer:
    one = StandingRow(pid, "cli_chat", "chat.example", b"link", "none", 0, None, None, None, "live", "natural", 0)
    return Newcomer(one, _account(pid, pid[::-1]), f"handle {pid.hex()}")


def _account(pid: bytes, number: bytes) -> AccountRow:
    return AccountRow(pid, number, "cli_chat", None, "public", "in_review", f"h{number.hex()}", b"mac", None, None, 0)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    made = Directory(fresh_store(tmp_path, "directory"), tmp_path / "counters")
    with made.store.writing() as unit:
        clients.add(unit, client_id="cli_chat", name="chat", role="provider", bound_to=None, scopes="introspect",
                    secret_hash=bytes(32), now=0)  # fmt: skip
        clients.add_provider(unit, client_id="cli_chat", name="chat", sector="chat.example", policy={})
        standings.add_all(unit, [_newcomer(pid) for pid in (ANNA, BERT)])
    yield made
    for one in (made, *made.others):
        one.store.close()


_NEXT = Prepared(update(standing).where(standing.c.pid == bindparam("of")).values(generation=bindparam("next")))


def _prepared(unit: Unit) -> None:
    run(unit, _NEXT.on(unit, of=ANNA, next=7))


_OF_ANNA: dict[str, Callable[[Unit], object]] = {
    "a rung": lambda unit: sanctions.refresh(unit, ANNA, None),
    "a rung on an account": lambda unit: sanctions.refresh(unit, ANNA, ANNA[::-1]),
    "an assurance": lambda unit: standings.set_assurance(unit, ANNA, "document"),
    "an approval of her accounts": lambda unit: standings.approve_personal(unit, ANNA),
    "another account": lambda unit: standings.add_account(unit, _account(ANNA, DORA)),
    "a record": lambda unit: standings.give_record(unit, ANNA, b"link", "natural"),
    "a statement that is prepared": _prepared,
    "the access token of this id": lambda unit: exchanges.revoke(unit, ANNA, 9),
    "a last statement": lambda unit: end(
        unit, Prepared(update(standing).where(standing.c.pid == bindparam("of")).values(ladder="4:")).on(unit, of=ANNA)
    ),
}
_OF_ALL: dict[str, Callable[[Unit], object]] = {
    "a client": lambda unit: clients.disable(unit, "cli_chat"),
    "a secret": lambda unit: clients.rotate_secret(unit, "cli_chat", bytes(32), 0),
    "a provider": lambda unit: clients.set_provider(unit, "cli_chat", "suspended", None),
    "a policy": lambda unit: clients.set_policy(unit, "cli_chat", {}),
    "an account by its id": lambda unit: standings.set_account_state(unit, ANNA[::-1], "cli_chat", "approved"),
    "every standing": lambda unit: unit.execute(update(standing).values(generation=1)),
    "one or another": lambda unit: unit.execute(
        update(standing).where((standing.c.pid == CARL) | (standing.c.generation == 0)).values(generation=1)
    ),
    "those that a query finds": lambda unit: unit.execute(
        delete(account).where(account.c.pid == select(standing.c.pid).where(standing.c.pid == ANNA).scalar_subquery())
    ),
    "what nobody foresaw": lambda unit: unit.execute(
        text("WITH gone AS (SELECT 1) UPDATE standing SET generation = 3 WHERE pid IN (SELECT pid FROM standing)")
    ),
}
_OF_NOBODY: dict[str, Callable[[Unit], object]] = {
    "a registration": lambda unit: standings.add_all(unit, [_newcomer(CARL), _newcomer(DORA)]),
    "registrations of many": lambda unit: standings.add_all(unit, [_newcomer(bytes([9, n] * 8)) for n in range(40)]),
    "a registration at the end": lambda unit: insert_last(unit, *standings.adding([_newcomer(CARL)])),
    "a standing alone": lambda unit: standings.add_void(unit, CARL),
    "an audit row": lambda unit: unit.execute(
        insert(audit_outbox).values(id=CARL, type="x", minute=0, address=b"", detail=b"")
    ),
    "the end of tokens that were revoked": lambda unit: answers.expire(unit, 0, 10, 10),
    "another access token": lambda unit: exchanges.revoke(unit, CARL, 9),
    "a lease": lambda unit: unit.execute(update(review).values(lease_until=1)),
    "a reading": lambda unit: standings.find(unit, ANNA),
}


@pytest.mark.parametrize(
    ("write", "anna", "bert"),
    [
        *(pytest.param(write, False, True, id=name) for name, write in _OF_ANNA.items()),
        *(pytest.param(write, False, False, id=name) for name, write in _OF_ALL.items()),
        *(pytest.param(write, True, True, id=name) for name, write in _OF_NOBODY.items()),
    ],
)
def test_a_commit_ends_the_stamps_of_whom_it_touches_and_no_others(
    directory: Directory, write: Callable[[Unit], object], *, anna: bool, bert: bool
) -> None:
    other, stamps = directory.again(), [directory.changes.stamp(pid) for pid in (ANNA, BERT)]
    with other.store.writing() as unit:
        write(unit)
    held = [stamp is not None and directory.changes.holds(stamp) for stamp in stamps]
    assert held == [anna, bert]
    assert None not in {directory.changes.stamp(pid) for pid in (ANNA, BERT)}, "and it is over"


def _stamped(directory: Directory, pid: bytes) -> Stamp:
    stamp = directory.changes.stamp(pid)
    assert stamp is not None
    return stamp


def test_a_commit_in_one_round_trip_ends_the_stamps_of_whom_it_touches(directory: Directory) -> None:
    stamps = {pid: _stamped(directory, pid) for pid in (ANNA, BERT)}
    once(directory.store.engine, _NEXT.on(directory.store, of=ANNA, next=7))
    assert [directory.changes.holds(stamp) for stamp in stamps.values()] == [False, True]
    assert directory.changes.stamp(ANNA) is not None


def test_one_that_touches_nobody_says_nothing_of_a_commit_that_is_under_way(directory: Directory) -> None:
    """It has no lock yet when it is sent, so it cannot know whether others are over."""
    bert, number = _stamped(directory, BERT), directory.changes.begin([ANNA])
    directory.store.insert(*standings.adding([_newcomer(CARL)]))
    assert directory.changes.stamp(ANNA) is None
    assert directory.changes.holds(bert)
    directory.changes.over(number)
    assert directory.changes.stamp(ANNA) is not None


def test_who_calls_is_remembered_until_a_commit_on_his_token_is_about_to_be(directory: Directory) -> None:
    known, asked = RememberedClients(directory.store, directory.changes), ("cli_chat", ANNA)
    assert known.bearer(*asked) is None
    [found] = known.find_bearers([asked])
    assert found is not None
    assert known.bearer(*asked) == found[0]
    number = directory.changes.begin([ANNA])
    assert known.find_bearers([asked, ("cli_nobody", ANNA)])[0] is not None
    assert known.bearer(*asked) is None, "nor is what was read amid it kept"
    directory.changes.over(number)
    with directory.again().store.writing() as unit:
        exchanges.revoke(unit, ANNA, 9)
    assert known.find_bearers([asked]) == [(found[0], True)]
    assert known.bearer(*asked) is None


def test_of_ten_thousand_tokens_that_are_remembered_the_oldest_goes_for_one_more(directory: Directory) -> None:
    known = RememberedClients(directory.store, directory.changes)
    asked = [("cli_chat", number.to_bytes(16, "big")) for number in range(10_001)]
    for begin in range(0, len(asked), 1000):
        assert None not in known.find_bearers(asked[begin : begin + 1000])
    remembered = [known.bearer(*one) is not None for one in asked]
    assert remembered == [False] + [True] * 10_000


def test_what_is_rolled_back_holds_nothing_up(directory: Directory) -> None:
    stamp = directory.changes.stamp(ANNA)
    _fails(directory, lambda unit: unit.execute(text("nothing of SQL")))
    assert stamp is not None
    assert directory.changes.holds(stamp)
    again = [_newcomer(BERT)]
    _fails(directory, lambda unit: insert_last(unit, *standings.adding(again)))
    assert not directory.changes.holds(stamp)
    assert directory.changes.stamp(ANNA) is not None, "the commit did not come, and that is known"


def _fails(directory: Directory, last: Callable[[Unit], object]) -> None:
    """Write something, and then what the store refuses."""

    def write() -> None:
        with directory.store.writing() as unit:
            standings.set_assurance(unit, ANNA, "document")
            last(unit)

    with pytest.raises((DBAPIError, VaultError)):
        write()


def test_the_directory_is_not_written_outside_of_a_write_transaction(directory: Directory) -> None:
    with directory.store.reading() as unit, pytest.raises(AssertionError):
        unit.execute(update(provider).values(state="suspended"))


@pytest.mark.parametrize("after", ["the number was taken", "the commit"])
def test_a_writer_that_is_killed_leaves_no_stamp_until_the_next_one_commits(directory: Directory, after: str) -> None:
    stamp = directory.changes.stamp(ANNA)

    def die() -> None:
        mine = directory.again()
        taken = changes._Watched.commits

        def kill(watched: Any) -> None:
            if after != "the commit":
                taken(watched)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(changes._Watched, "over" if after == "the commit" else "commits", kill)
        with mine.store.writing() as unit:
            standings.set_assurance(unit, ANNA, "document")

    _ended(die)
    assert stamp is not None
    assert not directory.changes.holds(stamp)
    assert directory.changes.stamp(ANNA) is None
    assert directory.changes.stamp(BERT) is not None, "nobody else is held up"
    with directory.store.writing() as unit:  # it has the write lock: whatever was under way is decided
        standings.find(unit, ANNA)
    assert directory.changes.stamp(ANNA) is not None
    with directory.store.reading() as unit:
        found = standings.find(unit, ANNA)
    assert found is not None
    assert found.assurance == ("document" if after == "the commit" else "none")


def _ended(work: Callable[[], object]) -> int | None:
    process = _fork.Process(target=work)
    process.start()
    process.join(30)
    return process.exitcode


def test_nobody_sees_less_than_what_was_committed_before_he_asked(directory: Directory) -> None:
    """Writers count a standing up and say how far they are; readers keep what they read while its stamp holds."""
    said, done, kept = _fork.Value("q", 0), _fork.Event(), _fork.Value("q", 0)
    readers = [_fork.Process(target=_read, args=(directory, said, done, kept)) for _ in range(READERS)]
    writers = [_fork.Process(target=_write, args=(directory, said)) for _ in range(WRITERS)]
    for process in (*readers, *writers):
        process.start()
    for process in writers:
        process.join(60)
    done.set()
    for process in readers:
        process.join(60)
    assert [process.exitcode for process in (*readers, *writers)] == [0] * (READERS + WRITERS)
    assert said.value == WRITES * WRITERS
    assert kept.value > 0, "something was answered from memory"


def _write(directory: Directory, said: "Synchronized[int]") -> None:
    mine = directory.again()
    for _ in range(WRITES):
        with mine.store.writing() as unit:
            found = standings.find(unit, ANNA)
            assert found is not None
            number = found.generation + 1
            unit.execute(update(standing).where(standing.c.pid == ANNA).values(generation=number))
        with said.get_lock():
            said.value = max(said.value, number)


def _read(directory: Directory, said: "Synchronized[int]", done: Event, kept: "Synchronized[int]") -> None:
    mine, recalled = directory.again(), 0
    memory: tuple[Stamp | None, int] = None, 0
    while not done.is_set():
        least = said.value
        stamp, number = memory
        if stamp is None or not mine.changes.holds(stamp):
            stamp = mine.changes.stamp(ANNA)
            with mine.store.reading() as unit:
                found = standings.find(unit, ANNA)
            assert found is not None
            number = found.generation
            memory = stamp, number
        else:
            recalled += 1
        assert number >= least
    with kept.get_lock():
        kept.value += recalled


def test_a_file_that_was_removed_is_made_anew_and_followed_by_all(directory: Directory) -> None:
    reader, writer = directory.again(), directory.again()
    stamp = reader.changes.stamp(ANNA)
    assert stamp is not None
    directory.file.unlink()
    newcomer = directory.again()
    with newcomer.store.writing() as unit:
        standings.set_assurance(unit, ANNA, "document")
    followed = reader.changes.stamp(ANNA)
    assert followed is not None
    assert not reader.changes.holds(stamp)
    with writer.store.writing() as unit:
        standings.set_assurance(unit, ANNA, "vault")
    assert not reader.changes.holds(followed), "who wrote before it was removed is heard as well"
    assert not newcomer.changes.holds(followed)


def test_who_goes_over_to_another_file_ends_what_all_keep_by_the_one_before(directory: Directory) -> None:
    readers, writer = [directory.again() for _ in range(2)], directory.again()
    stamps = [reader.changes.stamp(ANNA) for reader in readers]
    directory.file.unlink()
    with writer.store.writing() as unit:
        standings.set_assurance(unit, ANNA, "document")
    for reader, stamp in zip(readers, stamps, strict=True):
        assert stamp is not None
        assert not reader.changes.holds(stamp)
        assert reader.changes.stamp(ANNA) is not None


@pytest.mark.once
def test_who_has_the_file_goes_on_with_it_when_it_is_nobodys_any_more_and_who_comes_then_is_refused(
    tmp_path: Path,
) -> None:
    """Permission is taken away: those who run tell each other as before, and who cannot tell them does not start."""
    file, told = tmp_path / "counters", Changes(tmp_path / "counters", 0o600)
    os.chown(file, _NOBODY, _NOBODY)
    tmp_path.chmod(0o755)

    def write_and_come_again() -> None:
        os.chdir(tmp_path)  # whose path that user may not walk
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        mine = Changes(Path(file.name), 0o600)
        os.chown(file.name, _NOBODY, _NOBODY)
        Path(file.name).chmod(0)
        mine.settle()
        mine.over(mine.begin([ANNA]))
        with pytest.raises(SetupError, match="directory_changes"):
            Changes(Path(file.name), 0o600)

    stamps = {pid: told.stamp(pid) for pid in (ANNA, DORA)}
    assert _ended(write_and_come_again) == 0
    assert [told.holds(stamp) for stamp in stamps.values() if stamp] == [False, True]
    assert told.stamp(ANNA) is not None


@pytest.mark.once
def test_on_a_full_disk_the_file_serves_as_before_and_is_made_anew_when_there_is_room(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 2**20) as folder:
        file = folder / "counters"
        writer, reader = (Changes(file, 0o600) for _ in range(2))
        fill(folder)
        stamps = {pid: reader.stamp(pid) for pid in (ANNA, BERT)}
        writer.settle()
        writer.over(writer.begin([ANNA]))
        assert [reader.holds(stamp) for stamp in stamps.values() if stamp] == [False, True]
        kept = reader.stamp(ANNA)
        assert kept is not None
        file.unlink()
        filler = fill(folder)  # what it took is free
        assert reader.stamp(ANNA) is None
        with pytest.raises(SetupError, match="directory_changes"):
            writer.settle()
        filler.unlink()
        writer.settle()
        assert not reader.holds(kept)
        assert reader.stamp(ANNA) is not None


def test_where_it_cannot_be_made_anew_nothing_is_kept_and_nothing_written(directory: Directory) -> None:
    directory.file.unlink()
    directory.file.mkdir()
    assert directory.changes.stamp(ANNA) is None
    with pytest.raises(VaultError) as refused, directory.store.writing() as unit:
        standings.set_assurance(unit, ANNA, "document")
    assert refused.value.kind is Kind.UNAVAILABLE
    directory.file.rmdir()
    assert directory.changes.stamp(ANNA) is not None
    with directory.store.reading() as unit:
        found = standings.find(unit, ANNA)
    assert found is not None
    assert found.assurance == "none", "what is not told is not done"


def test_no_stamp_of_before_holds_where_the_counters_begin_anew(directory: Directory) -> None:
    """The file is emptied, as by a shell's redirection, and the same is written as before."""
    stamps = [directory.changes.stamp(pid) for pid in (ANNA, BERT)]
    os.truncate(directory.file, 0)
    newcomer = directory.again()
    newcomer.changes.over(newcomer.changes.begin(None))
    for stamp in stamps:
        assert stamp is not None
        assert not directory.changes.holds(stamp)


@pytest.mark.parametrize("size", [0, 8, 4096])
def test_a_file_that_was_cut_off_as_it_was_made_is_made_whole(tmp_path: Path, size: int) -> None:
    file = tmp_path / "counters"
    file.write_bytes(bytes(size))
    assert Changes(file, 0o600).stamp(ANNA) is not None
    assert file.stat().st_size == changes._BYTES


def test_another_file_is_not_taken_for_the_counters(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not counters")
    with pytest.raises(SetupError, match="directory_changes"):
        Changes(tmp_path / "notes", 0o600)
    with pytest.raises(SetupError, match="directory_changes"):
        Changes(tmp_path / "no" / "folder", 0o600)
    assert (tmp_path / "notes").read_text() == "not counters"


@pytest.mark.postgresql
def test_a_directory_on_postgresql_has_counters_only_where_they_are_named(tmp_path: Path) -> None:
    engine = open_engine(fresh_store(tmp_path, "directory"))
    assert of_store(engine, Path()) is None
