"""Keys are used as their state allows, and a key row that was touched opens nothing."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from sqlalchemy import Engine, insert

from keys import entries, setup
from keys import store as tables
from keys.deployments import deployment_of
from keys.engine import writing
from keys.entries import STANDING_KEK, Key, place_of
from keys.errors import MissingError, OpenError, SetupError
from keys.frame import Place, Purpose
from keys.keyring import Keyring
from keys.primitives import Secret
from keys.seals import development
from keys.states import State
from keys.tokens import Access, Pseudonym
from tests.keys.stores import BANK, NOW, SHOP, KeyStore, migrated

PID = bytes(range(16))
PROCESSING = (State.ACTIVE, State.SUSPENDED, State.DEACTIVATED, State.COMPROMISED)
IDLE = (State.PRE_ACTIVE, State.DESTROYED)


def _place(keyring: Keyring) -> Place:
    return Place(keyring.deployment, "t", b"address", "field")


def test_a_new_deployment_has_every_key_once_and_all_differ(store: KeyStore) -> None:
    rows = store.rows("key")
    assert sorted((row.purpose, row.scope) for row in rows) == sorted(
        [(purpose, "") for purpose in (*entries.ROOT_PURPOSES, *entries.STANDING_PURPOSES)]
        + [(purpose, sector) for purpose in entries.SECTOR_PURPOSES for sector in (SHOP, BANK)]
    )
    keys = [key for versions in store.keyring._keys.values() for key in versions.values()]
    assert len({key.secret.expose_cleartext() for key in keys}) == len({key.id for key in keys}) == len(rows)
    assert {row.state for row in rows} == {"active"}
    assert store.keyring.verify() == (len(rows), 0)
    assert store.keyring.sectors() == [BANK, SHOP]


@pytest.mark.sqlite
def test_no_key_stands_in_clear_in_the_store(store: KeyStore) -> None:
    files = b"".join(path.read_bytes() for path in store.home.glob("keys.db*"))
    for versions in store.keyring._keys.values():
        for key in versions.values():
            assert key.secret.expose_cleartext() not in files
    assert store.root.expose_cleartext() not in files


@pytest.mark.parametrize("state", PROCESSING)
def test_a7_what_is_not_active_may_process_and_not_protect(store: KeyStore, state: State) -> None:
    sealed = store.keyring.current("kek").seal(Purpose.WRAP, _place(store.keyring), b"text")
    secret, key_id = store.keyring.current("kek").secret, store.keyring.current("kek").id
    store.execute("DELETE FROM key WHERE purpose = 'kek'")
    place = place_of(store.keyring.deployment, key_id, "kek", "", 1, state)
    entry = store.keyring.wrapping.seal(Purpose.KEYRING, place, secret.expose_cleartext())
    with writing(store.engine) as connection:
        row = {"purpose": "kek", "scope": "", "version": 1, "id": key_id, "state": state}
        connection.execute(insert(tables.key), {**row, "sealed": entry, "created": NOW})
    keyring = store.opened()
    assert keyring.opener("kek", sealed).open(Purpose.WRAP, _place(keyring), sealed) == b"text"
    if state is State.ACTIVE:
        assert keyring.current("kek").version == 1
    else:
        with pytest.raises(MissingError, match="no active key of purpose kek"):
            keyring.current("kek")


@pytest.mark.parametrize("state", IDLE)
def test_a7_what_is_not_yet_active_or_destroyed_does_nothing(store: KeyStore, state: State) -> None:
    store.set_state("link", state, SHOP)
    keyring = store.opened()
    said = "were destroyed" if state is State.DESTROYED else "no key of purpose link"
    with pytest.raises(MissingError, match=said):
        keyring.links(SHOP)
    assert keyring.links(BANK)
    assert keyring.verify()[1] == 0


def test_a_destroyed_entry_is_never_opened_again(store: KeyStore) -> None:
    store.execute("UPDATE key SET state = 'destroyed', sealed = x'' WHERE purpose = 'token' AND scope = :s", s=SHOP)
    keyring = store.opened()
    with pytest.raises(MissingError):
        keyring.tokens(SHOP)
    assert keyring.verify() == (15, 0)


@pytest.mark.parametrize("state", [State.DEACTIVATED, State.SUSPENDED, State.COMPROMISED, State.PRE_ACTIVE])
def test_a_state_edited_in_the_store_is_refused(store: KeyStore, state: State) -> None:
    """A transition seals the entry anew: an edit alone, which would bring an old key back, does not open."""
    store.execute("UPDATE key SET state = :s WHERE purpose = 'index'", s=str(state))
    with pytest.raises(OpenError):
        store.opened()
    assert store.keyring.verify() == (15, 1)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE key SET sealed = (SELECT sealed FROM key WHERE purpose = 'map') WHERE purpose = 'index'",
        "UPDATE key SET version = 2 WHERE purpose = 'fingerprint'",
        "UPDATE key SET id = x'00112233445566778899aabbccddeeff' WHERE purpose = 'kek'",
        "UPDATE key SET scope = 'evil.example' WHERE scope = 'bank.example' AND purpose = 'link'",
        "UPDATE key SET scope = 'evil.example' WHERE scope = 'bank.example' AND purpose = 'token'",
        "UPDATE key SET sealed = CAST(sealed || x'00' AS BLOB) WHERE purpose = 'directory'",
        "UPDATE key SET sealed = substr(sealed, 1, 97) WHERE purpose = 'account-mac'",
    ],
)
def test_a4_a_key_row_altered_or_moved_is_refused(store: KeyStore, edit: str) -> None:
    store.execute(edit)
    with pytest.raises(OpenError) as caught:
        store.opened()
    assert str(caught.value) == OpenError.default
    with pytest.raises(OpenError):
        store.keyring.reload()


def test_a2_the_entries_of_one_deployment_do_not_open_in_another(store: KeyStore) -> None:
    store.execute("UPDATE deployment SET id = x'00112233445566778899aabbccddeeff'")
    with pytest.raises(OpenError):
        store.opened()


def test_a4_link_keys_swapped_between_sectors_are_refused_and_counted(store: KeyStore) -> None:
    store.execute(
        "UPDATE key SET sealed = (SELECT k.sealed FROM key k WHERE k.purpose = 'link' AND k.scope <> key.scope) "
        "WHERE purpose = 'link'"
    )
    with pytest.raises(OpenError):
        store.opened()
    assert store.keyring.verify()[1] >= 1


def test_a4_every_flipped_bit_of_a_keyring_entry_is_found(store: KeyStore) -> None:
    row = SimpleNamespace(**next(row for row in store.rows("key") if row.purpose == "map")._mapping)
    wrapping = {store.root_id: store.keyring.wrapping}
    assert store.keyring._opens(row, wrapping)
    for bit in range(8 * len(row.sealed)):
        changed = bytearray(row.sealed)
        changed[bit // 8] ^= 1 << bit % 8
        assert not store.keyring._opens(SimpleNamespace(**{**vars(row), "sealed": bytes(changed)}), wrapping)


def test_another_root_key_of_the_same_name_opens_nothing(store: KeyStore) -> None:
    with pytest.raises(OpenError):
        Keyring.under_root(store.engine, store.root_id, Secret.random())


def test_a_root_key_of_another_name_finds_no_key_of_its_own(store: KeyStore) -> None:
    with pytest.raises(SetupError, match="lacks the keys: kek"):
        Keyring.under_root(store.engine, bytes(16), store.root)


def test_a_missing_key_stops_the_start_and_is_named(store: KeyStore) -> None:
    store.execute("DELETE FROM key WHERE purpose IN ('fingerprint', 'directory')")
    with pytest.raises(SetupError, match=r"lacks the keys: fingerprint, directory; .* run idvault db upgrade"):
        store.opened()
    with pytest.raises(SetupError, match=r"lacks the keys: directory; .* run idvault db upgrade"):
        Keyring.under_standing(store.engine, store.keyring.current(STANDING_KEK))


def _of_earlier_version(store: KeyStore) -> Key:
    """Take away what came later and put `index` under the root key, as it was; return `index` as it is now."""
    index = store.keyring.current("index")
    place = place_of(store.keyring.deployment, index.id, "index", "", 1, "active")
    sealed = store.keyring.wrapping.seal(Purpose.KEYRING, place, index.secret.expose_cleartext())
    store.execute("UPDATE key SET sealed = :sealed WHERE purpose = 'index'", sealed=sealed)
    store.execute("DELETE FROM key WHERE purpose IN ('sign/es256', 'officer-head', 'backup')")
    return index


def test_a_key_store_of_an_earlier_version_is_completed_once_and_explicitly(store: KeyStore) -> None:
    index = _of_earlier_version(store)
    with pytest.raises(SetupError, match="lacks the keys: officer-head, backup, sign/es256"):
        store.opened()
    seal = store.home / development.FILE_NAME
    assert setup.complete_development(store.engine, seal, NOW) == ["index", "officer-head", "backup", "sign/es256"]
    assert setup.complete_development(store.engine, seal, NOW) == []
    standing = Keyring.under_standing(store.engine, store.opened().current(STANDING_KEK))
    # The same key as before, now where the holder `standing` finds it.
    assert (standing.current("index").id, standing.current("index").secret) == (index.id, index.secret)
    assert standing.current("sign/es256").state is State.ACTIVE
    assert store.opened().verify() == (15, 0)


def test_completing_needs_the_root_key_of_this_store(store: KeyStore, tmp_path: Path) -> None:
    _of_earlier_version(store)
    seal = tmp_path / "other.json"
    development.create(seal)
    with pytest.raises((OpenError, MissingError)):
        setup.complete_development(store.engine, seal, NOW)
    assert len(store.rows("key")) == 12


def test_a_store_without_a_deployment_or_with_two_is_not_opened(tmp_path: Path) -> None:
    engine = migrated(tmp_path)
    with pytest.raises(SetupError, match="has no deployment id"):
        deployment_of(engine)
    with writing(engine) as connection:
        connection.execute(insert(tables.deployment), [{"id": bytes((n,)) * 16, "created": NOW} for n in (1, 2)])
    with pytest.raises(SetupError, match="has no deployment id"):
        Keyring.under_root(engine, bytes(16), Secret.random())
    engine.dispose()


def test_the_standing_key_opens_tokens_and_nothing_that_leads_to_a_record(store: KeyStore) -> None:
    standing = Keyring.under_standing(store.engine, store.keyring.current(STANDING_KEK))
    assert standing.tokens(SHOP).decode(store.keyring.tokens(SHOP).encode(Pseudonym(PID, 1))) == Pseudonym(PID, 1)
    access = Access("c", frozenset("a"), NOW, PID)
    assert standing.directory().decode_access(store.keyring.directory().encode_access(access)) == access
    assert standing.current("account-mac").secret == store.keyring.current("account-mac").secret
    assert standing.deployment == store.keyring.deployment
    assert standing.current(STANDING_KEK).id == store.keyring.current(STANDING_KEK).id
    for purpose in (*(purpose for purpose in entries.ROOT_PURPOSES if purpose != STANDING_KEK), "link"):
        with pytest.raises(MissingError):
            standing.current(purpose, SHOP if purpose == "link" else "")


@pytest.mark.parametrize("purpose", ["kek", "map"])
def test_with_two_versions_the_old_opens_and_the_new_seals(store: KeyStore, purpose: str) -> None:
    old = store.keyring.current(purpose).seal(Purpose.UID, _place(store.keyring), b"old")
    assert store.add_version(purpose) == 2
    keyring = store.opened()
    assert keyring.current(purpose).version == 2
    new = keyring.current(purpose).seal(Purpose.UID, _place(keyring), b"new")
    for sealed, plain in ((old, b"old"), (new, b"new")):
        assert keyring.opener(purpose, sealed).open(Purpose.UID, _place(keyring), sealed) == plain
    with pytest.raises(MissingError):
        store.keyring.opener(purpose, new)
    # A frame that claims the other version's number with its own key id names no key.
    with pytest.raises(MissingError):
        keyring.opener(purpose, old[:25] + b"\x02" + old[26:])


def test_with_two_versions_old_tokens_and_links_read_and_new_ones_are_of_the_new(store: KeyStore) -> None:
    text, link = store.keyring.tokens(SHOP).encode(Pseudonym(PID, 0)), store.keyring.links(SHOP).link(PID, PID)
    store.add_version("token", SHOP)
    store.add_version("link", SHOP)
    keyring = store.opened()
    assert keyring.tokens(SHOP).decode(text) == Pseudonym(PID, 0)
    assert keyring.tokens(SHOP).encode(Pseudonym(PID, 0)) != text
    assert keyring.links(SHOP).rid(link, PID) == PID
    assert keyring.links(SHOP).link(PID, PID)[-1] == 2


def test_a_newer_version_that_is_not_active_does_not_seal(store: KeyStore) -> None:
    store.add_version("kek", state=State.SUSPENDED)
    keyring = store.opened()
    assert keyring.current("kek").version == 1
    assert set(keyring.versions("kek")) == {1, 2}


class _Moving(dict[tuple[str, str], dict[int, Key]]):
    """Entries that another thread rotates and reads anew just after one of them was looked up."""

    def __init__(self, ring: Keyring, engine: Engine, moved: tuple[str, str]) -> None:
        super().__init__(ring._keys)
        self.ring, self.engine, self.moved = ring, engine, moved

    def get(self, name: tuple[str, str], default: Any = None) -> Any:
        found = super().get(name, default)
        if name == self.moved and self.ring._keys is self:
            with writing(self.engine) as connection:
                self.ring._keys = dict(self)
                self.ring.rotate(connection, *name, NOW, State.COMPROMISED)
            self.ring.reload()
        return found


USES: Final[dict[str, Callable[[Keyring], object]]] = {
    "current": lambda ring: ring.current("link", SHOP).version,
    "active": lambda ring: [key.version for key in ring.active("link", SHOP)],
    "versions": lambda ring: set(ring.versions("link", SHOP)),
    "tags": lambda ring: ring.links(SHOP).tags(PID),
    "mac": lambda ring: ring.mac("map", b"label").of(b""),
}


@pytest.mark.parametrize("use", USES)
def test_what_was_made_of_a_key_that_is_rotated_meanwhile_is_not_kept(store: KeyStore, use: str) -> None:
    ring, used = store.keyring, USES[use]
    ring._keys = _Moving(ring, store.engine, ("map", "") if use == "mac" else ("link", SHOP))
    before = used(ring)
    assert used(ring) == used(store.opened()) != before


def test_a_sector_that_another_holder_added_is_found(store: KeyStore) -> None:
    other = store.opened()
    with pytest.raises(MissingError, match="no key of purpose token"):
        other.tokens("new.example")
    with writing(store.engine) as connection:
        store.keyring.add_sector(connection, "new.example", NOW)
    assert other.tokens("new.example")
    assert other.links("new.example")


def test_a_key_opens_only_its_own_frames(store: KeyStore) -> None:
    one, other = store.keyring.current("kek"), store.keyring.current("map")
    sealed = one.seal(Purpose.WRAP, _place(store.keyring), b"text")
    assert one.open(Purpose.WRAP, _place(store.keyring), sealed) == b"text"
    twin = Key(other.purpose, "", one.version, one.id, State.ACTIVE, other.secret)
    for key in (other, twin):
        with pytest.raises(OpenError):
            key.open(Purpose.WRAP, _place(store.keyring), sealed)
