"""The act `receipts`: a provider is told which leaves are of its registration, and of a log that was signed alone."""

import base64
import json
from typing import Any, Final

import pytest

from keys import audit, disclosures, ended, holds, leaves, record_keys, records
from keys.agent.acts import checkpointing, draining, receipting, signing
from keys.checkpoints import Checkpoint
from keys.disclosures import Made
from keys.engine import writing
from keys.errors import NoteError, ProofError, ProtocolError, RefusedError
from keys.heads import Heads
from keys.merkle import leaf_hash
from keys.notes import Note, Signature
from keys.primitives import Secret, p256_holds
from tests.keys.stores import NOW, KeyStore, Registration, dialogue, registered
from tests.log.reference import consistency, inclusion, root

MINUTE: Final = 29_453_760


class Told:
    """A key store with two registrations, and the log of what was done to them, drained and signed."""

    def __init__(self, store: KeyStore) -> None:
        self.store, self.entries = store, list[bytes]()
        self.anna, self.berta = registered(store), registered(store)
        self.write("registration.revised", self.anna)
        self.write("evidence.sealed", self.anna)
        self.write("registration.opened", self.anna, self.berta)
        self.write("registration.viewed", self.anna)
        self.write("registration.decided", self.anna)
        self.write("review.opened", self.anna, self.berta)
        self.write("review.decided", self.anna)
        self.write("hold.set", self.anna)
        self.drain()

    def write(self, kind: str, *who: Registration) -> None:
        with writing(self.store.engine) as connection:
            ring = self.store.keyring
            opened = [record_keys.unwrap(ring, records.load(connection, ring, one.rid)) for one in who]
            audit.write_group(connection, ring.deployment, opened, kind, MINUTE, {})

    def disclosed(self, kind: str, who: Registration, digest: bytes, due: int = 0) -> None:
        with writing(self.store.engine) as connection:
            ring = self.store.keyring
            opened = record_keys.unwrap(ring, records.load(connection, ring, who.rid))
            row = audit.row(ring.deployment, opened, kind, MINUTE, {})
            audit.write_all(connection, [row | {"address": audit.disclosure_address(who.rid, digest, due)}])

    def drain(self) -> None:
        with dialogue() as talk:
            rows = draining.take(self.store.names(), {"limit": 1000}, talk)["rows"]
            draining.settle(self.store.names(), {"ids": [row["id"] for row in rows]}, talk)
            before = len(self.entries)
            self.entries += [row["entry"] for row in rows]
            acts = checkpointing.signing(
                self.store.keyring, Heads(self.store.engine, self.store.keyring, self.store.home)
            )
            proof = consistency(before, self.hashes) if before else []
            head = Checkpoint("log.example", len(self.entries), root(self.hashes))
            made = acts.sign({"origin": head.origin, "size": head.size, "root": head.root, "proof": proof}, talk)
        self.note = str(Note(str(head), tuple(Signature(*one.values()) for one in made["signatures"])))

    @property
    def hashes(self) -> list[bytes]:
        return [leaf_hash(entry) for entry in self.entries]

    def shown(self) -> list[list[Any]]:
        return [[index, entry, inclusion(index, self.hashes)] for index, entry in enumerate(self.entries)]

    def receipts(self, who: Registration, **more: Any) -> dict[str, str]:
        """Return act → statement of what is told of a registration, each once."""
        args = {
            "client": "prov", "account": bytes(16), "standing": who.evidence(self.store), "note": self.note,
            "issuer": "https://vault.example", "now": NOW, "entries": self.shown(), **more,
        }  # fmt: skip
        with dialogue() as talk:
            found = receipting.receipts(self.store.names(), args, talk)["receipts"]
        acts = {leaves.read(self.entries[one["index"]])["type"]: one["jwt"] for one in found}
        assert len(acts) == len(found), "of two leaves of a type, which differ in nothing, one alone is told here"
        return acts


@pytest.fixture
def told(store: KeyStore) -> Told:
    return Told(store)


def parts(jwt: str) -> list[dict[str, Any]]:
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in jwt.split(".")[:2]]


