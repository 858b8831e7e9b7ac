"""Agreements: which provider may hand a person to which other, for what purpose and on which basis.

Guarantees: an agreement is read only if its row's MAC holds. It names clients and sectors, never a person.
"""

import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Any, Final, Self

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import store
from keys.driver import Prepared, Speaking, Step
from keys.errors import OpenError
from keys.keyring import Keyring
from keys.rows import checked, with_mac

ACTIVE: Final = "active"
REVOKED: Final = "revoked"
PURPOSE: Final = re.compile(r"[a-z_]{1,32}")
_TABLE: Final = "keys.agreement"
_KEYS: Final = ("giver", "taker", "purpose")
_OF_GIVERS: Final = Prepared(
    select(store.agreement).where(store.agreement.c.giver.in_(bindparam("givers", expanding=True)))
)
_BY_IDS: Final = Prepared(select(store.agreement).where(store.agreement.c.id.in_(bindparam("ids", expanding=True))))


class Basis(StrEnum):
    """Why one provider may learn that a person is at the other."""

    CONSENT = "consent"
    LEGAL = "legal"


@dataclass(frozen=True, slots=True)
class Agreement:
    """One row; giver and taker are client ids, `per_hour` is the budget, `created` in seconds since 1970."""

    id: bytes
    giver: str
    giver_sector: str
    taker: str
    taker_sector: str
    purpose: str
    basis: Basis
    per_hour: int
    state: str
    created: int

    @classmethod
    def from_row(cls, keyring: Keyring, row: Any) -> Self:  # noqa: ANN401 - a SQL row
        """Return the agreement.

        Raises:
            OpenError: the row was altered.
        """
        checked(keyring, _TABLE, row)
        return cls(
            row.id, row.giver, row.giver_sector, row.taker, row.taker_sector, row.purpose, Basis(row.basis),
            row.per_hour, row.state, row.created,
        )  # fmt: skip

    @property
    def active(self) -> bool:
        """Whether it is in force."""
        return self.state == ACTIVE

    @property
    def budget(self) -> str:
        """The name of its budget."""
        return f"exchange/{self.id.hex()}"

    def shown(self) -> dict[str, Any]:
        """Return what officers see of it."""
        names = ("giver", "taker", "purpose", "basis", "per_hour", "state", "created")
        return {name: getattr(self, name) for name in names}


def put(connection: Connection, keyring: Keyring, agreement: Agreement) -> None:
    """Write an agreement over the one of the same giver, taker and purpose."""
    columns = dict(zip(Agreement.__slots__, (*astuple(agreement),), strict=True)) | {"basis": str(agreement.basis)}
    values = with_mac(keyring, _TABLE, columns)
    changed = {name: value for name, value in values.items() if name not in _KEYS}
    statement = upsert(store.agreement).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=list(_KEYS), set_=changed))


def of_giver(connection: Connection, keyring: Keyring, giver: str) -> list[Agreement]:
    """Return all agreements of one giver, revoked ones too.

    Raises:
        OpenError: a row was altered.
    """
    query = select(store.agreement).where(store.agreement.c.giver == giver)
    return [Agreement.from_row(keyring, row) for row in connection.execute(query)]


def with_client(connection: Connection, keyring: Keyring, client: str) -> list[Agreement]:
    """Return the agreements in which a client gives or takes.

    Raises:
        OpenError: a row was altered.
    """
    table = store.agreement
    query = select(table).where((table.c.giver == client) | (table.c.taker == client)).order_by(table.c.created)
    return [Agreement.from_row(keyring, row) for row in connection.execute(query)]


def of_sector(connection: Connection, keyring: Keyring, sector: str) -> list[Agreement]:
    """Return the agreements in which a sector gives or takes, revoked ones too.

    Raises:
        OpenError: a row was altered.
    """
    table = store.agreement
    query = select(table).where((table.c.giver_sector == sector) | (table.c.taker_sector == sector))
    return [Agreement.from_row(keyring, row) for row in connection.execute(query)]


def reading_givers(connection: Connection, givers: Iterable[str]) -> Step:
    """Return the statement that reads all agreements of givers, revoked ones too, for `by_giver`."""
    return _OF_GIVERS.on(connection, givers=list(givers))


def by_giver(keyring: Keyring, rows: Iterable[Any]) -> dict[str, "list[Agreement] | None"]:
    """Return the agreements of givers by rows; None for a giver of whom a row was altered."""
    found: dict[str, list[Agreement] | None] = {}
    for row in rows:
        known = found.setdefault(row.giver, [])
        try:
            found[row.giver] = None if known is None else [*known, Agreement.from_row(keyring, row)]
        except OpenError:
            found[row.giver] = None
    return found


def reading_ids(store: Speaking, ids: Iterable[bytes]) -> Step:
    """Return the statement that reads agreements by id, for `by_id`."""
    return _BY_IDS.on(store, ids=list(ids))


def by_id(keyring: Keyring, rows: Iterable[Any]) -> dict[bytes, Agreement]:
    """Return agreements by id from rows.

    Raises:
        OpenError: a row was altered.
    """
    return {row.id: Agreement.from_row(keyring, row) for row in rows}
