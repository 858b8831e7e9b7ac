"""The officers' chain, carried out of a vault and into an older backup of it: in force is what was in force last."""

import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import rfc8785
from sqlalchemy import select, text

from keys import carrying, ceremonies, store
from keys.agent.acts import enrolling
from keys.carrying import Carried, carried_out, carry_in
from keys.chain import Head, State
from keys.chains import FILE_NAME, RECORDED, Chain
from keys.engine import open_engine, reading, writing
from keys.entries import Key
from keys.errors import BackupError, ChainError, ConflictError, ShareError
from keys.frame import NO_KEY_ID, Purpose, open_frame, seal
from keys.keyring import Keyring
from keys.quorum import Kind
from keys.restoring import root_of_ceremony
from keys.seals.shares import Ceremony
from tests.keys.stores import KeyStore, dialogue
from tests.keys.test_deciding import ANNA, MARIA, NIKOS, PETRA, PROVIDER, Room

pytestmark = pytest.mark.sqlite
_OUTBOX: Final = store.audit_outbox.c


class Backup:
    """A copy of a room's key store, as a restore opens it."""

    def __init__(self, room: Room, folder: Path) -> None:
        folder.mkdir()
        with reading(room.engine) as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copyfile(room.home / "keys.db", folder / "keys.db")
        self.home, self.engine = folder, open_engine(f"sqlite:///{folder / 'keys.db'}")
        root_id, root, _ = room.opened[-1]
        self.ring = Keyring.under_root(self.engine, root_id, root)

    @property
    def chain(self) -> Chain:
        return Chain(self.engine, self.ring, self.home)

    def state(self) -> State:
        found = self.chain.state()
        assert found is not None
        return found

    def waiting(self, kind: str) -> list[bytes]:
        with reading(self.engine) as connection:
            rows = connection.execute(select(_OUTBOX.detail).where(_OUTBOX.type == kind))
            return list(rows.scalars())


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    (tmp_path / "home").mkdir()
    made = Room(tmp_path / "home")
    yield made
    made.engine.dispose()


@pytest.fixture
def backup(room: Room, tmp_path: Path) -> Iterator[Backup]:
    """A backup of the room as it was at the beginning."""
    made = Backup(room, tmp_path / "backup")
    yield made
    made.engine.dispose()


def nobody(_: Ceremony) -> Key:
    raise AssertionError("nobody is asked for a share where the officers are the same")


def spent(room: Room, limit: int = 7) -> None:
    room.approve(MARIA, room.budget(limit))


def rekeyed(room: Room) -> list[str]:
    """Have Petra in the place of Nikos; return the new shares of two."""
    room.rekey(ANNA, MARIA, PETRA)
    room.confirm_next(MARIA)
    room.confirm_next(PETRA)
    request, shares = room.rekey_request(), [room.waiting_share(one)[1] for one in (MARIA, PETRA)]
    room.ask(ANNA, request)
    assert room.approve(NIKOS, request)["state"] == "done"
    return shares


def exported(room: Room) -> Carried:
    return Carried.parse(bytes(carried_out(room.deciding.chain)))


def test_what_officers_did_after_the_backup_is_in_force_again_and_the_log_is_told_what_it_does_not_know(
    room: Room, backup: Backup
) -> None:
    spent(room, 7)
    logged = {bytes.fromhex(room.state().head.digest)}
    spent(room, 8)
    before = len(backup.waiting(RECORDED))
    carried = carry_in(backup.chain, exported(room), logged, nobody)
    assert [(one.kind, one.detail) for one in carried] == [
        (Kind.RAISE_BUDGET, {"per_hour": 7}), (Kind.RAISE_BUDGET, {"per_hour": 8}),
    ]  # fmt: skip
    assert backup.state() == room.state()
    assert (backup.home / FILE_NAME).read_bytes() == (room.home / FILE_NAME).read_bytes()
    assert len(backup.waiting(RECORDED)) == before + 1
    assert carry_in(backup.chain, exported(room), logged, nobody) == [], "said again it does nothing"
    assert len(backup.waiting(RECORDED)) == before + 1


