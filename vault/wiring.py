"""The composition root: settings → stores, agent, services. Nothing else builds any of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from keys.agent.client import AgentClient, Observe
from keys.engine import in_use, open_engine
from keys.errors import KeysError, NoteError
from vault import unfinished
from vault.config import Settings
from vault.domain.clock import Clock, SystemClock, epoch
from vault.errors import StartError
from vault.log.policy import Policy
from vault.services.access import AccessControl
from vault.services.accounts import Accounts
from vault.services.agreeing import Agreeing
from vault.services.approving import Approving
from vault.services.checking import Checking
from vault.services.creating import Creating
from vault.services.credentials import Credentials
from vault.services.deepening import Deepening
from vault.services.disclosing import Disclosing
from vault.services.enrolling import Enrolling
from vault.services.erasing import Erasing
from vault.services.exchanging import Exchanging
from vault.services.existing import Existing
from vault.services.feeding import Feeding
from vault.services.figures import Figures
from vault.services.held_keys import HeldKeys
from vault.services.holding import Holding
from vault.services.housekeeping import Housekeeping
from vault.services.idempotency import Idempotent
from vault.services.importing import Importing
from vault.services.introspecting import Introspecting
from vault.services.limiting import Limiting
from vault.services.linking import Linking
from vault.services.listing import Listing
from vault.services.officers import Officers
from vault.services.operating import Operating
from vault.services.readiness import ANSWER_SECONDS, UNAVAILABLE, Readiness
from vault.services.reading_log import LogReader
from vault.services.receipts import Receipts
from vault.services.record_receipts import RecordReceipts
from vault.services.refilling import Refilling
from vault.services.refusing import Refusing
from vault.services.registering import Registering
from vault.services.remembering import RememberedClients, Remembering
from vault.services.reporting import Reporting
from vault.services.retagging import Retagging
from vault.services.retention import Retention
from vault.services.reviewing import Reviewing
from vault.services.sanctioning import Sanctioning
from vault.services.sequencing import Sequencer, nobody
from vault.services.showing import Showing
from vault.services.tokens import Tokens
from vault.services.undoing import Undoing
from vault.services.waiting import Patience
from vault.services.witnessing import Witnesses
from vault.stores import changes, schema
from vault.stores.unit import AbsentStore, Store

_KEPT_BY: Final = "kept_by"


@dataclass(frozen=True, slots=True)
class Vault:
    """One process's vault: services by what they do."""

    settings: Settings
    stores: dict[str, Store]
    keys: HeldKeys
    agent: dict[str, AgentClient]
    officer: AgentClient
    access: AccessControl
    limiting: Limiting
    introspecting: Introspecting
    registering: Registering
    reviewing: Reviewing
    importing: Importing
    undoing: Undoing
    approving: Approving
    listing: Listing
    erasing: Erasing
    accounts: Accounts
    operating: Operating
    sanctioning: Sanctioning
    credentials: Credentials
    enrolling: Enrolling
    agreeing: Agreeing
    deepening: Deepening
    disclosing: Disclosing
    holding: Holding
    tokens: Tokens
    exchanging: Exchanging
    checking: Checking
    retagging: Retagging
    feeding: Feeding
    housekeeping: Housekeeping
    figures: Figures
    log: LogReader
    reporting: Reporting
    refusing: Refusing
    receipts: Receipts
    record_receipts: RecordReceipts
    officers: Officers
    readiness: Readiness
    keepers: Readiness

    def peek(self, *sockets: str) -> None:
        """Check that the key holders a route needs are open.

        Raises:
            SealedError, LockdownError, UnavailableError: they are not.
        """
        self.keys.peek(*sockets)

    def ready(self) -> dict[str, str]:
        """Return the state of each store and key holder in bounded time: ok, or what is wrong with it."""
        return self.described()[0]

    def described(self) -> tuple[dict[str, str], str | None]:
        """Return the same, and by how many persons the vault is kept, in words, where this role reaches who tells."""
        states = self.readiness.states()
        kept_by = states.pop(_KEPT_BY, None)
        return states, kept_by

    def kept_by(self) -> str:
        """Return by how many persons the vault is kept, in words, in bounded time; `unavailable` if nobody tells."""
        return self.keepers.states()[_KEPT_BY]

    def connections(self) -> int:
        """Return how many connections to the stores are in use in this process."""
        return sum(in_use(store.engine) for store in self.stores.values())

    def close(self) -> None:
        """Close the connections to the stores, and this thread's to the agent."""
        for client in self.agent.values():
            client.close()
        for store in self.stores.values():
            store.close()


