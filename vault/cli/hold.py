"""idvault hold put|lift|list: what a case needs is not erased."""

from collections.abc import Callable
from datetime import UTC, datetime

import click
import orjson

from vault.cli.common import json_option, open_vault, show
from vault.domain.clock import from_epoch, to_text


@click.group()
def hold() -> None:
    """Keep the record behind an account from being erased while a case needs it.

    \b
      idvault hold put acc_… --case "4 Js 1/26" --legal-basis "section 94 StPO" --authority "Public prosecutor, Bonn"
                             --ordered-by "Judge at the local court" --until 2027-01-31
      idvault hold list acc_…
      idvault hold lift acc_… --case "4 Js 1/26" …     before its time is over; it ends by itself then

    A hold opens nothing and changes no scope. Its provider is told 409 `held` where it wants to erase. In a vault of
    officers this prints a request, and is said again in the same words once they approved it.
    """  # noqa: D301 - \b keeps click from wrapping the lines


def _ordered(command: Callable[..., None]) -> Callable[..., None]:
    """Add what every order says."""
    for option in (
        click.option("--ordered-by", required=True, help="Who ordered it, by office."),
        click.option("--authority", required=True, help="The body whose case it is."),
        click.option("--legal-basis", required=True, help="Under which law."),
        click.option("--case", required=True, help="The number of the case: one."),
        click.argument("account", metavar="ACCOUNT"),
    ):
        command = option(command)
    return json_option(command)


@hold.command()
@_ordered
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The day on which it ends, in UTC.")
def put(account: str, case: str, legal_basis: str, authority: str, ordered_by: str, until: datetime, *,
        as_json: bool) -> None:  # fmt: skip
    """Hold the record behind ACCOUNT (acc_…) for a case, at most 366 days. May be said again."""
    order = {"case": case, "legal_basis": legal_basis, "authority": authority, "ordered_by": ordered_by,
             "until": int(until.replace(tzinfo=UTC).timestamp())}  # fmt: skip
    with open_vault() as vault:
        show(_shown(vault.holding.put(account, order)), as_json=as_json)


@hold.command()
@_ordered
def lift(account: str, case: str, legal_basis: str, authority: str, ordered_by: str, *, as_json: bool) -> None:
    """End the hold of the record behind ACCOUNT by a case before its time."""
    order = {"case": case, "legal_basis": legal_basis, "authority": authority, "ordered_by": ordered_by}
    with open_vault() as vault:
        show(_shown(vault.holding.lift(account, order)), as_json=as_json)


@hold.command("list")
@click.argument("account", metavar="ACCOUNT")
@json_option
def list_holds(account: str, *, as_json: bool) -> None:
    """List the cases that hold the record behind ACCOUNT."""
    with open_vault() as vault:
        found = [_shown(one) for one in vault.holding.holds(account)]
    if as_json:
        click.echo(orjson.dumps({"holds": found}).decode())
        return
    click.echo("\n".join(f"{one['case']}  since {one['since']}, until {one['until']}" for one in found) or "None.")


def _shown(given: dict[str, object]) -> dict[str, object]:
    times = {name: to_text(from_epoch(int(str(given[name])))) for name in ("since", "until") if name in given}
    return given | times
