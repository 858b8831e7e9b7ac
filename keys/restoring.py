"""A key store that comes back from a backup: opened by its own generation's shares or seal, and brought up to what is
known to have come later, before anybody is served.

What came later is known by the public log. An erasure is told by a commitment of the record: who has the record's
key, as the vault has again, finds it. A lift is told by a commitment of the client to the sanction. Of agreements the
log tells that something was revoked, not what: so all are. Of officers and used approvals it tells the digests of the
records of their chain: where a file has those (`keys/carrying.py`) they are in force again, else the restore stops.
"""

import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import agreements, holds, leaves, record_keys, records, requests, store
from keys.agent.acts import checkpointing
from keys.agent.acts.deciding import Deciding
from keys.agent.client import AgentClient
from keys.agent.holder import Door, serve
from keys.agent.holders import acts_of
from keys.agent.names import Limits, Names
from keys.agent.settings import AgentSettings
from keys.backups import Keeper
from keys.carrying import IN_CHAIN, Carried, carry_in
from keys.chains import FILE_NAME as OFFICER_HEAD
from keys.chains import RECORDED, Chain
from keys.chains import records as chain_records
from keys.details import audit_id
from keys.engine import reading, writing
from keys.entries import BACKUP, Key, root_key
from keys.errors import BackupError, MissingError, OpenError, SealError, ShareError
from keys.files import replace_durably
from keys.heads import Heads
from keys.keyring import Keyring
from keys.quorum import Request
from keys.requests import Stage
from keys.seals import development
from keys.seals.automatic import Automatic
from keys.seals.configs import DEVELOPMENT, PASSPHRASE
from keys.seals.passphrase import Passphrase
from keys.seals.sealed import FILE_NAME as SEAL
from keys.seals.sealed import Backend, Sealed, kind_of
from keys.seals.shares import Ceremony, Collecting

RootKey = Key
"""What opens everything, for the time that a restore takes."""
SHUT: Final = "agent.shut"
LIFTED: Final = "sanction.lifted"
_OBJECTED: Final = "officers.objected"
DOORS: Final = ("identity", "outbox", "log")
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Later:
    """What the log tells of after the backup."""

    subjects: frozenset[bytes] = frozenset()
    """Of all leaves that name records."""
    erased: frozenset[bytes] = frozenset()
    """Of those that tell an erasure."""
    lifted: Mapping[bytes, int] = field(default_factory=dict)
    """Of those that tell that a sanction was lifted, with the minute in which it was."""
    recorded: frozenset[bytes] = frozenset()
    """Digests of the officers' records that were put in force."""
    objected: frozenset[bytes] = frozenset()
    """Digests of requests that somebody was against, or withdrew."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Leaves of each type."""

    @classmethod
    def of(cls, entries: Iterator[bytes]) -> "Later":
        """Return what leaves tell.

        Raises:
            NoteError: one is no leaf.
        """
        subjects, erased, recorded, objected = set[bytes](), set[bytes](), set[bytes](), set[bytes]()
        lifted, counts = dict[bytes, int](), dict[str, int]()
        for entry in entries:
            leaf = leaves.read(entry)
            counts[leaf["type"]] = counts.get(leaf["type"], 0) + 1
            subjects.update(leaf["subjects"])
            if leaf["type"] == "registration.erased":
                erased.update(leaf["subjects"])
            if leaf["type"] == LIFTED:
                lifted.update(dict.fromkeys(leaf["subjects"], leaf["minute"]))
            if leaf["type"] == RECORDED:
                recorded.update(leaf["subjects"])
            if leaf["type"] == _OBJECTED:
                objected.update(leaf["subjects"])
        return cls(
            frozenset(subjects), frozenset(erased), lifted, frozenset(recorded), frozenset(objected), counts
        )  # fmt: skip


def _nobody(_: Ceremony) -> Key:
    raise ShareError("the officers are others since the backup: --new-share-file, once for each of M of them")


