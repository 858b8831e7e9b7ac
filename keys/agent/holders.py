"""The two key holders: what each is given, and which acts stand behind which socket."""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from keys.accounts import account_mac
from keys.agent.acts import (
    agreeing,
    checkpointing,
    draining,
    enrolling,
    erasing,
    evidence,
    exchanging,
    expiring,
    figures,
    importing,
    lines,
    redeeming,
    registering,
    reviewing,
    signing,
    splitting,
    stating,
    together,
    verifying,
)
from keys.agent.arguments import Args, listed, mapping, octets, text
from keys.agent.holder import Act, Door, serve
from keys.agent.names import Names
from keys.agent.settings import AgentSettings
from keys.agent.wire import Dialogue, receive, send
from keys.engine import open_engine
from keys.errors import LockdownError, SealedError
from keys.heads import Heads
from keys.intents import drop_unplanned
from keys.keyring import STANDING_KEK, Key, Keyring, State
from keys.primitives import Secret
from keys.seals import development

Control = Callable[[str], dict[str, Any]]
"""Asks the supervisor: status, seal, lockdown or unseal."""
IDENTITY_ACTS: dict[str, Callable[[Names, Args, Dialogue], dict[str, Any]]] = {
    "create.check": registering.create_check,
    "create.undo": registering.create_undo,
    "import.create": importing.create,
    "import.done": importing.done,
    "import.close": importing.close,
    "create.open": registering.create_open,
    "revise": registering.revise,
    "revise.done": registering.revise_done,
    "review.open": reviewing.review_open,
    "review.decide": reviewing.review_decide,
    "evidence": evidence.evidence,
    "evidence.drop": evidence.drop,
    "handoff.expire": expiring.expire,
    "unite": reviewing.unite,
    "split": splitting.split,
    "erase": erasing.erase,
    "erase.done": erasing.erase_done,
    "intents": reviewing.intents_due,
    "verify": verifying.verify,
}
EXCHANGE_ACTS: dict[str, Callable[[Names, Args, Dialogue], dict[str, Any]]] = {
    "exchange.done": redeeming.done,
}
OFFICER_ACTS: dict[str, Callable[[Names, Args, Dialogue], dict[str, Any]]] = {
    "enrol": enrolling.enrol,
    "reviewer.disable": enrolling.disable_reviewer,
    "agreement.allow": agreeing.allow,
    "agreement.revoke": agreeing.revoke,
    "agreement.list": agreeing.listed,
    "verify.own": verifying.verify_own,
}


def _now() -> int:
    return int(time.time())


def _officer_control(control: Control) -> dict[str, Act]:
    return {verb: partial(_control, control, verb) for verb in ("status", "seal", "lockdown", "unseal")}


def _control(control: Control, verb: str, _args: Mapping[str, Any], _: Dialogue) -> dict[str, Any]:
    return control(verb)


def run_names(settings: AgentSettings, doors: Mapping[str, socket.socket], handover: socket.socket, control: Control,
              ready: Callable[[], None]) -> None:  # fmt: skip
    """Open the seal, hand the standing key to the other holder, and serve the doors of `names`.

    Raises:
        SetupError: seal or key store cannot be opened.
    """
    root_id, root = development.open_seal(settings.seal)
    engine = open_engine(settings.keys_url)
    keyring = Keyring.under_root(engine, root_id, root)
    drop_unplanned(engine)
    standing = keyring.current(STANDING_KEK)
    # Nobody is at the other end when `names` alone was forked anew: `standing` has its key already.
    with handover, contextlib.suppress(OSError):
        send(handover, {"id": standing.id, "version": standing.version, "secret": standing.secret.expose_cleartext()})
    names = Names(engine, keyring, _now, settings.limits)
    identity: dict[str, Act] = {verb: partial(act, names) for verb, act in IDENTITY_ACTS.items()}
    identity |= {"create": together.Creations(names), "create.done": together.Completions(names)}
    identity["hello"] = partial(_hello, keyring)
    exchange: dict[str, Act] = {verb: partial(act, names) for verb, act in EXCHANGE_ACTS.items()}
    exchange |= {"exchange.open": exchanging.Openings(names), "exchange.redeem": redeeming.Redemptions(names)}
    exchange["hello"] = identity["hello"]
    officer: dict[str, Act] = {verb: partial(act, names) for verb, act in OFFICER_ACTS.items()}
    officer |= {"verify.lines": partial(lines.verify_lines, names, Heads(engine, keyring, settings.home))}
    officer |= _officer_control(control)
    outbox: dict[str, Act] = {
        "outbox.take": partial(draining.take, names),
        "outbox.settle": partial(draining.settle, names),
    }
    outbox["hello"] = identity["hello"]
    ready()
    serve([
        Door("identity", doors["identity"], identity, settings.uids.get("identity", frozenset())),
        Door("exchange", doors["exchange"], exchange, settings.uids.get("exchange", frozenset())),
        Door("officer", doors["officer"], officer, settings.uids.get("officer", frozenset())),
        Door("outbox", doors["outbox"], outbox, settings.uids.get("outbox", frozenset())),
    ])  # fmt: skip


def run_standing(settings: AgentSettings, doors: Mapping[str, socket.socket], handover: socket.socket,
                 ready: Callable[[], None]) -> None:  # fmt: skip
    """Take the standing key from the other holder and serve `directory` and `log`.

    Raises:
        UnavailableError: the other holder ended before it handed the key over.
    """
    with handover:
        given = receive(handover)
    wrapping = Key(STANDING_KEK, "", given["version"], given["id"], State.ACTIVE, Secret(given["secret"]))
    engine = open_engine(settings.keys_url)
    keyring = Keyring.under_standing(engine, wrapping)
    acts: dict[str, Act] = {
        "hello": partial(_hello, keyring),
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
    log |= {"log.opening": signer.opening, "hello": acts["hello"]}
    ready()
    serve([
        Door("directory", doors["directory"], acts, settings.uids.get("directory", frozenset())),
        Door("log", doors["log"], log, settings.uids.get("log", frozenset())),
    ])  # fmt: skip


def run_shut(settings: AgentSettings, doors: Mapping[str, socket.socket], control: Control | None, reason: str,
             ready: Callable[[], None]) -> None:  # fmt: skip
    """Serve the same sockets without any key: every act answers `sealed` or `lockdown`, officers' control works."""
    refusal = LockdownError if reason == "lockdown" else SealedError
    ready()
    serve([
        Door(
            name, listener, _officer_control(control) if name == "officer" and control else {},
            settings.uids.get(name, frozenset()), refusal,
        )
        for name, listener in doors.items()
    ])  # fmt: skip


def _hello(keyring: Keyring, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return the deployment id: what workers seal fields for."""
    return {"deployment": keyring.deployment}


def _directory_keys(keyring: Keyring, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return the directory key's versions."""
    return {"keys": {v: s.expose_cleartext() for v, s in keyring.secrets("directory").items()}}


def _sector_keys(keyring: Keyring, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return a sector's token keys: token ↔ pid, and nothing that leads to a record or a person."""
    return {"keys": {v: s.expose_cleartext() for v, s in keyring.secrets("token", text(args, "sector")).items()}}


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
