"""Details of the directory's audit rows: sealed under the directory key, and the ids of acts that leave a receipt.

    audit key = HKDF(directory key, "idvault/v1/directory-audit")
    audit id  = first 16 bytes of HMAC(HKDF(directory key, "idvault/v1/audit-id"), LP(type) ‖ LP(object)), or random

An act that is done once to an object has an id that whoever holds the directory key can find again: so a receipt needs
no table that says which leaf is whose.
"""

from collections.abc import Iterable
from typing import Final

from keys.errors import OpenError
from keys.frame import Place, Purpose, length_prefixed, open_frame, seal
from keys.primitives import Expander, Secret, expand_sha256, hmac_sha256

ID_BYTES: Final = 16
_SEAL_LABEL: Final = b"idvault/v1/directory-audit"
_ID_LABEL: Final = b"idvault/v1/audit-id"


def audit_id(directory_key: Secret, kind: str, object_id: bytes) -> bytes:
    """Return the id of the audit row of an act that is done once to an object."""
    key = expand_sha256(directory_key, _ID_LABEL)
    return hmac_sha256(key, length_prefixed(kind.encode(), object_id))[:ID_BYTES]


def seal_detail(directory_key: Secret, deployment: bytes, row_id: bytes, detail: bytes) -> bytes:
    """Return the detail of an audit row, sealed."""
    return seal(expand_sha256(directory_key, _SEAL_LABEL), Purpose.AUDIT, _place(deployment, row_id), detail)


def detail_keys(directory_keys: Iterable[Secret]) -> list[Expander]:
    """Return what opens details, of each version of the directory key: for many at once."""
    return [Expander(expand_sha256(key, _SEAL_LABEL)) for key in directory_keys]


def open_detail(keys: Iterable[Expander], deployment: bytes, row_id: bytes, sealed: bytes) -> bytes:
    """Return the detail of an audit row, under whichever version of the directory key it was sealed.

    Raises:
        OpenError: under none of them: altered, or moved.
    """
    for key in keys:
        try:
            return open_frame(key, Purpose.AUDIT, _place(deployment, row_id), sealed)
        except OpenError:
            continue
    raise OpenError


def _place(deployment: bytes, row_id: bytes) -> Place:
    return Place(deployment, "directory.audit_outbox", row_id, "detail")
