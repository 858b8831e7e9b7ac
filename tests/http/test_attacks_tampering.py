"""Rows changed by another hand (A1 to A5, A70): refused by reveal and decide, named by fsck, whole when undone."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.people import person
from tests.serving import Client, Server

pytestmark = pytest.mark.sqlite  # rows are altered in the files

FIELDS = ("legal_name", "names", "birth_date", "document", "phone", "email", "form", "registration", "mandate")
WRAPPED = ("kek_version", "wrapped")


class Vandal:
    """Someone with the database files and no key; takes back what he did."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._undo: list[tuple[str, str, int, dict[str, Any]]] = []

    def sql(self, store: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._home / f"{store}.db", timeout=10)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def get(self, store: str, table: str, row: int, *columns: str) -> tuple[Any, ...]:
        [found] = self.sql(store, f"SELECT {', '.join(columns)} FROM {table} WHERE rowid = ?", row)  # noqa: S608
        return found

    def put(self, store: str, table: str, row: int, **values: Any) -> None:
        old = self.get(store, table, row, *values)
        self._undo.append((store, table, row, dict(zip(values, old, strict=True))))
        self._write(store, table, row, values)

    def flip(self, store: str, table: str, row: int, column: str, at: int = -1) -> None:
        octets = bytearray(self.get(store, table, row, column)[0])
        octets[at] ^= 1
        self.put(store, table, row, **{column: bytes(octets)})

    def copy(self, store: str, table: str, source: int, target: int, *columns: str) -> None:
        values = self.get(store, table, source, *columns)
        self.put(store, table, target, **dict(zip(columns, values, strict=True)))

    def swap(self, store: str, table: str, one: int, other: int, *columns: str) -> None:
        first, second = self.get(store, table, one, *columns), self.get(store, table, other, *columns)
        # By way of a third value: the columns may be unique.
        self.put(store, table, one, **dict.fromkeys(columns, b"between"))
        self.put(store, table, other, **dict(zip(columns, first, strict=True)))
        self.put(store, table, one, **dict(zip(columns, second, strict=True)))

    def _write(self, store: str, table: str, row: int, values: dict[str, Any]) -> None:
        members = ", ".join(f"{column} = ?" for column in values)
        self.sql(store, f"UPDATE {table} SET {members} WHERE rowid = ?", *values.values(), row)  # noqa: S608

    def undo(self) -> None:
        while self._undo:
            self._write(*self._undo.pop())


@dataclass(frozen=True)
class Made:
    """A registration with the places of its rows, as its maker can see them by order of insertion."""

    id: str
    account: str
    token: str
    identity: dict[str, Any]
    rid: bytes
    pid: bytes
    record: int
    key: int
    standing: int
    owned: int
    review: int


class World:
    """A served vault whose rows a vandal changes; every test registers people of its own."""

    def __init__(self, server: Server) -> None:
        self.server, self.vandal = server, Vandal(server.home)
        self.chat, self.blog = server.provider("chat"), server.provider("blog")
        self.rita = server.reviewer("rita")
        self._count = 0

    def registered(self, provider: Client | None = None, identity: dict[str, Any] | None = None, **more: str) -> Made:
        self._count += 1
        identity = identity or person(self._count)
        made = (provider or self.chat).registered(identity, f"handle{self._count}", **more)
        [[record, rid]] = self.vandal.sql("identity", "SELECT rowid, rid FROM record ORDER BY rowid DESC LIMIT 1")
        [[key]] = self.vandal.sql("keys", "SELECT rowid FROM record_key WHERE rid = ?", rid)
        newest = "SELECT rowid, pid FROM {} ORDER BY rowid DESC LIMIT 1"
        rows = [self.vandal.sql("directory", newest.format(name))[0] for name in ("standing", "account", "review")]
        (standing, pid), (owned, _), (review, _) = rows
        return Made(
            made["id"], made["account"], made["token"], identity, rid, pid, record, key, standing, owned, review
        )

    def approved(self, provider: Client | None = None) -> Made:
        made = self.registered(provider)
        self.rita.approve(made.id)
        return made

    def refuses(self, *cases: Made) -> None:
        """Neither reveal nor decide goes on with these cases, and neither says why or shows anything."""
        for made in cases:
            fields = {"purpose": "review", "fields": ["legal_name", "birth_date", "document"]}
            refused(self.rita.post(f"/v1/reviews/{made.id}/reveal", fields), made)
            refused(self.rita.decide(made.id), made)

    def works(self, *cases: Made) -> None:
        """These cases are as they were: revealed with what was registered, then approved."""
        for made in cases:
            shown = self.rita.reveal(made.id)["fields"]
            assert shown["legal_name"] == made.identity["legal_name"]
            assert shown["document"]["number"] == made.identity["document"]["number"]
            self.rita.approve(made.id)

    def named(self) -> set[str]:
        report = self.server.json("fsck", code=4)
        assert not report["clean"]
        return {finding["row"] for finding in report["findings"]}

    @contextmanager
    def harmed(self) -> Iterator[Vandal]:
        """Lend out the vandal; afterwards everything stands as before, and all is clean."""
        try:
            yield self.vandal
        finally:
            self.vandal.undo()
        report = self.server.json("fsck")
        assert report["clean"], report["findings"]


