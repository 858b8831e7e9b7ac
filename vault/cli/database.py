"""idvault db …"""

import click

from keys.engine import open_engine
from vault.cli.common import json_option, prepared, show
from vault.config import STORES
from vault.stores import schema


@click.group()
def db() -> None:
    """Bring the stores' schemas up to this version."""


@db.command()
@json_option
def upgrade(*, as_json: bool) -> None:
    """Run the migrations of all four stores, each in a transaction. Stop the service before."""
    settings = prepared()
    engines = {store: open_engine(settings.store_url(store), busy_seconds=settings.busy_seconds) for store in STORES}
    try:
        schema.upgrade_all(engines)
        show(dict.fromkeys(STORES, "up to date"), as_json=as_json)
    finally:
        for engine in engines.values():
            engine.dispose()
