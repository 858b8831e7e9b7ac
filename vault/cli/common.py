"""What commands share: the vault of the settings, its agent for the command's time, and how results are printed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
import orjson

from keys.seals.development import WARNING
from vault import embedded, running
from vault.config import Settings, load
from vault.domain.clock import SystemClock, epoch
from vault.wiring import Vault, build

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON alone on standard output.")


def prepared() -> Settings:
    """Return the settings, with an embedded vault made where there is none.

    Raises:
        StartError: a setting or the home folder is not usable.
    """
    settings = load()
    if embedded.ensure(settings, epoch(SystemClock().now())):
        click.echo(f"idvault: made an embedded vault in {settings.home}", err=True)
        click.echo(f"idvault: warning: {WARNING}", err=True)
    return settings


@contextmanager
def open_vault() -> Iterator[Vault]:
    """Have the vault and its agent for the span of a command.

    Raises:
        StartError, KeysError: it cannot be opened.
    """
    settings = prepared()
    with running.agent(settings):
        vault = build(settings)
        try:
            yield vault
        finally:
            vault.close()


def show(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one result: JSON, or a line a member."""
    if as_json:
        click.echo(orjson.dumps(result).decode())
        return
    width = max(len(name) for name in result)
    for name, value in result.items():
        click.echo(f"{name:<{width}}  {value}")
