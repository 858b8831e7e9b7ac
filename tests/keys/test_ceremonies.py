"""The ceremony: nothing is in force until M shares opened, then all of it is; a wrong share changes nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import rfc8785
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError

from keys import ceremonies, leaves, store
from keys.agent.acts import draining
from keys.agent.acts.deciding import Deciding
from keys.agent.acts.unsealing import Unsealing
from keys.agent.names import Limits, Names
from keys.ceremonies import Stage
from keys.chain import Record, first, following
from keys.chains import FILE_NAME, Chain, records, seen
from keys.engine import reading, writing
from keys.errors import ChainError, ConflictError, KeysError, QuorumError, RefusedError, ShareError
from keys.keyring import Keyring
from keys.officers import Officer
from keys.primitives import Secret
from keys.quorum import Approval, Kind, Policy, Request
from keys.seals.shares import Ceremony, Fault, opened, split
from tests.fresh import in_words_of, refusing
from tests.keys.stores import NOW, dialogue, migrated
from tests.keys.test_chain import PEOPLE

pytestmark = pytest.mark.sampled

if TYPE_CHECKING:
    from collections.abc import Callable

FAR: Final = NOW + 86_400


class Vault:
    """A key store without keys, and a shut holder on it."""

    def __init__(self, home: Path) -> None:
        self.home, self.engine = home, migrated(home)
        self.opened: list[tuple[bytes, Secret, bool]] = []
        self.now = NOW
        self.started()

    def started(self) -> None:
        """Start the holder anew: what it was given is forgotten."""
        self.unsealing = Unsealing(self.engine, self.home, lambda: self.now, self._open)

    def _open(self, root_id: bytes, root: Secret, *, directory: bool) -> None:
        self.opened.append((root_id, root, directory))

    def begin(self, threshold: int = 2, people: int = 3, **more: Any) -> dict[str, Any]:
        cards = [str(one.card) for one in PEOPLE[:people]]
        return self.unsealing.begin({"cards": cards, "threshold": threshold, **more})

    def share(self, number: int) -> tuple[Ceremony, str]:
        officer = PEOPLE[number]
        with reading(self.engine) as connection:
            held = ceremonies.all_of(connection)[-1]
            shares = ceremonies.shares_of(connection, held.record.generation)
        sealed = next(one.sealed for one in shares if one.key == officer.card.key_id)
        return held.record, opened(officer, held.record, sealed)

    def confirm(self, number: int, *, signer: Officer | None = None, words: str = "", ceremony: str = "") -> int:
        held = self.unsealing.pending()
        assert held is not None
        record, share = self.share(number)
        digest = bytes.fromhex(Record(held.first or b"", ()).digest)
        by = signer or PEOPLE[number]
        approval = Approval.of(digest, by.card, by.signer, FAR)
        args = {"ceremony": ceremony or record.digest.hex(), "share": words or share, "approval": approval.plain()}
        needed: int = self.unsealing.confirm(PEOPLE[number].card, args)["needed"]
        return needed

    def unseal(self, number: int, words: str = "", *, directory: bool = False) -> int:
        args = {"share": words or self.share(number)[1], "directory": directory}
        needed: int = self.unsealing.unseal(PEOPLE[number].card, args)["needed"]
        return needed

    def made(self) -> "Vault":
        self.begin()
        assert [self.confirm(0), self.confirm(2)] == [1, 0]
        self.started()
        return self

    def keyring(self) -> Keyring:
        root_id, root, _ = self.opened[-1]
        return Keyring.under_root(self.engine, root_id, root)

    def rows(self, table: str) -> int:
        with reading(self.engine) as connection:
            return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    made = Vault(tmp_path)
    yield made
    made.engine.dispose()


def state_of(engine: Engine) -> list[tuple[Stage, int]]:
    with reading(engine) as connection:
        return [(one.stage, one.record.generation) for one in ceremonies.all_of(connection)]


def test_nothing_is_in_force_until_m_officers_confirmed_and_then_all_is(vault: Vault) -> None:
    vault.begin()
    assert vault.confirm(0) == 1
    assert (vault.rows("key"), vault.rows("deployment"), vault.rows("officer_record"), vault.opened) == (0, 0, 0, [])
    assert vault.confirm(2) == 0
    assert state_of(vault.engine) == [(Stage.IN_FORCE, 1)]
    state = Chain(vault.engine, vault.keyring(), vault.home).state()
    assert state is not None
    root_id, _, directory = vault.opened[0]
    assert (root_id, state.ceremony.threshold, directory) == (state.ceremony.root_id, 2, False)
    assert [one.card for one in state.officers] == [one.card for one in PEOPLE[:3]]
    assert vault.rows("audit_outbox") == 1


def test_two_shares_of_three_unseal_and_one_does_not(vault: Vault) -> None:
    vault.made()
    vault.opened.clear()
    assert vault.unseal(1) == 1
    assert vault.opened == []
    assert vault.unseal(2) == 0
    assert vault.keyring().has("officer-head")


def test_what_was_given_for_standing_alone_does_not_open_names(vault: Vault) -> None:
    """Who gives a share for standing has not agreed to open names."""
    vault.made()
    vault.opened.clear()
    assert vault.unseal(0, directory=True) == 1
    assert vault.unseal(1) == 1
    assert vault.unsealing.progress() == {"directory": 1, "names": 1}
    assert vault.unseal(1, directory=True) == 0
    assert [directory for _, _, directory in vault.opened] == [True]


@pytest.mark.parametrize("phase", ["confirm", "unseal"])
def test_a13_a14_a_wrong_share_is_named_and_progress_is_kept(vault: Vault, phase: str, tmp_path: Path) -> None:
    """Mistyped, another officer's, another vault's; given twice it counts once."""
    (tmp_path / "other").mkdir()
    other = Vault(tmp_path / "other").made().share(0)[1]
    if phase == "confirm":
        vault.begin()
        give: Callable[[int, str], int] = lambda number, words: vault.confirm(number, words=words)  # noqa: E731
    else:
        vault.made()
        give = vault.unseal
    own = vault.share(1)[1]
    assert give(0, "") == 1
    words = own.split()
    mistyped = " ".join([*words[:-1], "academic" if words[-1] != "academic" else "acid"])
    for wrong, fault in ((mistyped, Fault.MISTYPED), (other, Fault.OTHER), (vault.share(2)[1], Fault.OTHERS)):
        with pytest.raises(ShareError) as caught:
            give(1, wrong)
        assert caught.value.fault is fault
        assert not any(word in str(caught.value).split() for word in wrong.split() if len(word) > 6)
    if phase == "unseal":
        with pytest.raises(ShareError) as caught:
            give(0, "")
        assert caught.value.fault is Fault.REPEATED
    else:
        assert give(0, "") == 1
    assert give(1, "") == 0


def test_a_holder_that_was_killed_in_a_ceremony_forgets_shares_and_keeps_nothing_half_done(vault: Vault) -> None:
    vault.begin()
    vault.confirm(0)
    vault.started()
    assert state_of(vault.engine) == [(Stage.PENDING, 1)]
    assert vault.confirm(1) == 1
    assert vault.confirm(0) == 0


def test_a_confirmation_is_the_officers_own_of_this_ceremony_and_in_time(vault: Vault) -> None:
    vault.begin()
    with pytest.raises(QuorumError):
        vault.confirm(0, signer=PEOPLE[1])
    with pytest.raises(ConflictError):
        vault.confirm(0, ceremony="00" * 32)
    record, share = vault.share(0)
    wrong: list[dict[str, Any]] = [{}, {"approval": None}, {"approval": []}, {"approval": {"key": "x"}}]
    for nonsense in wrong:
        with pytest.raises(QuorumError, match="not of its form"):
            vault.unsealing.confirm(PEOPLE[0].card, {"ceremony": record.digest.hex(), "share": share, **nonsense})
    vault.now = FAR
    with pytest.raises(QuorumError, match="expired"):
        vault.confirm(0)
    assert vault.rows("key") == 0


def test_a15_a_ceremony_that_took_anothers_place_makes_its_shares_void(vault: Vault) -> None:
    vault.begin()
    vault.confirm(0)
    record, words = vault.share(0)
    with pytest.raises(ConflictError, match="--replace"):
        vault.begin(3, 4)
    vault.begin(3, 4, replace=True)
    with pytest.raises(ConflictError):
        vault.confirm(0, ceremony=record.digest.hex(), words=words)
    with pytest.raises(ShareError):
        vault.confirm(0, words=words)
    assert [vault.confirm(number) for number in (0, 1, 2)] == [2, 1, 0]


def test_a_vault_that_has_keys_begins_no_ceremony_and_one_without_officers_is_not_unsealed(vault: Vault) -> None:
    with pytest.raises(RefusedError):
        vault.unsealing.unseal(PEOPLE[0].card, {"share": "x"})
    vault.made()
    with pytest.raises(RefusedError):
        vault.begin(replace=True)
    approval = Approval.of(bytes(32), PEOPLE[1].card, PEOPLE[1].signer, FAR).plain()
    with pytest.raises(ConflictError):
        vault.unsealing.confirm(
            PEOPLE[1].card, {"ceremony": "00" * 32, "share": vault.share(1)[1], "approval": approval}
        )


def test_an_act_that_fails_at_the_end_of_a_ceremony_leaves_it_as_it_was(vault: Vault) -> None:
    """Each table that the last confirmation writes refuses in turn: nothing stands, and the next try completes it."""
    vault.begin()
    vault.confirm(0)
    for table in ("deployment", "key", "officer_record", "officer_head", "audit_outbox"):
        with refusing(vault.engine, "INSERT", table), pytest.raises(DBAPIError, match="refused here"):
            vault.confirm(1)
        assert (vault.rows("key"), vault.rows("deployment"), vault.rows("officer_record")) == (0, 0, 0)
        vault.started()
        vault.confirm(0)
    assert vault.confirm(1) == 0


def budget(vault: Vault, limit: int) -> None:
    """Put a record in force: officers 0 and 1 raise a budget."""
    chain = Chain(vault.engine, vault.keyring(), vault.home)
    state = chain.state()
    assert state is not None
    request = Request.of(
        state.ceremony.deployment, 1, Kind.RAISE_BUDGET, "creates", {"per_hour": limit}, PEOPLE[0].card, NOW, 3600
    )
    signatures = tuple(Approval.of(request.digest, one.card, one.signer, FAR) for one in PEOPLE[:2])
    with writing(vault.engine) as connection:
        made = chain.append(connection, state, Record(following(state, request, NOW), signatures), 1)
    chain.note(made.head)


def test_a_record_its_head_and_its_audit_row_are_written_together(vault: Vault) -> None:
    vault.made()
    budget(vault, 7)
    state = Chain(vault.engine, vault.keyring(), vault.home).state()
    assert state is not None
    assert state.budgets == {"creates": 7}
    assert vault.rows("audit_outbox") == 2
    with reading(vault.engine) as connection:
        addresses = set(connection.execute(select(store.audit_outbox.c.address)).scalars())
    assert bytes.fromhex(state.head.digest) in addresses


def test_the_log_tells_each_record_by_its_digest_and_nobody_else(vault: Vault) -> None:
    vault.made()
    budget(vault, 7)
    keyring, limits = vault.keyring(), Limits()
    deciding = Deciding(vault.engine, keyring, vault.home, lambda: vault.now, limits, lambda: None)
    names = Names(vault.engine, keyring, lambda: vault.now, limits, deciding)
    with dialogue() as talk:
        rows = draining.take(names, {"limit": 10}, talk)["rows"]
        draining.settle(names, {"ids": [row["id"] for row in rows]}, talk)
    with reading(vault.engine) as connection:
        digests = {bytes.fromhex(record.digest) for record in records(connection)}
    told = [leaves.read(row["entry"]) for row in rows]
    assert {leaf["type"] for leaf in told} == {"officers.recorded"}
    assert {leaf["subjects"][0] for leaf in told} == digests
    assert vault.rows("audit_outbox") == vault.rows("leaf_count") == 0


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM officer_record WHERE number = 1",
        "DELETE FROM officer_record",
        "DELETE FROM officer_head",
        "UPDATE officer_head SET number = 0",
        "UPDATE officer_record SET signatures = '[]'",
        "UPDATE officer_record SET said = (SELECT said FROM officer_record WHERE number = 0) WHERE number = 1",
        "INSERT INTO officer_record SELECT 2, said, signatures FROM officer_record WHERE number = 1",
        "UPDATE officer_head SET mac = zeroblob(32)",
    ],
)
def test_what_an_administrator_writes_into_the_chain_is_named_and_nothing_opens(vault: Vault, statement: str) -> None:
    """An officer inserted, a record dropped, its signatures taken, the head moved: unsealing is refused."""
    vault.made()
    budget(vault, 7)
    with writing(vault.engine) as connection:
        connection.execute(text(in_words_of(vault.engine, statement)))
    with pytest.raises((ChainError, RefusedError)):
        Chain(vault.engine, vault.keyring(), vault.home).state()
    vault.opened.clear()
    with pytest.raises((ChainError, RefusedError)):
        assert [vault.unseal(0), vault.unseal(1)] == []
    assert vault.opened == []


@pytest.mark.sqlite
def test_a_key_store_put_back_to_an_earlier_state_is_told_by_the_file_beside_it(vault: Vault, tmp_path: Path) -> None:
    vault.made()
    with reading(vault.engine) as connection:
        connection.exec_driver_sql(f"VACUUM INTO '{tmp_path / 'earlier.db'}'")
    budget(vault, 7)
    root = vault.opened[-1]
    vault.engine.dispose()
    for name in ("keys.db", "keys.db-wal", "keys.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "earlier.db").rename(tmp_path / "keys.db")
    with pytest.raises(ChainError, match="put back"):
        Chain(vault.engine, Keyring.under_root(vault.engine, root[0], root[1]), vault.home).state()
    for spoiled in (b"{}", b'{"digest":"","number":1e999,"v":1}', b"[" * 100_000):
        (tmp_path / FILE_NAME).write_bytes(spoiled)
        with pytest.raises(ChainError, match="cannot be read"):
            Chain(vault.engine, vault.keyring(), vault.home).state()


def test_the_chain_is_read_without_the_root_key_and_nothing_but_its_end_is_taken_on_trust(vault: Vault) -> None:
    assert seen(vault.engine) is None
    vault.made()
    budget(vault, 7)
    state = seen(vault.engine)
    assert state is not None
    assert state.head.number == 1
    with writing(vault.engine) as connection:
        connection.execute(text("UPDATE officer_record SET signatures = '[]' WHERE number = 1"))
    with pytest.raises(ChainError, match="record 1"):
        seen(vault.engine)


def test_keys_are_sealed_anew_under_another_root_key_and_open_under_no_other(vault: Vault) -> None:
    vault.made()
    keys, new = vault.keyring(), Secret.random(32)
    before = {purpose: keys.current(purpose).secret for purpose in ("kek", "map", "officer-head", "directory")}
    with writing(vault.engine) as connection:
        keys.rewrap_under(connection, bytes(16), new)
    again = Keyring.under_root(vault.engine, bytes(16), new)
    assert {purpose: again.current(purpose).secret for purpose in before} == before
    with pytest.raises(KeysError):
        vault.keyring().current("map")


def test_a15_a_ceremony_that_an_administrator_wrote_for_the_same_officers_is_none(vault: Vault) -> None:
    """He would know the root key whose shares they confirmed."""
    vault.begin()
    held = vault.unsealing.pending()
    assert held is not None
    root = Secret(bytes(range(32)))
    record, sealed = split(root, held.record.deployment, 1, 2, list(held.cards))
    with writing(vault.engine) as connection:
        ceremonies.begin(
            connection, record, held.cards, sealed, first=first(record, held.cards, Policy(2), NOW)
        )  # fmt: skip
    assert vault.unsealing.pending() is None
    digest = bytes.fromhex(Record(first(record, held.cards, Policy(2), NOW), ()).digest)
    for number in (0, 1):
        approval = Approval.of(digest, PEOPLE[number].card, PEOPLE[number].signer, FAR)
        args = {"ceremony": record.digest.hex(), "share": vault.share(number)[1], "approval": approval.plain()}
        with pytest.raises(ConflictError):
            vault.unsealing.confirm(PEOPLE[number].card, args)
    assert (vault.opened, vault.rows("key")) == ([], 0)
    vault.begin(replace=True)
    assert [vault.confirm(0), vault.confirm(1)] == [1, 0]


@pytest.mark.sqlite
def test_no_share_and_no_root_key_lies_in_the_key_store(vault: Vault) -> None:
    vault.made()
    vault.engine.dispose()
    words = vault.share(1)[1]
    root = vault.opened[-1][1].expose_cleartext()
    vault.engine.dispose()
    raw = b"".join(path.read_bytes() for path in vault.home.iterdir() if path.is_file())
    assert words.encode() not in raw
    assert root not in raw
    assert rfc8785.dumps(words) not in raw


def test_a_ceremony_has_one_share_for_each_officer_and_none_for_others(vault: Vault) -> None:
    vault.begin()
    with reading(vault.engine) as connection:
        shares = ceremonies.shares_of(connection, 1)
    assert [one.key for one in shares] == sorted(one.card.key_id for one in PEOPLE[:3])
