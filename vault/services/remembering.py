"""Answers of introspections that are still what asking would give (ADR 31).

An answer is kept under a hash of what was asked, with a key of this process alone, and given again as long as

- no commit of the directory touched its standing, accounts, provider or client, nor is about to (`stores/changes.py`),
- the key holder that gave the keys it was read with is there: one system call, as the peek of every request,
- those keys are in use, and no time has come that decides it: an end of a sanction, of a secret, of a provider.

Only answers that say "active" are kept: so a token that is not good costs the same each time, whyever it is not.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import orjson

from keys.errors import KeysError
from keys.primitives import random_bytes
from vault.domain.clock import epoch, from_text
from vault.domain.scopes import Ladder
from vault.services.held_keys import HeldKeys
from vault.stores import clients
from vault.stores.changes import Changes, Stamp
from vault.stores.clients import Bearer, ClientRow
from vault.stores.unit import Store

_KEY_BYTES: Final = 32
_FRESH_SECONDS: Final = 5.0
"""How long what was changed past the service may go unnoticed."""
_MOST_BEARERS: Final = 10_000
"""Access tokens in memory, a few hundred bytes each."""
Holder = Callable[[], bool]
"""Tells whether the key holder that it was made of is still there."""
Answer = dict[str, object]


@dataclass(frozen=True, slots=True)
class Moment:
    """What was so before the directory was read."""

    stamp: Stamp
    holder: Holder
    fresh_until: float
    """Until when the keys are used that the token was read with; of the clock that only goes forward."""


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    moment: Moment
    since: int
    until: float
    """From when on the answer would be another; in seconds since 1970."""


class Remembering:
    """What one worker remembers. Read by all its threads; written by one at a time, who leads the line."""

    def __init__(
        self, entries: int, changes: Changes | None, keys: HeldKeys, now: Callable[[], int],
        recalled: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """Take how many answers are kept at most, and the directory's counters: without either, nothing is kept.

        `recalled` is told of each answer that is given from here.
        """
        self._entries, self._changes = entries, changes if entries else None
        self._keys, self._now, self._recalled = keys, now, recalled
        self._secret, self._kept = random_bytes(_KEY_BYTES), dict[bytes, _Kept]()
        self._holder: Holder | None = None

    def key(self, *asked: str | None) -> bytes:
        """Return what an answer is kept under: of all that was asked, with the secret that proved who asks."""
        spelled = "".join("-" if part is None else f"{len(part)}:{part}" for part in asked)
        return hashlib.blake2b(spelled.encode(errors="surrogatepass"), key=self._secret, digest_size=32).digest()

    def recall(self, key: bytes) -> Answer | None:
        """Return what asking would give now, if that is known. It is not the caller's to change."""
        kept, changes = self._kept.get(key), self._changes
        if kept is None or changes is None:
            return None
        moment = kept.moment
        same = (
            changes.holds(moment.stamp)
            and monotonic() < moment.fresh_until
            and kept.since <= self._now() < kept.until
            and moment.holder()
        )
        if same and self._recalled is not None:
            self._recalled()
        return kept.answer if same else None

    def watch(self) -> None:
        """Have the holder of this moment watched; comes before the peek at the connection that keys are asked on."""
        if self._changes is None or (self._holder is not None and self._holder()):
            return
        try:
            self._holder = self._keys.watch()
        except KeysError:
            self._holder = None  # the peek that follows says why

    def moment(self, pid: bytes, fresh_until: float) -> Moment | None:
        """Return this moment, before a standing is read; None where what is read now is not kept."""
        if self._changes is None or self._holder is None:
            return None
        stamp = self._changes.stamp(pid)
        return None if stamp is None else Moment(stamp, self._holder, fresh_until)

    def keep(self, key: bytes, answer: Answer, moment: Moment, now: int, rows: Sequence[Any]) -> None:
        """Keep an answer that these rows, read after that moment, gave at `now`."""
        kept = self._kept
        kept.pop(key, None)  # so that what was read last goes last
        if len(kept) >= self._entries:
            del kept[next(iter(kept))]
        kept[key] = _Kept(answer, moment, now, min((time for time in deciding(rows) if time > now), default=math.inf))


class RememberedClients:
    """Rows of clients with their providers: all that proves a client, for as long as no commit touched any of them.

    And the access tokens that they call with, for as long as none revoked them. What was changed by hand, past the
    service, is known after five seconds, as it is of introspections.
    """

    def __init__(self, directory: Store, changes: Changes | None) -> None:
        self._directory, self._changes = directory, changes
        self._kept: dict[str, tuple[ClientRow, Stamp, float]] = {}
        self._bearers: dict[tuple[str, bytes], tuple[ClientRow, Stamp, float]] = {}

    def known(self, client_id: str) -> ClientRow | None:
        """Return a client by its id.

        Raises:
            VaultError: the store cannot be read now.
        """
        if self._changes is None:
            return clients.known(self._directory, client_id)
        row = self._same(self._kept.get(client_id))
        if row is not None:
            return row
        fresh_until = monotonic() + _FRESH_SECONDS
        stamp = self._changes.stamp(None)  # before the row is read
        row = clients.known(self._directory, client_id)
        if row is not None and stamp is not None:  # names that nobody has would fill the memory
            self._kept[client_id] = row, stamp, fresh_until
        return row

    def bearer(self, client_id: str, jti: bytes) -> ClientRow | None:
        """Return the client of an access token that is not revoked, if that is remembered."""
        return self._same(self._bearers.get((client_id, jti)))

    def find_bearers(self, asked: Sequence[tuple[str, bytes]]) -> list[Bearer | None]:
        """Return the bearer of each access token, asked for by (client, jti), from the store. One reads at a time.

        Raises:
            VaultError: the store cannot be read now.
        """
        if self._changes is None:
            return clients.find_bearers(self._directory, asked)
        fresh_until = monotonic() + _FRESH_SECONDS
        stamps = [self._changes.stamp(jti) for _, jti in asked]  # before the rows are read
        found, kept = clients.find_bearers(self._directory, asked), self._bearers
        for one, stamp, bearer in zip(asked, stamps, found, strict=True):
            kept.pop(one, None)  # so that what was read last goes last
            if bearer is None or bearer[1] or stamp is None:
                continue
            if len(kept) >= _MOST_BEARERS:
                del kept[next(iter(kept))]
            kept[one] = bearer[0], stamp, fresh_until
        return found

    def _same(self, kept: tuple[ClientRow, Stamp, float] | None) -> ClientRow | None:
        """Return a row that is still what reading would give."""
        same = kept is not None and self._changes is not None and monotonic() < kept[2] and self._changes.holds(kept[1])
        return kept[0] if kept is not None and same else None


def deciding(rows: Sequence[Any]) -> Iterator[int]:
    """Return the times, in seconds since 1970, at which the rows of one introspection may begin to mean another thing.

    Args:
        rows: as `stores/introspected.py` reads them; at least one.
    """
    row = rows[0]
    yield from (time for time in (row.expires, row.former_until, row.inactive_from) if time is not None)
    for ladder in (row.ladder, *(found.account_ladder for found in rows)):
        yield from (end for _, end in Ladder.parse(ladder).ends if end is not None)
    legacy_until = orjson.loads(row.policy).get("legacy_until") if row.policy else None
    if legacy_until is not None:
        yield epoch(from_text(f"{legacy_until}T00:00:00Z"))