def test_a_provider_is_told_what_was_done_with_its_own_registration_and_not_of_matches(told: Told) -> None:
    assert told.receipts(told.anna).keys() == {
        "registration.created", "registration.revised", "evidence.sealed", "review.opened", "evidence.viewed",
        "review.decided", "hold.set",
    }  # fmt: skip
    assert told.receipts(told.berta).keys() == {"registration.created"}, "that it was a candidate is not told"


def test_a_disclosure_is_told_once_its_person_was_and_no_other_with_it(told: Told) -> None:
    made = [Made(f"dis_{n}", bytes([n]) * 32, told.anna.rid, None, MINUTE, MINUTE + 9, None) for n in range(2)]
    with writing(told.store.engine) as connection:
        for one in made:
            disclosures.add(connection, told.store.keyring, one)
    told.disclosed("disclosure.granted", told.anna, made[0].digest, MINUTE + 9)
    told.disclosed("disclosure.deferred", told.anna, made[0].digest, MINUTE + 99)
    told.disclosed("disclosure.notified", told.anna, made[1].digest)
    told.drain()
    acts = {"disclosure.granted", "disclosure.deferred", "disclosure.notified"}
    assert not acts & told.receipts(told.anna).keys()
    with writing(told.store.engine) as connection:
        disclosures.change(connection, told.store.keyring, made[0], notified=MINUTE + 99)
    assert acts & told.receipts(told.anna).keys() == acts - {"disclosure.notified"}
    assert not acts & told.receipts(told.berta).keys()
    told.store.execute("UPDATE disclosure SET notified = 1")
    assert not acts & told.receipts(told.anna).keys(), "a row that another hand altered says nothing"


def test_a_hold_is_told_once_it_is_over_and_one_before_it_meanwhile(told: Told) -> None:
    def hold(since: int) -> None:
        with writing(told.store.engine) as connection:
            holds.put(connection, told.store.keyring, holds.Hold(told.anna.rid, "a case", since, NOW + 9))

    assert "hold.set" in told.receipts(told.anna)
    hold(MINUTE * 60)
    assert "hold.set" not in told.receipts(told.anna)
    hold((MINUTE + 1) * 60)
    assert "hold.set" in told.receipts(told.anna), "what was told stays told"
    told.store.execute("UPDATE hold SET since = 0")
    with pytest.raises(RefusedError):
        told.receipts(told.anna)
    with writing(told.store.engine) as connection:
        holds.lift(connection, told.anna.rid, "a case")
    assert "hold.set" in told.receipts(told.anna)


def test_of_a_registration_that_ended_its_end_alone_is_told_and_to_its_client_alone(told: Told) -> None:
    place = (MINUTE, leaves.erased_subject(Secret(bytes(32))))
    with writing(told.store.engine) as connection:
        record = records.load(connection, told.store.keyring, told.anna.rid)
        row = audit.row(told.store.keyring.deployment, record_keys.unwrap(told.store.keyring, record),
                        "registration.erased", MINUTE, {})  # fmt: skip
        audit.write_all(connection, [row | {"address": place[1]}])
        ended.add(connection, told.store.keyring, [("prov", bytes(16))], place[1], MINUTE)
        ended.add(connection, told.store.keyring, [("prov", bytes(16))], place[1], MINUTE)
    told.drain()
    assert told.receipts(told.anna, standing=None).keys() == {"registration.erased"}
    assert "registration.erased" in told.receipts(told.anna), "of its account, though it was registered anew"
    for other in ({"client": "other"}, {"account": bytes(15) + b"x"}):
        assert told.receipts(told.anna, standing=None, **other) == {}
    told.store.execute("UPDATE ended SET minute = minute + 1")
    with pytest.raises(RefusedError):
        told.receipts(told.anna, standing=None)
    with writing(told.store.engine) as connection:
        ended.forget(connection, MINUTE + 1, 10)
        assert len(told.store.rows("ended")) == 1
        ended.forget(connection, MINUTE + 2, 10)
    assert told.receipts(told.anna, standing=None) == {}


def test_a_split_is_told_where_it_parted_two_of_this_provider(told: Told) -> None:
    told.write("person.split", told.anna)
    told.write("registration.parted", told.berta)
    told.drain()
    assert "person.split" not in told.receipts(told.anna)
    assert "person.split" in told.receipts(told.berta)


