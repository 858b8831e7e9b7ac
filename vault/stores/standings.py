"""Standings, accounts, handles, person tags and local tags of the directory store."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import ARRAY, ColumnElement, LargeBinary, and_, bindparam, delete, func, select, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from keys.bulk import Bulk, Rows, insert_all
from keys.driver import Outcome, Speaking, Step, run, table_of
from vault.domain.handles import TAKEN, handle_key
from vault.errors import Kind, VaultError
from vault.stores import handles, sanctions
from vault.stores.directory import KEPT, account, handle, local_tag, operator, person_tag, standing
from vault.stores.unit import Prepared, Unit, inserted


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as the directory holds it."""

    pid: bytes
    id: bytes
    provider: str
    external_id: str | None
    kind: str
    state: str
    handle: str
    mac: bytes
    ladder: str | None
    merged_from: bytes | None
    created: int

    def bound(self, mac: bytes) -> "AccountRow":
        """Return it with its MAC: `dataclasses.replace` costs three times as much, for each row of an import."""
        return AccountRow(
            self.pid, self.id, self.provider, self.external_id, self.kind, self.state, self.handle, mac, self.ladder,
            self.merged_from, self.created,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StandingRow:
    """A standing as the directory holds it."""

    pid: bytes
    provider: str
    sector: str
    link: bytes | None
    assurance: str
    generation: int
    ladder: str | None
    inactive_from: int | None
    superseded_by: bytes | None
    state: str
    kind: str
    created: int

    def linked(self, link: bytes, kind: str) -> "StandingRow":
        """Return it with its record's link, of a registrant of that kind; see `AccountRow.bound`."""
        return StandingRow(
            self.pid, self.provider, self.sector, link, self.assurance, self.generation, self.ladder,
            self.inactive_from, self.superseded_by, self.state, kind, self.created,
        )  # fmt: skip


ACCOUNT: Final = [account.c[name] for name in AccountRow.__slots__]
_values_of_account: Final = attrgetter(*AccountRow.__slots__)
_values_of_standing: Final = attrgetter(*StandingRow.__slots__)
VOID: Final = "void"
"""The state of a standing that only keeps a late writer away."""
# Built once: building a statement costs more than running it.
_STANDINGS: Final = Bulk(standing)
_HANDLES: Final = Bulk(handle)
_ACCOUNTS: Final = Bulk(account)
_TAKEN: Final = Prepared(select(handle.c.key).where(handle.c.key.in_(bindparam("keys", expanding=True))))
_asked: Final = (
    func.unnest(bindparam("keys", type_=ARRAY(LargeBinary))).table_valued("key", name="asked").render_derived()
)
_one: Final = select(handle.c.key).where(handle.c.key == _asked.c.key).limit(1).lateral()
# Each by itself: a plan that was made while the store was empty would read all handles to find those of a list.
_TAKEN_EACH: Final = Prepared(select(_one.c.key).select_from(_asked.join(_one, true())))
_FIND: Final = Prepared(select(standing).where(standing.c.pid == bindparam("pid")))
_ACCOUNTS_OF: Final = Prepared(select(*ACCOUNT).where(account.c.pid == bindparam("pid")))


def find(unit: Unit, pid: bytes) -> StandingRow | None:
    """Return a standing."""
    [found] = run(unit, finding(unit, pid))
    return found_in(found)


def finding(store: Speaking, pid: bytes) -> Step:
    """Return the statement that reads a standing, to be run together with others; `found_in` takes what it gave."""
    return _FIND.on(store, pid=pid)


def found_in(outcome: Outcome) -> StandingRow | None:
    """Return the standing that was read."""
    return StandingRow(*outcome.rows[0]) if outcome.rows else None


def living(unit: Unit, pid: bytes) -> StandingRow | None:
    """Return the standing that `pid` is or has become."""
    return heir(unit, find(unit, pid))


def heir(unit: Unit, row: StandingRow | None) -> StandingRow | None:
    """Return the standing that this one is or has become."""
    while row is not None and row.superseded_by is not None:
        row = find(unit, row.superseded_by)
    return row


def aliases_of(unit: Unit, pid: bytes) -> list[StandingRow]:
    """Return the standings that became this one, however many steps away."""
    found: list[StandingRow] = []
    wanted = [pid]
    while wanted:
        rows = unit.execute(select(standing).where(standing.c.superseded_by.in_(wanted))).all()
        found += [StandingRow(*row) for row in rows]
        wanted = [row.pid for row in rows]
    return found


def accounts_of(unit: Unit, pid: bytes) -> list[AccountRow]:
    """Return the accounts of a standing."""
    [found] = run(unit, _ACCOUNTS_OF.on(unit, pid=pid))
    return [AccountRow(*row) for row in found.rows]


def account_by_id(unit: Unit, owner: str, account_id: bytes) -> AccountRow | None:
    """Return an account of a provider."""
    row = unit.execute(select(*ACCOUNT).where(handles.owned_as(owner, account.c.id == account_id))).one_or_none()
    return None if row is None else AccountRow(*row)


def any_account(unit: Unit, account_id: bytes) -> AccountRow | None:
    """Return an account, whoever its provider is: for commands of the host."""
    row = unit.execute(select(*ACCOUNT).where(account.c.id == account_id)).one_or_none()
    return None if row is None else AccountRow(*row)


Place = tuple[int, bytes]
"""Where a list stands: (created, id) of the last account shown."""
_ORDER: Final = (account.c.created, account.c.id)


def accounts_page(
    unit: Unit, owner: str, after: Place, limit: int, pid: bytes | None, external_id: str | None = None
) -> list[AccountRow]:
    """Return a provider's accounts by time, after a place: all, or those of a standing, or of an external id."""
    named: list[ColumnElement[bool]] = []
    if pid is not None:
        named.append(account.c.pid == pid)
    if external_id is not None:
        hashed = account.c.external_hash == handles.short_hash(owner, external_id)
        named += (hashed, account.c.external_id == external_id)
    mine = handles.owned_as(owner, *named) if named else account.c.provider == owner
    query = select(*ACCOUNT).where(mine, tuple_(*_ORDER) > tuple_(*after))
    return [AccountRow(*row) for row in unit.execute(query.order_by(*_ORDER).limit(limit))]


def tags_of(unit: Unit, pid: bytes) -> list[bytes]:
    """Return the person tags of a standing."""
    return list(unit.execute(select(person_tag.c.tag).where(person_tag.c.pid == pid)).scalars())


def by_tags(unit: Unit, tags: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Return (tag, pid) of the person tags that exist."""
    query = select(person_tag.c.tag, person_tag.c.pid).where(person_tag.c.tag.in_(list(tags)))
    return [(row.tag, row.pid) for row in unit.execute(query)]


def by_local_tags(unit: Unit, tags: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Return (tag, pid) of the local tags that exist."""
    query = select(local_tag.c.tag, local_tag.c.pid).where(local_tag.c.tag.in_(list(tags)))
    return [(row.tag, row.pid) for row in unit.execute(query)]


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A standing with its first account and the folded handle; a representative's has neither."""

    standing: StandingRow
    account: AccountRow | None = None
    handle_key: str = ""

    def bound(self, mac: bytes) -> "Newcomer":
        """Return it with the account's MAC."""
        return self if self.account is None else replace(self, account=self.account.bound(mac))


def handles_taken(unit: Unit, owner: str, keys: Iterable[str]) -> set[str]:
    """Return those of these folded handles that are taken at a provider."""
    [found] = run(unit, taking(unit, owner, keys))
    return taken_in(found)


def taking(store: Speaking, owner: str, keys: Iterable[str]) -> Step:
    """Return the statement that reads them, to be run together with others; `taken_in` takes what it gave."""
    named = {handles.key(owner, key): key for key in keys}
    statement = _TAKEN_EACH if store.dialect.name == "postgresql" else _TAKEN
    return replace(statement.on(store, keys=list(named)), row=lambda found: named[next(iter(found))])


def taken_in(outcome: Outcome) -> set[str]:
    """Return the handles that were read."""
    return set(outcome.rows)


def add_all(unit: Unit, newcomers: Sequence[Newcomer]) -> None:
    """Insert standings with their accounts and handles: all, or none.

    Raises:
        VaultError: a handle is taken at this provider, or a standing exists (a late writer).
    """
    with refused():
        insert_all(unit, [], *adding(newcomers))


def adding(newcomers: Sequence[Newcomer]) -> tuple[Rows, Rows, Rows]:
    """Return the rows of newcomers, to be inserted with others; `refused` says what their errors mean."""
    owned = [(one.account, one.handle_key) for one in newcomers if one.account is not None]
    return (
        Rows(_STANDINGS, [_values_of_standing(one.standing) for one in newcomers]),
        Rows(_HANDLES, [handles.row(row, key) for row, key in owned]),
        Rows(_ACCOUNTS, [_account_row(row) for row, _ in owned]),
    )


@contextmanager
def refused() -> Iterator[None]:
    """Have the errors of `adding`, and of what is inserted with it, say what they mean.

    Raises:
        VaultError: a handle is taken at this provider, or a standing exists (a late writer).
    """
    try:
        yield
    except IntegrityError as error:
        if table_of(error) == handle.name:
            raise VaultError(Kind.HANDLE_TAKEN, TAKEN) from None
        if table_of(error) == standing.name:
            raise VaultError(
                Kind.CONFLICT, "this registration was finished or given up meanwhile; send it again",
                retry_after_seconds=1,
            ) from None  # fmt: skip
        raise


def _account_row(row: AccountRow) -> tuple[Any, ...]:
    hashed = None if row.external_id is None else handles.short_hash(row.provider, row.external_id)
    return *_values_of_account(row), hashed


def _add_handles(unit: Unit, owned: Sequence[tuple[AccountRow, str]]) -> None:
    with refused():
        _HANDLES.insert(unit, [handles.row(row, key) for row, key in owned])


def give_record(unit: Unit, pid: bytes, link: bytes, kind: str) -> bool:
    """Put a record behind a standing that has none; False if it has one, or is no living standing any more."""
    free = and_(standing.c.link.is_(None), standing.c.state == "live", standing.c.superseded_by.is_(None))
    where = and_(standing.c.pid == pid, free)
    return unit.execute(update(standing).where(where).values(link=link, kind=kind)).rowcount == 1


def add_bare(unit: Unit, row: StandingRow) -> None:
    """Insert a standing with nobody behind it. Idempotent."""
    unit.execute(upsert(standing).values(**_columns(row)).on_conflict_do_nothing())


def add_void(unit: Unit, pid: bytes) -> bool:
    """Occupy a pid so that a late writer fails; False if a standing stands there already."""
    void = StandingRow(pid, "", "", None, "none", 0, None, None, None, VOID, "natural", 0)
    return inserted(unit, upsert(standing).values(**_columns(void)), standing.c.pid)


def set_assurance(unit: Unit, pid: bytes, assurance: str) -> None:
    """Copy a record's assurance to its standing."""
    unit.execute(update(standing).where(standing.c.pid == pid).values(assurance=assurance))


def set_account_state(unit: Unit, account_id: bytes, owner: str, state: str) -> None:
    """Change an account's state; the account may have moved to another standing meanwhile."""
    where = handles.owned_as(owner, account.c.id == account_id) & (account.c.state != "closed")
    unit.execute(update(account).where(where).values(state=state))


def approve_personal(unit: Unit, pid: bytes) -> None:
    """Approve the personal accounts of a standing whose person was verified: they need no review of their own."""
    where = (account.c.pid == pid) & (account.c.kind == "personal") & account.c.state.in_(("legacy", "in_review"))
    unit.execute(update(account).where(where).values(state="approved"))


def add_account(unit: Unit, owned: AccountRow) -> None:
    """Insert an account with its handle on a standing that is there.

    Raises:
        VaultError: the handle is taken at this provider.
    """
    _add_handles(unit, [(owned, handle_key(owned.handle))])
    _ACCOUNTS.insert(unit, [_account_row(owned)])


def rename(unit: Unit, owned: AccountRow) -> None:
    """Write an account's new handle and MAC; the old handle is free at once.

    Raises:
        VaultError: the new handle is taken at this provider.
    """
    handles.free(unit, owned.provider, owned.id)
    _add_handles(unit, [(owned, handle_key(owned.handle))])
    where = (account.c.pid == owned.pid) & (account.c.id == owned.id)
    unit.execute(update(account).where(where).values(handle=owned.handle, mac=owned.mac))


def set_external_id(unit: Unit, owned: AccountRow, external_id: str) -> None:
    """Write the provider's own id of an account."""
    where = (account.c.pid == owned.pid) & (account.c.id == owned.id)
    hashed = handles.short_hash(owned.provider, external_id)
    unit.execute(update(account).where(where).values(external_id=external_id, external_hash=hashed))


def count_accounts(unit: Unit, pid: bytes, kind: str, states: Iterable[str]) -> int:
    """Return how many accounts of a kind, in one of these states, a standing has."""
    query = select(func.count()).select_from(account)
    query = query.where(account.c.pid == pid, account.c.kind == kind, account.c.state.in_(tuple(states)))
    return int(unit.execute(query).scalar_one())


def close_account(unit: Unit, owner: str, account_id: bytes) -> None:
    """Make a tombstone of an account, free its handle, let its operators go. Idempotent."""
    unit.execute(delete(operator).where(operator.c.account == account_id))
    handles.free(unit, owner, account_id)
    where = handles.owned_as(owner, account.c.id == account_id)
    nothing = {"handle": "", "external_id": None, "external_hash": None}
    unit.execute(update(account).where(where).values(state="closed", **nothing))


def kept_bans(unit: Unit, after: bytes, limit: int) -> list[StandingRow]:
    """Return, by pid after a key, the standings with nobody behind them of which a ban keeps local tags."""
    kept = select(local_tag.c.pid).where(KEPT, local_tag.c.pid > after)
    query = select(standing).where(standing.c.pid.in_(kept), standing.c.link.is_(None))
    return [StandingRow(*row) for row in unit.execute(query.order_by(standing.c.pid).limit(limit))]


def write_tag(unit: Unit, old: bytes | None, new: bytes, pid: bytes) -> None:
    """Write a person tag over an old one. Idempotent."""
    if old is not None and old != new:
        unit.execute(delete(person_tag).where(person_tag.c.tag == old))
    statement = upsert(person_tag).values(tag=new, pid=pid)
    unit.execute(statement.on_conflict_do_update(index_elements=["tag"], set_={"pid": pid}))


def add_local_tag(unit: Unit, tag: bytes, kind: str, pid: bytes) -> None:
    """Add a local tag. Idempotent; a document with birth date that stands already keeps its standing.

    A tag that a ban kept of an erased registrant gives way: the ban itself has gone over, or has ended.
    """
    nobody = select(standing.c.pid).where(standing.c.pid == local_tag.c.pid, standing.c.link.is_(None))
    unit.execute(delete(local_tag).where(local_tag.c.tag == tag, local_tag.c.pid != pid, nobody.exists()))
    unit.execute(upsert(local_tag).values(tag=tag, kind=kind, pid=pid).on_conflict_do_nothing())


def merge(unit: Unit, alias: bytes, survivor: bytes, macs: Iterable[tuple[bytes, bytes]]) -> None:
    """Make one standing part of another: accounts, tags, sanctions, which are all kept. Idempotent."""
    for account_id, mac in macs:
        moved = update(account).where(account.c.pid == alias, account.c.id == account_id)
        origin = func.coalesce(account.c.merged_from, alias)
        unit.execute(moved.values(pid=survivor, mac=mac, merged_from=origin))
    for row in unit.execute(select(local_tag).where(local_tag.c.pid == alias)).all():
        unit.execute(delete(local_tag).where(local_tag.c.tag == row.tag, local_tag.c.pid == alias))
        add_local_tag(unit, row.tag, row.kind, survivor)
    unit.execute(update(person_tag).where(person_tag.c.pid == alias).values(pid=survivor))
    gone = find(unit, alias)
    if gone is None or gone.superseded_by is not None:
        return
    unit.execute(update(standing).where(standing.c.pid == alias).values(superseded_by=survivor))
    sanctions.move(unit, alias, survivor)


def page(unit: Unit, after: bytes, limit: int) -> list[StandingRow]:
    """Return standings by pid, after a key: for fsck."""
    query = select(standing).where(standing.c.pid > after).order_by(standing.c.pid).limit(limit)
    return [StandingRow(*row) for row in unit.execute(query)]


def _columns(row: StandingRow | AccountRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
