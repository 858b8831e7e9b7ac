"""Where ceremonies are kept: their records, and the shares, sealed to the officers' cards. None of it is a secret.

Guarantees: there is one ceremony that waits at most, and one in force at most; a share is never altered.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import rfc8785
from sqlalchemy import Connection, delete, insert, select, update

from keys import store
from keys.errors import ShareError
from keys.officers import Card
from keys.quorum import Approval
from keys.seals.shares import Ceremony

_CEREMONY: Final = store.ceremony.c
_SHARE: Final = store.share.c


class Stage(StrEnum):
    """How far a ceremony has come."""

    PENDING = "pending"
    IN_FORCE = "in_force"
    PAST = "past"


@dataclass(frozen=True, slots=True)
class Held:
    """One ceremony, as it is kept."""

    record: Ceremony
    stage: Stage
    cards: tuple[Card, ...]
    first: bytes | None
    """What the first record of the chain will say, of the first ceremony."""
    root: bytes | None
    """The next root key, sealed under the one in force, of a later ceremony that waits."""

    @property
    def to_confirm(self) -> bytes:
        """Return the digest that officers sign who confirm: of the chain's first record, or of a later ceremony's."""
        return self.record.digest if self.first is None else hashlib.sha256(self.first).digest()

    def card(self, key: str) -> Card | None:
        """Return the card of an officer of this ceremony."""
        return next((card for card in self.cards if card.key_id == key), None)


@dataclass(frozen=True, slots=True)
class Share:
    """One officer's share, sealed to him; whether he confirmed that it opens, and when he last proved it."""

    key: str
    sealed: bytes
    confirmation: Approval | None
    proven: int | None
    """Seconds since 1970."""


def all_of(connection: Connection) -> list[Held]:
    """Return all ceremonies, the oldest first.

    Raises:
        ShareError, OfficerError: one is not as it was written.
    """
    rows = connection.execute(select(store.ceremony).order_by(_CEREMONY.generation)).all()
    return [_held(row) for row in rows]


def _held(row: Any) -> Held:  # noqa: ANN401 - a SQL row
    record = Ceremony.parse(bytes(row.record))
    cards = tuple(Card.parse(line) for line in row.cards.splitlines())
    if tuple(card.key_id for card in cards) != record.keys or record.generation != row.generation:
        raise ShareError("ceremony: its cards are not those that the shares were given to")
    return Held(record, Stage(row.state), cards, row.first, row.root)


def begin(
    connection: Connection, record: Ceremony, cards: Sequence[Card], sealed: Sequence[bytes], *,
    first: bytes | None = None, root: bytes | None = None,
) -> None:  # fmt: skip
    """Write a ceremony that waits to be confirmed, in place of one that waited."""
    drop_pending(connection)
    connection.execute(insert(store.ceremony).values(
        generation=record.generation, state=Stage.PENDING, record=bytes(record),
        cards="\n".join(str(card) for card in cards), first=first, root=root,
    ))  # fmt: skip
    rows = [
        {"generation": record.generation, "key": card.key_id, "sealed": one, "confirmation": None, "proven": None}
        for card, one in zip(cards, sealed, strict=True)
    ]
    connection.execute(insert(store.share), rows)


def drop_pending(connection: Connection) -> None:
    """Delete the ceremony that waits, if there is one: its shares are of nothing."""
    pending = select(_CEREMONY.generation).where(_CEREMONY.state == Stage.PENDING)
    connection.execute(delete(store.share).where(_SHARE.generation.in_(pending)))
    connection.execute(delete(store.ceremony).where(_CEREMONY.state == Stage.PENDING))


def put_in_force(connection: Connection, generation: int) -> None:
    """Have the ceremony that waited in force, and the one before it no more: its shares are deleted."""
    earlier = _CEREMONY.generation < generation
    connection.execute(update(store.ceremony).where(earlier).values(state=Stage.PAST, root=None))
    connection.execute(delete(store.share).where(_SHARE.generation < generation))
    connection.execute(
        update(store.ceremony).where(_CEREMONY.generation == generation).values(state=Stage.IN_FORCE, root=None)
    )


def shares_of(connection: Connection, generation: int) -> list[Share]:
    """Return the shares of a generation, in the order of their officers' key ids."""
    rows = connection.execute(select(store.share).where(_SHARE.generation == generation).order_by(_SHARE.key)).all()
    return [Share(row.key, bytes(row.sealed), _approval(row.confirmation), row.proven) for row in rows]


def _approval(raw: bytes | None) -> Approval | None:
    return None if raw is None else Approval.parse(raw)


def confirm(connection: Connection, generation: int, confirmation: Approval, now: int) -> None:
    """Write that an officer confirmed his share; a confirmation takes the place of his earlier one."""
    connection.execute(
        update(store.share)
        .where(_SHARE.generation == generation, _SHARE.key == confirmation.key)
        .values(confirmation=rfc8785.dumps(confirmation.plain()), proven=now)
    )


def prove(connection: Connection, generation: int, key: str, now: int) -> None:
    """Write that an officer's share was given, and was the right one."""
    connection.execute(update(store.share).where(_SHARE.generation == generation, _SHARE.key == key).values(proven=now))