def test_who_takes_another_leaf_of_a_reveal_as_the_ninth_is_not_told_either(told: Told) -> None:
    told.write("registration.opened", told.anna, *(registered(told.store) for _ in range(7)), told.berta)
    told.drain()
    assert told.receipts(told.berta).keys() == {"registration.created"}


def test_a_registration_that_is_the_second_of_a_leaf_is_not_told_of_it(told: Told) -> None:
    told.write("registration.decided", told.berta, told.anna)
    told.drain()
    assert told.receipts(told.berta).keys() == {"registration.created", "review.decided"}
    assert "review.decided" in told.receipts(told.anna), "its own, and no second one"


def test_a_statement_names_leaf_account_and_client_under_the_key_of_the_vault(told: Told) -> None:
    jwt = told.receipts(told.anna)["registration.revised"]
    header, claims = parts(jwt)
    assert (header["typ"], header["alg"], claims["aud"], claims["iss"]) == (
        "log-receipt+jwt", "ES256", "prov", "https://vault.example",
    )  # fmt: skip
    (entry,) = [one for one in told.entries if leaves.read(one)["type"] == "registration.revised"]
    hashed = base64.urlsafe_b64encode(leaf_hash(entry)).rstrip(b"=").decode()
    assert claims["log_receipt"] == {"act": "registration.revised", "leaf": hashed, "account": "A" * 22}
    with dialogue() as talk:
        (key,) = signing.public_keys(told.store.keyring, {}, talk)["keys"]
    x, y, signature = (base64.urlsafe_b64decode(text + "==") for text in (key["x"], key["y"], jwt.rpartition(".")[2]))
    signed = jwt.rpartition(".")[0].encode()
    assert p256_holds(x, y, signature, signed)
    assert not p256_holds(x, y, signature, signed + b"x")
    assert not p256_holds(y, x, signature, signed), "what is no point of the curve signs nothing"
    assert not p256_holds(x, y, signature[1:], signed)


def test_an_entry_that_was_made_up_to_learn_whose_another_is_tells_nothing(told: Told) -> None:
    index = next(n for n, one in enumerate(told.entries) if leaves.read(one)["type"] == "hold.set")
    probe = leaves.entry("registration.created", MINUTE, leaves.read(told.entries[index])["subjects"])
    for proof in (inclusion(index, told.hashes), []):
        with pytest.raises(ProofError):
            told.receipts(told.anna, entries=[[index, probe, proof]])


def test_a_tree_that_this_log_did_not_sign_tells_nothing(told: Told) -> None:
    probe = [leaves.entry("registration.created", MINUTE, leaves.read(one)["subjects"][:1]) for one in told.entries]
    hashes = [leaf_hash(one) for one in probe]
    text = str(Checkpoint("log.example", len(probe), root(hashes)))
    forged = Note(text, Note.parse(told.note.encode()).signatures)
    entries = [[index, one, inclusion(index, hashes)] for index, one in enumerate(probe)]
    with pytest.raises(NoteError):
        told.receipts(told.anna, note=str(forged), entries=entries)


def test_nobody_is_told_of_an_account_that_is_not_his(told: Told) -> None:
    for change in ({"client": "other"}, {"account": bytes(15) + b"x"}):
        with pytest.raises(RefusedError):
            told.receipts(told.anna, **change)


@pytest.mark.parametrize("entry", [[], {}, [0, b"", "x"], ["0", b"", []], [0, b"", [b""] * 64]])
def test_what_is_no_entry_with_its_proof_is_refused(told: Told, entry: object) -> None:
    with pytest.raises(ProtocolError):
        told.receipts(told.anna, entries=[entry])


def test_one_who_was_second_stays_second_when_the_first_was_erased_before_the_log_told_it(told: Told) -> None:
    told.write("review.decided", told.anna, told.berta)
    with writing(told.store.engine) as connection:
        records.remove(connection, records.load(connection, told.store.keyring, told.anna.rid))
        draining.forget(connection, [told.anna.rid])
    with dialogue() as talk:
        (row,) = draining.take(told.store.names(), {"limit": 10}, talk)["rows"]
    with writing(told.store.engine) as connection:
        record = records.load(connection, told.store.keyring, told.berta.rid)
    own = leaves.record_subject(record_keys.commitment_key(told.store.keyring, record), 3)
    assert leaves.read(row["entry"])["subjects"].index(own) == 1
