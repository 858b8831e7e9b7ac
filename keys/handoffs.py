"""Hand-offs: what a provider gives another to redeem, once, within minutes, for the other's own token.

    hnd_ = base64url of 32 random bytes; the key store keeps SHA-256(text) → a frame under the map key
    frame = msgpack {rid, uid, pid, generation, giver, taker, taker_sector, purpose, agreement, expires}

Guarantees: whoever steals the store can neither redeem a hand-off nor tell whose it is; a row with another end than the
sealed one does not open.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from struct import Struct
from typing import Any, Final

import msgpack
from sqlalchemy import Connection, bindparam, delete, select

from keys import audit, store
from keys.bulk import MANY, Bulk, Rows
from keys.driver import Outcome, Prepared, Speaking, Step, run
from keys.errors import KeysError, OpenError
from keys.frame import SALT_BYTES, Place, Purpose
from keys.keyring import Keyring
from keys.primitives import random_bytes
from keys.tokens import HANDOFF_BYTES, handoff_hash, handoff_text

_TABLE: Final = store.handoff
_ROWS: Final = Bulk(_TABLE, few=MANY)
_COLUMNS: Final = itemgetter(*_TABLE.c.keys())
_DRAWN: Final = Struct(f"{HANDOFF_BYTES}s{SALT_BYTES}s")
_EXPIRE: Final = delete(_TABLE).where(_TABLE.c.expires <= bindparam("now"))
_EXPIRED: Final = Prepared(_EXPIRE)
_FIND: Final = Prepared(select(_TABLE).where(_TABLE.c.hash.in_(bindparam("hashes", expanding=True))))
_CONSUME: Final = Prepared(
    delete(_TABLE).where(_TABLE.c.hash.in_(bindparam("hashes", expanding=True))).returning(_TABLE.c.hash)
)


@dataclass(frozen=True, slots=True)
class Handoff:
    """What a hand-off says.

    Attributes:
        rid: the record of the person at the giver; a person who is united meanwhile is found through it.
        uid: the person, as the record said when it was opened.
        pid, generation: the giver's token that it was made from; it must still be good when it is redeemed.
        giver, taker: client ids.
        taker_sector: where it is good.
        purpose: of the agreement.
        agreement: its id.
        expires: seconds since 1970.
    """

    rid: bytes
    uid: bytes
    pid: bytes
    generation: int
    giver: str
    taker: str
    taker_sector: str
    purpose: str
    agreement: bytes
    expires: int

    @property
    def told(self) -> dict[str, str]:
        """What its audit rows say."""
        return {"giver": self.giver, "taker": self.taker, "purpose": self.purpose}


def _place(keyring: Keyring, digest: bytes) -> Place:
    return Place(keyring.deployment, "keys.handoff", digest, "sealed")


def draw_all(keyring: Keyring, said: Sequence[Handoff]) -> list[tuple[str, dict[str, Any]]]:
    """Return (text, row) of a fresh hand-off each."""
    seal, pack = keyring.current("map").sealer(Purpose.HANDOFF, _place(keyring, b""), len(said)), msgpack.Packer().pack
    # At once: each asking is a turn of the interpreter's lock.
    random, drawn = _DRAWN.iter_unpack(random_bytes(_DRAWN.size * len(said))), []
    for one, (secret, salt) in zip(said, random, strict=True):
        text = handoff_text(secret)
        digest = handoff_hash(text)
        plain = pack({
            "rid": one.rid, "uid": one.uid, "pid": one.pid, "generation": one.generation, "giver": one.giver,
            "taker": one.taker, "taker_sector": one.taker_sector, "purpose": one.purpose, "agreement": one.agreement,
            "expires": one.expires,
        })  # fmt: skip
        sealed = seal(digest, plain, salt)
        drawn.append((text, {"hash": digest, "sealed": sealed, "expires": one.expires}))
    return drawn


def adding(rows: Iterable[Mapping[str, Any]]) -> Rows:
    """Return rows as they are inserted together with others."""
    return Rows(_ROWS, [_COLUMNS(row) for row in rows])


def from_row(keyring: Keyring, row: Any) -> Handoff:  # noqa: ANN401 - a SQL row
    """Return the hand-off of a row.

    Raises:
        OpenError: altered or moved, or of a version that said something else.
    """
    plain = keyring.opener("map", row.sealed).open(Purpose.HANDOFF, _place(keyring, row.hash), row.sealed)
    try:
        handoff = Handoff(**msgpack.unpackb(plain))
    except TypeError:
        raise OpenError from None
    if handoff.expires != row.expires:
        raise OpenError
    return handoff


def find(connection: Connection, keyring: Keyring, digests: Iterable[bytes]) -> dict[bytes, Handoff | None]:
    """Return the hand-offs that exist, by hash; None for one whose row was altered."""
    [found] = run(connection, _FIND.on(connection, hashes=list(digests)))
    return {row.hash: _intact(keyring, row) for row in found.rows}


def _intact(keyring: Keyring, row: Any) -> Handoff | None:  # noqa: ANN401 - a SQL row
    try:
        return from_row(keyring, row)
    except KeysError:
        return None


def noting(store: Speaking, rows: Mapping[bytes, Mapping[str, Any]]) -> Step:
    """Return the statement that writes audit rows, by hash, of the hand-offs that are still there; see `consuming`."""
    return audit.beside(store, rows, _TABLE.c.hash)


def consuming(store: Speaking, digests: Iterable[bytes]) -> Step:
    """Return the statement that deletes hand-offs, for `consumed`: each is consumed by one caller alone."""
    return _CONSUME.on(store, hashes=list(digests))


def consumed(outcome: Outcome) -> set[bytes]:
    """Return the hand-offs that were still there."""
    return {digest for (digest,) in outcome.rows}


def consume(connection: Connection, digests: Iterable[bytes]) -> set[bytes]:
    """Delete hand-offs and return those that were still there."""
    return consumed(run(connection, consuming(connection, digests))[0])


def expiring(store: Speaking, now: int) -> Step:
    """Return the statement that deletes what has expired, to be run together with others."""
    return _EXPIRED.on(store, now=now)


def expire(connection: Connection, now: int) -> int:
    """Delete what has expired; return how many."""
    return connection.execute(_EXPIRE, {"now": now}).rowcount
