"""The log store: leaves, tiles, checkpoints, sealed details beside the leaves, and which audit row became which leaf.

The sequencer alone writes it. Leaves and details are added and never changed; the last tile of a level grows. How many
leaves of each type a day has is counted as they are added, so that a report reads no leaves.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from keys.bulk import Bulk
from keys.frame import length_prefixed, split_length_prefixed
from vault.domain.transparency import TALLIED, day_of
from vault.stores.unit import Prepared, Store, Unit, run

metadata = MetaData()

leaf = Table(
    "leaf",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
)

detail = Table(
    "detail",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),
)

tile = Table(
    "tile",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("level", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", LargeBinary, nullable=False),
)

drained = Table(
    "drained",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

unsettled = Table(
    "unsettled",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    # The ids of the audit rows whose leaves were appended together from that number on.
    Column("ids", LargeBinary, nullable=False),
)

daily = Table(
    "daily",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, primary_key=True),
    Column("leaves", BigInteger, nullable=False),
    # How many attempts the leaves of a type say together; 0 for all types but one.
    Column("times", BigInteger, nullable=False),
)

tally = Table(
    "tally",
    metadata,
    Column("month", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

_LEAVES, _DETAILS, _DRAINED, _UNSETTLED = Bulk(leaf), Bulk(detail), Bulk(drained), Bulk(unsettled)
_AT_ONCE: Final = 500
_SETTLED: Final = Prepared(delete(unsettled))
NEWEST: Final = Prepared(select(checkpoint.c.size, checkpoint.c.note).order_by(checkpoint.c.size.desc()).limit(1))
_TILE: Final = Prepared(select(tile).where(tile.c.level == bindparam("level"), tile.c.number == bindparam("number")))
_wanted: Final = (
    func.unnest(bindparam("levels", type_=ARRAY(BigInteger)), bindparam("numbers", type_=ARRAY(BigInteger)))
    .table_valued("level", "number", name="wanted")
    .render_derived()
)
_TILES: Final = Prepared(select(tile).where(tile.c.level == _wanted.c.level, tile.c.number == _wanted.c.number))
"""The same for many, in one statement; PostgreSQL alone has it."""
ENTRIES: Final = Prepared(
    select(leaf.c.entry)
    .where(leaf.c.number >= bindparam("first"), leaf.c.number < bindparam("after"))
    .order_by(leaf.c.number)
)
PROVED: Final = Prepared(
    select(checkpoint.c.size, checkpoint.c.note, leaf.c.entry)
    .where(leaf.c.number == bindparam("number"))
    .order_by(checkpoint.c.size.desc())
    .limit(1)
)
"""The newest checkpoint with an entry that it may have."""
NUMBER: Final = Prepared(select(drained.c.number).where(drained.c.id == bindparam("id")))
_TALLY: Final = f'"type":"{TALLIED}"'.encode()
_EDGE: Final = select(func.max(leaf.c.number))
LEADER: Final = 1_768_191_586
"""The advisory lock of the one sequencer on PostgreSQL; any number that nobody else takes."""


class NewLeaf(NamedTuple):
    """A leaf to be: the id of its audit row, its entry and its sealed detail."""

    id: bytes
    entry: bytes
    detail: bytes


def size(unit: Unit) -> int:
    """Return how many leaves there are."""
    last = unit.execute(_EDGE).scalar_one()
    return 0 if last is None else int(last) + 1


def unsettled_ids(unit: Unit) -> list[bytes]:
    """Return the audit rows that are leaves, and may still stand in their outbox."""
    return [one for ids in unit.execute(select(unsettled.c.ids)).scalars() for one in split_length_prefixed(ids)]


def settled(unit: Unit) -> None:
    """Remember that the audit rows of all leaves went from their outboxes. Idempotent."""
    run(unit, _SETTLED.on(unit))


def append(unit: Unit, first: int, leaves: Sequence[NewLeaf], tiles: Mapping[tuple[int, int], bytes]) -> None:
    """Add leaves from a number on, with the tiles that they change: (level, number) → hashes.

    Raises:
        IntegrityError: a leaf of one of these numbers, or of one of these audit rows, stands already.
    """
    _DETAILS.insert(unit, [(first + place, one.detail) for place, one in enumerate(leaves)])
    _DRAINED.insert(unit, [(one.id, first + place) for place, one in enumerate(leaves)])
    _UNSETTLED.insert(unit, [(first, length_prefixed(*(one.id for one in leaves)))])
    put_back(unit, first, [one.entry for one in leaves], tiles)


def put_back(unit: Unit, first: int, entries: Sequence[bytes], tiles: Mapping[tuple[int, int], bytes]) -> None:
    """Add entries from a number on, with their tiles, without what lies beside them: as they come from a copy.

    Raises:
        IntegrityError: a leaf of one of these numbers stands already.
    """
    _LEAVES.insert(unit, [(first + place, entry) for place, entry in enumerate(entries)])
    _count(unit, first, entries)
    rows = [{"level": level, "number": number, "hashes": hashes} for (level, number), hashes in tiles.items()]
    if rows:
        statement = upsert(tile)
        changed = {"hashes": statement.excluded.hashes}
        unit.execute(statement.on_conflict_do_update(index_elements=["number", "level"], set_=changed), rows)


def _count(unit: Unit, first: int, entries: Sequence[bytes]) -> None:
    counts, months = counted(entries), _months(first, entries)
    if counts:
        statement = upsert(daily)
        grown = {name: daily.c[name] + statement.excluded[name] for name in ("leaves", "times")}
        rows = [{"day": day, "type": kind, "leaves": leaves, "times": times}
                for (day, kind), (leaves, times) in sorted(counts.items())]  # fmt: skip
        unit.execute(statement.on_conflict_do_update(index_elements=["day", "type"], set_=grown), rows)
    if months:
        unit.execute(insert(tally), months)


def counted(entries: Iterable[bytes]) -> dict[tuple[int, str], tuple[int, int]]:
    """Return (day, type) → (leaves, how many attempts they say) of entries."""
    leaves, times = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
    for leaf in map(orjson.loads, entries):  # one at a time: thousands at once keep the garbage collector busy
        key = (leaf["minute"], leaf["type"])
        leaves[key] += 1
        if "count" in leaf:
            times[key] += leaf["count"]
    found = dict[tuple[int, str], tuple[int, int]]()
    for (minute, kind), count in leaves.items():
        day = (day_of(minute), kind)
        before = found.get(day, (0, 0))
        found[day] = before[0] + count, before[1] + times[minute, kind]
    return found


def _months(first: int, entries: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return the months whose tallies are among entries from a number on, each with the number of its leaf."""
    told = [(place, entry) for place, entry in enumerate(entries) if _TALLY in entry]
    return [{"month": orjson.loads(entry)["tally"]["month"], "number": first + place} for place, entry in told]


