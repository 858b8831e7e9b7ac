"""The sequencer: drains the audit outboxes into the public log, exactly once, and has each grown tree signed.

One round, with what a crash after each step leaves behind:

    take rows of both outboxes         nothing happened
    append leaves, in one transaction  the rows stand in both; the log remembers which are not settled
    settle: the rows go                the tree is longer than its last checkpoint; the next round has it signed
    the agent persists and signs       the agent remembers the head; the same signature is made again
    publish the checkpoint             done

Leaves of one round are shuffled, so that their order in the log tells nothing of what was done with what. What the
agent signed last is compared with the store before anything is appended: a store that is an older one grows no branch.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from keys.agent.client import AgentClient
from keys.checkpoints import Checkpoint
from keys.errors import KeysError, LockdownError, RefusedError
from keys.merkle import leaf_hash
from keys.notes import Note, Signature
from keys.primitives import random_bytes
from vault.domain.transparency import REFUSED, TALLIED, Period
from vault.errors import VaultError
from vault.log import tiles
from vault.log.proving import Tree
from vault.logs import event
from vault.stores import answers, log, refusals, tallying
from vault.stores.log import NewLeaf
from vault.stores.unit import Store, end

Cosign = Callable[[Note, Tree], list[Signature]]
"""Asks witnesses to sign a checkpoint; returns what they signed."""
MOST_IDS: Final = 10_000
"""What one act of the agent takes."""
TALLY_AFTER_SECONDS: Final = 600
"""How long after its end a month is tallied: what was begun in it has ended by then."""
_DRAWN: Final = 16
"""Random bytes that a leaf's place within a round is drawn by: no two are equal."""


def nobody(_note: Note, _tree: Tree) -> list[Signature]:
    """Ask no witness."""
    return []


class Waiting(NamedTuple):
    """A row of the directory on its way to the log, as the act `log.commit` takes it."""

    id: bytes
    type: str
    minute: int
    address: bytes
    detail: bytes
    facts: Mapping[str, object]


@dataclass(slots=True)
class Owed:
    """Rows that stand in the log and may stand in their outbox still, by the outbox."""

    of_keys: list[bytes] = field(default_factory=list)
    of_directory: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.of_keys or self.of_directory)