def test_other_officers_are_in_force_under_their_own_root_key_and_their_shares_come_along(
    room: Room, backup: Backup
) -> None:
    shares = rekeyed(room)
    spent(room)
    asked = list[Ceremony]()

    def root_of(record: Ceremony) -> Key:
        asked.append(record)
        return root_of_ceremony(record, shares)

    old = backup.ring.wrapping
    assert len(carry_in(backup.chain, exported(room), (), root_of)) == 2
    assert asked == [room.state().ceremony]
    assert backup.state() == room.state()
    assert [one.card.name for one in backup.state().officers] == [one.card.name for one in (ANNA, MARIA, PETRA)]
    assert Keyring.under_root(backup.engine, backup.ring.wrapping.id, backup.ring.wrapping.secret)
    with pytest.raises(Exception, match="lacks the keys"):
        Keyring.under_root(backup.engine, old.id, old.secret)
    with reading(backup.engine) as connection, reading(room.engine) as theirs:
        sealed = {one.key: one.sealed for one in ceremonies.shares_of(connection, 2)}
        assert sealed == {one.key: one.sealed for one in ceremonies.shares_of(theirs, 2)}
        assert ceremonies.shares_of(connection, 1) == []
        assert [one.stage for one in ceremonies.all_of(connection)] == ["past", "in_force"]


def test_where_the_newest_officers_do_not_give_their_shares_nothing_changes(room: Room, backup: Backup) -> None:
    old = [room.share(0)[1], room.share(2)[1]]
    rekeyed(room)
    before = backup.state()
    with pytest.raises(ShareError, match="of another set"):
        carry_in(backup.chain, exported(room), (), lambda record: root_of_ceremony(record, old))
    assert backup.state() == before
    assert backup.ring.current("kek")


def test_officers_changed_twice_are_those_of_the_last_ceremony(room: Room, backup: Backup) -> None:
    rekeyed(room)
    room.rekey(ANNA, MARIA, NIKOS)
    room.confirm_next(ANNA)
    room.confirm_next(NIKOS)
    request, shares = room.rekey_request(), [room.waiting_share(one)[1] for one in (ANNA, NIKOS)]
    room.ask(ANNA, request)
    room.approve(PETRA, request)
    carry_in(backup.chain, exported(room), (), lambda record: root_of_ceremony(record, shares))
    assert backup.state() == room.state()
    with reading(backup.engine) as connection:
        assert [one.stage for one in ceremonies.all_of(connection)] == ["past", "past", "in_force"]
        assert len(ceremonies.shares_of(connection, 3)) == 3


def test_an_older_file_takes_nothing_back(room: Room, tmp_path: Path) -> None:
    first = exported(room)
    rekeyed(room)
    root = room.ring.wrapping
    room.opened.append((root.id, root.secret, False))
    later = Backup(room, tmp_path / "later")
    assert carry_in(later.chain, first, (), nobody) == []
    assert later.state() == room.state()
    later.engine.dispose()


def test_a_file_of_another_chain_is_refused(room: Room, backup: Backup, tmp_path: Path) -> None:
    beside = Room.__new__(Room)
    beside.__dict__.update(room.__dict__)
    other = Backup(room, tmp_path / "other")
    spent(room, 7)
    carry_in(backup.chain, exported(room), (), nobody)
    beside.engine, beside.home = other.engine, other.home
    beside.opened_again()
    spent(beside, 9)
    spent(beside, 10)
    with pytest.raises(BackupError, match="its chain is another"):
        carry_in(backup.chain, exported(beside), (), nobody)
    assert backup.state().budgets == {"creates_per_hour": 7}
    other.engine.dispose()


def test_a_chain_that_was_altered_is_not_carried_out(room: Room) -> None:
    spent(room)
    with writing(room.engine) as connection:
        connection.execute(text("UPDATE officer_record SET signatures = '[]' WHERE number = 1"))
    with pytest.raises(ChainError, match="must approve it"):
        exported(room)


