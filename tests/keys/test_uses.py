"""How often a version of the key encryption key seals is counted before it does, and bounded (A6)."""

import os
import random
import signal
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from keys import record_keys, records, rewrapping, uses
from keys import store as tables
from keys.agent.acts import deepening, evidence, figures, redeeming, registering, rotating, verifying
from keys.agent.client import AgentClient
from keys.agent.names import Limits
from keys.cli import status
from keys.engine import open_engine, reading, writing
from keys.entries import KEK, Key
from keys.errors import KeysError, UnavailableError, UsesError
from keys.fields import FieldValue, seal_field
from keys.frame import Place, Purpose
from keys.keyring import Keyring
from keys.migrating import KEYS, downgrade, upgrade
from keys.primitives import Secret, random_bytes
from keys.records import State
from keys.tokens import handoff_hash
from keys.uses import BLOCK, RESTORED, Uses
from tests.fresh import store_url
from tests.keys.agents import Agent, until
from tests.keys.stores import NOW, SHOP, KeyStore, dialogue, put_in, registered
from tests.keys.test_acts_exchanging import Directory

PLACE = Place(bytes(16), "keys.record_key", bytes(16), "wrapped")
ROTATE = "rotate it, idvault-keys rotate kek"


def limited(store: KeyStore, limit: int) -> KeyStore:
    """Have the store's holder started anew with a limit."""
    store.keyring = Keyring.under_root(store.engine, store.root_id, store.root, limit)
    return store


def used(store: KeyStore) -> dict[int, int]:
    with reading(store.engine) as connection:
        found: dict[int, int] = uses.by_version(connection)
    return found


def frames(store: KeyStore, version: int) -> int:
    """Return how many frames stand under a version."""
    of_records = sum(row.kek_version == version for row in store.rows("record_key"))
    return int(of_records) + len(store.rows("evidence_key"))


def say(act: Any, store: KeyStore, answers: Any = None, **args: Any) -> dict[str, Any]:
    with dialogue(*([answers] if answers else [])) as talk:
        found: dict[str, Any] = act(store.names(), args, talk)
        return found


def create(store: KeyStore, count: int) -> list[dict[str, Any]]:
    items = [{"pid": random_bytes(16), "fields": ["legal_name"]} for _ in range(count)]
    made: list[dict[str, Any]] = say(registering.create, store, sector=SHOP, items=items)["items"]
    return made


def rotated(store: KeyStore) -> int:
    return int(say(rotating.rotate, store, purpose="kek", sector="", **{"from": 0})["version"])


def test_a6_at_the_limit_sealing_is_refused_with_what_to_do_and_goes_on_once_the_key_was_rotated(
    store: KeyStore,
) -> None:
    limited(store, 1000)
    known = registered(store)
    create(store, 998)
    create(store, 1)
    before = len(store.rows("record_key"))
    with pytest.raises(UsesError, match=ROTATE):
        create(store, 1)
    assert len(store.rows("record_key")) == before == 1000
    assert used(store) == {1: 1000}
    with reading(store.engine) as connection:
        record = records.load(connection, store.keyring, known.rid)
    assert record_keys.unwrap(store.keyring, record).record.rid == known.rid, "what was sealed opens"
    assert rotated(store) == 2
    create(store, 1)
    assert used(store)[1] == 1000
    assert 1 <= used(store)[2] <= 1000 // 64


def test_a6_a_batch_that_is_more_than_is_left_is_refused_whole_and_a_smaller_one_is_made(store: KeyStore) -> None:
    limited(store, 10)
    create(store, 7)
    with pytest.raises(UsesError):
        create(store, 4)
    assert len(store.rows("record_key")) == 7
    create(store, 3)
    with pytest.raises(UsesError):
        create(store, 1)
    assert used(store) == {1: 10}


