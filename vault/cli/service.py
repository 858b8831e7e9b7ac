"""idvault serve"""

import dataclasses
import os
import sys

import click
from granian import Granian
from granian.constants import Interfaces

from keys.engine import open_engine
from vault import running
from vault.cli.common import prepared
from vault.config import ROLES, STORES
from vault.logs import configure, event
from vault.stores import schema
from vault.wiring import build


@click.command()
@click.option("--role", type=click.Choice(ROLES), help="Which routes to serve (IDVAULT_ROLE).")
def serve(role: str | None) -> None:
    """Serve the vault over HTTP, with the key agent as a child process.

    Embedded mode: everything under one user. Names stay closed to whoever steals the files, but not to whoever takes
    over a worker: both run under one user (SECURITY.md).
    """
    settings = prepared()
    if role is not None:
        settings = dataclasses.replace(settings, role=role)
        os.environ["IDVAULT_ROLE"] = role
    configure()
    engines = {store: open_engine(settings.store_url(store)) for store in STORES}
    schema.check_all(engines)
    for engine in engines.values():
        engine.dispose()
    host, port = settings.address
    with running.sole_server(settings), running.agent(settings):
        vault = build(settings)
        vault.housekeeping.start()
        server = Granian(
            target="wsgi:app", address=host, port=port, interface=Interfaces.WSGI, workers=settings.workers,
            blocking_threads=settings.blocking_threads, websockets=False, log_enabled=False, log_access=False,
            respawn_failed_workers=True, workers_kill_timeout=10,
        )  # fmt: skip
        click.echo(f"idvault: serving on http://{host}:{port} (docs at /docs)", err=True)
        event("serving", role=settings.role)
        try:
            server.serve()
        finally:
            vault.housekeeping.stop()
            vault.close()
    sys.exit(0)
