"""Where the chain of officers is kept: its records and its head, in the key store.

    head = HMAC(HKDF(officer-head key, "idvault/v1/officer-head"), LP(deployment) ‖ LP(number) ‖ LP(digest))
           or of a chain whose later records were lost by a restore, until another ceremony: … ‖ LP("behind"))

Guarantees: a record and the head that it makes are written in one transaction, with the audit row that the log tells
it by; what is read back under the root key was put in force by the agent. Without the root key the chain can be read
and its signatures checked, not that its end is there.

A whole key store put back to an earlier state has an earlier head that holds: the file beside it, which is written
after each record, shows that.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import rfc8785
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import audit, store
from keys.chain import Head, Record, State, after, folded
from keys.deployments import deployment_of
from keys.engine import reading, writing
from keys.entries import OFFICER_HEAD
from keys.errors import ChainError
from keys.files import replace_durably
from keys.frame import length_prefixed
from keys.keyring import Keyring
from keys.primitives import equal
from keys.quorum import Approval

FILE_NAME: Final = "officer.head"
RECORDED: Final = "officers.recorded"
_LABEL: Final = b"idvault/v1/officer-head"
_BEHIND: Final = b"behind"
_ROW: Final = "head"


def records(connection: Connection) -> list[Record]:
    """Return the records of the chain, in their order.

    Raises:
        ChainError: a row is not of its form.
    """
    rows = connection.execute(select(store.officer_record).order_by(store.officer_record.c.number)).all()
    return [Record(bytes(row.said), _signatures(row.number, row.signatures)) for row in rows]


def _signatures(number: int, raw: bytes) -> tuple[Approval, ...]:
    try:
        return tuple(Approval.of_plain(one) for one in json.loads(raw))
    except (ValueError, KeyError, TypeError):
        raise ChainError("its signatures are not of their form", number) from None


def head_of(connection: Connection) -> Head | None:
    """Return the head as it is kept, unchecked; None in a vault without officers."""
    row = connection.execute(select(store.officer_head)).one_or_none()
    return None if row is None else Head(row.number, row.digest)


def seen(engine: Engine) -> State | None:
    """Return what the chain says without the root key; None before there is one.

    Raises:
        ChainError: it names the first record that does not hold.
        SetupError: the key store has records and no deployment.
    """
    with reading(engine) as connection:
        found = records(connection)
    return folded(found, deployment_of(engine), None) if found else None


@dataclass(frozen=True, slots=True)
class Chain:
    """The chain under the root key."""

    engine: Engine
    keyring: Keyring
    home: Path

    def state(self) -> State | None:
        """Return what is in force; None in a vault without officers.

        Raises:
            ChainError: it names the first record that does not hold, or says that the head was put back.
        """
        # The file first: it is written after the store, so that it is never ahead of what is read after it.
        noted = self._noted()
        with reading(self.engine) as connection:
            return self._state(connection, noted)

    def state_in(self, connection: Connection) -> State | None:
        """Return the same within a transaction, of whoever has the lock under which records are appended."""
        return self._state(connection, self._noted())

    def _state(self, connection: Connection, noted: tuple[int, str] | None) -> State | None:
        found = records(connection)
        row = connection.execute(select(store.officer_head)).one_or_none()
        if row is None:
            if found or self._path.exists():
                raise ChainError("the head of the chain is gone")
            return None
        head = Head(row.number, row.digest)
        if not (equal(bytes(row.mac), self._mac(head)) or self._says_behind(row)):
            raise ChainError("the head of the chain was altered")
        state = folded(found, self.keyring.deployment, head)
        _check_noted(noted, found, head)
        return state

    def append(
        self, connection: Connection, state: State | None, record: Record, minute: int, *, told: bool = False
    ) -> State:
        """Write a record, the head that it makes and its audit row, within the caller's transaction.

        The caller calls `note` after the commit. Where the log was `told` of the record before, it is not told again.

        Raises:
            ChainError: it does not follow from the state.
        """
        if state is None:
            made = folded([record], self.keyring.deployment, None)
        else:
            made = after(state, record, state.head.number + 1)
        behind = self.is_behind(connection) and state is not None and made.generation == state.generation
        self._write(connection, made, record, behind=behind)
        if not told:
            address = bytes.fromhex(made.head.digest)
            audit.write_all(connection, [audit.sealed_row(self.keyring, address, RECORDED, minute, {})])
        return made

    def is_behind(self, connection: Connection) -> bool:
        """Tell whether later records were lost by a restore, and the officers are not others since."""
        row = connection.execute(select(store.officer_head)).one_or_none()
        return row is not None and self._says_behind(row)

    def mark_behind(self) -> None:
        """Note that later records were in force, which are lost: until another ceremony no request is carried out."""
        with writing(self.engine) as connection:
            head = head_of(connection)
            if head is not None:
                connection.execute(update(store.officer_head).values(mac=self._mac(head, behind=True)))

    def _says_behind(self, row: Any) -> bool:  # noqa: ANN401 - a SQL row
        return equal(bytes(row.mac), self._mac(Head(row.number, row.digest), behind=True))

    def _write(self, connection: Connection, made: State, record: Record, *, behind: bool) -> None:
        connection.execute(insert(store.officer_record).values(
            number=made.head.number, said=record.said,
            signatures=rfc8785.dumps([one.plain() for one in record.signatures]),
        ))  # fmt: skip
        values = {"number": made.head.number, "digest": made.head.digest, "mac": self._mac(made.head, behind=behind)}
        statement = upsert(store.officer_head).values(id=_ROW, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))

    def note(self, head: Head) -> None:
        """Write the head to the file beside the stores, once it was committed.

        Raises:
            OSError: the folder cannot be written.
        """
        replace_durably(self._path, rfc8785.dumps({"v": 1, "number": head.number, "digest": head.digest}))

    @property
    def _path(self) -> Path:
        return self.home / FILE_NAME

    def _noted(self) -> tuple[int, str] | None:
        """Return number and digest of the head that the file says; None where there is no file."""
        try:
            said = json.loads(self._path.read_bytes())
            return int(said["number"]), str(said["digest"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise ChainError(f"{FILE_NAME} cannot be read") from None

    def _mac(self, head: Head, *, behind: bool = False) -> bytes:
        values = (self.keyring.deployment, head.number.to_bytes(8, "big"), head.digest.encode())
        return self.keyring.mac(OFFICER_HEAD, _LABEL).of(length_prefixed(*values, *([_BEHIND] if behind else [])))


def _check_noted(noted: tuple[int, str] | None, found: Sequence[Record], head: Head) -> None:
    """A file that is behind, or is not there, tells nothing: it is written after the record."""
    if noted is None:
        return
    number, digest = noted
    if number > head.number:
        raise ChainError(f"the key store was put back to an earlier state: record {number} was in force")
    if found[number].digest != digest:
        raise ChainError("not the record that was in force", number)
