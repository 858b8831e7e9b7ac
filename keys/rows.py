"""Row MACs of the key store: a row that was edited, spliced or moved is refused.

    mac = HMAC(HKDF(map key, "idvault/v1/rows"), LP(table) ‖ LP(column value)…)

What a row MAC cannot show is a whole row put back as it once was; the log's checkpoints show that.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgpack

from keys.errors import OpenError
from keys.frame import length_prefixed
from keys.primitives import Mac, Secret, equal, expand_sha256

if TYPE_CHECKING:
    from keys.keyring import Keyring

LABEL: Final = b"idvault/v1/rows"


def row_mac(keyring: "Keyring", table: str, values: Iterable[object]) -> bytes:
    """Return the MAC of one row, 32 bytes; `values` in the table's column order, without the MAC itself."""
    return mac_of_row(keyring.mac("map", LABEL), table, values)


def mac_of_row(mac: Mac, table: str, values: Iterable[object]) -> bytes:
    """Return the MAC of one row, 32 bytes, where only the key of rows is at hand."""
    pack = msgpack.Packer().pack  # one for the row: making one costs more than its values
    return mac.of(length_prefixed(table.encode(), *[pack(value) for value in values]))


def key_of_rows(keyring: "Keyring") -> Secret:
    """Return the key that row MACs are made with."""
    return expand_sha256(keyring.current("map").secret, LABEL)


def with_mac(keyring: "Keyring", table: str, columns: Mapping[str, object]) -> dict[str, Any]:
    """Return what is written of one row: its columns in the table's order, and their MAC."""
    return {**columns, "mac": row_mac(keyring, table, columns.values())}


def checked(keyring: "Keyring", table: str, row: Iterable[Any]) -> tuple[Any, ...]:
    """Return the values of a row whose last column is its MAC, without it.

    Raises:
        OpenError: the row is not as the agent wrote it.
    """
    *values, mac = row
    if not equal(row_mac(keyring, table, values), mac):
        raise OpenError
    return tuple(values)
