"""idvault-keys officer …: an officer's own key file, on his own machine; none of it needs the vault."""

from pathlib import Path

import click
import orjson

from keys import officers
from keys.cli.ceremony import card_in
from keys.cli.seat import asked_new_passphrase, asked_passphrase, json_option, passphrase_option, read_secret
from keys.errors import OfficerError
from keys.officers import Card

file_argument = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group()
def officer() -> None:
    """Make and show an officer's key file.

    \b
    An officer keeps the file on a machine of his own and gives his card to the others:
      idvault-keys officer new maria.officer --name "Maria Lindqvist"
      idvault-keys officer show maria.officer

    Whoever takes a card hears its words from the officer himself, by voice: ten words that only this card has.
    """  # noqa: D301 - \b keeps click from wrapping the list


@officer.command()
@file_argument
@click.option("--name", required=True, help="By which the others know this officer. One person has one name.")
@passphrase_option
@json_option
def new(file: Path, name: str, passphrase_file: Path | None, *, as_json: bool) -> None:
    """Make an officer's keys in the new file FILE, and print the card.

    The file is for its owner alone (mode 0600), is sealed under a passphrase (Argon2id), and is never overwritten. Keep
    a copy where a fire does not reach both; nobody can make another one with the same card.
    """
    try:
        officers.check_name(name)
        _check_free(file)
        passphrase = asked_new_passphrase() if passphrase_file is None else read_secret(passphrase_file)
        card = officers.create(file, name, passphrase)
    except FileExistsError:
        raise click.ClickException("FILE: there is a file already; it is never overwritten") from None
    except OSError:
        raise click.ClickException("FILE: the folder cannot be written") from None
    except OfficerError as error:
        raise click.ClickException(str(error)) from None
    _show(card, as_json=as_json)


@officer.command()
@file_argument
@click.option("--check", is_flag=True, help="Ask for the passphrase, and say whether it opens the file.")
@passphrase_option
@json_option
def show(file: Path, passphrase_file: Path | None, *, check: bool, as_json: bool) -> None:
    """Print the card of an officer's file, or of a card that somebody sent, and its words.

    With --check (or --passphrase-file) the keys are opened too: do it now and then, so that a passphrase that was
    forgotten is found out while the other officers are enough.
    """
    try:
        card = card_in(file)
        if check or passphrase_file is not None:
            passphrase = asked_passphrase() if passphrase_file is None else read_secret(passphrase_file)
            card = officers.open_file(file, passphrase).card
    except OfficerError as error:
        raise click.ClickException(str(error)) from None
    _show(card, as_json=as_json)


def _check_free(file: Path) -> None:
    """Refuse before a passphrase is asked for; the file is made exclusively all the same."""
    if file.exists() or file.is_symlink():
        raise FileExistsError


def _show(card: Card, *, as_json: bool) -> None:
    words = card.words()
    if as_json:
        found = {"name": card.name, "key": card.key_id, "card": str(card), "words": words}
        click.echo(orjson.dumps(found).decode())
        return
    click.echo(str(card))
    click.echo(f"idvault-keys: read aloud to whoever takes the card: {' '.join(words)}", err=True)
