"""Statement keys: one a standing, under which the words of its sanctions, reports and appeals are sealed.

    address   = HMAC(index key, LP("idvault/v1/statement-key") ‖ LP(pid))
    key       = random, wrapped under the standing key encryption key
    words key = HKDF(key, "idvault/v1/statement" ‖ LP(statement id))

A worker is given the key of the words of one statement, to seal them with; it opens no other with that. Nothing in the
key store says whose a key is, and with the key all words about a registrant are gone.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from keys import store
from keys.driver import Prepared, run
from keys.entries import STANDING_KEK
from keys.errors import MissingError
from keys.fields import pad, unpad
from keys.frame import Place, Purpose, length_prefixed, open_frame, seal
from keys.keyring import Keyring
from keys.primitives import Secret, expand_sha256, hmac_sha256

STATEMENT_ID_BYTES: Final = 16
_ADDRESS_LABEL: Final = b"idvault/v1/statement-key"
_LABEL: Final = b"idvault/v1/statement"
_TABLE: Final = store.statement_key
_FIND: Final = Prepared(select(_TABLE).where(_TABLE.c.address.in_(bindparam("addresses", expanding=True))))


def _addresses(keyring: Keyring, pid: bytes) -> list[bytes]:
    """Return where a standing's key may lie: by the newest index key first."""
    indexes = sorted(keyring.secrets("index").items(), reverse=True)
    return [hmac_sha256(index, length_prefixed(_ADDRESS_LABEL, pid)) for _, index in indexes]


def _place(keyring: Keyring, address: bytes) -> Place:
    return Place(keyring.deployment, "keys.statement_key", address, "wrapped")


def unwrap(keyring: Keyring, address: bytes, wrapped: bytes) -> Secret:
    """Return the statement key of one row.

    Raises:
        OpenError: altered or moved.
        MissingError: its key encryption key is gone.
    """
    kek = keyring.opener(STANDING_KEK, wrapped)
    return Secret(kek.open(Purpose.WRAP, _place(keyring, address), wrapped))


def find(connection: Connection, keyring: Keyring, pid: bytes) -> Secret | None:
    """Return a standing's statement key.

    Raises:
        OpenError: altered or moved.
    """
    [found] = run(connection, _FIND.on(connection, addresses=_addresses(keyring, pid)))
    return unwrap(keyring, found.rows[0].address, found.rows[0].wrapped) if found.rows else None


def create(connection: Connection, keyring: Keyring, pid: bytes) -> Secret:
    """Draw and write a standing's statement key."""
    secret, address = Secret.random(), _addresses(keyring, pid)[0]
    wrapped = keyring.current(STANDING_KEK).seal(Purpose.WRAP, _place(keyring, address), secret.expose_cleartext())
    connection.execute(insert(_TABLE).values(address=address, wrapped=wrapped))
    return secret


def destroy(connection: Connection, keyring: Keyring, pids: Iterable[bytes]) -> None:
    """Delete the statement keys of standings: nothing opens their words any more. Idempotent."""
    addresses = [address for pid in pids for address in _addresses(keyring, pid)]
    connection.execute(delete(_TABLE).where(_TABLE.c.address.in_(addresses)))


def words_key(statement_key: Secret, statement: bytes) -> Secret:
    """Return the key of the words of one statement."""
    return expand_sha256(statement_key, _LABEL + length_prefixed(statement))


def place_of(deployment: bytes, statement: bytes) -> Place:
    """Return where the words of a sanction stand."""
    return Place(deployment, "directory.sanction", statement, "statement")


def seal_statement(key: Secret, deployment: bytes, statement: bytes, words: bytes) -> bytes:
    """Return the sealed words, their length hidden up to the padding's step; `key` is of that statement alone."""
    return seal(key, Purpose.STATEMENT, place_of(deployment, statement), pad(words))


def open_statement(connection: Connection, keyring: Keyring, pid: bytes, statement: bytes, sealed: bytes) -> bytes:
    """Return the words of one statement about a standing.

    Raises:
        MissingError: the key was destroyed, or there never was one.
        OpenError: altered, moved, or about another standing.
    """
    key = find(connection, keyring, pid)
    if key is None:
        raise MissingError("no statement key")
    frame = open_frame(words_key(key, statement), Purpose.STATEMENT, place_of(keyring.deployment, statement), sealed)
    return unpad(frame)
