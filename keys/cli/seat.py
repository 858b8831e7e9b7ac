"""An officer at his own machine: his file, what it remembers of the vault, and his line to the agent.

Before anything is sent, what the agent states is held against what is remembered, and changes are shown.
"""

import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click
import orjson

from keys import officers, passphrases
from keys.agent import configured
from keys.agent.client import AgentClient
from keys.cli.line import Line
from keys.errors import KeysError, OfficerError, SealedError, SetupError, UnavailableError
from keys.files import secret_line
from keys.identity import Statement, words
from keys.officers import Card, Officer
from keys.pins import Pins

EXIT_ERROR: Final = 1
EXIT_SEALED: Final = 3
_WAIT_SECONDS: Final = 10.0


def in_file(name: str, default: str | None = None) -> Callable[[], str | None]:
    """Return what gives a setting of the TOML file that IDVAULT_CONFIG names, where nothing else does."""

    def found() -> str | None:
        with failing():
            return configured.in_file(os.environ).get(name) or default

    return found


home_option = click.option(
    "--home", envvar="IDVAULT_HOME", default=in_file("home", "var"), type=click.Path(path_type=Path),
    help="The vault's folder (IDVAULT_HOME); default: var.",
)  # fmt: skip
sockets_option = click.option(
    "--sockets", envvar="IDVAULT_AGENT", default=in_file("agent"), type=click.Path(path_type=Path),
    help="The sockets' folder (IDVAULT_AGENT).",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON alone on standard output.")
passphrase_option = click.option(
    "--passphrase-file", type=click.Path(dir_okay=False, path_type=Path),
    help="Read the passphrase from the first line of this file, and do not ask for it on the terminal.",
)  # fmt: skip
_vault_option = click.option(
    "--vault", metavar="URL", help="The vault's address; default: the one that this officer used before."
)
_accept_option = click.option(
    "--accept-change", is_flag=True, help="Go on though the vault's software changed since this officer last looked."
)


def _as_option(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(
        "--as", "file", required=required, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help="The officer's own key file.",
    )  # fmt: skip


@dataclass(slots=True)
class Seat:
    """One officer's place, for the span of one command."""

    path: Path
    card: Card
    pins: Pins | None
    line: Line
    passphrase_file: Path | None
    accept_change: bool
    as_json: bool
    _officer: Officer | None = None
    _stated: Statement | None = None

    @property
    def officer(self) -> Officer:
        """The officer's keys; the passphrase is asked for once."""
        if self._officer is None:
            given = asked_passphrase() if self.passphrase_file is None else read_secret(self.passphrase_file)
            self._officer = officers.open_file(self.path, given)
        return self._officer

    def look(self) -> Statement:
        """Return what the agent states, once it was held against what this officer remembers, and shown.

        Raises:
            OfficerError: another agent or vault, or one that was put back; or the officer does not want its software.
        """
        if self.pins is None:
            raise OfficerError("this officer knows no vault yet; compare the agent's words: idvault-keys trust")
        stated = self.line.statement()
        self.pins.check(stated)
        changes = self.pins.changes(stated)
        self.show(stated, changes)
        if changes and not self.accept_change:
            click.confirm("The software changed since you last looked. Is that expected? Go on?", abort=True, err=True)
        self._stated = stated
        return stated

    def look_again(self) -> Statement:
        """Return what the agent stated when it was looked at in this command."""
        return self.look() if self._stated is None else self._stated

    def show(self, stated: Statement, changes: list[str]) -> None:
        """Show what an officer must know before he says anything."""
        new = "" if self.pins is None else "   unchanged since you last looked"
        told = [
            f"vault     {self.line.url}   deployment {stated.deployment.hex() or '(none yet)'}",
            f"agent     {' '.join(words(stated.agent))}",
            f"software  idvault {stated.version}   code {stated.code[:16]}{'   CHANGED' if changes else new}",
            f"state     {stated.names}   generation {stated.generation} of officers",
        ]
        click.echo("\n".join(told), err=True)

    def ask(self, do: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Say something to the agent that `look` found to be the right one; remember what it runs.

        Raises:
            KeysError: of the kind that the agent answered.
        """
        stated, pins = self.look_again(), self.pins
        if pins is None:
            raise OfficerError("nothing is said to an agent that is not known")
        answer = self.line.ask(self.officer, stated, do, args)
        self.remember(pins.seen(stated))
        return answer

    def await_names(self, *wanted: str) -> str:
        """Wait until names are in one of these states; return it.

        Raises:
            UnavailableError: they are not, in time.
        """
        end = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < end:
            with suppress(UnavailableError):
                names = self.line.statement().names
                if names in wanted:
                    return names
            time.sleep(0.1)
        raise UnavailableError("the key agent did not follow in time; look again: idvault-keys status")

    def trust(self, pins: Pins, stated: Statement) -> None:
        """Remember an agent whose words were compared, and speak to it."""
        self.remember(pins)
        self._stated = stated

    def remember(self, pins: Pins) -> None:
        """Remember what is known of the vault."""
        if pins != self.pins:
            pins.write(self.path, self.officer)
            self.pins = pins

    def tell(self, found: Mapping[str, Any], text: str) -> None:
        """Print a result: JSON, or a text."""
        click.echo(orjson.dumps(dict(found)).decode() if self.as_json else text)


def seated(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command its officer's seat, with the options --as, --vault, --passphrase-file, --accept-change, --json."""
    return _as_option(required=True)(_seating(command))


def maybe_seated(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command its officer's seat, or none without --as; it has --json of its own."""
    return _as_option(required=False)(_seating(command))


def _seating(command: Callable[..., None]) -> Callable[..., None]:
    parameters = inspect.signature(command).parameters

    @_vault_option
    @passphrase_option
    @_accept_option
    @json_option
    @wraps(command)
    def run(*args: Any, **options: Any) -> None:  # noqa: ANN401 - click's own
        given = {name: options.pop(name) for name in ("file", "vault", "passphrase_file", "accept_change", "as_json")}
        options |= {name: given[name] for name in ("as_json", "passphrase_file") if name in parameters}
        with failing():
            command(None if given["file"] is None else _seat(**given), *args, **options)

    return run


def _seat(file: Path, vault: str | None, passphrase_file: Path | None, *, accept_change: bool, as_json: bool) -> Seat:
    card = officers.read_card(file)
    pins = Pins.read(file, card)
    if vault is None and pins is None:
        raise click.UsageError("--vault: the address of the vault, such as https://vault.example")
    line = Line(vault or (pins.vault if pins is not None else ""))
    return Seat(file, card, pins, line, passphrase_file, accept_change, as_json)


@contextmanager
def failing() -> Iterator[None]:
    """End the command with one line where the vault or a file refuses: exit code 3 where it is sealed, else 1."""
    try:
        yield
    except KeysError as error:
        click.echo(f"idvault-keys: {error}", err=True)
        sys.exit(EXIT_SEALED if isinstance(error, SealedError) else EXIT_ERROR)


def await_state(client: AgentClient, wanted: frozenset[str], names: str | None = None) -> dict[str, Any]:
    """Wait until both holders are in a state that is wanted, and `names` in one of its own; return the status.

    Raises:
        UnavailableError: the agent did not follow in time.
    """
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


def asked_new_passphrase() -> str:
    """Ask for a new passphrase, twice."""
    click.echo(f"idvault-keys: a new passphrase, of at least {passphrases.LEAST_CHARACTERS} characters", err=True)
    asked: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt="The same again", err=True)
    return asked


def asked_passphrase() -> str:
    """Ask for a passphrase."""
    asked: str = click.prompt("Passphrase", hide_input=True, err=True)
    return asked


def read_secret(path: Path, option: str = "--passphrase-file") -> str:
    """Return the first line of a file that is its owner's alone.

    Raises:
        OfficerError: readable for others, or it cannot be read.
    """
    try:
        return secret_line(path, option)
    except SetupError as error:
        raise OfficerError(str(error)) from None