def refused(answer: httpx.Response, made: Made) -> None:
    assert answer.status_code == 500, answer.text
    problem = answer.json()
    assert problem["type"] == "urn:idvault:problem:internal"
    assert set(problem) == {"type", "title", "status", "detail", "incident"}
    assert made.identity["legal_name"] not in answer.text
    assert made.identity["document"]["number"] not in answer.text


def record(made: Made) -> str:
    return f"identity.record {made.rid.hex()}"


def standing(made: Made) -> str:
    return f"directory.standing {made.pid.hex()}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = Server(tmp_path_factory.mktemp("tampered") / "home").start()
    yield World(server)
    assert server.stop() == 0


def test_a1_a_row_filled_with_another_records_fields_and_keys_does_not_open(world: World) -> None:
    """Copying X's sealed fields and wrapped keys, or X's whole key row, into Y's opens nothing; X still reads."""
    x, fields_alone, with_keys, whole_row, beside = (world.registered() for _ in range(5))
    with world.harmed() as vandal:
        for victim in (fields_alone, with_keys, whole_row):
            vandal.copy("identity", "record", x.record, victim.record, *FIELDS)
        vandal.copy("keys", "record_key", x.key, with_keys.key, *WRAPPED)
        columns = ("state", "assurance", "revisions", "uid", "created", "mac")
        vandal.copy("keys", "record_key", x.key, whole_row.key, *WRAPPED, *columns)
        world.refuses(fields_alone, with_keys, whole_row)
        world.works(x, beside)
        assert world.named() == {*map(record, (fields_alone, with_keys, whole_row)), standing(with_keys),
                                 standing(whole_row), "keys.record_key"}  # fmt: skip
    world.works(fields_alone, with_keys, whole_row)


def test_a2_what_was_sealed_for_one_place_opens_in_no_other(world: World) -> None:
    """Two fields swapped, a field in another column, in the key's place or in another's row: each is refused."""
    swapped, doubled, key_of_field, field_of_key, one, other, beside = (world.registered() for _ in range(7))
    with world.harmed() as vandal:
        name, birth = vandal.get("identity", "record", swapped.record, "legal_name", "birth_date")
        vandal.put("identity", "record", swapped.record, legal_name=birth, birth_date=name)
        [document] = vandal.get("identity", "record", doubled.record, "document")
        vandal.put("identity", "record", doubled.record, phone=document)
        [field] = vandal.get("identity", "record", key_of_field.record, "legal_name")
        vandal.put("keys", "record_key", key_of_field.key, wrapped=field)
        [wrapped] = vandal.get("keys", "record_key", field_of_key.key, "wrapped")
        vandal.put("identity", "record", field_of_key.record, legal_name=wrapped)
        vandal.swap("identity", "record", one.record, other.record, "birth_date")
        world.refuses(swapped, doubled, key_of_field, field_of_key, one, other)
        world.works(beside)
        harmed = map(record, (swapped, doubled, key_of_field, field_of_key, one, other))
        assert world.named() == {*harmed, standing(key_of_field), "keys.record_key"}
    world.works(swapped, doubled, key_of_field, field_of_key, one, other)


def test_a2_a_fingerprint_under_another_tag_is_refused_where_it_is_met(world: World) -> None:
    """Swapping what two fingerprint rows seal, or flipping a bit of it, stops whoever would be matched by them."""
    first, second, third, beside = (world.approved() for _ in range(4))
    newest = "SELECT rowid, tag FROM fingerprint ORDER BY rowid DESC LIMIT 8"
    rows = world.vandal.sql("identity", newest)[::-1]
    again = [world.registered(world.blog, made.identity) for made in (first, second, third, beside)]
    with world.harmed() as vandal:
        for at in (0, 1):
            vandal.swap("identity", "fingerprint", rows[at][0], rows[at + 2][0], "sealed")
            vandal.flip("identity", "fingerprint", rows[at + 4][0], "sealed", at)
        world.refuses(*again[:3])
        world.works(again[3])
        assert world.named() == {f"identity.fingerprint {tag.hex()}" for _, tag in rows[:6]}
    world.works(*again[:3])


