"""idvault-keys: the officers' command line. In this version: the agent, its state, seal, unseal, and key files."""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import click
import orjson

from keys.agent import settings as agent_settings
from keys.agent.client import AgentClient
from keys.agent.settings import AgentSettings, socket_folder
from keys.agent.supervisor import run_agent
from keys.cli.officer import officer
from keys.errors import KeysError, SealedError, SetupError, UnavailableError

EXIT_ERROR: Final = 1
EXIT_SEALED: Final = 3
_WAIT_SECONDS: Final = 10.0

home_option = click.option(
    "--home", envvar="IDVAULT_HOME", default="var", show_default=True, type=click.Path(path_type=Path),
    help="The vault's folder (IDVAULT_HOME).",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON alone on standard output.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Manage the keys of an idvault.

    The key agent is the only process that holds keys for names. `status` says whether it is open; `seal` closes it at
    once, names and standing both, `lockdown` names alone; either stays in force across restarts until `unseal`.
    """


@cli.command()
@home_option
@click.option("--keys-url", envvar="IDVAULT_KEYS_URL", help="The key store's URL; default: keys.db in the home folder.")
@click.option("--sockets", envvar="IDVAULT_AGENT", type=click.Path(path_type=Path), help="The sockets' folder.")
@click.option("--parent-fd", type=int, hidden=True, help="End when this descriptor reaches end of file.")
def agent(home: Path, keys_url: str | None, sockets: Path | None, parent_fd: int | None) -> None:
    """Run the key agent in the foreground: a supervisor without keys and two key holders.

    `idvault serve` starts one of its own in embedded mode; in production the agent is a service under its own user,
    and IDVAULT_DIRECTORY_SOCKET_UIDS and the like say who may connect (docs/operations.md).
    """
    url = keys_url or f"sqlite:///{home.resolve() / 'keys.db'}"
    try:
        # This version knows the development seal alone.
        limits = agent_settings.limits(os.environ, development_seal=True)
        uids, gids = agent_settings.peers(os.environ)
    except SetupError as error:
        _fail(error)
        return
    settings = AgentSettings(home, url, sockets or socket_folder(home), limits, uids, gids)
    sys.exit(run_agent(settings, parent_fd))


def _officer(home: Path, sockets: Path | None) -> AgentClient:
    return AgentClient(str((sockets or socket_folder(home)) / "officer.sock"))


def _show(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(status).decode())
        return
    click.echo(f"seal      {status['seal']}")
    click.echo(f"names     {status['names']}")
    click.echo(f"standing  {status['standing']}")


def _fail(error: KeysError) -> None:
    click.echo(f"idvault-keys: {error}", err=True)
    sys.exit(EXIT_SEALED if isinstance(error, SealedError) else EXIT_ERROR)


def _await(client: AgentClient, wanted: frozenset[str], names: str | None) -> dict[str, Any]:
    end = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < end:
        try:
            status = client.call("status", {})
        except UnavailableError:
            status = {}
        follows = {status.get("names"), status.get("standing")} <= wanted
        if follows and (names is None or status["names"] in {names, "sealed"}):
            return status
        time.sleep(0.05)
    raise UnavailableError("the key agent did not follow in time; see its log")


def _command(
    verb: str, wanted: frozenset[str], home: Path, sockets: Path | None, *, as_json: bool, names: str | None = None
) -> None:
    client = _officer(home, sockets)
    try:
        client.call("status", {})
        # The holder that took the order may be gone before it answers: that is what was ordered.
        with contextlib.suppress(UnavailableError):
            client.call(verb, {})
        _show(_await(client, wanted, names), as_json=as_json)
    except KeysError as error:
        _fail(error)
    finally:
        client.close()


sockets_option = click.option(
    "--sockets", envvar="IDVAULT_AGENT", type=click.Path(path_type=Path), help="The sockets' folder (IDVAULT_AGENT)."
)


@cli.command()
@home_option
@sockets_option
@json_option
def status(home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """Say which seal the vault has, and whether names and standing are open. Exit code 3 when sealed."""
    client = _officer(home, sockets)
    try:
        found = client.call("status", {})
    except KeysError as error:
        _fail(error)
        return
    finally:
        client.close()
    _show(found, as_json=as_json)
    if found["names"] != "open":
        sys.exit(EXIT_SEALED)


@cli.command()
@home_option
@sockets_option
@json_option
def seal(home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """Close names and standing at once; both stay closed across restarts until `unseal`."""
    _command("seal", frozenset(("sealed",)), home, sockets, as_json=as_json)


@cli.command()
@home_option
@sockets_option
@json_option
def lockdown(home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """Close names at once, across restarts until `unseal`. Standing stays open: tokens are answered as before.

    Registrations, reviews and exchanges answer 503 `lockdown`. Under lockdown any one officer may still `seal`.
    """
    _command("lockdown", frozenset(("lockdown", "open", "sealed")), home, sockets, as_json=as_json, names="lockdown")


@cli.command()
@home_option
@sockets_option
@json_option
def unseal(home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """Open the vault again. With the development seal this needs nothing but this command."""
    _command("unseal", frozenset(("open",)), home, sockets, as_json=as_json)


cli.add_command(officer)


def main() -> None:
    """Run the command line."""
    cli(prog_name="idvault-keys")
