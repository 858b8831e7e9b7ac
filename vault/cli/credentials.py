"""idvault provider rotate-secret|suspend|renew: the life of a provider's credentials."""

from typing import Final

import click

from vault.cli.common import json_option, open_vault, show


@click.command("rotate-secret")
@click.argument("name")
@json_option
def rotate_secret(name: str, *, as_json: bool) -> None:
    """Make a new secret of the provider NAME (or client id) and print it, this once.

    The former secret stays good for IDVAULT_SECRET_OVERLAP_HOURS (168); one still older ends at once.
    """
    with open_vault() as vault:
        show(vault.credentials.rotate_named(name), as_json=as_json)


@click.command("suspend")
@click.argument("name")
@json_option
def suspend(name: str, *, as_json: bool) -> None:
    """Make the credentials of the provider NAME, and of the reviewers bound to it, invalid at once, until `renew`."""
    with open_vault() as vault:
        show(vault.credentials.suspend(name), as_json=as_json)


@click.command("renew")
@click.argument("name")
@click.option("--until", help="The last day, such as 2029-12-31, at most three years ahead; without it, no end.")
@json_option
def renew(name: str, until: str | None, *, as_json: bool) -> None:
    """Make the credentials of the provider NAME valid again, or until another day.

    In a vault of officers, what makes them valid for longer prints a request, and is said again once it was approved.
    """
    with open_vault() as vault:
        show(vault.credentials.renew(name, until), as_json=as_json)


COMMANDS: Final = (rotate_secret, suspend, renew)
"""Subcommands of `idvault provider`."""
