"""What commands share: the vault of the settings, its agent for the command's time, and how results are printed."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import click
import orjson

from keys.seals.development import WARNING
from vault import embedded, running
from vault.config import Settings, load
from vault.domain.clock import SystemClock, epoch
from vault.errors import StartError
from vault.wiring import Vault, build

_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 30.0
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


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """Have the vault served for the span of a command; return its URL.

    Raises:
        StartError: it is not served, and cannot be; or what serves it is not ready.
    """
    url, status = f"http://{settings.bind}", _readiness(settings)
    if status == HTTPStatus.OK:
        yield url
        return
    if status:  # a second server could not have the address
        raise StartError(f"what serves {url} is not ready; GET /readyz says which part is not")
    command = [sys.executable, "-m", "vault.cli.main", "serve"]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 - our own module
    try:
        end = time.monotonic() + _START_SECONDS
        while _readiness(settings) != HTTPStatus.OK:
            if child.poll() is not None or time.monotonic() > end:
                raise StartError("the vault cannot be served for this command; its line above says why")
            time.sleep(0.1)
        yield url
    finally:
        child.terminate()
        child.wait(_END_SECONDS)


def _readiness(settings: Settings) -> int:
    """Return by which status the vault says whether it is ready; 0 where nobody answers."""
    host, port = settings.address
    connection = HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def tell_begun(service: str, *, as_json: bool, **more: str) -> None:
    """Tell machines, if told to, that a service begins: one line of JSON, flushed at once; then it prints no more."""
    if as_json:
        show({"service": service, **more}, as_json=True)


def show(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one result: JSON, or a line a member."""
    if as_json:
        click.echo(orjson.dumps(result).decode())
        return
    width = max(len(name) for name in result)
    for name, value in result.items():
        click.echo(f"{name:<{width}}  {value}")
