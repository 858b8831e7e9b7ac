"""What was disclosed: the package for its one recipient, and the row that says when its person is told.

    package = {"v": 1, "id", "deployment", "request": what the officers signed, "sealed": base64}
    sealed  = HPKE to the recipient's key, info = "idvault/v1/disclosure" ‖ deployment ‖ SHA-256 of the request, of the
              RFC 8785 form of {"v": 1, "made", "state", "assurance", "fields": {name: value}, "pad"}, padded to 1 KiB

Guarantees: one id is disclosed once; a row is what the agent wrote, or is refused. The package opens for its recipient
alone, and only beside the very request that was signed. The vault cannot open it either.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from typing import Any, Final, Self

import rfc8785
from sqlalchemy import Connection, delete, insert, select, update

from keys import store
from keys.errors import ConflictError, OfficerError, OpenError
from keys.keyring import Keyring
from keys.officers import Officer
from keys.primitives import HybridReceiver, seal_to
from keys.rows import checked, with_mac

PAD_BYTES: Final = 1024
_VERSION: Final = 1
_TABLE: Final = "keys.disclosure"
_LABEL: Final = b"idvault/v1/disclosure"
_ROW: Final = store.disclosure.c
_FORM: Final = "package: not one that a vault made"


@dataclass(frozen=True, slots=True)
class Made:
    """A disclosure that took place; times in minutes since 1970."""

    id: str
    digest: bytes
    """SHA-256 of the request that was approved."""
    rid: bytes
    package: bytes | None
    """None once its time is over."""
    made: int
    notice_due: int
    notified: int | None

    @classmethod
    def from_row(cls, keyring: Keyring, row: Any) -> Self:  # noqa: ANN401 - a SQL row
        """Return the disclosure.

        Raises:
            OpenError: the row was altered.
        """
        return cls(*checked(keyring, _TABLE, row))

    def values(self, keyring: Keyring) -> dict[str, Any]:
        """Return the column values with a fresh MAC."""
        return with_mac(keyring, _TABLE, dict(zip(self.__slots__, astuple(self), strict=True)))


def add(connection: Connection, keyring: Keyring, made: Made) -> None:
    """Insert a disclosure."""
    connection.execute(insert(store.disclosure).values(made.values(keyring)))


def change(connection: Connection, keyring: Keyring, made: Made, **changes: object) -> Made:
    """Write a changed disclosure over the one that was read, and return it.

    Raises:
        ConflictError: another act changed it meanwhile.
    """
    changed = replace(made, **changes)  # type: ignore[arg-type]
    read = (_ROW.id == made.id) & (_ROW.mac == made.values(keyring)["mac"])
    if connection.execute(update(store.disclosure).where(read).values(changed.values(keyring))).rowcount != 1:
        raise ConflictError
    return changed


def find(connection: Connection, keyring: Keyring, subject: str) -> Made | None:
    """Return the disclosure of an id, if it took place.

    Raises:
        OpenError: the row was altered.
    """
    row = connection.execute(select(store.disclosure).where(_ROW.id == subject)).one_or_none()
    return None if row is None else Made.from_row(keyring, row)


def untold(connection: Connection, keyring: Keyring, until: int, limit: int) -> list[Made]:
    """Return disclosures whose person is to be told by a minute, and was not; altered rows are left to `fsck`."""
    due = select(store.disclosure).where(_ROW.notified.is_(None), _ROW.notice_due <= until)
    return _intact(keyring, connection.execute(due.order_by(_ROW.notice_due).limit(limit)).all())


def of_records(connection: Connection, keyring: Keyring, rids: Iterable[bytes]) -> list[Made]:
    """Return the disclosures of records; altered rows are left to `fsck`."""
    return _intact(keyring, connection.execute(select(store.disclosure).where(_ROW.rid.in_(list(rids)))).all())


def _intact(keyring: Keyring, rows: Iterable[Any]) -> list[Made]:
    """Return those that the agent wrote: one that another hand altered must not keep the others waiting."""
    found = []
    for row in rows:
        with suppress(OpenError):
            found.append(Made.from_row(keyring, row))
    return found


def forget_packages(connection: Connection, keyring: Keyring, before: int, limit: int) -> None:
    """Delete packages that were made before a minute; that they were stays."""
    old = select(store.disclosure).where(_ROW.package.is_not(None), _ROW.made < before).limit(limit)
    for made in _intact(keyring, connection.execute(old).all()):
        change(connection, keyring, made, package=None)


def destroy(connection: Connection, before: int, limit: int) -> None:
    """Delete disclosures from before a minute whose persons were told; the log keeps their leaves."""
    over = select(_ROW.id).where(_ROW.notified.is_not(None), _ROW.made < before).limit(limit)
    for subject in connection.execute(over).scalars().all():
        connection.execute(delete(store.disclosure).where(_ROW.id == subject))


def ids(connection: Connection) -> set[str]:
    """Return the ids of all that took place and are kept."""
    return set(connection.execute(select(_ROW.id)).scalars())


def seal_package(
    subject: str, deployment: bytes, request: bytes, receives: bytes, said: Mapping[str, Any]
) -> bytes:  # fmt: skip
    """Return the package of what is disclosed, in JSON.

    Args:
        subject: the id of the disclosure.
        deployment: of this vault.
        request: what the officers signed.
        receives: the recipient's public key.
        said: made, state, assurance and fields.
    """
    bare = {"v": _VERSION, **said, "pad": ""}
    plain = rfc8785.dumps(bare | {"pad": "0" * (-len(rfc8785.dumps(bare)) % PAD_BYTES)})
    sealed = seal_to(receives, plain, _info(deployment, request))
    return json.dumps({
        "v": _VERSION, "id": subject, "deployment": deployment.hex(), "request": request.decode(),
        "sealed": base64.b64encode(sealed).decode(),
    }).encode()  # fmt: skip


def open_package(raw: bytes, officer: Officer) -> dict[str, Any]:
    """Return what a package says to its recipient: {id, request, made, state, assurance, fields}.

    Raises:
        OfficerError: no package, one that was altered, or another's.
    """
    try:
        package = json.loads(raw)
        if package.keys() != {"v", "id", "deployment", "request", "sealed"} or package["v"] != _VERSION:
            raise OfficerError(_FORM)
        request = str(package["request"]).encode()
        said = _opened(package, request, officer.receiver)
        return {"id": package["id"], "request": json.loads(request)} | said
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise OfficerError(_FORM) from None


def _opened(package: Mapping[str, Any], request: bytes, receiver: HybridReceiver) -> dict[str, Any]:
    sealed = base64.b64decode(package["sealed"], validate=True)
    try:
        plain = receiver.open(sealed, _info(bytes.fromhex(package["deployment"]), request))
    except OpenError:
        raise OfficerError("package: sealed to another's key, or altered") from None
    said = json.loads(plain)
    return {name: said[name] for name in ("made", "state", "assurance", "fields")}


def _info(deployment: bytes, request: bytes) -> bytes:
    return _LABEL + deployment + hashlib.sha256(request).digest()
