"""idvault serve, idvault housekeeping, idvault sequencer"""

import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from functools import partial
from typing import Any, Final

import click
from granian import Granian
from granian.constants import Interfaces
from granian.server.common import AbstractServer

from keys.agent.process import forbid_dumps, settle_interpreter
from keys.agent.settings import EMBEDDED
from keys.engine import open_engine
from vault import metrics, running
from vault.cli.common import json_option, prepared, tell_begun
from vault.config import ROLES, STORES, Settings
from vault.errors import StartError
from vault.logs import configure, event
from vault.stores import schema
from vault.stores.leading import leading
from vault.wiring import build, build_sequencer

_SHORT_LIVES: Final = 10
_SHORT_LIFE_SECONDS: Final = 5.0


@click.command()
@click.option("--role", type=click.Choice(ROLES), help="Which routes to serve (IDVAULT_ROLE).")
@json_option
def serve(role: str | None, *, as_json: bool) -> None:
    """Serve the vault over HTTP, with the key agent as a child process.

    Embedded mode: everything under one user. Names stay closed to whoever steals the files, but not to whoever takes
    over a worker: both run under one user (SECURITY.md). It says so when it begins.
    """
    settings = prepared()
    if role is not None:
        settings = dataclasses.replace(settings, role=role)
        os.environ["IDVAULT_ROLE"] = role
    configure()
    running.check_role(settings)
    # The key store is the agent's; who starts no agent cannot, and need not, read it.
    own = settings.role_stores if running.is_separate(settings) else STORES
    engines = {store: open_engine(settings.store_url(store)) for store in own}
    schema.check_all(engines)
    for engine in engines.values():
        engine.dispose()
    host, port = settings.address
    with running.sole_server(settings), running.agent(settings):
        os.umask(0o077)  # the counts, as all that a server makes, are for its own user alone
        metrics.begin(settings.home)
        forbid_dumps()  # a worker is born with it
        running.end_forks_by_signals()
        _preload()
        warn_of_one_user(settings)
        click.echo(f"idvault: serving on http://{host}:{port} (docs at /docs)", err=True)
        tell_begun("serve", as_json=as_json, url=f"http://{host}:{port}", role=settings.role)
        event("serving", role=settings.role)
        with _housekeeping_beside(settings), _sequencer_beside(settings):
            _serve(settings)
    sys.exit(0)


def warn_of_one_user(settings: Settings) -> None:
    """Say on standard error against whom the promises do not hold, unless the agent has a user of its own."""
    if not running.is_separate(settings):
        click.echo(f"idvault: {EMBEDDED}", err=True)


@click.command()
@json_option
def housekeeping(*, as_json: bool) -> None:
    """Finish what crashes left half-way and forget what has run out, until told to end (SIGTERM).

    `idvault serve` has it already; it is for a vault that another WSGI server serves. A second one does no harm.
    """
    settings = prepared()
    configure()
    _keep_house(settings, as_json=as_json)


@click.command()
@json_option
def sequencer(*, as_json: bool) -> None:
    """Bring what was done into the public log and have it signed, until told to end (SIGTERM).

    `idvault serve` has it already with the role `all`; it is for a vault whose roles run under several users. A second
    one waits until the first ends.
    """
    settings = prepared()
    configure()
    _keep_log(settings, as_json=as_json)


def _sequencer_beside(settings: Settings) -> contextlib.AbstractContextManager[None]:
    if not settings.sequences:
        return contextlib.nullcontext()
    return running.kept_up("sequencer", partial(_keep_log, settings))


def _keep_log(settings: Settings, *, as_json: bool = False) -> None:
    forbid_dumps()
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    made, log = build_sequencer(settings)
    tell_begun("sequencer", as_json=as_json)
    while not ending.is_set():
        with leading(log, settings.home / ".sequencing", ending) as leads:
            event("sequencer_leads")
            made.run(ending, settings.log_milliseconds / 1000, leads)
    log.close()


def _housekeeping_beside(settings: Settings) -> contextlib.AbstractContextManager[None]:
    if settings.role == "directory":  # it would need the identity store
        return contextlib.nullcontext()
    # This process opens no store: a fork beside a thread that writes to SQLite would be born with its lock held.
    return running.kept_up("housekeeping", partial(_keep_house, settings))


def _keep_house(settings: Settings, *, as_json: bool = False) -> None:
    forbid_dumps()
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    vault = build(settings, observe=metrics.shared().act)
    running.end_with_seal(vault)
    tell_begun("housekeeping", as_json=as_json)
    metrics.shared().begin(settings.home, {"store_connections": vault.connections})
    vault.housekeeping.run(ending)
    vault.close()


def _preload() -> None:
    """Import what the workers need before they are forked: once for all of them, in memory that they share."""
    # The server starts workers as the interpreter's default says, which Python 3.14 changed (multiprocessing).
    multiprocessing.set_start_method("fork", force=True)
    importlib.import_module("vault.web.app")
    settle_interpreter()


def _serve(settings: Settings) -> None:
    """Serve until told to end. The server gives up when a worker dies twice within seconds; then it is started anew.

    Raises:
        StartError: it does not stay up.
    """
    host, port = settings.address
    short, server = 0, None
    while short < _SHORT_LIVES:
        started, before = time.monotonic(), server
        server = Granian(
            target="vault.worker:app", address=host, port=port, interface=Interfaces.WSGI, workers=settings.workers,
            blocking_threads=settings.threads, websockets=False, log_enabled=False, log_access=False,
            respawn_failed_workers=True, workers_kill_timeout=10,
        )  # fmt: skip
        server.on_startup(partial(_hear_of, server, before))
        with contextlib.suppress(SystemExit):
            server.serve()
        if server.interrupt_signal:
            return
        event("server_restarted")
        short = short + 1 if time.monotonic() - started < _SHORT_LIFE_SECONDS else 0
    raise StartError("the workers do not stay up; their lines above say why")


def _hear_of(server: AbstractServer[Any], before: AbstractServer[Any] | None) -> None:
    """Have a server that has its handlers of signals end, where the one before it was told to since it gave up."""
    if before is not None and before.interrupt_signal:
        server.interrupt_signal = True
        server.main_loop_interrupt.set()