FAULTS: Final[dict[str, Callable[[Carried], Carried]]] = {
    "a number below": lambda one: Carried(one.deployment, Head(-1, one.head.digest), one.sealed),
    "a number beyond": lambda one: Carried(one.deployment, Head(2**53 - 1, one.head.digest), one.sealed),
    "a digest that is none": lambda one: Carried(one.deployment, Head(one.head.number, "zz" * 32), one.sealed),
    "half a digest": lambda one: Carried(one.deployment, Head(one.head.number, one.head.digest[:31]), one.sealed),
    "no digest": lambda one: Carried(one.deployment, Head(one.head.number, ""), one.sealed),
    "a digest in capitals": lambda one: Carried(
        one.deployment, Head(one.head.number, one.head.digest.upper()), one.sealed
    ),
    "nothing sealed": lambda one: Carried(one.deployment, one.head, b""),
    "cut": lambda one: Carried(one.deployment, one.head, one.sealed[:-1]),
    "number": lambda one: Carried(one.deployment, Head(one.head.number + 1, one.head.digest), one.sealed),
    "digest": lambda one: Carried(one.deployment, Head(one.head.number, "00" * 32), one.sealed),
    "another vault's": lambda one: Carried(bytes(16), one.head, one.sealed),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_was_altered_is_refused(room: Room, backup: Backup, fault: str) -> None:
    spent(room)
    with pytest.raises(BackupError, match="officers' file"):
        carry_in(backup.chain, Carried.parse(bytes(FAULTS[fault](exported(room)))), (), nobody)
    assert backup.state().head.number == 0


def _opened(room: Room, carried: Carried) -> bytes:
    ring = room.deciding.chain.keyring
    place = carrying._place(ring.deployment, carried.head)
    return open_frame(carrying._key(ring), Purpose.BACKUP, place, carried.sealed, key_id=NO_KEY_ID, version=0)


def _sealed(room: Room, plain: bytes) -> Carried:
    """Return a file of this content, as only whoever has the vault's key could make it."""
    head, ring = room.state().head, room.deciding.chain.keyring
    place = carrying._place(ring.deployment, head)
    sealed = seal(carrying._key(ring), Purpose.BACKUP, place, plain, key_id=NO_KEY_ID, version=0)
    return Carried(ring.deployment, head, sealed)


def test_a_chain_that_lacks_a_record_or_has_one_twice_is_refused_whoever_sealed_it(room: Room, backup: Backup) -> None:
    for limit in (7, 8, 9):
        spent(room, limit)
    said = json.loads(zlib.decompress(_opened(room, exported(room))))
    for faulty in (
        said["records"][:1] + said["records"][2:], said["records"][:2] + said["records"][1:], said["records"][:-1],
        said["records"][1:], [*said["records"][:1], said["records"][2], said["records"][1], *said["records"][3:]],
        [],
    ):  # fmt: skip
        with pytest.raises(BackupError, match="officers' file"):
            carry_in(backup.chain, _sealed(room, zlib.compress(rfc8785.dumps(said | {"records": faulty}))), (), nobody)
        assert backup.state().head.number == 0
    whole = _sealed(room, zlib.compress(rfc8785.dumps(said)))
    assert len(carry_in(backup.chain, whole, (), nobody)) == 3


SAID: Final[dict[str, Any]] = {"v": 1, "deployment": "00" * 16, "number": 1, "digest": "00" * 32, "sealed": "AAAA"}


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[" * 100_000, rfc8785.dumps(SAID) + b" ",
     rfc8785.dumps(SAID).replace(b'"number":1', b'"number":1e999'),
     rfc8785.dumps(SAID).replace(b'"number":1', b'"number":99999999999999999999'),
     *(rfc8785.dumps({**SAID, **fault}) for fault in (
         {"v": 2}, {"sealed": "A"}, {"more": 1}, {"number": "x"}, {"number": None}, {"number": -1}, {"digest": "zz"},
         {"digest": "00" * 31}, {"digest": "0A" * 32}, {"deployment": "zz"}, {"deployment": "00"},
     ))],
    ids=range(17),
)  # fmt: skip
def test_what_is_no_officers_file_is_none(raw: bytes) -> None:
    assert Carried.parse(rfc8785.dumps(SAID)).head.number == 1
    with pytest.raises(BackupError, match="not of its form"):
        Carried.parse(raw)


def test_a_vault_without_officers_has_no_chain_to_carry(store: KeyStore) -> None:
    with dialogue(), pytest.raises(ConflictError, match="no officers"):
        carried_out(store.names().officers.chain)


def test_where_records_were_lost_nothing_is_carried_out_before_another_ceremony(room: Room) -> None:
    room.deciding.chain.mark_behind()
    room.opened_again()
    with pytest.raises(ConflictError, match="another ceremony"):
        spent(room)
    assert room.act(enrolling.enrol, **PROVIDER, client="cli_1").keys() == {"pending"}
    assert room.state().head.number == 0
    rekeyed(room)
    room.approve(MARIA, room.budget(9))
    assert room.state().budgets == {"creates_per_hour": 9}


def test_that_records_were_lost_is_nothing_that_an_administrator_takes_back(room: Room) -> None:
    with reading(room.engine) as connection:
        before = connection.execute(select(store.officer_head.c.mac)).scalar_one()
    spent(room)
    room.deciding.chain.mark_behind()
    with writing(room.engine) as connection:
        connection.execute(store.officer_head.update().values(mac=before))
    with pytest.raises(ChainError, match="altered"):
        room.state()