@dataclass(frozen=True, slots=True)
class OfficersLater:
    """What a restore has of that which officers did after the backup."""

    carried: Carried | None = None
    root_of: Callable[[Ceremony], Key] = _nobody
    """Has M officers of a newer ceremony give their shares."""
    lose: bool = False
    """Whether to go on though something is lost."""


def root_of_seal(keeper: Keeper, passphrase: Callable[[], str]) -> Key:
    """Return the root key by the seal that the key file holds.

    Args:
        keeper: the key file.
        passphrase: asks for it, where the seal is one.

    Raises:
        SealError: it does not open, or there is none.
        SetupError: it is none.
    """
    if not keeper.seal:
        raise SealError("this vault is opened by shares: --share-file, once for each of M officers")
    if kind_of(keeper.seal) == DEVELOPMENT:
        return root_key(*development.parse(keeper.seal))
    sealed = Sealed.parse(keeper.seal)
    backend: Backend = Automatic(sealed.kind, sealed.config) if sealed.kind != PASSPHRASE else Passphrase(passphrase())
    return root_key(sealed.root_id, sealed.open(backend))


def root_of_shares(keeper: Keeper, shares: Sequence[str]) -> Key:
    """Return the root key by the shares of M officers of the key file's generation.

    Raises:
        ShareError: it names what is wrong with one of them, or how many more are needed.
    """
    if not keeper.ceremony:
        raise ShareError("this vault has no officers: its seal opens it")
    return root_of_ceremony(Ceremony.parse(keeper.ceremony), shares)


def root_of_ceremony(record: Ceremony, shares: Sequence[str]) -> Key:
    """Return the root key by the shares of M officers.

    Raises:
        ShareError: it names what is wrong with one of them, or how many more are needed.
    """
    collecting = Collecting(record)
    for share in shares:
        collecting.give(share)
    return root_key(record.root_id, collecting.root())


def needed(keeper: Keeper) -> int:
    """Return how many shares open a vault; 0 where its seal does."""
    return Ceremony.parse(keeper.ceremony).threshold if keeper.ceremony else 0


def backup_keys(engine: Engine) -> list[dict[str, Any]]:
    """Return the backup keys of a key store, as the key file lists them."""
    key = store.key.c
    query = select(key.id, key.version, key.state, key.created, key.sealed).where(key.purpose == BACKUP)
    with reading(engine) as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def put_back_backup_keys(engine: Engine, keys: Iterable[Mapping[str, Any]]) -> None:
    """Write the backup keys, which no backup holds, into a key store that came back from one. Idempotent."""
    with writing(engine) as connection:
        connection.execute(delete(store.key).where(store.key.c.purpose == BACKUP))
        connection.execute(insert(store.key), [{"purpose": BACKUP, "scope": "", **key} for key in keys])