def test_a6_uses_are_set_aside_in_blocks_and_what_is_left_of_one_is_not_made_use_of_after_a_start(
    store: KeyStore,
) -> None:
    assert used(store) == {1: 0}
    create(store, 3)
    assert used(store) == {1: BLOCK}
    store.keyring = store.opened()
    create(store, 1)
    assert used(store) == {1: 2 * BLOCK}


def test_a6_the_uses_of_one_start_are_counted_one_by_one(store: KeyStore) -> None:
    ring = store.keyring
    create(store, 5)
    registered(store)
    assert ring.uses._left_of(ring.current("kek").id) == BLOCK - 6


def test_a6_uses_made_are_never_more_than_are_counted_nor_is_the_limit_passed(store: KeyStore) -> None:
    @settings(max_examples=30)
    @given(
        limit=st.integers(1, 3000),
        said=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 200), st.booleans()), max_size=30),
    )
    def hold(limit: int, said: list[tuple[int, int, bool]]) -> None:
        """Three holders take, or prepare to, in any order; one that is refused has taken nothing."""
        key_id, mac = random_bytes(16), store.keyring.uses._mac
        with writing(store.engine) as connection:
            store.keyring.uses.begin(connection, key_id)
        three, made, before = [Uses(store.engine, mac, limit) for _ in range(3)], 0, 0
        for who, count, prepares in said:
            with suppress(UsesError):
                three[who].prepare(key_id) if prepares else three[who].take(key_id, count)
                made += 0 if prepares else count
            [now] = [row.used for row in store.rows("key_use") if row.key_id == key_id]
            assert max(made, before) <= now <= limit
            before = now

    hold()


def test_a6_within_a_write_transaction_uses_that_are_not_set_aside_are_refused_at_once_and_given_afterwards(
    store: KeyStore,
) -> None:
    key = store.keyring.current("kek")
    with writing(store.engine), pytest.raises(UnavailableError, match="nothing was done, try again"):
        key.seal(Purpose.WRAP, PLACE, b"")
    key.seal(Purpose.WRAP, PLACE, b"")
    with writing(store.engine):  # what was set aside is taken without the store
        key.seal(Purpose.WRAP, PLACE, b"")


def test_a6_who_waits_to_set_uses_aside_holds_nobody_up_who_is_in_a_write_transaction(store: KeyStore) -> None:
    key, other = store.keyring.current("kek"), store.keyring.uses
    key.seal(Purpose.WRAP, PLACE, b"")
    waiting = threading.Thread(target=other.take, args=(key.id, BLOCK))
    with writing(store.engine):
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        key.seal(Purpose.WRAP, PLACE, b"")
    waiting.join(20)
    assert not waiting.is_alive()


def test_a6_a_piece_of_evidence_takes_one_use_and_is_refused_before_anything_is_done(store: KeyStore) -> None:
    limited(store, 2)
    one = registered(store)
    put_in(store, one.rid, state=State.RETURNED)
    args = {"standing": one.evidence(store), "use": "seal"}
    say(evidence.evidence, store, name="photo", **args)
    with pytest.raises(UsesError, match=ROTATE):
        say(evidence.evidence, store, name="passport", **args)
    assert [row.name for row in store.rows("evidence_key")] == ["photo"]
    rotated(store)
    say(evidence.evidence, store, name="passport", **args)
    assert len(store.rows("evidence_key")) == 2


def test_a6_sealing_anew_takes_the_uses_of_the_new_version_in_a_process_of_its_own_too(store: KeyStore) -> None:
    limited(store, 640)
    create(store, 25)
    rotated(store)
    names, after, sealed = store.names(), b"", 0
    while True:
        with dialogue() as talk:
            told = rotating.rewrap(names, {"after": after, "until": b"", "batch": 10}, talk)
        sealed, after = sealed + told["sealed"] // 2, told["after"]
        if not after:
            break
    assert sealed == frames(store, 2) == 25
    assert 25 <= used(store)[2] <= 25 + 2 * 10  # each of the two processes had a block of ten at a time


