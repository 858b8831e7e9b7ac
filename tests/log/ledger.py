"""A vault's outboxes and log on real stores, with the agent's acts called in place; and a way to cut any step."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from keys.agent.acts import checkpointing, draining
from keys.engine import open_engine
from keys.heads import Heads
from tests.fresh import fresh_store, in_words_of
from tests.keys.stores import KeyStore, dialogue, registered
from vault.services.reading_log import LogReader
from vault.services.sequencing import Cosign, Sequencer, nobody
from vault.stores import directory, log
from vault.stores.unit import Store, Unit

MINUTE = 29_453_760


class CutError(Exception):
    """The process ended here."""


class Ledger:
    """Stores, acts and a sequencer; `cut_at` ends the process at the n-th step, before or after it took effect."""

    def __init__(self, home: Path) -> None:
        self.keys = KeyStore.create(home)
        self.directory, self.log = (_store(home, name) for name in ("directory", "log"))
        self.steps, self.cut_at, self.written, self.now = 0, -1, 0, MINUTE * 60
        signing = checkpointing.signing(self.keys.keyring, Heads(self.keys.engine, self.keys.keyring, home))
        names = self.keys.names()
        self._acts: dict[str, Callable[..., dict[str, Any]]] = {
            "outbox.take": lambda args, talk: draining.take(names, args, talk),
            "outbox.settle": lambda args, talk: draining.settle(names, args, talk),
            "log.head": signing.head, "log.sign": signing.sign, "log.commit": signing.commit,
        }  # fmt: skip

    def call(self, verb: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Stand for both of the agent's sockets."""
        self._step()
        with dialogue() as talk:
            answer = self._acts[verb](args, talk)
        self._step()
        return answer

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.cut_at:
            raise CutError

    def sequencer(self, rows: int = 1000, cosign: Cosign = nobody) -> Sequencer:
        """Return a sequencer as a fresh process has it."""
        stores = (_Cut(self, self.directory), _Cut(self, self.log))
        return Sequencer(
            *stores, self, self, origin="log.example", rows=rows, now=lambda: self.now, cosign=cosign,  # type: ignore[arg-type]
        )  # fmt: skip

    def reader(self) -> LogReader:
        return LogReader(self.log, self, "log.example")  # type: ignore[arg-type]

    def act(self, count: int = 1) -> None:
        """Do something in both stores, so often."""
        for _ in range(count):
            registered(self.keys)
            row = {"id": self.written.to_bytes(16, "big"), "type": "sanction.set", "minute": MINUTE}
            with self.directory.writing() as unit:
                unit.execute(insert(directory.audit_outbox), {**row, "address": b"cli_a", "detail": b"sealed"})
            self.written += 1

    def waiting(self) -> int:
        """Return how many rows are not settled."""
        with self.directory.reading() as unit:
            of_directory = len(unit.execute(select(directory.audit_outbox.c.id)).all())
        return of_directory + len(self.keys.rows("audit_outbox"))

    def entries(self) -> list[bytes]:
        with self.log.reading() as unit:
            return log.entries(unit, 0, log.size(unit))

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Do to the log store what somebody with it would do."""
        with self.log.writing() as unit:
            if self.log.engine.dialect.name == "postgresql":
                statement = in_words_of(self.log.engine, statement).replace("?", "%s")
            found = unit.exec_driver_sql(statement, values)
            return list(found.all()) if found.returns_rows else []

    def close(self) -> None:
        for store in (self.directory, self.log):
            store.close()
        self.keys.engine.dispose()


def enrol(ledger: Ledger) -> None:
    """Have a client `cli_a` in the directory."""
    row = {
        column.name: b"x" if column.name.endswith("hash") else 1 if column.type.python_type is int else "x"
        for column in directory.client.columns
        if not column.nullable
    }
    with ledger.directory.writing() as unit:
        unit.execute(insert(directory.client), row | {"id": "cli_a"})


def _store(home: Path, name: str) -> Store:
    return Store(open_engine(fresh_store(home, name)))


class _Cut:
    """A store whose transactions may be cut before they commit, or right after."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger, self._store, self.reading, self.snapshot = ledger, store, store.reading, store.snapshot
        self.rows, self.distant = store.rows, store.distant

    @contextmanager
    def writing(self) -> Iterator[Unit]:
        with self._store.writing() as unit:
            yield unit
            self._ledger._step()
        self._ledger._step()