def counts(unit: Unit, days: range) -> dict[tuple[int, str], tuple[int, int]]:
    """Return (day, type) → (leaves, how many attempts they say), of all leaves of those days."""
    where = (daily.c.day >= days.start) & (daily.c.day < days.stop)
    return {(row.day, row.type): (row.leaves, row.times) for row in unit.execute(select(daily).where(where))}


def signed_counts(unit: Unit, of_size: int, days: range) -> dict[tuple[int, str], tuple[int, int]]:
    """Return what `counts` does, of the leaves under a size alone. To be read in one snapshot."""
    left, first = counts(unit, days), of_size
    while beyond := entries(unit, first, _AT_ONCE):
        for key, (leaves, times) in counted(beyond).items():
            if key in left:
                left[key] = left[key][0] - leaves, left[key][1] - times
        first += len(beyond)
    return {key: found for key, found in left.items() if found[0]}


def totals(unit: Unit) -> dict[str, int]:
    """Return how many leaves each type has, by their counts."""
    query = select(daily.c.type, func.sum(daily.c.leaves).label("leaves")).group_by(daily.c.type)
    return {row.type: int(row.leaves) for row in unit.execute(query)}


def first_day(unit: Unit) -> int | None:
    """Return the earliest day since 1970 that has a leaf; None while there is none."""
    day = unit.execute(select(func.min(daily.c.day))).scalar_one()
    return None if day is None else int(day)


def tallies(unit: Unit, size: int) -> dict[str, int]:
    """Return month → number of its tally's leaf, of those under a size."""
    return {row.month: int(row.number) for row in unit.execute(select(tally).where(tally.c.number < size))}


def read_tiles(store: Store, wanted: Collection[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """Return (level, number) → hashes of those tiles that there are, of each as many as there are now.

    Raises:
        VaultError: the store cannot be read now.
    """
    if store.distant and wanted:
        levels, numbers = zip(*wanted, strict=True)
        rows = store.rows(_TILES, levels=levels, numbers=numbers)
    else:
        rows = [row for level, number in wanted for row in store.rows(_TILE, level=level, number=number)]
    return {(row.level, row.number): bytes(row.hashes) for row in rows}


def entries(unit: Unit, first: int, count: int) -> list[bytes]:
    """Return entries from a number on, in their order; fewer where there are fewer."""
    return list(unit.execute(ENTRIES.statement, {"first": first, "after": first + count}).scalars())


def newest(unit: Unit) -> tuple[int, bytes] | None:
    """Return (size, note) of the newest checkpoint, None if there is none."""
    row = unit.execute(NEWEST.statement).one_or_none()
    return None if row is None else (int(row.size), bytes(row.note))


def publish(unit: Unit, of_size: int, note: bytes) -> None:
    """Write a checkpoint; one of the same size is replaced, as when witnesses signed it later. Idempotent."""
    statement = upsert(checkpoint).values(size=of_size, note=note)
    unit.execute(statement.on_conflict_do_update(index_elements=["size"], set_={"note": note}))


def try_to_lead(unit: Unit) -> bool:
    """Take the lock of the one sequencer for as long as this connection lives; True where the store is one file.

    A file's sequencers hold a lock beside it instead.
    """
    if unit.dialect.name != "postgresql":
        return True
    return bool(unit.execute(select(func.pg_try_advisory_lock(LEADER))).scalar_one())
