"""Imports of the directory store: what a provider's file was made into, chunk by chunk."""

from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from vault.stores.directory import import_, import_chunk
from vault.stores.unit import Unit


@dataclass(frozen=True, slots=True)
class ImportRow:
    """An import; `file` is the SHA-256 of the file and its options, `undone` when its undoing began."""

    id: bytes
    provider: str
    state: str
    dry_run: int
    file: bytes
    created: int
    undone: int | None


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A run of rows, numbered from `first`; `ids` is what their ids are drawn from, `refused` is None until it stands.

    Nothing of a row is here but why it was refused: [row, [[pointer, rule]]].
    """

    number: int
    request: bytes
    ids: bytes
    lease_until: int
    first: int
    rows: int
    refused: str | None
    undone: int

    @property
    def refusals(self) -> list[tuple[int, list[tuple[str, str]]]]:
        """The rows that were refused: (row, [(pointer, rule)])."""
        return [
            (row, [(pointer, rule) for pointer, rule in errors]) for row, errors in orjson.loads(self.refused or "[]")
        ]


_NONE: Final = orjson.dumps([]).decode()
_COLUMNS = [import_.c[name] for name in ImportRow.__slots__]
_CHUNK = [import_chunk.c[name] for name in ChunkRow.__slots__]


def _of(import_id: bytes) -> ColumnElement[bool]:
    return import_chunk.c["import"] == import_id


def begin(unit: Unit, row: ImportRow) -> ImportRow:
    """Insert an import and return it, or the one that this provider began with the same file."""
    values = {name: getattr(row, name) for name in ImportRow.__slots__}
    unit.execute(upsert(import_).values(**values).on_conflict_do_nothing())
    where = and_(import_.c.provider == row.provider, import_.c.file == row.file)
    return ImportRow(*unit.execute(select(*_COLUMNS).where(where)).one())


def find(unit: Unit, import_id: bytes) -> ImportRow | None:
    """Return an import."""
    row = unit.execute(select(*_COLUMNS).where(import_.c.id == import_id)).one_or_none()
    return None if row is None else ImportRow(*row)


def forget_file(unit: Unit, import_id: bytes, instead: bytes, now: int) -> None:
    """Begin to undo an import: its file may be imported anew."""
    where = and_(import_.c.id == import_id, import_.c.undone.is_(None))
    unit.execute(update(import_).where(where).values(undone=now, file=instead))


def chunk(unit: Unit, import_id: bytes, number: int) -> ChunkRow | None:
    """Return a chunk."""
    where = and_(_of(import_id), import_chunk.c.number == number)
    row = unit.execute(select(*_CHUNK).where(where)).one_or_none()
    return None if row is None else ChunkRow(*row)


def begin_chunk(unit: Unit, import_id: bytes, row: ChunkRow) -> bool:
    """Write the row first; False if there is one already."""
    values = {name: getattr(row, name) for name in ChunkRow.__slots__}
    statement = upsert(import_chunk).values({"import": import_id, **values})
    return unit.execute(statement.on_conflict_do_nothing().returning(import_chunk.c.number)).first() is not None


def take_over(unit: Unit, import_id: bytes, number: int, until: int, now: int) -> bool:
    """Go on with a chunk whose worker is gone; False if another was quicker, or it stands."""
    where = and_(
        _of(import_id), import_chunk.c.number == number, import_chunk.c.lease_until <= now,
        import_chunk.c.refused.is_(None),
    )  # fmt: skip
    return unit.execute(update(import_chunk).where(where).values(lease_until=until)).rowcount == 1


def finish_chunk(unit: Unit, import_id: bytes, number: int, refused: list[Any]) -> None:
    """The chunk stands, in the transaction of its effect. Idempotent."""
    where = and_(_of(import_id), import_chunk.c.number == number)
    unit.execute(update(import_chunk).where(where).values(refused=orjson.dumps(refused).decode()))


def forget_chunk(unit: Unit, import_id: bytes, number: int) -> None:
    """Drop the row of a chunk that was refused without effect."""
    where = and_(_of(import_id), import_chunk.c.number == number, import_chunk.c.refused.is_(None))
    unit.execute(delete(import_chunk).where(where))


def mark_undone(unit: Unit, import_id: bytes, number: int) -> None:
    """Nothing of the chunk is left."""
    where = and_(_of(import_id), import_chunk.c.number == number)
    unit.execute(update(import_chunk).where(where).values(undone=1))


def chunks(
    unit: Unit, import_id: bytes, after: int, limit: int, *, left: bool = False, faulty: bool = False
) -> list[ChunkRow]:
    """Return the chunks that stand by number, from one after `after`.

    With `left` those not undone yet, with `faulty` those of which rows were refused.
    """
    where = and_(_of(import_id), import_chunk.c.number > after, import_chunk.c.refused.is_not(None))
    if left:
        where = and_(where, import_chunk.c.undone == 0)
    if faulty:
        where = and_(where, import_chunk.c.refused != _NONE)
    query = select(*_CHUNK).where(where).order_by(import_chunk.c.number).limit(limit)
    return [ChunkRow(*row) for row in unit.execute(query)]


def sizes(unit: Unit, import_id: bytes) -> list[tuple[int, int, int, int]]:
    """Return (number, rows, refused rows, undone) of the chunks that stand, by number."""
    query = select(import_chunk.c.number, import_chunk.c.rows, import_chunk.c.refused, import_chunk.c.undone)
    query = query.where(_of(import_id), import_chunk.c.refused.is_not(None)).order_by(import_chunk.c.number)
    return [(row.number, row.rows, len(orjson.loads(row.refused)), row.undone) for row in unit.execute(query)]


def expire(unit: Unit, before: int, limit: int) -> None:
    """Forget what rows became in the oldest import begun before a time, so many chunks at once, then the import.

    Accounts and registrations stay; they can no longer be listed or approved as one.
    """
    query = select(import_.c.id).where(import_.c.created < before).order_by(import_.c.created).limit(1)
    over = unit.execute(query).scalar_one_or_none()
    if over is None:
        return
    numbers = select(import_chunk.c.number).where(_of(over)).order_by(import_chunk.c.number)
    last = unit.execute(numbers.offset(limit - 1).limit(1)).scalar_one_or_none()
    if last is not None:
        unit.execute(delete(import_chunk).where(_of(over), import_chunk.c.number <= last))
        return
    unit.execute(delete(import_chunk).where(_of(over)))
    unit.execute(delete(import_).where(import_.c.id == over))