def test_a6_a_batch_that_cannot_be_sealed_anew_is_refused_whole_and_nothing_is_called_altered(store: KeyStore) -> None:
    limited(store, 20)
    create(store, 15)
    rotated(store)
    create(store, 10)
    with pytest.raises(UsesError):
        say(rotating.rewrap, store, after=b"", until=b"", batch=15)
    assert frames(store, 1) == 15
    assert say(rotating.rewrap, store, after=b"", until=b"", batch=5)["altered"] == 0
    rotated(store)
    wrapping = rewrapping.Wrapping.of(store.keyring)
    assert rewrapping.rewrap_records(store.engine, wrapping, b"", b"", 20).sealed == 2 * 20


def test_a6_a_process_that_seals_anew_says_that_no_uses_are_left(store: KeyStore) -> None:
    limited(store, 20)
    create(store, 20)
    rotated(store)
    create(store, 18)
    wrapping, names = rewrapping.Wrapping.of(store.keyring), store.names()
    first = min(row.rid for row in store.rows("record_key") if row.kek_version == 1)
    with pytest.raises(UsesError, match=ROTATE):
        names.rewrappers.rewrap(store.engine, wrapping, first, b"", 10)
    assert frames(store, 1) == 20


def test_a6_records_that_are_given_another_key_take_a_use_each_and_nothing_is_half_done(store: KeyStore) -> None:
    limited(store, 3)
    made = create(store, 2)
    deployment, fields = store.keyring.deployment, dict[bytes, dict[str, bytes]]()
    for one in made:
        put_in(store, one["rid"], state=State.IN_REVIEW, origin=None)
        key = Secret(one["keys"]["legal_name"])
        sealed = seal_field(key, deployment, one["rid"], "legal_name", 1, FieldValue(b'"Anna"'))
        fields[one["rid"]] = {"legal_name": sealed}
    before = [row.wrapped for row in store.rows("record_key")]

    def answers(_what: str, args: Any) -> object:
        return [{"rid": rid, "fields": fields[rid]} for rid in args["values"]]

    assert say(deepening.begin, store, sure=True)["left"] == 2
    with pytest.raises(UsesError):
        say(deepening.deep, store, answers, after=b"", limit=10)
    assert [row.wrapped for row in store.rows("record_key")] == before
    limited(store, 640)
    found = say(deepening.deep, store, answers, after=b"", limit=10)
    assert (len(found["items"]), found["altered"]) == (2, 0)


def test_a6_a_redemption_that_needs_a_record_is_refused_by_itself_and_consumes_nothing(store: KeyStore) -> None:
    directory = Directory(store)
    (_, new), (_, old) = directory.known(), directory.known()
    directory.redeemed(directory.opened(old))
    new_one, old_one = directory.opened(new), directory.opened(old)
    limited(store, 1)
    items = [{"hash": handoff_hash(one)} for one in (new_one, old_one)]
    found = directory.run(redeeming.redeem, taker="bank", items=items)
    assert found["items"][0] == {"error": "uses"}
    assert "pid" in found["items"][1]
    assert "intent" not in found
    rotated(store)
    assert "link" in directory.run(redeeming.redeem, taker="bank", items=items[:1])["items"][0]


@pytest.mark.parametrize(
    "how",
    [
        "DELETE FROM key_use",
        "UPDATE key_use SET used = 0",
        "UPDATE key_use SET used = used - 1",
        "UPDATE key_use SET mac = key_id",
    ],
)
def test_a6_where_the_count_is_missing_or_was_altered_nothing_is_sealed_until_the_key_is_rotated(
    store: KeyStore, how: str
) -> None:
    create(store, 1)
    store.execute(how)
    store.keyring = store.opened()
    with pytest.raises(UsesError, match="missing or was altered: rotate it, and idvault fsck"):
        create(store, 1)
    assert say(verifying.verify_own, store)["tables"]["key_use"]["bad"] == 1
    [told] = [key for key in say(rotating.keys_listed, store)["keys"] if key["purpose"] == KEK]
    assert told["uses"] is None
    assert rotated(store) == 2
    create(store, 1)
    assert say(verifying.verify_own, store)["tables"]["key_use"]["bad"] == 1, "of the former version it is said still"
    while say(rotating.rewrap, store, after=b"", until=b"", batch=10)["left"]:
        pass


