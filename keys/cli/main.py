"""idvault-keys: the officers' command line: the agent, its state, seal, lockdown and unseal; the rest is beside it."""

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click
import orjson

from keys.agent import configured
from keys.agent import settings as agent_settings
from keys.agent.settings import AgentSettings, socket_folder
from keys.agent.supervisor import run_agent
from keys.cli import beside
from keys.cli.backup import backup, officers, restore
from keys.cli.beside import running_agent
from keys.cli.ceremony import confirm, init, share_file_option, trust, type_option, unseal_as, verify_share
from keys.cli.officer import officer
from keys.cli.package import open_package
from keys.cli.quorum import approve, reject, rekey, replace_officer, request, requests, show, watch, withdraw
from keys.cli.rotation import destroy, list_keys, rewrap, rotate
from keys.cli.sealing import migrate_seal
from keys.cli.seat import (
    EXIT_SEALED,
    Seat,
    asked_passphrase,
    await_state,
    failing,
    home_option,
    in_file,
    json_option,
    maybe_seated,
    read_secret,
    sockets_option,
)
from keys.cli.status import MODE, lines, to_dos
from keys.errors import UnavailableError
from keys.seals.configs import DEVELOPMENT, PASSPHRASE
from keys.seals.sealed import FILE_NAME, kind_at

_NO_ARGS: Final[Mapping[str, Any]] = MappingProxyType({})


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Manage the keys of an idvault.

    The key agent is the only process that holds keys for names. `status` says whether it is open; `seal` closes it at
    once, names and standing both, `lockdown` names alone; either stays in force across restarts until `unseal`.
    """


@cli.command()
@home_option
@click.option("--keys-url", envvar="IDVAULT_KEYS_URL", default=in_file("keys_url"),
              help="The key store's URL; default: keys.db in the home folder.")  # fmt: skip
@sockets_option
@click.option("--parent-fd", type=int, hidden=True, help="End when this descriptor reaches end of file.")
@json_option
def agent(home: Path, keys_url: str | None, sockets: Path | None, parent_fd: int | None, *, as_json: bool) -> None:
    """Run the key agent in the foreground: a supervisor without keys and two key holders.

    `idvault serve` starts one of its own in embedded mode; in production the agent is a service under its own user,
    and IDVAULT_DIRECTORY_SOCKET_UIDS and the like say who may connect (docs/operations.md).
    """
    url = keys_url or f"sqlite:///{home.resolve() / 'keys.db'}"
    with failing():
        configured.check_names(os.environ)
        development_seal = kind_at(home / FILE_NAME) == DEVELOPMENT
        limits = agent_settings.limits(os.environ, development_seal=development_seal)
        uids, gids = agent_settings.peers(os.environ)
        mirror = agent_settings.mirror(os.environ)
    settings = AgentSettings(home, url, sockets or socket_folder(home), limits, uids, gids, mirror)
    told = {"service": "agent", "sockets": str(settings.sockets)}
    sys.exit(run_agent(settings, parent_fd, orjson.dumps(told).decode() if as_json else "ready"))


def _show(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(status).decode())
        return
    click.echo(f"seal      {status['seal']}")
    click.echo(f"names     {status['names']}")
    click.echo(f"standing  {status['standing']}")


def _command(verb: str, wanted: frozenset[str], home: Path, sockets: Path | None, *, as_json: bool,
             names: str | None = None, args: Mapping[str, Any] = _NO_ARGS) -> None:  # fmt: skip
    with running_agent(home, sockets) as client:
        # The holder that took the order may be gone before it answers: that is what was ordered.
        with contextlib.suppress(UnavailableError):
            client.call(verb, dict(args))
        _show(await_state(client, wanted, names), as_json=as_json)


@cli.command()
@home_option
@sockets_option
@maybe_seated
def status(seat: Seat | None, home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """Say whether names and standing are open; exit code 3 when names are not.

    Of embedded mode it says what that does not protect. Beside the agent it says no more. An officer (--as FILE) is
    told who the officers are and when each last proved his share, what waits for signatures, how old the keys are, and
    what to do by which day.
    """
    if seat is not None:
        seat.look()
        found = seat.ask("look", {})
        now = int(time.time())
        dues = [{"by": due.day, "what": due.what} for due in to_dos(found, now)]
        seat.tell(found | {"to_do": dues}, "\n".join(lines(found, now)))
    else:
        with beside.agent(home, sockets) as client:
            found = client.call("status", {})
        _show(found, as_json=as_json)
        if found.get("embedded") and not as_json:
            click.echo(MODE)
    if found["names"] != "open":
        sys.exit(EXIT_SEALED)


@cli.command()
@home_option
@sockets_option
@maybe_seated
def seal(seat: Seat | None, home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """Close names and standing at once; both stay closed across restarts until `unseal`.

    Any one officer may (--as FILE), and whoever runs the agent.
    """
    if seat is not None:
        _order(seat, "seal", ("sealed",))
        return
    _command("seal", frozenset(("sealed",)), home, sockets, as_json=as_json)


@cli.command()
@home_option
@sockets_option
@maybe_seated
def lockdown(seat: Seat | None, home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """Close names at once, across restarts until `unseal`. Standing stays open: tokens are answered as before.

    Registrations, reviews and exchanges answer 503 `lockdown`. Under lockdown any one officer may still `seal`. Any one
    officer may (--as FILE), and whoever runs the agent.
    """
    if seat is not None:
        _order(seat, "lockdown", ("lockdown", "sealed"))
        return
    _command("lockdown", frozenset(("lockdown", "open", "sealed")), home, sockets, as_json=as_json, names="lockdown")


@cli.command()
@click.option("--directory", is_flag=True, help="Open standing alone: tokens are answered, names stay closed.")
@share_file_option
@type_option
@home_option
@sockets_option
@maybe_seated
def unseal(seat: Seat | None, home: Path, sockets: Path | None, share_file: Path | None, passphrase_file: Path | None,
           *, directory: bool, typed: bool, as_json: bool) -> None:  # fmt: skip
    """Open the vault again.

    An officer gives his share (--as FILE), from his machine or from paper; M of them open the vault. With the
    development seal this needs nothing but this command, beside the agent; with a passphrase, that. An automatic seal
    is tried again, but where an officer shut the vault.
    """
    if seat is not None:
        unseal_as(seat, share_file, directory=directory, typed=typed)
        return
    wanted = ("open", "lockdown") if directory else ("open",)
    args: dict[str, Any] = {"directory": directory}
    if kind_at(home / FILE_NAME) == PASSPHRASE:
        args["passphrase"] = read_secret(passphrase_file) if passphrase_file is not None else asked_passphrase()
    _command("unseal", frozenset(wanted), home, sockets, as_json=as_json, args=args)


def _order(seat: Seat, verb: str, follows: tuple[str, ...]) -> None:
    """Give an order that ends who takes it, and wait until it was followed."""
    seat.look()
    # The holder that took the order may be gone before it answers: that is what was ordered.
    with contextlib.suppress(UnavailableError):
        seat.ask(verb, {})
    names = seat.await_names(*follows)
    seat.tell({"names": names}, f"names     {names}")


for command in (
    init, trust, confirm, verify_share, rekey, replace_officer, request, requests, show, approve, reject, withdraw,
    watch, list_keys, rotate, rewrap, destroy, migrate_seal, open_package,
    backup, restore, officers,
):  # fmt: skip
    cli.add_command(command)
cli.add_command(officer)


def main() -> None:
    """Run the command line."""
    cli(prog_name="idvault-keys")
