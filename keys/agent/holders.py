"""The two key holders: what each is given, and which acts stand behind which socket.

`names` serves its sockets shut until it has a root key, and opens where it stands: nothing of a key leaves the process
but the standing key, for the other holder. There is no way back: it is shut by being ended.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from typing import Any, Final

from sqlalchemy import Engine

from keys.accounts import account_mac
from keys.agent import handover
from keys.agent.acts import (
    checkpointing,
    draining,
    exchanging,
    figures,
    lines,
    redeeming,
    registering,
    renewing,
    signing,
    stating,
    together,
)
from keys.agent.acts.deciding import Deciding
from keys.agent.acts.offered import EXCHANGE_ACTS, IDENTITY_ACTS, OFFICER_ACTS
from keys.agent.acts.unsealing import Unsealing
from keys.agent.arguments import Args, listed, mapping, octets, text
from keys.agent.backoff import BackOff
from keys.agent.desk import Desk, after_answer
from keys.agent.holder import Act, Door, serve
from keys.agent.names import Names
from keys.agent.process import log
from keys.agent.settings import AgentSettings
from keys.agent.wire import Dialogue
from keys.engine import open_engine, writing
from keys.errors import EndedError, KeysError, LockdownError, RefusedError, SealedError, SealUnreachableError
from keys.heads import Heads
from keys.identity import FILE_NAME, open_identity, words
from keys.intents import drop_unplanned
from keys.keyring import Keyring
from keys.passphrases import MAX_BYTES
from keys.primitives import Secret
from keys.seals import development
from keys.seals.configs import AUTOMATIC, DEVELOPMENT, PASSPHRASE, SHARES
from keys.seals.kept import Kept
from keys.seals.opening import opened
from keys.seals.passphrase import Passphrase
from keys.seals.sealed import Backend
from keys.setup import check_openable

OPEN: Final = "open"
SEALED: Final = "sealed"
LOCKDOWN: Final = "lockdown"
HANDED_OVER: Final = 4
"""How a holder ends that was unsealed for nothing but to hand the standing key over."""
_HANDOVER_SECONDS: Final = 10.0
_WAITS_SECONDS: Final = (1.0, 5.0, 15.0, 60.0)
"""Between two tries of an automatic seal whose backend is away."""
Control = Callable[[str], dict[str, Any]]
"""Asks the supervisor: status, seal, lockdown; or tells it: opened, opened.directory."""
Report = Callable[[str], None]
"""Tells the supervisor in which state the holder is."""


def _now() -> int:
    return int(time.time())


@dataclass(slots=True)
class _Names:
    """The holder `names`, from its start on."""

    settings: AgentSettings
    engine: Engine
    doors: Mapping[str, Door]
    handover: socket.socket
    control: Control
    report: Report
    state: str
    over: threading.Event = field(default_factory=threading.Event)
    desk: Desk = field(init=False)
    backoff: BackOff = field(init=False)
    by_officers: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Serve what needs no key."""
        self.backoff = BackOff(self.settings.home, _now)
        unsealing = Unsealing(self.engine, self.settings.home, _now, self._open_by_officers)
        identity = open_identity(self.settings.home / FILE_NAME)
        self.desk = Desk(
            self.engine,
            identity,
            lambda: self.settings.seal_kind,
            lambda: self.state,
            self.control,
            unsealing,
            self.settings.limits.kek_uses,
        )
        refusal = LockdownError if self.state == LOCKDOWN else SealedError
        for door in self.doors.values():
            door.refusal = refusal
        self.doors["message"].open(self.desk.acts())
        self.doors["officer"].acts = self._control_acts()

    def _control_acts(self) -> dict[str, Act]:
        orders = ("status", "seal", "lockdown")
        acts: dict[str, Act] = {verb: partial(_control, self.control, verb) for verb in orders}
        return acts | {"unseal": self._unseal, "begin": self._begin}

    def _begin(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Begin the first ceremony; return what `Unsealing.begin` does, and the agent's words."""
        deciding = self.desk.deciding
        begun = self.desk.unsealing.begin(args) if deciding is None else renewing.begin(deciding, args)
        return begun | {"agent": words(self.desk.identity.public())}

    def _shut(self) -> None:
        """Seal the vault, once this act was answered: another seal opens it from now on."""
        after_answer(lambda: self.control("seal"))

    def _unseal(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Open a vault by a seal {directory, passphrase} that needs no officers; return the status.

        Raises:
            RefusedError: it is officers who open this one, or one of them shut it.
            SealError: the seal does not open: a wrong passphrase, or its backend refused.
            BudgetError: too soon after wrong passphrases.
        """
        kind, directory = self.settings.seal_kind, bool(args.get("directory", False))
        if kind == DEVELOPMENT:
            self.open_with(*development.open_seal(self.settings.seal), directory=directory)
        elif kind == PASSPHRASE:
            with self.backoff.attempt():
                self.open_by(Passphrase(text(args, "passphrase", max_chars=MAX_BYTES)), directory=directory)
        elif kind in AUTOMATIC and not self.control("status")["shut"]:
            self.open_by(None, directory=directory)
        else:
            raise RefusedError(
                "this vault opens with its officers' shares: each gives his own, idvault-keys unseal --as FILE"
            )
        return self.control("status")

    def open_by(self, backend: Backend | None, *, directory: bool = False) -> None:
        """Open by the seal's file; with the backend that it names where none is given.

        Raises:
            SealError: it does not open; SealUnreachableError where it may be tried again.
            SetupError, OpenError, ChainError: what it opens is not this key store, or not as it was left.
        """
        self.open_with(*opened(self.engine, self.settings.home, backend), directory=directory)

    def open_by_itself(self) -> None:
        """Open by an automatic seal; where its backend is away, try again in the background until it answers."""
        try:
            self.open_by(None)
        except KeysError as error:
            log("seal_did_not_open", seal=self.settings.seal_kind, reason=str(error))
            if isinstance(error, SealUnreachableError):
                threading.Thread(target=self._try_again, name="seal", daemon=True).start()

    def _try_again(self) -> None:
        for wait in chain(_WAITS_SECONDS, repeat(_WAITS_SECONDS[-1])):
            time.sleep(wait)
            if self.state == OPEN:
                return
            try:
                self.open_by(None)
            except SealUnreachableError:
                continue
            except KeysError as error:
                log("seal_did_not_open", seal=self.settings.seal_kind, reason=str(error))
            return

    def _open_by_officers(self, root_id: bytes, root: Secret, *, directory: bool) -> None:
        self.by_officers = True
        self.open_with(root_id, root, directory=directory)

    def open_with(self, root_id: bytes, root: Secret, *, directory: bool) -> None:
        """Open with a root key: both holders, or `standing` alone; this one is then ended, and its key with it.

        Raises:
            SetupError, OpenError: the key store cannot be opened with it.
        """
        with self._lock:
            if self.state == OPEN:
                return
            if not directory:
                self.open(root_id, root)
                self.control("opened")
                self.report(self.state)
                return
            keyring = self._keyring(root_id, root)
            if self.control("opened.directory")["standing"] != OPEN:
                handover.give(self.handover, keyring, _HANDOVER_SECONDS)
            after_answer(self.over.set)

    def open(self, root_id: bytes, root: Secret) -> None:
        """Open what needs keys.

        Raises:
            SetupError, OpenError: the key store cannot be opened with this root key, or was put back.
        """
        keyring = self._keyring(root_id, root)
        if self.settings.mirror is not None:
            Heads(self.engine, keyring, self.settings.home).check_mirror(self.settings.mirror)
        drop_unplanned(self.engine)
        limits, home = self.settings.limits, self.settings.home
        deciding = Deciding(self.engine, keyring, home, _now, limits, self._shut, self.by_officers)
        deciding.apply_budgets()
        if not self.settings.development:
            deciding.note("keys.unsealed")
        names = Names(self.engine, keyring, _now, limits, deciding)
        threading.Thread(target=handover.give, args=(self.handover, keyring), daemon=True).start()
        for name, acts in acts_of(names, self.settings).items():
            self.doors[name].open(acts | self._control_acts() if name == "officer" else acts)
        self.desk.deciding = deciding
        self.state = OPEN

    def _keyring(self, root_id: bytes, root: Secret) -> Keyring:
        """Return the keys under a root key; those that this version adds are made, where officers open the vault.

        A vault with the development seal has them from `idvault db upgrade`.
        """
        if not self.settings.development:
            with writing(self.engine) as connection:
                Keyring.of_earlier_version(self.engine, root_id, root).complete(connection, _now())
        return Keyring.under_root(self.engine, root_id, root, self.settings.limits.kek_uses)


def _control(control: Control, verb: str, _args: Mapping[str, Any], _: Dialogue) -> dict[str, Any]:
    return control(verb)


def acts_of(names: Names, settings: AgentSettings) -> dict[str, dict[str, Act]]:
    """Return what stands behind the doors of `names` while it is open."""
    keyring = names.keyring
    hello: dict[str, Act] = {"hello": partial(_hello, settings, keyring)}
    identity: dict[str, Act] = {verb: partial(act, names) for verb, act in IDENTITY_ACTS.items()}
    ready = together.Ready()
    identity |= {"create": together.Creations(names, ready), "create.done": together.Completions(names, ready)}
    exchange: dict[str, Act] = {verb: partial(act, names) for verb, act in EXCHANGE_ACTS.items()}
    exchange |= {"exchange.open": exchanging.Openings(names), "exchange.redeem": redeeming.Redemptions(names)}
    officer: dict[str, Act] = {verb: partial(act, names) for verb, act in OFFICER_ACTS.items()}
    heads = Heads(names.engine, keyring, settings.home)
    officer |= {"verify.lines": partial(lines.verify_lines, names, heads)}
    outbox: dict[str, Act] = {
        "outbox.take": partial(draining.take, names), "outbox.settle": partial(draining.settle, names),
    }  # fmt: skip
    return {"identity": identity | hello, "exchange": exchange | hello, "officer": officer, "outbox": outbox | hello}


def _doors(settings: AgentSettings, listeners: Mapping[str, socket.socket]) -> dict[str, Door]:
    return {name: Door(name, one, settings.uids.get(name, frozenset())) for name, one in listeners.items()}


def run_names(settings: AgentSettings, listeners: Mapping[str, socket.socket], end: socket.socket, control: Control,
              report: Report, reason: str) -> int:  # fmt: skip
    """Serve the sockets of `names` in whatever state; return `HANDED_OVER` where it was opened for that alone.

    Args:
        settings: of the agent.
        listeners: by the socket's name.
        end: of the way on which the standing key is asked for.
        control: of the supervisor.
        report: to the supervisor.
        reason: why the vault is shut, or empty.

    Raises:
        SetupError: seal, identity or key store cannot be opened.
    """
    doors = _doors(settings, listeners)
    engine = open_engine(settings.keys_url, planned_once=True)
    Kept(settings.home).settle(engine)
    if settings.seal_kind == SHARES:
        check_openable(engine)
    holder = _Names(settings, engine, doors, end, control, report, reason or SEALED)
    if not reason and settings.development:
        holder.open(*development.open_seal(settings.seal))
    elif not reason and settings.opens_by_itself:
        holder.open_by_itself()
    report(holder.state)
    serve(doors.values(), holder.over)
    return HANDED_OVER


def run_standing(settings: AgentSettings, listeners: Mapping[str, socket.socket], end: socket.socket,
                 report: Report) -> None:  # fmt: skip
    """Ask the other holder for the standing key, and serve `directory` and `log`.

    Raises:
        SetupError: the key store cannot be opened with it.
    """
    wrapping, nonce = handover.take(end)
    engine = open_engine(settings.keys_url, planned_once=True)
    keyring = Keyring.under_standing(engine, wrapping)
    hello: dict[str, Act] = {"hello": partial(_hello, settings, keyring)}
    acts: dict[str, Act] = {
        "keys.directory": partial(_directory_keys, keyring),
        "keys.sector": partial(_sector_keys, keyring),
        "account.bind": partial(_account_bind, keyring),
        "sign.introspection": partial(signing.sign_introspection, keyring),
        "keys.public": partial(signing.public_keys, keyring),
        "figures": partial(figures.figures, engine, settings.limits, _now),
        "statement.seal": partial(stating.seal, engine, keyring),
    }
    signer = checkpointing.signing(keyring, Heads(engine, keyring, settings.home))
    log: dict[str, Act] = {"log.head": signer.head, "log.sign": signer.sign, "log.commit": signer.commit}
    doors = _doors(settings, listeners)
    doors["directory"].open(acts | hello)
    doors["log"].open(log | {"log.opening": signer.opening} | hello)
    report(OPEN)
    handover.have(end, nonce)
    serve(doors.values(), threading.Event())


def run_shut(settings: AgentSettings, listeners: Mapping[str, socket.socket], report: Report) -> None:
    """Serve the sockets of `standing` without any key: every act answers `sealed`."""
    doors = _doors(settings, listeners)
    for door in doors.values():
        door.refusal = SealedError
    report(SEALED)
    serve(doors.values(), threading.Event())


def _hello(settings: AgentSettings, keyring: Keyring, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return the deployment id, what workers seal fields for; and whether the vault has the development seal."""
    return {"deployment": keyring.deployment, "development": settings.development}


def _directory_keys(keyring: Keyring, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return the directory key's versions."""
    return {"keys": {v: s.expose_cleartext() for v, s in keyring.secrets("directory").items()}}


def _sector_keys(keyring: Keyring, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return a sector's token keys: token ↔ pid, and nothing that leads to a record or a person.

    Those that the other holder rotated since are among them: a worker asks again for a version that it does not know.
    """
    sector = text(args, "sector")
    keyring.refresh("token", sector)
    try:
        secrets = keyring.secrets("token", sector)
    except EndedError:
        secrets = {}  # no token of the sector leads to anybody: they are inactive, as those of no sector are
    return {"keys": {v: s.expose_cleartext() for v, s in secrets.items()}}


def _account_bind(keyring: Keyring, args: Args, _: Dialogue) -> dict[str, Any]:
    """Bind accounts to their rows; the audit rows stand in the directory, with the accounts."""
    key = keyring.current("account-mac").secret
    accounts = [mapping(account, "account") for account in listed(args, "accounts", most=registering.MOST)]
    macs = [
        account_mac(
            key, keyring.deployment, text(account, "provider"), text(account, "handle"), octets(account, "pid", 16),
            octets(account, "account", 16),
        )
        for account in accounts
    ]  # fmt: skip
    return {"macs": macs}