def test_a6_a_count_that_was_put_back_whole_is_not_believed_by_who_knew_it(store: KeyStore) -> None:
    create(store, 1)
    [before] = store.rows("key_use")
    store.keyring.uses.take(store.keyring.current("kek").id, BLOCK)
    store.execute("UPDATE key_use SET used = :u, mac = :m", u=before.used, m=before.mac)
    with pytest.raises(UsesError, match="altered"):
        store.keyring.uses.take(before.key_id, BLOCK)


def test_a6_a_key_encryption_key_whose_uses_nobody_counts_seals_nothing(store: KeyStore) -> None:
    current = store.keyring.current("kek")
    key = Key(KEK, "", 1, current.id, current.state, current.secret)
    with pytest.raises(UsesError, match="nobody counts"):
        key.seal(Purpose.WRAP, PLACE, b"")
    with pytest.raises(UsesError, match="nobody counts"):
        key.sealer(Purpose.WRAP, PLACE, 1)


def test_a6_versions_of_an_earlier_vault_begin_at_what_stands_under_them_and_are_signed_when_it_is_opened(
    store: KeyStore,
) -> None:
    create(store, 3)
    rotated(store)
    one = registered(store)
    put_in(store, one.rid, state=State.RETURNED)
    say(evidence.evidence, store, name="photo", standing=one.evidence(store), use="seal")
    downgrade(store.engine, KEYS, "0011")
    upgrade(store.engine, KEYS)
    assert used(store) == {1: RESTORED + 3, 2: RESTORED + 2}
    store.keyring = store.opened()
    with pytest.raises(UsesError, match="altered"):
        create(store, 1)
    for _ in range(2):
        with writing(store.engine) as connection:
            Keyring.of_earlier_version(store.engine, store.root_id, store.root).complete(connection, NOW)
        assert used(store) == {1: RESTORED + 3, 2: RESTORED + 2}
    create(store, 1)
    assert used(store)[2] == RESTORED + 2 + BLOCK
    assert say(verifying.verify_own, store)["tables"]["key_use"] == {"rows": 2, "bad": 0}


def test_a6_a_restore_adds_a_million_to_counts_that_hold_and_signs_none_that_does_not(store: KeyStore) -> None:
    create(store, 1)
    rotated(store)
    store.execute("UPDATE key_use SET used = 5 WHERE used = 0")
    with writing(store.engine) as connection:
        store.keyring.uses.restored(connection)
    assert used(store) == {1: BLOCK + RESTORED, 2: 5}
    with reading(store.engine) as connection:
        assert sorted(store.keyring.uses.told(connection).values(), key=str) == [BLOCK + RESTORED, None]


def test_a6_what_is_destroyed_keeps_its_count_and_needs_none(store: KeyStore) -> None:
    create(store, 1)
    rotated(store)
    say(rotating.rewrap, store, after=b"", until=b"", batch=10)
    say(rotating.destroy, store, purpose="kek", sector="", version=1, sure=True)
    assert list(used(store)) == [2]
    assert len(store.rows("key_use")) == 2
    [gone] = [row for row in store.rows("key") if (row.purpose, row.version) == (KEK, 1)]
    store.execute("DELETE FROM key_use WHERE key_id = :k", k=gone.id)
    assert say(verifying.verify_own, store)["tables"]["key_use"] == {"rows": 1, "bad": 0}


@pytest.mark.parametrize(
    ("count", "why"),
    [
        (0, ""),
        (899, ""),
        (900, "used 900 of 1000 uses"),
        (1000, "used all of its 1000 uses and seals no more"),
        (2000, "used all of its 1000 uses and seals no more"),
        (None, "seals nothing: how often it did is missing or was altered"),
    ],
)
def test_a6_from_nine_tenths_on_officers_are_told_to_rotate(count: int | None, why: str) -> None:
    assert uses.to_rotate(count, 1000) == why


