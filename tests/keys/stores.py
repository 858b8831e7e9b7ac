"""Real key stores for tests: migrated, set up with the development seal, and what a directory would say of its rows."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, insert, select, text

from keys import entries, records, setup
from keys import store as tables
from keys.accounts import account_mac
from keys.agent.acts import registering
from keys.agent.acts.deciding import Deciding
from keys.agent.names import Limits, Names
from keys.agent.wire import Dialogue, receive, send
from keys.engine import open_engine, reading, writing
from keys.errors import KeysError, ProtocolError
from keys.frame import Purpose
from keys.keyring import Keyring
from keys.primitives import Secret, random_bytes
from keys.seals import development
from keys.states import State
from tests.fresh import fresh_store, in_words_of

NOW = 1_767_225_600
SHOP, BANK = "shop.example", "bank.example"
Answers = Callable[[str, Mapping[str, Any]], object]


def migrated(folder: Path) -> Engine:
    """Return the engine of a migrated, empty key store."""
    return open_engine(fresh_store(folder, "keys"))


@dataclass
class KeyStore:
    """A key store, its seal and the keyring of the holder `names`."""

    home: Path
    engine: Engine
    root_id: bytes
    root: Secret
    keyring: Keyring

    @classmethod
    def create(cls, home: Path) -> Self:
        engine = migrated(home)
        setup.create_development(engine, home / development.FILE_NAME, NOW)
        root_id, root = development.open_seal(home / development.FILE_NAME)
        ring = Keyring.under_root(engine, root_id, root)
        with writing(engine) as connection:
            for sector in (SHOP, BANK):
                ring.add_sector(connection, sector, NOW)
        ring.reload()
        return cls(home, engine, root_id, root, ring)

    def names(self, now: int = NOW, **limits: int) -> Names:
        given = replace(Limits(), **limits)
        deciding = Deciding(self.engine, self.keyring, self.home, lambda: now, given, lambda: None)
        return Names(self.engine, self.keyring, lambda: now, given, deciding)

    def opened(self) -> Keyring:
        """Return the keyring as a freshly started holder reads it."""
        return Keyring.under_root(self.engine, self.root_id, self.root)

    def add_version(self, purpose: str, scope: str = "", state: State = State.ACTIVE) -> int:
        """Write the next version of a key, in a state: what a rotation will do."""
        version = max(self.keyring._keys[purpose, scope]) + 1
        size = len(self.keyring.versions(purpose, scope)[version - 1].secret)
        self.write_key(purpose, scope, version, state, Secret.random(size))
        return version

    def set_state(self, purpose: str, state: State, scope: str = "") -> None:
        """Seal version 1 of a key anew in another state: what a transition will do."""
        secret = self.keyring._keys[purpose, scope][1].secret
        self.execute("DELETE FROM key WHERE purpose = :p AND scope = :s AND version = 1", p=purpose, s=scope)
        self.write_key(purpose, scope, 1, state, secret)

    def write_key(self, purpose: str, scope: str, version: int, state: State, secret: Secret) -> None:
        wrapper = self.keyring.wrapping
        if purpose in entries.UNDER_STANDING:
            wrapper = self.keyring._keys[entries.STANDING_KEK, ""][1]
        key_id = random_bytes(16)
        place = entries.place_of(self.keyring.deployment, key_id, purpose, scope, version, state)
        sealed = wrapper.seal(Purpose.KEYRING, place, secret.expose_cleartext())
        row = {"purpose": purpose, "scope": scope, "version": version, "id": key_id, "state": state}
        with writing(self.engine) as connection:
            connection.execute(insert(tables.key), {**row, "sealed": sealed, "created": NOW})
            if purpose == entries.KEK:
                self.keyring.uses.begin(connection, key_id)

    def execute(self, statement: str, **values: object) -> None:
        """Do what an attacker with the store would do."""
        with writing(self.engine) as connection:
            connection.execute(text(in_words_of(self.engine, statement)), values)

    def rows(self, name: str) -> list[Any]:
        with reading(self.engine) as connection:
            return list(connection.execute(select(tables.metadata.tables[name])).all())


def evidence_of(ring: Keyring, link: bytes, pid: bytes, **more: object) -> dict[str, Any]:
    """Return what a directory says of a provisional standing with one account."""
    account = {"id": bytes(16), "provider": "prov", "handle": "anna"}
    account["mac"] = account_mac(
        ring.current("account-mac").secret, ring.deployment, "prov", "anna", pid, bytes(16)
    )  # fmt: skip
    return {
        "sector": SHOP, "pid": pid, "link": link, "tags": [], "created": NOW, "accounts": [account], "aliases": [],
        "sanctions": [], **more,
    }  # fmt: skip


def _nothing(what: str, _: Mapping[str, Any]) -> object:
    raise ProtocolError(what)


@contextmanager
def dialogue(answers: Answers = _nothing) -> Iterator[Dialogue]:
    """Give an act a caller that answers what it asks for, over a real socket pair."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        while True:
            try:
                message = receive(theirs)
            except Exception:  # noqa: BLE001 - the act is over
                return
            send(theirs, {"answer": answers(message["ask"], message["args"])})

    thread = threading.Thread(target=answer)
    thread.start()
    with ours, theirs:
        try:
            yield Dialogue(ours, 0, threading.Event())
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@dataclass(frozen=True)
class Registration:
    """A registration as the directory and identity stores would hold it."""

    rid: bytes
    pid: bytes
    link: bytes
    keys: Mapping[str, bytes]

    def evidence(self, store: KeyStore, **more: object) -> dict[str, Any]:
        return evidence_of(store.keyring, self.link, self.pid, **more)


def registered(store: KeyStore, *fields: str, done: bool = True) -> Registration:
    """Create a registration through the acts, up to `in_review`."""
    pid = random_bytes(16)
    args = {"sector": SHOP, "items": [{"pid": pid, "fields": list(fields or ("legal_name", "phone"))}]}
    with dialogue() as talk:
        made = registering.create(store.names(), args, talk)["items"][0]
        if done:
            item = {"sector": SHOP, "pid": pid, "link": made["link"]}
            registering.create_done(store.names(), {"items": [item]}, talk)
    return Registration(made["rid"], pid, made["link"], made["keys"])


def put_in(store: KeyStore, rid: bytes, **changes: object) -> None:
    """Put a record into a state, as an act would."""
    with writing(store.engine) as connection:
        records.change(connection, store.keyring, records.load(connection, store.keyring, rid), **changes)


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make calls in threads that begin together; return their results, or the errors of the agent, in order."""
    gate = threading.Barrier(len(calls))

    def made(call: Callable[[], Any]) -> Any:
        gate.wait()
        try:
            return call()
        except KeysError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(made, calls))
