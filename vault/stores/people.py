"""Records, evidence and fingerprints of the identity store. Nothing here leads to an account.

Sealed fields stand in their columns without the header that is the same in all; outside this module they have it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from keys.bulk import Bulk, Rows
from keys.fields import HEADER
from vault.stores import fences
from vault.stores.identity import evidence, fence, fingerprint, record
from vault.stores.unit import Store, Unit

FIELDS = ("legal_name", "names", "birth_date", "document", "phone", "email", "form", "registration", "mandate")
_RECORDS = Bulk(record)
_FINGERPRINTS = Bulk(fingerprint, conflict="ON CONFLICT (tag) DO UPDATE SET sealed = excluded.sealed")
_WAS, _NEW = [f"was_{name}" for name in FIELDS], [f"new_{name}" for name in FIELDS]
_FIELD_COLUMNS = [record.c[name] for name in FIELDS]
_AS_IT_WAS = [record.c[name].is_not_distinct_from(bindparam(was)) for name, was in zip(FIELDS, _WAS, strict=True)]
_REPLACE = (
    update(record)
    .where(record.c.rid == bindparam("of"), *_AS_IT_WAS)
    .values(dict(zip(FIELDS, map(bindparam, _NEW), strict=True)))
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A sealed piece of evidence."""

    content_type: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to insert, sealed by the caller."""

    rid: bytes
    fields: Mapping[str, bytes]
    terms: bytes


def add_all(store: Store, rows: Sequence[NewRecord], day: int) -> None:
    """Insert records in a transaction of their own; `day` since 1970.

    Raises:
        VaultError: the store cannot be written now.
    """
    made = [(row.rid, day, *_columns(row.fields), row.terms, None) for row in rows]
    store.insert(Rows(_RECORDS, made))


def replace_fields(unit: Unit, rid: bytes, fields: Mapping[str, bytes], terms: bytes, day: int) -> None:
    """Write the fields of a resubmission over the old ones, and which terms were agreed to now. Idempotent."""
    values = dict(zip(FIELDS, _columns(fields), strict=True))
    agreed = func.nullif(day, record.c.day)
    unit.execute(update(record).where(record.c.rid == rid).values(**values, terms=terms, agreed=agreed))


def replace_sealed(unit: Unit, items: Iterable[tuple[bytes, Mapping[str, bytes], Mapping[str, bytes]]]) -> None:
    """Write fields (rid, as they were, as they are) over those that were read, where nobody wrote others meanwhile."""
    rows = [
        {"of": rid, **dict(zip(_WAS, _columns(was), strict=True)), **dict(zip(_NEW, _columns(fields), strict=True))}
        for rid, was, fields in items
    ]
    if rows:
        unit.execute(_REPLACE, rows)


def remove_all(unit: Unit, rids: Iterable[bytes]) -> None:
    """Delete records and everything beside them. Idempotent."""
    gone = list(rids)
    for table in (record, evidence):
        unit.execute(delete(table).where(table.c.rid.in_(gone)))


def sealed_fields(unit: Unit, rids: Iterable[bytes]) -> dict[bytes, dict[str, bytes]]:
    """Return the sealed fields of records: rid → name → frame."""
    query = select(record.c.rid, *_FIELD_COLUMNS).where(record.c.rid.in_(list(rids)))
    return {row.rid: _present(row._mapping) for row in unit.execute(query)}  # noqa: SLF001 - SQLAlchemy's public name


def _present(row: Any) -> dict[str, bytes]:  # noqa: ANN401 - a SQL row's mapping
    return {name: HEADER + value for name in FIELDS if (value := row[name]) is not None}


def _columns(fields: Mapping[str, bytes]) -> list[bytes | None]:
    """Return what stands of sealed fields in their columns."""
    if not all(sealed.startswith(HEADER) for sealed in fields.values()):
        raise ValueError("a field that is not sealed")
    return [None if (sealed := fields.get(name)) is None else sealed[len(HEADER) :] for name in FIELDS]


def page(unit: Unit, after: bytes, limit: int) -> list[tuple[bytes, dict[str, bytes]]]:
    """Return records by rid, after a key: for fsck."""
    query = select(record.c.rid, *_FIELD_COLUMNS).where(record.c.rid > after).order_by(record.c.rid).limit(limit)
    return [(row.rid, _present(row._mapping)) for row in unit.execute(query)]  # noqa: SLF001


def fingerprints(unit: Unit, tags: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Return (tag, sealed) of the fingerprints that exist."""
    query = select(fingerprint.c.tag, fingerprint.c.sealed).where(fingerprint.c.tag.in_(list(tags)))
    return [(row.tag, row.sealed) for row in unit.execute(query)]


