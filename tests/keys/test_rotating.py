"""A key lives as NIST SP 800-57 has it; a former version opens what it wrapped until that was sealed anew, and then
alone does it go (A7, A9, A10)."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from keys import record_keys, records, rewrapping
from keys.agent import rewrapper
from keys.agent.acts import evidence, rotating, signing, verifying
from keys.agent.acts.together import Completions, Creations, Ready
from keys.agent.names import Names
from keys.engine import reading, writing
from keys.entries import STANDING_KEK
from keys.errors import ConflictError, MissingError, OpenError, ProtocolError, RefusedError, UnavailableError
from keys.frame import Place, Purpose
from keys.keyring import Keyring
from keys.primitives import Mac
from keys.states import MAY_PROCESS, MAY_PROTECT, TRANSITIONS, State, check_transition
from keys.tokens import PairwiseTokens, Pseudonym
from keys.uses import BLOCK, MOST
from tests.fresh import in_words_of, refusing
from tests.keys.stores import BANK, NOW, SHOP, KeyStore, at_once, dialogue, registered

PID = bytes(range(16))


def act(do: Any, names: Names | Keyring, **args: Any) -> dict[str, Any]:
    with dialogue() as talk:
        found: dict[str, Any] = do(names, args, talk)
        return found


def rotate(store: KeyStore, purpose: str = "kek", sector: str = "", begun: int = 0, **more: Any) -> dict[str, Any]:
    return act(rotating.rotate, store.names(), purpose=purpose, sector=sector, **{"from": begun}, **more)


def rewrap(store: KeyStore, batch: int = 1000) -> list[dict[str, Any]]:
    """Say the act until its pass is over; return what each batch said."""
    told, after, names = [], None, store.names()
    while after != b"":
        told.append(act(rotating.rewrap, names, after=after or b"", until=b"", batch=batch))
        after = told[-1]["after"]
    return told


def destroy(store: KeyStore, version: int, purpose: str = "kek", sector: str = "", *, sure: bool = True) -> Any:
    return act(rotating.destroy, store.names(), purpose=purpose, sector=sector, version=version, sure=sure)


def opens(keyring: Keyring, rid: bytes) -> tuple[bytes, bytes]:
    with reading(keyring._engine) as connection:
        opened = record_keys.unwrap(keyring, records.load(connection, keyring, rid))
    return opened.record_key.expose_cleartext(), opened.commitment_key.expose_cleartext()


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_a7_a_key_goes_only_where_the_table_leads(store: KeyStore, before: State, after: State) -> None:
    version = store.add_version("kek", state=before)
    store.keyring.reload()
    there = store.keyring._keys["kek", ""].get(version)
    if there is None:  # of a destroyed key nothing is read that could be moved
        assert before is State.DESTROYED
        with pytest.raises(ConflictError):
            check_transition(before, after)
        return
    with writing(store.engine) as connection:
        if after not in TRANSITIONS[before]:
            with pytest.raises(ConflictError, match=f"is {before} does not become {after}"):
                store.keyring.move(connection, there, after)
            return
        store.keyring.move(connection, there, after)
    moved = store.opened()
    assert ({row.version: row.state for row in store.rows("key") if row.purpose == "kek"}) == {1: "active", 2: after}
    assert (version in moved.versions("kek")) == (after in MAY_PROCESS)
    assert (moved.current("kek").version == version) == (after in MAY_PROTECT)
    assert moved.verify()[1] == 0


def test_a7_no_way_leads_back_to_a_key_that_was_retired() -> None:
    reached = {State.DEACTIVATED}
    while more := {after for one in reached for after in TRANSITIONS[one]} - reached:
        reached |= more
    assert not reached & MAY_PROTECT
    assert not TRANSITIONS[State.DESTROYED]


def test_a7_the_only_active_key_stays_active(store: KeyStore) -> None:
    for state in (State.SUSPENDED, State.DEACTIVATED, State.COMPROMISED):
        with writing(store.engine) as connection, pytest.raises(ConflictError, match="only active version"):
            store.keyring.move(connection, store.keyring.current("kek"), state)


def test_a_new_version_seals_at_once_and_the_old_one_opens(store: KeyStore) -> None:
    old = registered(store)
    before = opens(store.keyring, old.rid)
    assert rotate(store) == {"purpose": "kek", "sector": "", "version": 2, "former": "deactivated"}
    new = registered(store)
    assert {row.rid: row.kek_version for row in store.rows("record_key")} == {old.rid: 1, new.rid: 2}
    fresh = store.opened()
    assert opens(fresh, old.rid) == before
    assert opens(fresh, new.rid)
    assert {row.type for row in store.rows("audit_outbox")} >= {"keys.rotated"}


def test_a_retry_of_a_rotation_does_nothing_again(store: KeyStore) -> None:
    for _ in range(2):
        assert rotate(store, begun=1)["version"] == 2
    assert rotate(store, begun=2, compromised=True)["former"] == "compromised"
    with pytest.raises(ConflictError, match="version 3 is current"):
        rotate(store, begun=1)
    states = {row.version: row.state for row in store.rows("key") if row.purpose == "kek"}
    assert states == {1: "deactivated", 2: "compromised", 3: "active"}


def test_two_rotations_at_once_from_one_version_make_one(store: KeyStore) -> None:
    made = at_once([lambda: rotate(store, begun=1) for _ in range(8)])
    assert {one["version"] for one in made} == {2}
    assert sorted(row.version for row in store.rows("key") if row.purpose == "kek") == [1, 2]


@pytest.mark.parametrize(
    "args", [{"purpose": "map"}, {"purpose": "link"}, {"purpose": "fingerprint", "sector": SHOP},
             {"purpose": "kek", "sector": SHOP}, {"purpose": "token"},
             {"purpose": "standing-kek"}, {"purpose": "token", "sector": 7}, {}],
)  # fmt: skip
def test_what_is_not_rotated_is_refused_by_the_field(store: KeyStore, args: dict[str, Any]) -> None:
    for do, more in ((rotating.rotate, {"from": 0}), (rotating.destroy, {"version": 1, "sure": True})):
        with pytest.raises(ProtocolError, match=r"purpose|sector"):
            act(do, store.names(), **args, **more)
    with pytest.raises(MissingError):
        rotate(store, "token", "unknown.example")


def test_a_key_that_was_rotated_too_often_says_so(store: KeyStore) -> None:
    secret = store.keyring.current("kek").secret
    store.write_key("kek", "", 255, State.ACTIVE, secret)
    store.keyring.reload()
    with pytest.raises(ConflictError, match="255 versions"):
        rotate(store)


def test_a9_rewrap_ends_at_a_stated_zero_and_every_record_opens_to_what_it_was(store: KeyStore) -> None:
    people = [registered(store) for _ in range(7)]
    before = {one.rid: opens(store.keyring, one.rid) for one in people}
    piece = act(evidence.evidence, store.names(), use="seal", name="front", standing=people[0].evidence(store))["key"]
    rotate(store)
    told = rewrap(store, batch=3)
    assert told[0]["left"] == 2 * 7 + 1 - 2 * 3
    assert [one["sealed"] for one in told] == [6, 6, 2]
    [last] = rewrap(store)
    assert (last["sealed"], last["left"]) == (1, 0)
    assert {row.kek_version for row in store.rows("record_key")} == {2}
    fresh = store.opened()
    assert {rid: opens(fresh, rid) for rid in before} == before
    row = store.rows("evidence_key")[0]
    place = Place(fresh.deployment, "keys.evidence_key", row.rid + b"front", "wrapped")
    assert fresh.current("kek").open(Purpose.WRAP, place, row.wrapped) == piece
    tables = act(verifying.verify_own, store.names())["tables"]
    assert all(table["bad"] == 0 for table in tables.values())
    assert [one["sealed"] for one in rewrap(store)] == [0]


def test_a9_a_rewrap_that_fails_in_a_batch_changes_none_of_it_and_goes_on_afterwards(store: KeyStore) -> None:
    people = [registered(store) for _ in range(6)]
    rotate(store)
    rids = sorted(one.rid for one in people)
    fifth = in_words_of(store.engine, f"old.rid = x'{rids[4].hex()}'")
    with (
        refusing(store.engine, "UPDATE", "record_key", fifth),
        pytest.raises(UnavailableError, match="cannot be written"),
    ):
        rewrap(store, batch=3)
    assert [row.kek_version for row in sorted(store.rows("record_key"), key=lambda row: row.rid)] == [2, 2, 2, 1, 1, 1]
    assert all(opens(store.opened(), rid) for rid in rids)
    assert rewrap(store)[-1]["left"] == 0


def test_a_record_that_was_drawn_before_its_keys_were_sealed_anew_is_completed_afterwards(store: KeyStore) -> None:
    names, ready, item = store.names(), Ready(), {"pid": PID, "fields": ["legal_name"]}
    with dialogue() as talk:
        made = Creations(names, ready)({"sector": SHOP, "items": [item]}, talk)
    rotate(store)
    assert rewrap(store)[-1]["left"] == 0
    [row] = store.rows("record_key")
    assert (row.kek_version, row.state) == (2, records.State.CREATING)
    done = {"items": [{"sector": SHOP, "pid": PID, "link": made["items"][0]["link"]}]}
    with dialogue() as talk:
        Completions(names, ready)(done, talk)
    [row] = store.rows("record_key")
    assert (row.kek_version, row.state) == (2, records.State.IN_REVIEW)
    assert opens(store.opened(), row.rid)


def test_a_record_that_changed_since_it_was_read_waits_for_the_next_pass(store: KeyStore) -> None:
    made = registered(store)
    rotate(store)
    wrapping = rewrapping.Wrapping.of(store.keyring)
    [row] = store.rows("record_key")
    change = rewrapping._changed(wrapping, wrapping.sealer("keys.record_key", 1), Mac(wrapping.rows), row)
    with writing(store.engine) as connection:
        record = records.load(connection, store.keyring, made.rid)
        records.change(connection, store.keyring, record, state=records.State.VERIFIED)
        assert rewrapping._write(connection, [change]) == 0
    assert rewrap(store)[-1]["left"] == 0
    with reading(store.engine) as connection:
        assert records.load(connection, store.keyring, made.rid).state is records.State.VERIFIED


def test_an_altered_record_stays_as_it_is_and_holds_up_no_other(store: KeyStore) -> None:
    altered, sound = registered(store), registered(store)
    rotate(store)
    store.execute("UPDATE record_key SET assurance = 'vault' WHERE rid = :rid", rid=altered.rid)
    told = rewrap(store)
    assert [(one["sealed"], one["altered"]) for one in told] == [(2, 1)]
    assert told[-1]["left"] == 2
    assert {row.rid: row.kek_version for row in store.rows("record_key")} == {altered.rid: 1, sound.rid: 2}
    with pytest.raises(RefusedError, match="2 keys are sealed under version 1"):
        destroy(store, 1)


def test_an_altered_piece_of_evidence_stays_as_it_is_and_holds_up_no_other(store: KeyStore) -> None:
    people = [registered(store) for _ in range(2)]
    for one in people:
        act(evidence.evidence, store.names(), use="seal", name="front", standing=one.evidence(store))
    rotate(store)
    store.execute("UPDATE evidence_key SET views = 9 WHERE rid = :rid", rid=people[0].rid)
    [told] = rewrap(store)
    assert (told["sealed"], told["altered"], told["left"]) == (2 * 2 + 1, 1, 1)


def test_what_comes_after_the_first_batch_is_sealed_anew_in_a_process_that_ends_with_its_work(store: KeyStore) -> None:
    for _ in range(6):
        registered(store)
    rotate(store)
    names = store.names()
    first = act(rotating.rewrap, names, after=b"", until=b"", batch=2)
    assert not names.rewrappers._idle
    second = act(rotating.rewrap, names, after=first["after"], until=b"", batch=2)
    [process] = names.rewrappers._idle
    comm = Path(f"/proc/{process._popen.pid}/comm")
    assert comm.read_text().strip() == rewrapper.NAME
    act(rotating.rewrap, names, after=second["after"], until=b"", batch=3)
    assert not names.rewrappers._idle
    assert not comm.exists()
    assert {row.kek_version for row in store.rows("record_key")} == {2}


def test_a_process_that_seals_anew_ends_when_its_holder_does_or_when_nothing_comes(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        registered(store)
    rotate(store)
    names = store.names()
    act(rotating.rewrap, names, after=bytes(16), until=b"", batch=1)
    [process] = names.rewrappers._idle
    process._socket.close()  # as the kernel does for a holder that was killed
    assert process._popen.wait(10) == 0
    names.rewrappers._idle.popitem()[1].cancel()
    monkeypatch.setattr(rewrapper, "_IDLE_SECONDS", 1.0)
    act(rotating.rewrap, names, after=bytes(16), until=b"", batch=1)
    [process] = names.rewrappers._idle
    process._popen.wait(10)
    assert not names.rewrappers._idle


def test_a_process_that_seals_anew_is_killed_and_its_batch_is_done_when_said_again(store: KeyStore) -> None:
    for _ in range(4):
        registered(store)
    rotate(store)
    names = store.names()
    first = act(rotating.rewrap, names, after=bytes(16), until=b"", batch=1)
    [process] = names.rewrappers._idle
    process._popen.kill()
    with pytest.raises(UnavailableError):
        act(rotating.rewrap, names, after=first["after"], until=b"", batch=5)
    act(rotating.rewrap, names, after=first["after"], until=b"", batch=5)
    assert {row.kek_version for row in store.rows("record_key")} == {2}


def test_a_rewrapper_knows_no_key_that_it_does_not_need(store: KeyStore) -> None:
    told = rewrapper._told(rewrapping.Wrapping.of(store.keyring))
    assert {key["id"] for key in told["keys"]} == {key.id for key in store.keyring.versions("kek").values()}
    assert set(told) == {"deployment", "keys", "current", "rows", "uses"}
    assert told["rows"] not in {secret.expose_cleartext() for secret in store.keyring.secrets("map").values()}


def test_two_sweeps_at_once_seal_each_record_anew_once(store: KeyStore) -> None:
    people = [registered(store) for _ in range(12)]
    before = {one.rid: opens(store.keyring, one.rid) for one in people}
    rotate(store)
    with ThreadPoolExecutor(2) as pool:
        told = [one for sweep in pool.map(lambda _: rewrap(store, batch=2), range(2)) for one in sweep]
    assert sum(one["sealed"] for one in told) == 2 * len(people)
    fresh = store.opened()
    assert {rid: opens(fresh, rid) for rid in before} == before


def test_two_parts_at_a_time_leave_nothing_out_and_nothing_twice(store: KeyStore) -> None:
    people = [registered(store) for _ in range(12)]
    before = {one.rid: opens(store.keyring, one.rid) for one in people}
    rotate(store)
    names, middle, sealed = store.names(), b"\x80" + bytes(15), 0
    for begin, until in ((bytes(16), middle), (middle, b"")):
        after = begin
        while after:
            told = act(rotating.rewrap, names, after=after, until=until, batch=2)
            sealed, after = sealed + told["sealed"], told["after"]
    assert sealed == 2 * len(people)
    fresh = store.opened()
    assert {rid: opens(fresh, rid) for rid in before} == before


def test_a10_a_version_goes_only_when_nothing_is_sealed_under_it(store: KeyStore) -> None:
    made = registered(store)
    with pytest.raises(ConflictError, match="version 1 is active: rotate first"):
        destroy(store, 1)
    rotate(store)
    with pytest.raises(RefusedError, match="2 keys are sealed under version 1; idvault-keys rewrap first"):
        destroy(store, 1)
    rewrap(store)
    assert destroy(store, 1, sure=False)["references"] == 0
    assert {row.version: row.state for row in store.rows("key") if row.purpose == "kek"}[1] == "deactivated"
    for _ in range(2):
        assert destroy(store, 1)["state"] == "destroyed"
    assert [bytes(row.sealed) for row in store.rows("key") if (row.purpose, row.version) == ("kek", 1)] == [b""]
    assert opens(store.opened(), made.rid)
    assert "keys.destroyed" in {row.type for row in store.rows("audit_outbox")}
    with pytest.raises(MissingError, match="no such version"):
        destroy(store, 3)


def test_a10_nothing_unwraps_under_a_destroyed_version(store: KeyStore) -> None:
    sealed = store.keyring.current("kek").seal(Purpose.WRAP, Place(bytes(16), "t", b"a", "f"), b"key")
    rotate(store)
    destroy(store, 1)
    for keyring in (store.keyring, store.opened()):
        with pytest.raises(MissingError):
            keyring.opener("kek", sealed)
    assert store.opened().verify()[1] == 0


def test_a43_a_rotated_token_key_leaves_the_other_provider_alone_and_old_tokens_good(store: KeyStore) -> None:
    shop, bank = (store.keyring.tokens(sector).encode(Pseudonym(PID, 0)) for sector in (SHOP, BANK))
    assert rotate(store, "token", SHOP)["version"] == 2
    fresh = store.opened()
    assert fresh.tokens(SHOP).encode(Pseudonym(PID, 0)) != shop
    assert fresh.tokens(SHOP).decode(shop) == Pseudonym(PID, 0)
    assert fresh.tokens(BANK).encode(Pseudonym(PID, 0)) == bank
    destroy(store, 1, "token", SHOP)
    with pytest.raises(OpenError):
        store.opened().tokens(SHOP).decode(shop)


def test_a_worker_asks_once_more_for_a_version_that_it_does_not_know(store: KeyStore) -> None:
    held, asked = store.keyring.secrets("token", SHOP), []
    rotate(store, "token", SHOP)
    new = store.keyring.tokens(SHOP).encode(Pseudonym(PID, 0))

    def renewed() -> Any:
        asked.append(1)
        return store.keyring.secrets("token", SHOP)

    codec = PairwiseTokens(SHOP, held, renewed)
    for _ in range(3):
        assert codec.decode(new) == Pseudonym(PID, 0)
    assert asked == [1]
    forged = "nym_" + "A" * 50  # of version 0
    for _ in range(1000):
        with pytest.raises(OpenError):
            codec.decode(forged)
    assert len(asked) < 10  # forged tokens name versions that there are not, by the thousand


def test_standing_sees_what_names_rotated_without_a_restart(store: KeyStore) -> None:
    standing = Keyring.under_standing(store.engine, store.keyring.current(STANDING_KEK))
    first = act(signing.public_keys, standing)["keys"]
    rotate(store, "signing")
    rotate(store, "token", SHOP)
    both = act(signing.public_keys, standing)["keys"]
    assert len(both) == 2
    assert first[0] in both
    standing.refresh("token", SHOP)
    assert set(standing.secrets("token", SHOP)) == {1, 2}
    destroy(store, 1, "signing")
    assert len(act(signing.public_keys, standing)["keys"]) == 1


def test_the_list_of_keys_says_versions_states_and_how_many_records_lie_under_each(store: KeyStore) -> None:
    registered(store)
    rotate(store)
    keks = [key for key in act(rotating.keys_listed, store.names())["keys"] if key["purpose"] == "kek"]
    assert keks == [
        {"purpose": "kek", "sector": "", "version": 1, "state": "deactivated", "created": NOW, "records": 1,
         "uses": BLOCK, "limit": MOST},
        {"purpose": "kek", "sector": "", "version": 2, "state": "active", "created": NOW, "records": 0,
         "uses": 0, "limit": MOST},
    ]  # fmt: skip
