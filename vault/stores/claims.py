"""Whose is what stands in a database that a restore fills: a mark in it says so, from before the first row.

The mark is the comment on the table of revisions. Who empties a database by hand drops that table, and the mark with
it; a vault that is made there afterwards has none, one that another restore brings back has another. It stays.

    mark = SHA-256("idvault/v1/restoring" ‖ name of the store ‖ nonce(16))[:16], in hex
"""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Column, Connection, Engine, MetaData, PrimaryKeyConstraint, String, Table, inspect
from sqlalchemy.schema import CreateTable, SetTableComment

from keys.engine import reading, writing
from keys.errors import SetupError
from vault.stores.copying import STORE_ERRORS

_LABEL: Final = b"idvault/v1/restoring"
_MARK_BYTES: Final = 16
_NONCE_BYTES: Final = 16
_REVISIONS: Final = "alembic_version"


def nonce() -> bytes:
    """Return what marks the databases of one restore."""
    return secrets.token_bytes(_NONCE_BYTES)


def check(engines: Mapping[str, Engine], nonce: bytes, *, filled: bool = False) -> None:
    """Check that each database is empty, or holds what the restore of a nonce put there.

    Args:
        engines: of the stores, on PostgreSQL.
        nonce: of the restore; empty for one that has not begun.
        filled: whether none may be empty any more.

    Raises:
        SetupError: one holds something else, or cannot be read; it names the store.
    """
    for name, engine in engines.items():
        try:
            with reading(engine) as connection:
                _check(connection, name, nonce, filled=filled)
        except STORE_ERRORS:
            raise SetupError(f"the store {name} cannot be read") from None


def claim(engines: Mapping[str, Engine], nonce: bytes) -> None:
    """Mark the databases as a restore's, each if it is empty or is marked so already.

    Raises:
        SetupError: one holds something else.
        DBAPIError: one cannot be written.
    """
    for name, engine in engines.items():
        with writing(engine) as connection:
            _check(connection, name, nonce, filled=False)
            # As alembic makes it: there must be a table before there is a first revision.
            table = Table(
                _REVISIONS, MetaData(), Column("version_num", String(32), nullable=False),
                PrimaryKeyConstraint("version_num", name=f"{_REVISIONS}_pkc"), comment=_mark(name, nonce),
            )  # fmt: skip
            connection.execute(CreateTable(table, if_not_exists=True))
            connection.execute(SetTableComment(table))


def _check(connection: Connection, name: str, nonce: bytes, *, filled: bool) -> None:
    seen = inspect(connection)
    tables = seen.get_table_names()
    if not tables and not filled:
        return
    if not nonce:
        raise SetupError("the databases are not empty; a backup comes back where there is none")
    if _REVISIONS not in tables or seen.get_table_comment(_REVISIONS)["text"] != _mark(name, nonce):
        raise SetupError(
            f"the store {name} does not hold what the restore left that was cut off here, but another vault or nothing"
        )


def _mark(name: str, nonce: bytes) -> str:
    return hashlib.sha256(_LABEL + name.encode() + nonce).digest()[:_MARK_BYTES].hex()
