"""What the holder `names` works with, and the check that every act on a standing begins with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, select

from keys import record_keys, records, store
from keys.accounts import account_holds
from keys.agent.arguments import Args, listed, mapping, octets, text
from keys.agent.rewrapper import Rewrappers
from keys.engine import reading
from keys.errors import KeysError, MissingError, OpenError, RefusedError
from keys.keyring import Keyring
from keys.links import Links
from keys.primitives import Secret
from keys.record_keys import Opened
from keys.records import Assurance, Record
from keys.rows import checked
from keys.tokens import PID_BYTES
from keys.uses import MOST

if TYPE_CHECKING:
    from keys.agent.acts.deciding import Deciding


BULK: Final = "bulk:"
"""How the state of a reviewer begins who is officers' word for so many registrations of one sector."""


@dataclass(slots=True)
class Limits:
    """The agent's own limits; each is a setting, and officers may raise some while the agent runs."""

    creates_per_hour: int = 10_000_000
    evidence_views: int = 3
    match_tick_seconds: int = 0
    candidates: int = 50
    exchanges_per_hour: int = 10_000
    """Of one agreement that names no budget of its own."""
    handoff_seconds: int = 300
    exchange_lease_seconds: int = 2
    """After which an exchange that was cut off is finished or undone by others."""
    import_lease_seconds: int = 20
    """The same for a chunk of an import."""
    disclosures_per_hour: int = 20
    package_days: int = 90
    """How long the recipient of a disclosure can fetch its package."""
    backup_keep_days: int = 90
    """How long a backup can be restored after its backup key was replaced; then that key is destroyed."""
    kek_uses: int = MOST
    """How often one version of the key encryption key may seal."""
    unlogged_minutes: int = 10
    """How long what was done may wait for the public log before officers' requests are not taken, nor carried out."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names holder's keyring, store and clock (seconds since 1970)."""

    engine: Engine
    keyring: Keyring
    now: Callable[[], int]
    limits: Limits
    officers: "Deciding"
    rewrappers: Rewrappers = field(default_factory=Rewrappers)

    @property
    def minute(self) -> int:
        """The current minute since 1970."""
        return self.now() // 60


@dataclass(frozen=True, slots=True)
class Standing:
    """A standing whose link, map, person tags and account MACs were found to agree."""

    sector: str
    pid: bytes
    created: int
    record: Record
    uid: bytes
    accounts: tuple[tuple[bytes, str, str], ...]
    """(account id, provider, handle)"""
    aliases: tuple[bytes, ...]
    """rids of standings that became this one"""
    alias_pids: tuple[bytes, ...]
    """their pids, in the same order"""
    sanctions: tuple[Mapping[str, object], ...]
    counted: Mapping[str, int]
    """approved accounts by kind, as the directory counts them"""

    @property
    def rids(self) -> tuple[bytes, ...]:
        """The record and those of the aliases."""
        return (self.record.rid, *self.aliases)


def check_standing(names: Names, connection: Connection, evidence: Any) -> Standing:  # noqa: ANN401 - untrusted
    """Return the standing behind a directory row.

    Args:
        names: the holder.
        connection: on the key store.
        evidence: {sector, pid, link, tags, created, accounts: [{id, provider, handle, mac}], aliases: [{pid, link}],
            sanctions, counted, superseded} as the directory holds them.

    Raises:
        RefusedError: link, map, tag and account do not agree; which of them is not told.
        ProtocolError: the evidence is not of that form.
    """
    return check_shown(names, evidence, lambda rid: records.load(connection, names.keyring, rid))


def rids_of(names: Names, evidence: Any) -> list[bytes]:  # noqa: ANN401 - untrusted
    """Return the records that the links of a directory row lead to, none where they do not open: to load them at once.

    Raises:
        ProtocolError: the evidence is not of that form.
    """
    evidence = mapping(evidence, "standing")
    sector = text(evidence, "sector")
    rows = [evidence, *(mapping(alias, "alias") for alias in listed(evidence, "aliases"))]
    try:
        links = names.keyring.links(sector)
        return [links.rid(octets(row, "link"), octets(row, "pid", PID_BYTES)) for row in rows]
    except (OpenError, MissingError):
        return []


def check_shown(names: Names, evidence: Any, load: Callable[[bytes], Record]) -> Standing:  # noqa: ANN401 - untrusted
    """Return the standing behind a directory row, as `check_standing` does, from records that `load` gives.

    Raises:
        RefusedError, ProtocolError: see there.
        MissingError: `load` has no such record.
    """
    evidence = mapping(evidence, "standing")
    sector, pid = text(evidence, "sector"), octets(evidence, "pid", PID_BYTES)
    tags = listed(evidence, "tags")
    try:
        links = names.keyring.links(sector)
        record = load(links.rid(octets(evidence, "link"), pid))
        uid = records.uid_of(names.keyring, record)
        aliases = tuple(_alias(names, load, links, tags, alias) for alias in listed(evidence, "aliases"))
        accounts = check_accounts(names, evidence)
    except OpenError:
        raise RefusedError from None
    # A provisional record has no tag yet, and becomes nobody's alias; an approved one has its own tag among those of
    # its standing.
    provisional = record.assurance is Assurance.NONE
    if provisional != (not tags) or (tags and not links.is_of(uid, tags)):
        raise RefusedError
    if provisional and evidence.get("superseded"):
        raise RefusedError
    sanctions = tuple(mapping(sanction, "sanction") for sanction in listed(evidence, "sanctions"))
    alias_pids = tuple(octets(mapping(alias, "alias"), "pid", PID_BYTES) for alias in listed(evidence, "aliases"))
    created = evidence.get("created", 0)
    counted = mapping(evidence.get("counted", {}), "counted")
    return Standing(sector, pid, created, record, uid, accounts, aliases, alias_pids, sanctions, counted)