def test_a3_a4_a5_a_changed_bit_or_length_of_a_sealed_field_is_refused(world: World) -> None:
    """A bit flipped in header, body or tag of a field, a prefix of it, a byte more: each is refused and named."""
    columns, flips = ("legal_name", "birth_date", "document"), (0, 1, 2, 3, 8, 20, 30, -17, -1)
    flipped = [world.registered() for _ in flips]
    cut = [world.registered() for _ in range(6)]
    removed, beside = world.registered(), world.registered()
    with world.harmed() as vandal:
        for number, (made, at) in enumerate(zip(flipped, flips, strict=True)):
            vandal.flip("identity", "record", made.record, columns[number % 3], at)
        for number, made in enumerate(cut):
            [whole] = vandal.get("identity", "record", made.record, "document")
            changed = (b"", whole[:1], whole[: len(whole) // 2], whole[:-1], whole + b"\0", whole + whole)[number]
            vandal.put("identity", "record", made.record, document=changed)
        vandal.put("identity", "record", removed.record, birth_date=None)
        world.refuses(*flipped, *cut, removed)
        world.works(beside)
        assert world.named() == {record(made) for made in (*flipped, *cut, removed)}
    world.works(*flipped, *cut, removed)


def test_a4_every_column_of_a_key_row_is_bound_to_its_row(world: World) -> None:
    """A bit flipped in a wrapped key, map entry, revision or MAC, or another state or number, is refused and named."""
    flips = ("wrapped", "uid", "revisions", "mac")
    flipped = {column: world.registered() for column in flips}
    edits = {"assurance": "vault", "created": 1, "kek_version": 2, "pending": b"\x80", "origin": b"x"}
    edited = {column: world.registered() for column in edits}
    beside = world.registered()
    victims = [*flipped.values(), *edited.values()]
    with world.harmed() as vandal:
        for column, made in flipped.items():
            vandal.flip("keys", "record_key", made.key, column)
        for column, made in edited.items():
            vandal.put("keys", "record_key", made.key, **{column: edits[column]})
        world.refuses(*victims)
        world.works(beside)
        assert world.named() == {*map(record, victims), *map(standing, victims), "keys.record_key"}
    world.works(*victims)


def test_a4_a_rejected_case_is_not_brought_back_by_editing_states(world: World) -> None:
    """With state set to in_review in key row, review and account, the case neither opens nor is decided again."""
    made = world.registered()
    assert world.rita.decide(made.id, "rejected", reason="not_the_holder").status_code == 200
    with world.harmed() as vandal:
        vandal.put("directory", "review", made.review, state="in_review", decided=None)
        vandal.put("directory", "account", made.owned, state="in_review")
        # The agent's own row says that it was rejected.
        assert world.rita.decide(made.id).status_code == 409
        vandal.put("keys", "record_key", made.key, state="in_review")
        world.refuses(made)
        assert world.named() == {record(made), standing(made), "keys.record_key"}
    assert world.chat.registration(made.id)["state"] == "rejected"


def test_a4_a_reviewers_row_cannot_be_widened_or_revived(world: World) -> None:
    """A bound reviewer made vault-wide by SQL, and a disabled one set active in both stores, open nothing."""
    bound, gone = world.server.reviewer("bound", world.chat), world.server.reviewer("gone")
    gone.authorise()
    world.server.run("reviewer", "disable", "gone")
    elsewhere, here = world.registered(world.blog), world.registered()
    rows = {name: world.vandal.sql(store, f"SELECT rowid FROM {name} WHERE {column} = ?", client.id)[0][0]  # noqa: S608
            for name, store, column, client in (("reviewer", "keys", "client", bound),
                                                ("client", "directory", "id", bound))}  # fmt: skip
    revived = {name: world.vandal.sql(store, f"SELECT rowid FROM {name} WHERE {column} = ?", gone.id)[0][0]  # noqa: S608
               for name, store, column in (("reviewer", "keys", "client"), ("client", "directory", "id"))}  # fmt: skip
    ask = {"purpose": "review", "fields": ["legal_name"]}
    with world.harmed() as vandal:
        vandal.put("directory", "client", rows["client"], provider=None)
        refused(bound.post(f"/v1/reviews/{elsewhere.id}/reveal", ask), elsewhere)
        vandal.put("keys", "reviewer", rows["reviewer"], sector=None)
        vandal.put("directory", "client", revived["client"], state="active")
        vandal.put("keys", "reviewer", revived["reviewer"], state="active")
        for reviewer, case in ((bound, elsewhere), (bound, here), (gone, here), (gone, elsewhere)):
            vandal.sql("directory", "UPDATE review SET lease_by = NULL, lease_until = NULL")
            refused(reviewer.post(f"/v1/reviews/{case.id}/reveal", ask), case)
            refused(reviewer.decide(case.id), case)
        vandal.sql("directory", "UPDATE review SET lease_by = NULL, lease_until = NULL")
        assert world.named() == {"keys.reviewer"}
    world.works(elsewhere, here)


def test_a4_views_of_evidence_cannot_be_given_back(world: World) -> None:
    """A count of views set back by SQL, or a piece's key under another name, shows nothing more."""
    made, other = world.registered(), world.registered()
    for case in (made, other):
        for name in ("front", "back"):
            put = world.chat.call(
                "PUT", f"/v1/registrations/{case.id}/evidence/{name}", content=b"%PDF-1.7 specimen " + name.encode(),
                headers={"Content-Type": "application/pdf"},
            )  # fmt: skip
            assert put.status_code == 204, put.text
    path = f"/v1/reviews/{made.id}/evidence/front"
    assert [world.rita.get(path).status_code for _ in range(4)] == [200, 200, 200, 429]
    rows = [row for (row,) in world.vandal.sql("keys", "SELECT rowid FROM evidence_key ORDER BY rowid DESC LIMIT 4")][
        ::-1
    ]
    with world.harmed() as vandal:
        vandal.put("keys", "evidence_key", rows[0], views=0)
        vandal.swap("keys", "evidence_key", rows[2], rows[3], "wrapped")
        refused(world.rita.get(path), made)
        for name in ("front", "back"):
            refused(world.rita.get(f"/v1/reviews/{other.id}/evidence/{name}"), other)
        assert world.rita.get(f"/v1/reviews/{made.id}/evidence/back").content == b"%PDF-1.7 specimen back"
        assert "keys.evidence_key" in world.named()
    assert world.rita.get(path).status_code == 429
    assert world.rita.get(f"/v1/reviews/{other.id}/evidence/front").content == b"%PDF-1.7 specimen front"


def test_a4_a_changed_piece_of_evidence_is_refused_and_named(world: World) -> None:
    """A bit flipped in a sealed piece, or two pieces swapped, shows nothing, and fsck names the pieces."""
    made = world.registered()
    for name in ("front", "back", "side"):
        path = f"/v1/registrations/{made.id}/evidence/{name}"
        put = world.chat.call("PUT", path, content=b"specimen" * 9, headers={"Content-Type": "image/png"})
        assert put.status_code == 204, put.text
    newest = "SELECT rowid FROM evidence ORDER BY rowid DESC LIMIT 3"
    side, back, front = (row for (row,) in world.vandal.sql("identity", newest))
    with world.harmed() as vandal:
        vandal.flip("identity", "evidence", side, "sealed")
        vandal.swap("identity", "evidence", front, back, "sealed")
        for name in ("front", "back", "side"):
            refused(world.rita.get(f"/v1/reviews/{made.id}/evidence/{name}"), made)
        named = world.named()
        assert len([row for row in named if row.startswith("identity.evidence")]) == 3
    assert world.rita.get(f"/v1/reviews/{made.id}/evidence/front").status_code == 200


def test_a70_swapped_links_accounts_and_handles_are_refused_and_named(world: World) -> None:
    """Record links, account pids, account ids or handles swapped between two standings: each is refused and named."""
    pairs = {what: (world.registered(), world.registered()) for what in ("link", "pid", "id", "handle", "handle, mac")}
    near, far, beside = world.registered(), world.registered(world.blog), world.registered()
    with world.harmed() as vandal:
        for what, (one, other) in pairs.items():
            if what == "link":
                vandal.swap("directory", "standing", one.standing, other.standing, "link")
            else:
                vandal.swap("directory", "account", one.owned, other.owned, *what.split(", "))
        vandal.swap("directory", "standing", near.standing, far.standing, "link")
        victims = [*(made for pair in pairs.values() for made in pair), near, far]
        world.refuses(*victims)
        world.works(beside)
        assert {standing(made) for made in victims} <= world.named()
    world.works(*victims)


def test_a70_swapped_links_and_person_tags_of_approved_people_stop_who_is_matched_with_them(world: World) -> None:
    """Links or person tags swapped between approved standings: nobody is united with either, and fsck names both."""
    linked, tagged, beside = ([world.approved(), world.approved()] for _ in range(3))
    again = {made.id: world.registered(world.chat, made.identity) for made in (*linked, *tagged)}
    known = world.registered(world.chat, beside[0].identity)
    with world.harmed() as vandal:
        vandal.swap("directory", "standing", linked[0].standing, linked[1].standing, "link")
        rows = [
            vandal.sql("directory", "SELECT rowid FROM person_tag WHERE pid = ?", made.pid)[0][0] for made in tagged
        ]
        vandal.swap("directory", "person_tag", *rows, "pid")
        world.refuses(*again.values())
        assert world.named() == {standing(made) for made in (*linked, *tagged)}
        world.works(known)
    world.works(*again.values())
    for made in (*linked, *tagged):
        after = world.chat.registration(again[made.id].id)
        assert (after["token"], after["supersedes"]) == (made.token, again[made.id].token)


def test_a70_local_tags_moved_to_another_standing_are_refused_and_named(world: World) -> None:
    """Local tags swapped between two approved standings: neither is taken for the other, and fsck names the rows."""
    one, other = world.approved(), world.approved()
    again = world.registered(world.chat, one.identity)
    rows = [
        [row for (row,) in world.vandal.sql("directory", "SELECT rowid FROM local_tag WHERE pid = ?", made.pid)]
        for made in (one, other)
    ]
    with world.harmed() as vandal:
        for row in rows[0]:
            vandal.put("directory", "local_tag", row, pid=other.pid)
        for row in rows[1]:
            vandal.put("directory", "local_tag", row, pid=one.pid)
        world.refuses(again)
        assert world.named()
    world.works(again)


def test_a70_a_handle_pointed_at_anothers_account_is_named(world: World) -> None:
    """Two handles swapped in the list of handles alone: fsck says that they are not those of their accounts."""
    one, other = world.registered(), world.registered()
    of = "SELECT handle.rowid FROM handle JOIN account ON account.id = handle.account WHERE account.rowid = ?"
    rows = [world.vandal.sql("directory", of, made.owned)[0][0] for made in (one, other)]
    with world.harmed() as vandal:
        vandal.swap("directory", "handle", *rows, "account")
        named = world.named()
        assert len([row for row in named if row.startswith("directory.handle")]) == 2


def test_a70_a_standing_declared_anothers_alias_is_refused_and_named(world: World) -> None:
    """`superseded_by` set by hand, between approved or provisional people, unites nobody and is named."""
    approved, provisional = [world.approved(), world.approved()], [world.registered(), world.registered()]
    again = world.registered(world.chat, approved[0].identity)
    with world.harmed() as vandal:
        for alias, survivor in (approved, provisional):
            vandal.put("directory", "standing", alias.standing, superseded_by=survivor.pid)
        world.refuses(again, *provisional)
        assert {standing(approved[0]), standing(provisional[0])} <= world.named()
    world.works(again, *provisional)


@pytest.mark.sqlite
def test_a4_a_changed_keyring_row_is_named_and_stops_the_start(fresh: Server) -> None:
    """A bit of a key, its state, or two keys swapped: fsck names the row, and the vault does not start with it."""
    fresh.provider("chat")
    fresh.provider("blog")
    vandal = Vandal(fresh.home)
    rows = {
        (purpose, scope): row for row, purpose, scope in vandal.sql("keys", "SELECT rowid, purpose, scope FROM key")
    }
    harms: dict[str, Callable[[], None]] = {
        "flip": lambda: vandal.flip("keys", "key", rows["link", "chat.example"], "sealed"),
        "swap": lambda: vandal.swap(
            "keys", "key", rows["link", "chat.example"], rows["link", "blog.example"], "sealed", "id"
        ),
        "state": lambda: vandal.put("keys", "key", rows["fingerprint", ""], state="deactivated"),
    }
    unnamed = []
    for what, harm in harms.items():
        harm()
        if "keys.key" not in _fsck(fresh):
            unnamed.append(what)
        vandal.undo()
    assert fresh.json("fsck")["clean"]
    fresh.stop()
    harms["flip"]()
    with pytest.raises(AssertionError, match="did not start"):
        fresh.start()
    vandal.undo()
    fresh.start()
    assert unnamed == []


def _fsck(server: Server) -> str:
    try:
        return server.run("fsck", "--json", code=4)
    except AssertionError:
        return ""
