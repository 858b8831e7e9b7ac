"""Which leaf of the log tells that a registration ended: all that is left of it, for the provider whose account it was.

    address = HMAC(index key, LP("idvault/v1/ended") ‖ LP(client id) ‖ LP(account id))

Guarantees: a row is what the agent wrote, and leads from an account to one leaf: to no record, to no other leaf of it,
and to no person. Who has not the index key learns that something ended, as the log says too.
"""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import store
from keys.frame import length_prefixed
from keys.keyring import Keyring
from keys.primitives import hmac_sha256
from keys.rows import checked, with_mac

_LABEL: Final = b"idvault/v1/ended"
_TABLE: Final = "keys.ended"
_ROW: Final = store.ended.c


def _addresses(keyring: Keyring, client: str, account: bytes) -> list[bytes]:
    """Return where an account's rows may lie: by the newest index key first."""
    said = length_prefixed(_LABEL, client.encode(), account)
    return [hmac_sha256(index, said) for _, index in sorted(keyring.secrets("index").items(), reverse=True)]


def add(
    connection: Connection, keyring: Keyring, accounts: Iterable[tuple[str, bytes]], subject: bytes, minute: int
) -> None:
    """Write which leaf tells it: in the transaction that destroys the keys.

    Args:
        connection: on the key store.
        keyring: of the holder.
        accounts: (client, account id) of the registrant.
        subject: of the leaf.
        minute: since 1970.
    """
    for client, account in accounts:
        address = _addresses(keyring, client, account)[0]
        values = with_mac(keyring, _TABLE, {"address": address, "subject": subject, "minute": minute})
        connection.execute(upsert(store.ended).values(**values).on_conflict_do_nothing())


def of(connection: Connection, keyring: Keyring, client: str, account: bytes) -> dict[bytes, int]:
    """Return subject → minute of the leaves that tell that registrations of a client's account ended.

    Raises:
        OpenError: a row was altered.
    """
    query = select(store.ended).where(_ROW.address.in_(_addresses(keyring, client, account)))
    return {subject: minute for _, subject, minute in (check(keyring, row) for row in connection.execute(query))}


def check(keyring: Keyring, row: Any) -> tuple[bytes, bytes, int]:  # noqa: ANN401 - a SQL row
    """Return (address, subject, minute) of a row.

    Raises:
        OpenError: it was altered.
    """
    address, subject, minute = checked(keyring, _TABLE, row)
    return address, subject, minute


def forget(connection: Connection, before: int, limit: int) -> None:
    """Delete rows of ends from before a minute; the log keeps their leaves."""
    over = select(_ROW.address, _ROW.subject).where(_ROW.minute < before).limit(limit)
    for address, subject in connection.execute(over).all():
        connection.execute(delete(store.ended).where(_ROW.address == address, _ROW.subject == subject))
