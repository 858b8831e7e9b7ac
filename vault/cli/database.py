"""idvault db …"""

import sys
from contextlib import AbstractContextManager
from typing import Any, Final

import click

from keys.seals import development
from keys.setup import complete, create_development
from vault import embedded
from vault.cli.common import json_option, prepared, show
from vault.config import STORES, Settings, load
from vault.domain.clock import SystemClock, epoch
from vault.errors import StartError
from vault.stores import distributing, granting, schema

EXIT_ERROR: Final = 1


@click.group()
def db() -> None:
    """Bring the stores' schemas up to this version, grant their roles, lay them over nodes, compact their files."""


@db.command()
@click.option(
    "--officers", is_flag=True,
    help="Make the new vault without a seal: officers open it, once they held a ceremony (idvault-keys init).",
)  # fmt: skip
@json_option
def upgrade(*, officers: bool, as_json: bool) -> None:
    """Run the migrations of all four stores, each in a transaction. Stop the service before.

    Four empty databases become a new vault with the development seal, which is for trying out; with --officers they
    become one whose keys nobody has until officers make them. A key store of an earlier version is given the keys that
    this version adds; one that officers open is given them when they do.
    """
    settings = load() if officers else prepared()
    now, seal = epoch(SystemClock().now()), settings.home / development.FILE_NAME
    if officers and seal.exists():
        raise StartError(f"--officers: this vault has {development.FILE_NAME}; take it over by idvault-keys init")
    if officers:
        embedded.ensure(settings, now, officers=True)
    with _opened(settings) as engines, schema.filled_alone(engines):
        fresh = not settings.embedded and schema.are_empty(engines) and not seal.exists()
        schema.upgrade_all(engines)
        if fresh:
            settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if fresh and not officers:
            create_development(engines["keys"], seal, now)
            click.echo(f"idvault: warning: {development.WARNING}", err=True)
        written = complete(engines["keys"], seal, now)
    if officers:
        click.echo("idvault: no keys yet; next, beside the running agent: idvault-keys init", err=True)
    result = dict.fromkeys(STORES, "up to date")
    show(result | ({"keys": f"completed: {', '.join(written)}"} if written else {}), as_json=as_json)


@db.command()
@json_option
def compact(*, as_json: bool) -> None:
    """Write the stores anew without what was deleted, so that erased rows lie in no file any more.

    Safe beside a serving vault; a store that is in use at that moment is told as such: run it again. Exit code 1 then.
    """
    with _opened(prepared()) as engines:
        done = {store: schema.compact(engine) for store, engine in engines.items()}
    show({store: "compact" if ended else "in use, try again" for store, ended in done.items()}, as_json=as_json)
    if not all(done.values()):
        sys.exit(EXIT_ERROR)


@db.command()
@click.option("--apply", is_flag=True, help="Make them; without it they are printed.")
@json_option
def grants(*, apply: bool, as_json: bool) -> None:
    """Print, or make, the roles of the four PostgreSQL databases and what each may do. May be run again.

    The first time as a superuser, after `db upgrade`; then as each store's owner role, after every upgrade.
    """
    settings = load()
    if not apply:
        _print({store: granting.script(store) for store in STORES}, as_json=as_json)
        return
    with _opened(settings) as engines:
        granting.apply_all(engines)
    show(dict.fromkeys(STORES, "granted"), as_json=as_json)


@db.command()
@json_option
def distribute(*, as_json: bool) -> None:
    """Print the SQL that lays the four PostgreSQL stores over the nodes of a Citus cluster.

    For a vault that one machine cannot hold: run it by psql as each store's owner, after `db upgrade` and before
    `db grants --apply`. It touches nothing itself.
    """
    _print({store: distributing.script(store) for store in STORES}, as_json=as_json)


def _print(scripts: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        show(scripts, as_json=True)
    else:
        click.echo("\n".join(f"-- {store}\n{sql}" for store, sql in scripts.items()))


def _opened(settings: Settings) -> AbstractContextManager[dict[str, Any]]:
    return schema.opened({store: settings.store_url(store) for store in STORES}, settings.busy_seconds)
