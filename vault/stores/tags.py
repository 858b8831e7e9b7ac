"""The tags of standings by the version of their key: what is counted while two versions overlap, and what goes then."""

from collections.abc import Collection, Iterable

from sqlalchemy import delete, func, select

from vault.stores.directory import local_tag, person_tag
from vault.stores.standings import tags_of
from vault.stores.unit import Unit


def tags_by_pid(unit: Unit, pids: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Return the local tags of standings: pid → tags."""
    found: dict[bytes, list[bytes]] = {}
    for row in unit.execute(select(local_tag.c.pid, local_tag.c.tag).where(local_tag.c.pid.in_(list(pids)))):
        found.setdefault(row.pid, []).append(row.tag)
    return found


def forget_person_tags(unit: Unit, pid: bytes, kept: Collection[int]) -> None:
    """Delete the person tags of a standing that are of other versions of their key than these."""
    for tag in tags_of(unit, pid):
        if tag[-1] not in kept:
            unit.execute(delete(person_tag).where(person_tag.c.tag == tag))


def forget_version(unit: Unit, version: int, *, kept: bool) -> int:
    """Delete the local tags of a version of their key, also those that a ban keeps where `kept`; return how many."""
    mine = local_tag.c.tag.between(bytes((version,)), bytes((version,)) + b"\xff" * 32)
    where = mine if kept else mine & (local_tag.c.kept == 0)
    return int(unit.execute(delete(local_tag).where(where)).rowcount)


def kept_under(unit: Unit, version: int) -> int:
    """Return how many tags of a version a ban keeps of erased registrants."""
    mine = local_tag.c.tag.between(bytes((version,)), bytes((version,)) + b"\xff" * 32)
    query = select(func.count()).select_from(local_tag).where(mine, local_tag.c.kept == 1)
    return int(unit.execute(query).scalar_one())


def forget_local(unit: Unit, pid: bytes) -> None:
    """Delete the local tags of a standing."""
    unit.execute(delete(local_tag).where(local_tag.c.pid == pid))
