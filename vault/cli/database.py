"""idvault db …"""

import click

from keys.engine import open_engine
from keys.seals import development
from keys.setup import complete_development
from vault.cli.common import json_option, prepared, show
from vault.config import STORES
from vault.domain.clock import SystemClock, epoch
from vault.stores import schema


@click.group()
def db() -> None:
    """Bring the stores' schemas up to this version."""


@db.command()
@json_option
def upgrade(*, as_json: bool) -> None:
    """Run the migrations of all four stores, each in a transaction. Stop the service before.

    A key store of an earlier version is given the keys that this version adds.
    """
    settings = prepared()
    engines = {store: open_engine(settings.store_url(store), busy_seconds=settings.busy_seconds) for store in STORES}
    try:
        schema.upgrade_all(engines)
        seal = settings.home / development.FILE_NAME
        written = complete_development(engines["keys"], seal, epoch(SystemClock().now()))
        result = dict.fromkeys(STORES, "up to date")
        show(result | ({"keys": f"completed: {', '.join(written)}"} if written else {}), as_json=as_json)
    finally:
        for engine in engines.values():
            engine.dispose()
