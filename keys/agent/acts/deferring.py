"""What becomes of the notice of a disclosure: officers defer it, or it is told; strangers follow both in the log."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection

from keys import audit, disclosures, orders, record_keys, records
from keys.disclosures import Made
from keys.errors import KeysError, QuorumError
from keys.keyring import Keyring
from keys.quorum import Request

DEFERRED: Final = "disclosure.deferred"
NOTIFIED: Final = "disclosure.notified"


def deferred(connection: Connection, keyring: Keyring, request: Request) -> tuple[Made, int, dict[str, str]]:
    """Return the disclosure whose notice is to wait, until which minute, and who ordered it.

    Args:
        connection: on the key store.
        keyring: of the holder.
        request: detail {days, ordered_by, law}, subject the id of the disclosure.

    Raises:
        QuorumError: there is none, its person was told, or the order is not of its form.
    """
    made = disclosures.find(connection, keyring, request.subject)
    if made is None or made.notified is not None:
        raise QuorumError("request: no disclosure of this id whose notice is still to come")
    days = request.detail.get("days")
    order = {name: value for name, value in request.detail.items() if name != "days"}
    if type(days) is not int or not 0 < days <= orders.DEFERRED_DAYS:
        raise QuorumError(f"days: 1 to {orders.DEFERRED_DAYS}, from the day on which the notice is due")
    return made, made.notice_due + days * orders.DAY_SECONDS // 60, orders.deferral(order).plain()


def defer(connection: Connection, keyring: Keyring, request: Request, minute: int) -> None:
    """Have a notice wait, in the transaction that uses the request.

    Raises:
        QuorumError: see `deferred`.
    """
    made, due, order = deferred(connection, keyring, request)
    disclosures.change(connection, keyring, made, notice_due=due)
    write(connection, keyring, made, DEFERRED, minute, order, due)


def tell(connection: Connection, keyring: Keyring, made: Made, minute: int) -> Made:
    """Write that a person is told from now on: his line says to whom, what and why since it was made."""
    write(connection, keyring, made, NOTIFIED, minute, {})
    return disclosures.change(connection, keyring, made, notified=minute)


def write(
    connection: Connection, keyring: Keyring, made: Made, kind: str, minute: int, detail: Mapping[str, Any],
    notice_due: int = 0,
) -> None:  # fmt: skip
    """Write the audit row of an act on a disclosure; of a record that is gone it names nobody."""
    address = audit.disclosure_address(made.rid, made.digest, notice_due)
    try:
        opened = record_keys.unwrap(keyring, records.load(connection, keyring, made.rid))
        row = audit.row(keyring.deployment, opened, kind, minute, detail)
    except KeysError:
        row = audit.sealed_row(keyring, b"", kind, minute, detail)
    audit.write_all(connection, [row | {"address": address}])