class Sequencer:
    """The one writer of the log. Not for two threads; a second process waits for its turn (`vault.stores.leading`)."""

    def __init__(
        self, directory: Store, log_store: Store, outbox: AgentClient, signer: AgentClient, *,
        origin: str, rows: int, now: Callable[[], int], cosign: Cosign = nobody,
    ) -> None:  # fmt: skip
        """Take the stores, the agent's sockets `outbox` and `log`, and the name that the log is signed by at first."""
        self._now = now
        self._directory, self._log, self._outbox, self._signer = directory, log_store, outbox, signer
        self._origin, self._rows, self._cosign = origin, rows, cosign
        self._size = -1
        self._edge: dict[int, bytes] = {}
        self._published = -1
        self._month = ""
        """The month before which all months have their tallies."""
        self._owed = Owed()

    def once(self) -> int:
        """Drain what waits, up to a limit, and have the tree signed; return how many leaves were added.

        Raises:
            KeysError: the agent cannot be reached, is sealed, or refuses; nothing is lost.
            VaultError: a store cannot be read or written; nothing is lost.
        """
        try:
            if self._size < 0:
                self._load()
            added = self._drain()
            if self._published != self._size:
                self._publish()
        except BaseException:
            # What it holds in memory may not be what the store has.
            self._size, self._published, self._month = -1, -1, ""
            raise
        return added

    def run(self, ending: threading.Event, seconds: float, leads: Callable[[], bool]) -> None:
        """Begin a round about once in so many seconds, until told to end or until another leads."""
        while leads():
            due = time.monotonic() + seconds
            try:
                full = self.once() >= self._rows
            except KeysError as error:
                event("sequencer_waits", cause=error.kind, reason=str(error))  # a constant, with sizes at most
                full = False
            except VaultError as error:
                event("sequencer_waits", cause=error.kind.value)
                full = False
            if ending.wait(0 if full else max(0.0, due - time.monotonic())):
                return

    def close(self) -> None:
        """Close its connections to stores and agent."""
        for one in (self._directory, self._log, self._outbox, self._signer):
            one.close()

    def _load(self) -> None:
        head = self._signer.call("log.head", {})
        with self._log.reading() as unit:
            size = log.size(unit)
            if size < head["size"]:
                raise RefusedError(
                    f"the log store ends at {size}, and {head['size']} entries were signed: it is an older one; "
                    "restore one that is not, or fill it up from a mirror: idvault log refill"
                )
            if head["size"] and self._tree(size).root(head["size"]) != head["root"]:
                raise RefusedError("the log store is not the one that was signed; restore it from a backup or a mirror")
            newest, ids = log.newest(unit), log.unsettled_ids(unit)
        self._edge, self._owed = edge_of(self._log, size), Owed(ids, list(ids))
        self._origin = head["origin"] or self._origin
        self._size, self._published = size, -1 if newest is None else newest[0]

    def _tree(self, size: int) -> Tree:
        return Tree(size, partial(log.read_tiles, self._log))

    def _drain(self) -> int:
        of_keys = self._taken()
        of_directory = waiting(self._directory, self._rows, self._now())
        new = [NewLeaf(row["id"], row["entry"], row["detail"]) for row in of_keys] + self._committed(of_directory)
        if len(of_directory) < self._rows:
            new += self._tallied()  # what was done in a month that is over has its leaves by now
        if new:
            self._append(shuffled(new))
            self._owed.of_keys += [row["id"] for row in of_keys]
            self._owed.of_directory += [row.id for row in of_directory]
            self._settle()
        return len(new)

    def _taken(self) -> list[Any]:
        if self._owed and not self._settle():
            return []  # what stands in the log goes before anything is taken: the agent numbers what is left
        try:
            return list(self._outbox.call("outbox.take", {"limit": self._rows})["rows"])
        except LockdownError:
            return []  # names are closed; what the directory did is told meanwhile

    def _committed(self, rows: Sequence[Waiting]) -> list[NewLeaf]:
        if not rows:
            return []
        entries = self._signer.call("log.commit", {"rows": rows})["entries"]
        return [NewLeaf(row.id, entry, row.detail) for row, entry in zip(rows, entries, strict=True)]

    def _tallied(self) -> list[NewLeaf]:
        """Return the tallies of months that are over and have none; the log itself remembers which have."""
        over = Period.month_of(self._now() - TALLY_AFTER_SECONDS)
        if self._month == over.name:
            return []
        due, rows = self._due(), list[Waiting]()
        while due is not None and due.last < over.first:
            with self._directory.snapshot() as unit:
                facts = {"tally": tallying.month(unit, due).tally()}
            row_id = f"{TALLIED} {due.name}".encode()
            rows.append(Waiting(row_id, TALLIED, self._now() // 60, b"", b"", facts))
            due = due.following()
        if due is not None:
            self._month = over.name
        return self._committed(rows)

    def _due(self) -> Period | None:
        """Return the month to be tallied next; None while the log is empty."""
        with self._log.reading() as unit:
            done, first = log.tallies(unit, self._size), log.first_day(unit)
        if done:
            return Period.parse(max(done)).following()
        return None if first is None else Period.month_of(first * 86_400)

    def _append(self, new: Sequence[NewLeaf]) -> None:
        edge = dict(self._edge)
        grown = tiles.grown(edge, self._size, [leaf_hash(one.entry) for one in new])
        changed = {(tile.level or 0, tile.number): hashes for tile, hashes in grown.items()}
        with self._log.writing() as unit:
            if log.size(unit) != self._size:
                raise RefusedError("another sequencer wrote the log meanwhile")
            log.append(unit, self._size, new, changed)
        self._edge, self._size = edge, self._size + len(new)

    def _settle(self) -> bool:
        """Have rows go that stand in the log; False while names are closed, and those of the key store have to stay."""
        settle(self._directory, self._owed.of_directory)
        self._owed.of_directory = []
        try:
            for place in range(0, len(self._owed.of_keys), MOST_IDS):
                self._outbox.call("outbox.settle", {"ids": self._owed.of_keys[place : place + MOST_IDS]})
        except LockdownError:
            return False
        self._owed.of_keys = []
        with self._log.writing() as unit:
            log.settled(unit)
        return True

    def _publish(self) -> None:
        head = self._signer.call("log.head", {})
        tree = self._tree(self._size)
        checkpoint = Checkpoint(self._origin, self._size, tree.root())
        proof = tree.consistency(head["size"])
        asked = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root, "proof": proof}
        answer = self._signer.call("log.sign", asked)
        own = [Signature(one["name"], one["id"], one["signature"]) for one in answer["signatures"]]
        note = Note(str(checkpoint), tuple(own))
        note = Note(note.text, (*own, *self._cosign(note, tree)))
        with self._log.writing() as unit:
            log.publish(unit, self._size, str(note).encode())
        self._published = self._size


def waiting(directory: Store, limit: int, now: int) -> list[Waiting]:
    """Return the directory's rows: of acts, and of attempts that were refused in a minute that is over."""
    with directory.reading() as unit:
        done = [
            Waiting(row.id, row.type, row.minute, row.address, row.detail, {}) for row in answers.waiting(unit, limit)
        ]
        # A worker may write of a minute for a moment after it: such a row would be gone before it was whole.
        return done + [
            Waiting(row.id, REFUSED, row.minute, row.client.encode(), b"", {"kind": row.kind, "count": row.count})
            for row in refusals.waiting(unit, now // 60 - 1, limit - len(done))
        ]


def settle(directory: Store, ids: Sequence[bytes]) -> None:
    """Delete the directory's rows whose leaves stand in the log. Idempotent."""
    for place in range(0, len(ids), MOST_IDS):
        some = ids[place : place + MOST_IDS]
        with directory.writing() as unit:
            end(unit, answers.settling(unit, some), refusals.settling(unit, some))


def shuffled(new: Sequence[NewLeaf]) -> list[NewLeaf]:
    """Return leaves in an order that tells nothing: each place is drawn, once for all."""
    drawn = random_bytes(_DRAWN * len(new))
    order = sorted(range(len(new)), key=lambda place: drawn[place * _DRAWN : (place + 1) * _DRAWN])
    return [new[place] for place in order]


def edge_of(store: Store, size: int) -> dict[int, bytes]:
    """Return the hashes of the last, partial tile of each level."""
    widths, level, count = dict[tuple[int, int], int](), 0, size
    while count:
        number, width = divmod(count, tiles.WIDTH)
        widths[level, number] = width
        level, count = level + 1, count >> tiles.WIDTH_BITS
    held = log.read_tiles(store, widths)
    return {level: held.get((level, number), b"")[: width * 32] for (level, number), width in widths.items()}