def _readiness(settings: Settings, stores: Mapping[str, Store]) -> Readiness:
    parts: dict[str, Callable[[], str]] = {name: partial(_state_of_store, store) for name, store in stores.items()}
    for name in settings.role_sockets:
        parts[f"agent.{name}"] = partial(_state_of_holder, str(settings.sockets / f"{name}.sock"))
    if settings.role != "identity":  # that role does not reach the socket behind which it is told
        parts[_KEPT_BY] = partial(_kept_by, settings)
    return Readiness(parts)


def _state_of_store(store: Store) -> str:
    return "ok" if schema.answers(store.engine) else UNAVAILABLE


def _state_of_holder(path: str) -> str:
    client = AgentClient(path, ANSWER_SECONDS)
    try:
        client.call("hello", {})
    except KeysError as error:
        return error.kind
    finally:
        client.close()
    return "ok"


def _kept_by(settings: Settings) -> str:
    client = AgentClient(str(settings.sockets / "message.sock"), ANSWER_SECONDS)
    try:
        return Officers(client).kept_by()
    except KeysError:
        return UNAVAILABLE
    finally:
        client.close()


def build_sequencer(settings: Settings) -> tuple[Sequencer, Store]:
    """Return the sequencer of these settings, and the log store whose lock it leads by.

    Raises:
        SetupError: a store is missing, or its schema is not the one of this version.
        StartError: the policy of witnesses cannot be read.
    """
    directory, log, outbox, signer = _of_sequencer(settings)

    def now() -> int:
        return epoch(SystemClock().now())

    cosign = nobody if settings.log_policy == Path() else Witnesses(_policy(settings.log_policy)).cosign
    made = Sequencer(
        directory, log, outbox, signer, origin=settings.origin, rows=settings.log_rows, now=now, cosign=cosign
    )
    return made, log


def build_refilling(settings: Settings) -> tuple[Refilling, Store]:
    """Return what fills a log store up from a copy, and the store by whose lock it keeps the sequencer away.

    Raises:
        SetupError: a store is missing, or its schema is not the one of this version.
    """
    directory, log, outbox, signer = _of_sequencer(settings)
    return Refilling(directory, log, outbox, signer, origin=settings.origin), log


def _of_sequencer(settings: Settings) -> tuple[Store, Store, AgentClient, AgentClient]:
    names = ("directory", "log")
    engines = {name: open_engine(settings.sequencer_url(name), busy_seconds=settings.busy_seconds) for name in names}
    schema.check_all(engines)
    outbox, signer = (AgentClient(str(settings.sockets / f"{name}.sock")) for name in ("outbox", "log"))
    return Store(engines["directory"]), Store(engines["log"]), outbox, signer


def _policy(path: Path) -> Policy:
    try:
        return Policy.parse(path.read_bytes())
    except (OSError, NoteError):
        raise StartError("log_policy: the file cannot be read as a policy of witnesses") from None


