"""idvault db …"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from keys.engine import open_engine
from vault.cli.common import json_option, prepared, show
from vault.config import STORES
from vault.stores import schema

if TYPE_CHECKING:
    from sqlalchemy import Engine

EXIT_ERROR: Final = 1


@click.group()
def db() -> None:
    """Bring the stores' schemas up to this version, and compact their files."""


@db.command()
@json_option
def upgrade(*, as_json: bool) -> None:
    """Run the migrations of all four stores, each in a transaction. Stop the service before."""
    with _engines() as engines:
        schema.upgrade_all(engines)
        show(dict.fromkeys(STORES, "up to date"), as_json=as_json)


@db.command()
@json_option
def compact(*, as_json: bool) -> None:
    """Write the stores anew without what was deleted, so that erased rows lie in no file any more.

    Safe beside a serving vault; a store that is in use at that moment is told as such: run it again. Exit code 1 then.
    """
    with _engines() as engines:
        done = {store: schema.compact(engine) for store, engine in engines.items()}
    show({store: "compact" if ended else "in use, try again" for store, ended in done.items()}, as_json=as_json)
    if not all(done.values()):
        sys.exit(EXIT_ERROR)


@contextmanager
def _engines() -> Iterator[dict[str, "Engine"]]:
    settings = prepared()
    engines = {store: open_engine(settings.store_url(store), busy_seconds=settings.busy_seconds) for store in STORES}
    try:
        yield engines
    finally:
        for engine in engines.values():
            engine.dispose()