def test_a6_the_list_and_the_figures_say_how_often_each_version_was_used(store: KeyStore) -> None:
    limited(store, 6400)
    create(store, 1)
    rotated(store)
    told = [key for key in say(rotating.keys_listed, store)["keys"] if key["purpose"] == KEK]
    assert [(key["version"], key["uses"], key["limit"]) for key in told] == [(1, 100, 6400), (2, 0, 6400)]
    with dialogue() as talk:
        found = figures.figures(store.engine, Limits(kek_uses=6400), lambda: NOW, {}, talk)
    assert (found["kek"], found["kek_limit"]) == ({1: 100, 2: 0}, 6400)


def test_a6_the_officers_status_says_the_uses_of_each_version_and_when_to_rotate() -> None:
    found = {
        "control": {"seal": "shares", "standing": "open"}, "threshold": 2, "officers": [], "names": "open",
        "generation": 1, "needed": {}, "keys": [], "policy": {}, "budgets": {}, "requests": [], "you": "",
        "uses": [{"version": 1, "uses": 990, "limit": 1000}, {"version": 2, "uses": 899, "limit": 1000}],
    }  # fmt: skip
    told = status.lines(found, NOW)
    assert "uses      kek version 1: 990 of 1000" in told
    assert "uses      kek version 2: 899 of 1000" in told
    assert told[-1] == "to do     nothing"
    assert status.MODE not in told
    found["uses"][-1]["uses"] = 900  # type: ignore[index]
    assert status.lines(found, NOW)[-1].endswith(
        "key kek version 2 used 900 of 1000 uses: idvault-keys rotate kek, beside the agent"
    )


@pytest.mark.sampled
@pytest.mark.timeout(300)
def test_a6_after_kill_9_amid_registrations_the_count_has_not_fallen_and_no_frame_is_uncounted(
    tmp_path: Path, drawn: random.Random, *, full: bool
) -> None:
    agent = Agent(tmp_path / "home").start()
    agent.officer.call("enrol", {"what": "provider", "sector": SHOP, "client": "cli_a", "name": "Shop"})
    engine, before, made = open_engine(store_url(agent.home, "keys"), busy_seconds=20), {1: 0}, 0
    try:
        for turn in range(12 if full else 4):
            over, answered = threading.Event(), list[int]()
            threads = [threading.Thread(target=_register, args=(agent, over, answered)) for _ in range(3)]
            for thread in threads:
                thread.start()
            until(lambda seen=answered: seen, "somebody is registered")  # type: ignore[misc]
            over.wait(drawn.uniform(0, 0.5))
            if turn % 2:
                with suppress(KeysError):
                    agent.officer.call("keys.rotate", {"purpose": "kek", "sector": "", "from": 0})
            os.kill(agent.holder("names"), signal.SIGKILL)
            over.set()
            for thread in threads:
                thread.join(20)
            made += sum(answered)
            with reading(engine) as connection:
                now = uses.by_version(connection)
                rows = connection.execute(select(tables.record_key.c.kek_version)).scalars().all()
            assert all(now[version] >= count for version, count in before.items()), "a count fell"
            assert all(now[version] >= rows.count(version) for version in now), "a frame is not counted"
            assert made <= len(rows) <= sum(now.values())
            before = now
            agent.await_state("open", "open")
        assert sum(before.values()) > BLOCK
    finally:
        engine.dispose()
        agent.stop()


def _register(agent: Agent, over: threading.Event, answered: list[int]) -> None:
    """Register, a few at a time, until told to stop; note how many were answered."""
    client = AgentClient(str(agent.sockets / "identity.sock"), 10)
    with closing(client):
        while not over.is_set():
            items = [{"pid": random_bytes(16), "fields": ["legal_name"]} for _ in range(5)]
            with suppress(KeysError):
                answered.append(len(client.call("create", {"sector": SHOP, "items": items})["items"]))