def build(
    settings: Settings, clock: Clock | None = None, observe: Observe | None = None,
    recalled: Callable[[], None] | None = None,
) -> Vault:  # fmt: skip
    """Return the vault of these settings.

    `observe` is told of each act that it asks of the agent, `recalled` of each introspection answered from memory.

    Raises:
        SetupError: a store is missing, or its schema is not the one of this version.
        StartError: a restore was cut off.
    """
    unfinished.check(settings.home)
    clock = clock or SystemClock()

    def now() -> int:
        return epoch(clock.now())

    engines = {
        name: open_engine(settings.store_url(name), busy_seconds=settings.busy_seconds) for name in settings.role_stores
    }
    changed = changes.of_store(engines["directory"], settings.directory_changes)  # before it has any connection
    schema.check_all(engines)
    stores = {name: Store(engine) for name, engine in engines.items()}
    directory, identity = stores["directory"], stores.get("identity", AbsentStore())
    sockets = {
        name: AgentClient(str(settings.sockets / f"{name}.sock"), observe=observe)
        for name in ("directory", "identity", "exchange", "officer", "log", "message")
    }
    officers = Officers(sockets["message"])
    keys = HeldKeys(sockets["directory"], {name: sockets[name] for name in ("identity", "exchange")})
    memory = Remembering(settings.introspection_cache_entries, changed, keys, now, recalled)
    linking = Linking(settings, identity, directory, sockets["identity"], now, keys.bind_account)
    idempotent = Idempotent(settings, directory, keys, now)
    showing = Showing(directory, keys, now)

    def spread_seconds() -> int:
        return 0 if keys.development else settings.spread_hours * 3600

    accounts = Accounts(directory, keys, idempotent, showing, now)
    erasing = Erasing(directory, linking, accounts, idempotent, now, spread_seconds=spread_seconds)
    tokens = Tokens(settings, directory, keys, showing, now)
    existing = Existing(directory, erasing.make_room)
    creating = Creating(directory, keys, linking, showing, existing, Patience.of(settings), now)
    registering = Registering(directory, keys, linking, idempotent, showing, creating, now)
    reviewing = Reviewing(settings, directory, keys, linking, idempotent, now)
    importing = Importing(settings, directory, keys, registering, creating, idempotent, showing, now)
    log = LogReader(stores["log"], sockets["log"], settings.origin)
    step_seconds = settings.import_step_seconds
    return Vault(
        settings=settings,
        stores=stores,
        keys=keys,
        agent=sockets,
        officer=sockets["officer"],
        access=AccessControl(settings, directory, keys, RememberedClients(directory, changed), now),
        limiting=Limiting(settings.client_requests_per_second),
        introspecting=Introspecting(settings, directory, keys, memory, now),
        registering=registering,
        reviewing=reviewing,
        importing=importing,
        undoing=Undoing(directory, importing, accounts, erasing, now, step_seconds=step_seconds),
        approving=Approving(
            directory, sockets["officer"], importing, reviewing, linking, now, step_seconds=step_seconds
        ),
        listing=Listing(settings, directory, keys, showing, now),
        erasing=erasing,
        accounts=accounts,
        operating=Operating(settings, directory, keys, idempotent, showing, now),
        sanctioning=Sanctioning(settings, directory, keys, idempotent, showing, now),
        credentials=Credentials(settings, directory, sockets["officer"], keys, idempotent, now),
        enrolling=Enrolling(directory, sockets["officer"], keys, now),
        agreeing=Agreeing(directory, sockets["officer"], keys, now),
        deepening=Deepening(linking),
        disclosing=Disclosing(directory, linking, idempotent, now),
        holding=Holding(directory, sockets["officer"], linking),
        tokens=tokens,
        exchanging=Exchanging(
            directory, sockets["exchange"], linking, tokens, showing, idempotent, Patience.of(settings), now
        ),
        checking=Checking(directory, linking, sockets["officer"], log, now),
        feeding=Feeding(directory, keys),
        figures=Figures(directory, keys, now),
        log=log,
        reporting=Reporting(stores["log"]),
        refusing=Refusing(directory, now),
        receipts=Receipts(directory, keys, log, sockets["log"]),
        record_receipts=RecordReceipts(registering, linking, log, settings.issuer_url, now),
        officers=officers,
        readiness=_readiness(settings, stores),
        keepers=Readiness({_KEPT_BY: partial(_kept_by, settings)}),
        retagging=Retagging(directory, linking),
        housekeeping=Housekeeping(settings, linking, Retention(settings, directory, linking, erasing, now)),
    )