def fingerprints_page(unit: Unit, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    """Return (tag, sealed) by tag, after a key: for fsck."""
    query = select(fingerprint.c.tag, fingerprint.c.sealed).where(fingerprint.c.tag > after)
    return [(row.tag, row.sealed) for row in unit.execute(query.order_by(fingerprint.c.tag).limit(limit))]


def forget_version(unit: Unit, version: int) -> int:
    """Delete the fingerprints of a version of their key; return how many."""
    mine = fingerprint.c.tag.between(bytes((version,)), bytes((version,)) + b"\xff" * 32)
    return int(unit.execute(delete(fingerprint).where(mine)).rowcount)


def write_fingerprints(unit: Unit, rows: Iterable[tuple[bytes, str, bytes | None]]) -> None:
    """Write fingerprints (tag, kind, sealed) over what stands there, or delete them.

    Idempotent; the intent's lock keeps others away.
    """
    kept = {tag: (tag, kind, sealed) for tag, kind, sealed in rows}
    gone = [tag for tag, _, sealed in kept.values() if sealed is None]
    if gone:
        unit.execute(delete(fingerprint).where(fingerprint.c.tag.in_(gone)))
    _FINGERPRINTS.insert(unit, [row for row in kept.values() if row[2] is not None])


def enter(unit: Unit, intent: bytes, day: int) -> bool:
    """Tell whether a plan is this transaction's to write here; False if this store has it."""
    return fences.enter(unit, fence, intent, day)


def forget_plans(unit: Unit, day: int, limit: int) -> None:
    """Forget plans that were carried out so long ago that nobody has them in hand; about so many at most."""
    fences.expire(unit, fence, day, limit)


def put_piece(unit: Unit, rid: bytes, name: str, piece: Piece, day: int) -> None:
    """Write a piece of evidence over one of the same name."""
    values = {"content_type": piece.content_type, "sealed": piece.sealed, "day": day}
    statement = upsert(evidence).values(rid=rid, name=name, **values)
    unit.execute(statement.on_conflict_do_update(index_elements=["rid", "name"], set_=values))


def piece(unit: Unit, rid: bytes, name: str) -> Piece | None:
    """Return a piece of evidence."""
    query = select(evidence.c.content_type, evidence.c.sealed).where(evidence.c.rid == rid, evidence.c.name == name)
    row = unit.execute(query).one_or_none()
    return None if row is None else Piece(row.content_type, row.sealed)


def piece_names(unit: Unit, rid: bytes) -> list[str]:
    """Return the names of a record's pieces."""
    query = select(evidence.c.name).where(evidence.c.rid == rid).order_by(evidence.c.name)
    return list(unit.execute(query).scalars())


def all_piece_names(unit: Unit) -> list[tuple[bytes, str]]:
    """Return (rid, name) of all pieces: for fsck."""
    query = select(evidence.c.rid, evidence.c.name).order_by(evidence.c.rid, evidence.c.name)
    return [(row.rid, row.name) for row in unit.execute(query)]


def remove_pieces(unit: Unit, rids: Iterable[bytes], names: Iterable[str] | None) -> None:
    """Delete pieces of evidence of records, all of them without names. Idempotent."""
    statement = delete(evidence).where(evidence.c.rid.in_(list(rids)))
    unit.execute(statement if names is None else statement.where(evidence.c.name.in_(list(names))))