def _alias(names: Names, load: Callable[[bytes], Record], links: Links, tags: list[Any], alias: object) -> bytes:
    """Return the record of a standing that became this one: its person's tag moved here when it did."""
    row = mapping(alias, "alias")
    rid = links.rid(octets(row, "link"), octets(row, "pid", PID_BYTES))
    record = load(rid)
    if record.assurance is Assurance.NONE or not links.is_of(records.uid_of(names.keyring, record), tags):
        raise RefusedError
    return rid


def check_accounts(names: Names, evidence: Args) -> tuple[tuple[bytes, str, str], ...]:
    """Return (account id, provider, handle) of a standing's accounts.

    Raises:
        OpenError: an account's MAC does not hold.
    """
    pid = octets(evidence, "pid", PID_BYTES)
    return tuple(_account(names, pid, account) for account in listed(evidence, "accounts"))


def _account(names: Names, pid: bytes, account: object) -> tuple[bytes, str, str]:
    row = mapping(account, "account")
    account_id, provider, handle = octets(row, "id", 16), text(row, "provider"), text(row, "handle")
    key, deployment = names.keyring.current("account-mac").secret, names.keyring.deployment
    if not account_holds(key, deployment, provider, handle, pid, account_id, octets(row, "mac", 32)):
        raise OpenError
    return account_id, provider, handle


def check_named(names: Names, connection: Connection, args: Args) -> tuple[Standing, dict[str, Any]]:
    """Return the standing behind an account, and {account, handle, link}, by which an order names it.

    Args:
        names: the holder.
        connection: on the key store.
        args: {client, standing, account: its id}.

    Raises:
        RefusedError: the rows do not agree, or the account is not that client's.
    """
    subject = check_standing(names, connection, args.get("standing"))
    client, account = text(args, "client"), octets(args, "account", 16)
    handle = next((shown for own, provider, shown in subject.accounts if (own, provider) == (account, client)), None)
    if handle is None:
        raise RefusedError
    link = octets(mapping(args["standing"], "standing"), "link")
    return subject, {"account": account.hex(), "handle": handle, "link": link.hex()}


def open_record(names: Names, record: Record) -> Opened:
    """Return a record with its keys.

    Raises:
        RefusedError: a wrapped key does not open.
    """
    try:
        return record_keys.unwrap(names.keyring, record)
    except KeysError:
        raise RefusedError from None


def commitment_key(names: Names, record: Record) -> Secret:
    """Return the one key of a record that its audit rows need.

    Raises:
        RefusedError: it does not open.
    """
    try:
        return record_keys.commitment_key(names.keyring, record)
    except KeysError:
        raise RefusedError from None


@dataclass(frozen=True, slots=True)
class Reviewer:
    """A reviewer as the agent's own store knows him; `sector` is None for a vault reviewer."""

    client: str
    sector: str | None
    most: int | None = None
    """How many he may approve; None for a person, who is not counted."""
    within: str | None = None
    """The one sector whose registrations he may approve, where officers' word stands in a reviewer's place."""

    @property
    def vault(self) -> bool:
        """Whether his word counts across providers."""
        return self.sector is None

    def may_review(self, sector: str) -> bool:
        """Whether a registration in this sector is his to see."""
        return self.sector in (None, sector) and self.within in (None, sector)


def reviewer_of(names: Names, client: str, *, bulk: bool = False) -> Reviewer:
    """Return an enrolled, enabled reviewer.

    Args:
        names: the holder.
        client: his id.
        bulk: whether officers' word for so many registrations counts too: for decisions, never to open anything.

    Raises:
        RefusedError: there is none of that name, he is disabled, or the row was altered.
    """
    with reading(names.engine) as connection:
        row = connection.execute(select(store.reviewer).where(store.reviewer.c.client == client)).one_or_none()
    if row is None or not (row.state == "active" or (bulk and row.state.startswith(BULK))):
        raise RefusedError("no such reviewer is enrolled")
    try:
        checked(names.keyring, "keys.reviewer", row)
    except OpenError:
        raise RefusedError from None
    most = int(row.state.removeprefix(BULK)) if row.state.startswith(BULK) else None
    return Reviewer(row.client, row.sector) if most is None else Reviewer(row.client, None, most, row.sector)