@dataclass(frozen=True, slots=True)
class Restored:
    """An opened key store, in the process that brings it back."""

    engine: Engine
    keyring: Keyring
    home: Path
    names: Names

    @classmethod
    def opened(cls, engine: Engine, root: Key, home: Path, now: Callable[[], int]) -> "Restored":
        """Open it, and check it whole.

        Raises:
            BackupError: a key does not open.
            ChainError: the chain of officers does not hold.
        """
        try:
            earlier = Keyring.of_earlier_version(engine, root.id, root.secret)
            with writing(engine) as connection:
                earlier.complete(connection, now())
                earlier.uses.restored(connection)
            keyring = Keyring.under_root(engine, root.id, root.secret)
        except OpenError:
            raise BackupError("the key store of this backup opens under another root key") from None
        rows, bad = keyring.verify()
        if bad:
            raise BackupError(f"the key store of this backup has {bad} of {rows} keys that do not open")
        deciding = Deciding(engine, keyring, home, now, Limits(), lambda: None)
        state = deciding.state()
        if state is not None:
            Chain(engine, keyring, home).note(state.head)
        return cls(engine, keyring, home, Names(engine, keyring, now, Limits(), deciding))

    @contextmanager
    def serving(self) -> Iterator[Mapping[str, AgentClient]]:
        """Serve the acts of this key store to this process alone, for what the service does in them."""
        with tempfile.TemporaryDirectory() as folder:
            clients = {name: AgentClient(str(Path(folder) / f"{name}.sock"), 600) for name in DOORS}
            settings = AgentSettings(self.home, "", Path(folder))
            acts = acts_of(self.names, settings)
            signer = checkpointing.signing(self.keyring, Heads(self.engine, self.keyring, self.home))
            acts["log"] = {"log.head": signer.head, "log.sign": signer.sign, "log.commit": signer.commit}
            over, doors = threading.Event(), []
            for name in DOORS:
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                listener.bind(str(Path(folder) / f"{name}.sock"))
                listener.listen(8)
                doors.append(Door(name, listener, frozenset(), acts[name]))
            threading.Thread(target=serve, args=(doors, over), daemon=True).start()
            try:
                yield clients
            finally:
                for client in clients.values():
                    client.close()
                over.set()

    def erased(self, later: Later) -> list[bytes]:
        """Return the records that were erased after the backup, by what their commitment keys say of its leaves.

        Each record's leaves are counted up to what was told, so that none is told under the same number again. What
        held one of them was lifted before it was erased, and does not keep it now.
        """
        found, after = [], b""
        while later.subjects:
            with reading(self.engine) as connection:
                query = select(store.record_key).where(store.record_key.c.rid > after)
                rows = connection.execute(query.order_by(store.record_key.c.rid).limit(_PAGE)).all()
                counted = connection.execute(
                    select(store.leaf_count).where(store.leaf_count.c.rid.in_([row.rid for row in rows]))
                ).all()
            if not rows:
                break
            after, numbers, told = rows[-1].rid, {row.rid: row.leaves for row in counted}, list[dict[str, Any]]()
            for rid, record in records.intact(self.keyring, rows).items():
                if record is None:
                    continue
                key, number = record_keys.commitment_key(self.keyring, record), numbers.get(rid, 0)
                while not later.subjects.isdisjoint(leaves.record_subjects(key, number)):
                    number += 1
                if leaves.erased_subject(key) in later.erased:
                    found.append(rid)
                if number != numbers.get(rid, 0):
                    told.append({"rid": rid, "leaves": number})
            _count(self.engine, told)
        with writing(self.engine) as connection:
            holds.forget(connection, found)
        return found

    def lifted(self, later: Later, sanctions: Iterable[tuple[str, bytes]]) -> dict[bytes, int]:
        """Return which sanctions, of (client, id), were lifted after the backup, with the minute.

        The leaf of a lift commits to client and sanction under an opening that the two make out again.
        """
        found, secrets = dict[bytes, int](), list(self.keyring.secrets("directory").values())
        for client, sanction in sanctions:
            for secret in secrets:
                opening = checkpointing.opening_of(self.keyring, client.encode(), audit_id(secret, LIFTED, sanction))
                minute = later.lifted.get(leaves.client_subject(opening, LIFTED, client.encode(), sanction))
                if minute is not None:
                    found[sanction] = minute
        return found

    def destroy(self, rids: Sequence[bytes]) -> None:
        """Destroy the keys of records that were erased in the other stores already."""
        with writing(self.engine) as connection:
            for rid in rids:
                for table in (store.record_key, store.evidence_key, store.leaf_count, store.resealed):
                    connection.execute(delete(table).where(table.c.rid == rid))

    def drop_told(self) -> None:
        """Delete audit rows that waited when the backup was made: the log, which lived on, has them."""
        with writing(self.engine) as connection:
            connection.execute(delete(store.audit_outbox))

    def bring_officers_up(self, later: Later, officers: OfficersLater) -> dict[str, Any]:
        """Have in force what officers did after the backup, and no request that was used or withdrawn since.

        Returns:
            {officer_records_carried, officer_records_lost, officer_acts_to_repeat, requests_withdrawn}: acts are those
            whose effect was in what the backup has not, as kind and subject.

        Raises:
            BackupError: the log tells of records that are neither in the backup nor in the officers' file, and nobody
                said that they may be lost; or the file is another vault's, or altered.
            ShareError: the officers are others since, and M of them did not give their shares.
        """
        chain, carried = Chain(self.engine, self.keyring, self.home), list[Request]()
        if officers.carried is not None:
            carried = carry_in(chain, officers.carried, later.recorded, officers.root_of)
        with reading(self.engine) as connection:
            held = {bytes.fromhex(one.digest) for one in chain_records(connection)}
        lost = len(later.recorded - held)
        if lost and not officers.lose:
            since = "this backup" if officers.carried is None else "the officers' file was written"
            raise BackupError(
                f"officers changed something, or approvals were used, {lost} times after {since}: give the newest file "
                "of idvault-keys officers export (--officers), or restore a later backup; or say "
                "--lose-officer-changes, and hold a rekey at once"
            )
        if lost:
            chain.mark_behind()
        return {
            "officer_records_carried": len(carried), "officer_records_lost": lost,
            "officer_acts_to_repeat": [f"{one.kind} {one.subject}".strip() for one in carried
                                       if one.kind not in IN_CHAIN],
            "requests_withdrawn": self._withdraw(later, carried, every=bool(lost)),
        }  # fmt: skip

    def _withdraw(self, later: Later, carried: Sequence[Request], *, every: bool) -> int:
        """Withdraw requests that wait and were used or withdrawn after the backup, or every one."""
        used, count = {requests.id_of(one.digest, one.detail) for one in carried}, 0
        with writing(self.engine) as connection:
            for held in requests.every(connection):
                over = every or held.id in used or held.digest in later.objected
                if over and held.stage in {Stage.PENDING, Stage.PROPOSED}:
                    requests.mark(connection, held.digest, Stage.WITHDRAWN)
                    count += 1
        return count

    def write_seal(self, keeper: Keeper) -> None:
        """Write beside the key store the seal that opens it, where it still does; officers find their vault shut.

        Raises:
            OSError: the folder cannot be written.
        """
        if keeper.seal and keeper.root_id == self.keyring.wrapping.id:
            replace_durably(self.home / SEAL, keeper.seal, 0o600)
        if (self.home / OFFICER_HEAD).exists():
            replace_durably(self.home / SHUT, b"sealed")

    def trust_own_head(self) -> None:
        """Take what the key store says was signed last of the log for all that was."""
        Heads(self.engine, self.keyring, self.home).take_row()

    def revoke_agreements(self, later: Later) -> int:
        """Revoke all agreements where one was revoked since: the log does not say which. Return how many."""
        revoked = 0
        if not later.counts.get("exchange.revoked", 0):
            return revoked
        with writing(self.engine) as connection:
            for giver in connection.execute(select(store.agreement.c.giver).distinct()).scalars().all():
                for known in agreements.of_giver(connection, self.keyring, giver):
                    if known.active:
                        agreements.put(connection, self.keyring, replace(known, state=agreements.REVOKED))
                        revoked += 1
        return revoked

    def rid_behind(self, sector: str, link: bytes, pid: bytes) -> bytes:
        """Return the record behind a standing's link; nothing where the link does not open."""
        try:
            return self.keyring.links(sector).rid(link, pid)
        except (OpenError, MissingError):
            return b""


def _count(engine: Engine, told: Sequence[Mapping[str, Any]]) -> None:
    if not told:
        return
    statement = upsert(store.leaf_count)
    changed = {"leaves": statement.excluded.leaves}
    with writing(engine) as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["rid"], set_=changed), list(told))
