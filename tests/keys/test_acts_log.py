"""The acts of the log: rows are handed out with numbers that have no gap, and only what continues the log is signed."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from keys import audit, leaves, record_keys, records
from keys.agent.acts import checkpointing, draining, rotating
from keys.checkpoints import Checkpoint, log_key, log_signature_holds
from keys.details import seal_detail
from keys.engine import reading, writing
from keys.errors import ConflictError, NoteError, ProofError, ProtocolError, RefusedError
from keys.heads import Heads
from keys.merkle import EMPTY_ROOT, leaf_hash
from keys.notes import ED25519, VerifierKey
from keys.primitives import Ed25519Signer, Secret
from tests.keys.stores import KeyStore, dialogue, registered
from tests.log.reference import consistency, root

Act = Callable[[Any, Any], dict[str, Any]]


def call(act: Act, **args: object) -> dict[str, Any]:
    with dialogue() as talk:
        return act(args, talk)


def take(store: KeyStore, limit: int = 1000) -> list[dict[str, Any]]:
    with dialogue() as talk:
        return list(draining.take(store.names(), {"limit": limit}, talk)["rows"])


def settle(store: KeyStore, *ids: bytes) -> None:
    with dialogue() as talk:
        draining.settle(store.names(), {"ids": list(ids)}, talk)


def write(store: KeyStore, *rids: bytes, kind: str = "registration.revised") -> None:
    with writing(store.engine) as connection:
        opened = [record_keys.unwrap(store.keyring, records.load(connection, store.keyring, rid)) for rid in rids]
        audit.write_group(connection, store.keyring.deployment, opened, kind, 29_453_760, {"why": "x"})


def expected(store: KeyStore, rid: bytes, count: int) -> list[bytes]:
    with reading(store.engine) as connection:
        key = record_keys.commitment_key(store.keyring, records.load(connection, store.keyring, rid))
    return [leaves.record_subject(key, number) for number in range(count)]


def test_the_leaves_of_a_record_are_numbered_without_a_gap_over_rounds_that_were_cut_off(store: KeyStore) -> None:
    one, other = registered(store).rid, registered(store).rid
    logged: list[bytes] = []
    for number in range(4):
        write(store, one)
        write(store, one, other, kind="review.opened")
        take(store)  # a round that went no further
        rows = take(store)
        chosen = rows[: len(rows) - number % 2]  # what is not settled is taken again
        logged += [subject for row in chosen for subject in leaves.read(row["entry"])["subjects"]]
        settle(store, *(row["id"] for row in chosen))
        settle(store, *(row["id"] for row in chosen))
    rows = take(store)
    logged += [subject for row in rows for subject in leaves.read(row["entry"])["subjects"]]
    settle(store, *(row["id"] for row in rows))
    assert take(store) == []
    for rid, count in ((one, 9), (other, 5)):
        known = expected(store, rid, count + 1)
        assert [logged.count(subject) for subject in known] == [1] * count + [0]


def test_what_a_provider_may_be_told_of_is_numbered_among_all_leaves_and_names_the_first_by_a_label_of_its_own(
    store: KeyStore,
) -> None:
    one, other = registered(store).rid, registered(store).rid
    settle(store, *(row["id"] for row in take(store)))
    subjects = list[list[bytes]]()
    for kind, rids in (("registration.opened", (one, other)), ("review.decided", (one,))):
        write(store, *rids, kind=kind)
        (row,) = take(store)
        subjects.append(leaves.read(row["entry"])["subjects"])
        settle(store, row["id"])
    with reading(store.engine) as connection:
        key = record_keys.commitment_key(store.keyring, records.load(connection, store.keyring, one))
    assert subjects[0][:2] == [leaves.record_subject(key, 1, told=True), expected(store, other, 2)[1]]
    assert subjects[1][0] == leaves.record_subject(key, 2)
    logged = {*subjects[0], *subjects[1]}
    assert [len(logged.intersection(leaves.record_subjects(key, number))) for number in (1, 2, 3)] == [1, 1, 0]


def test_an_erased_record_is_named_by_what_nobody_can_tell_from_others(store: KeyStore) -> None:
    rid = registered(store).rid
    settle(store, *(row["id"] for row in take(store)))
    assert [row.leaves for row in store.rows("leaf_count")] == [1]
    write(store, rid)
    known = expected(store, rid, 5)
    with writing(store.engine) as connection:
        records.remove(connection, records.load(connection, store.keyring, rid))
        draining.forget(connection, [rid])
    (row,) = take(store)
    assert not set(leaves.read(row["entry"])["subjects"]) & set(known)
    settle(store, row["id"])
    assert store.rows("leaf_count") == []


def test_an_act_on_many_is_one_row_up_to_its_places_and_one_more_beyond(store: KeyStore) -> None:
    settle(store, *(row["id"] for row in take(store)))
    rids = [registered(store).rid for _ in range(9)]
    settle(store, *(row["id"] for row in take(store)))
    sizes = []
    for count in (1, 8, 9):
        write(store, *rids[:count], kind="review.opened")
        rows = take(store)
        settle(store, *(row["id"] for row in rows))
        sizes.append([len(row["entry"]) for row in rows])
    size = leaves.size_of("review.opened")
    assert sizes == [[size], [size], [size, size]]


@pytest.mark.parametrize("limit", [0, -1, 10_001])
def test_a_limit_is_within_its_range(store: KeyStore, limit: int) -> None:
    with pytest.raises(ProtocolError):
        take(store, limit)


@pytest.fixture
def signing(store: KeyStore) -> checkpointing.Signing:
    return checkpointing.signing(store.keyring, Heads(store.engine, store.keyring, store.home))


LEAVES = [leaf_hash(bytes([number])) for number in range(40)]


def sign(signing: checkpointing.Signing, old: int, to: int, **more: object) -> dict[str, Any]:
    proof = consistency(old, LEAVES[:to]) if old else []
    asked = {"origin": "log.example", "size": to, "root": root(LEAVES[:to]), "proof": proof}
    return call(signing.sign, **{**asked, **more})


def test_only_what_continues_the_last_signed_head_is_signed(signing: checkpointing.Signing) -> None:
    assert call(signing.head)["root"] == EMPTY_ROOT
    sign(signing, 0, 0)
    first = sign(signing, 0, 7)
    head = call(signing.head)
    assert (head["origin"], head["size"], head["root"]) == ("log.example", 7, root(LEAVES[:7]))
    key = log_key("log.example", Ed25519Signer(signing.keyring.current("sign/log").secret))
    made = first["signatures"][0]
    assert (made["name"], made["id"], head["public"]) == (key.name, key.id, key.public)
    assert log_signature_holds(key, str(Checkpoint("log.example", 7, root(LEAVES[:7]))), made["signature"])
    assert sign(signing, 7, 7) == first, "a head that was signed is signed again in the same bytes"
    wrong: list[dict[str, object]] = [{"root": bytes(32)}, {"proof": []}, {"size": 6}]
    wrong.append({"proof": consistency(6, LEAVES[:20])})
    for refused in wrong:
        with pytest.raises((ProofError, RefusedError)):
            sign(signing, 7, 20, **refused)
    with pytest.raises(ProofError):
        sign(signing, 7, 7, root=bytes(32))
    assert call(signing.head)["size"] == 7, "nothing that was refused moved the head"
    sign(signing, 7, 20)
    assert call(signing.head)["size"] == 20


def test_while_two_keys_of_the_log_overlap_both_sign_and_afterwards_the_new_one_alone(
    store: KeyStore, signing: checkpointing.Signing
) -> None:
    before = call(signing.head)["public"]
    asked = {"purpose": "log", "sector": "", "from": 1}
    assert call(partial(rotating.rotate, store.names()), **asked)["former"] == "active"
    both = sign(signing, 0, 7)["signatures"]
    text = str(Checkpoint("log.example", 7, root(LEAVES[:7])))
    keys = [VerifierKey("log.example", ED25519, public) for public in (call(signing.head)["public"], before)]
    assert [one["id"] for one in both] == [key.id for key in keys]
    assert all(log_signature_holds(key, text, one["signature"]) for key, one in zip(keys, both, strict=True))
    end = partial(rotating.destroy, store.names())
    with pytest.raises(ConflictError, match="version 2 is active"):
        call(end, purpose="log", version=2, sure=True)
    assert call(end, purpose="log", version=1, sure=True)["state"] == "destroyed"
    assert [one["id"] for one in sign(signing, 7, 20)["signatures"]] == [keys[0].id]


def test_a_log_key_that_was_read_by_another_signs_nothing_from_its_rotation_on(
    store: KeyStore, signing: checkpointing.Signing
) -> None:
    call(partial(rotating.rotate, store.names()), purpose="log", **{"from": 1}, compromised=True)
    assert len(sign(signing, 0, 7)["signatures"]) == 1


def test_a_log_store_that_is_an_older_one_is_refused_and_the_refusal_says_how_to_recover(
    signing: checkpointing.Signing,
) -> None:
    sign(signing, 0, 20)
    with pytest.raises(RefusedError, match="ends at 7, and 20 entries were signed: it is an older one; restore"):
        sign(signing, 0, 7)
    with pytest.raises(RefusedError, match="another origin"):
        sign(signing, 20, 30, origin="other.example")
    for origin in ("", "a b", "a+b"):
        with pytest.raises(NoteError):
            sign(signing, 20, 30, origin=origin)


def test_two_at_once_sign_one_history(signing: checkpointing.Signing) -> None:
    outcomes: list[object] = []

    def attempt(fork: int) -> None:
        mine = [*LEAVES[:5], leaf_hash(bytes([fork]) * 2)]
        try:
            outcomes.append(call(signing.sign, origin="log.example", size=6, root=root(mine), proof=[])["signatures"])
        except ProofError:
            outcomes.append(None)

    threads = [threading.Thread(target=attempt, args=(fork,)) for fork in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome is not None for outcome in outcomes) == 1


def test_rows_of_the_directory_become_entries_that_name_their_client_to_whoever_has_its_key(
    signing: checkpointing.Signing,
) -> None:
    key, deployment = signing.keyring.current("directory").secret, signing.keyring.deployment
    rows = [
        [bytes([n]) * 16, "sanction.set", 5, b"cli_a", seal_detail(key, deployment, bytes([n]) * 16, b"object"), {}]
        for n in range(3)
    ]
    entries = call(signing.commit, rows=rows)["entries"]
    subjects = [leaves.read(entry)["subjects"][0] for entry in entries]
    assert len(set(subjects)) == 3
    assert call(signing.commit, rows=rows)["entries"] == entries, "the same act is told in the same words"
    for row, subject in zip(rows, subjects, strict=True):
        opening = Secret(call(signing.opening, id=row[0], address=b"cli_a")["opening"])
        assert leaves.client_subject(opening, "sanction.set", b"cli_a", b"object") == subject


def test_a_row_whose_detail_was_altered_is_told_and_nothing_opens_its_leaf(signing: checkpointing.Signing) -> None:
    row = [bytes(16), "sanction.set", 5, b"cli_a", b"altered", {}]
    told = [call(signing.commit, rows=[row])["entries"][0] for _ in range(2)]
    assert told[0] != told[1], "its place is random"


@pytest.mark.parametrize(
    "row", [[], {"id": b""}, [bytes(16), "sanction.set", "5", b"cli_a", b"", {}], [1, 2, 3, 4, 5, 6]]
)
def test_what_is_no_row_of_the_directory_is_refused(signing: checkpointing.Signing, row: object) -> None:
    with pytest.raises(ProtocolError):
        call(signing.commit, rows=[row])
