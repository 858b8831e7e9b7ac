"""idvault provider allow-exchange, idvault provider revoke-exchange"""

import click

from keys.agreements import Basis
from vault.cli.common import json_option, open_vault, show

_purpose = click.option("--purpose", required=True, help="What it is for: 1 to 32 of a to z and _.")


@click.command("allow-exchange")
@click.argument("giver", metavar="FROM")
@click.argument("taker", metavar="TO")
@_purpose
@click.option("--basis", required=True, type=click.Choice([str(basis) for basis in Basis]),
              help="The person's own consent, or a legal one.")  # fmt: skip
@click.option("--per-hour", type=click.IntRange(1), help="How many hand-offs an hour (default: 10,000).")
@json_option
def allow_exchange(giver: str, taker: str, purpose: str, basis: str, per_hour: int | None, *, as_json: bool) -> None:
    """Allow provider FROM to hand persons to provider TO (names or client ids). It links a person across the two.

    With basis `consent` nothing is handed over yet: people cannot sign in to give it in this version.
    """
    with open_vault() as vault:
        show(vault.agreeing.allow(giver, taker, purpose, basis, per_hour), as_json=as_json)


@click.command("revoke-exchange")
@click.argument("giver", metavar="FROM")
@click.argument("taker", metavar="TO")
@_purpose
@json_option
def revoke_exchange(giver: str, taker: str, purpose: str, *, as_json: bool) -> None:
    """Revoke an agreement at once; what was handed over under it and not redeemed is void."""
    with open_vault() as vault:
        show(vault.agreeing.revoke(giver, taker, purpose), as_json=as_json)
