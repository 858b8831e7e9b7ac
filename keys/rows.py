"""Row MACs of the key store: a row that was edited, spliced or moved is refused.

    mac = HMAC(HKDF(map key, "idvault/v1/rows"), LP(table) ‖ LP(column value)…)

What a row MAC cannot show is a whole row put back as it once was; the log's checkpoints show that.
"""

from collections.abc import Iterable

import msgpack

from keys.errors import OpenError
from keys.frame import length_prefixed
from keys.keyring import Keyring
from keys.primitives import equal, expand_sha256, hmac_sha256

_LABEL = b"idvault/v1/rows"


def row_mac(keyring: Keyring, table: str, values: Iterable[object]) -> bytes:
    """Return the MAC of one row, 32 bytes; `values` in the table's column order, without the MAC itself."""
    key = expand_sha256(keyring.current("map").secret, _LABEL)
    packed: list[bytes] = [msgpack.packb(value) for value in values]
    return hmac_sha256(key, length_prefixed(table.encode(), *packed))


def check_row(keyring: Keyring, table: str, values: Iterable[object], mac: bytes) -> None:
    """Check the MAC of one row.

    Raises:
        OpenError: the row is not as the agent wrote it.
    """
    if not equal(row_mac(keyring, table, values), mac):
        raise OpenError
