"""idvault provider …, idvault reviewer …, idvault operator …"""

import tomllib
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from vault.cli.common import json_option, open_vault, show
from vault.domain.clock import from_epoch, to_text
from vault.errors import StartError
from vault.stores.clients import ClientRow


def _shown(row: ClientRow) -> dict[str, Any]:
    return {
        "client_id": row.id, "name": row.name, "sector": row.sector or "", "scopes": " ".join(sorted(row.scopes)),
        "state": "active" if row.enabled else "disabled",
    }  # fmt: skip


def _list(rows: list[ClientRow], title: str, *, as_json: bool) -> None:
    shown = [_shown(row) for row in rows]
    if as_json:
        click.echo(orjson.dumps(shown).decode())
        return
    table = Table(title=title)
    for column in ("client_id", "name", "sector", "scopes", "state"):
        table.add_column(column)
    for row in shown:
        table.add_row(*row.values())
    Console().print(table)


def _enrolment(file: Path | None, *known: str) -> dict[str, Any]:
    """Return what an enrolment file says: the table `policy`, and of the other members those that are known here."""
    if file is None:
        return {"policy": {}}
    try:
        enrolment = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise StartError("--file: cannot be read as TOML") from None
    for name in enrolment.keys() - {"policy", *known}:
        raise StartError(f"--file: {name}: this command reads {', '.join((*known, 'the table [policy]'))} alone")
    if not isinstance(enrolment.setdefault("policy", {}), dict):
        raise StartError("--file: [policy] is a table")
    return enrolment


@click.group()
def provider() -> None:
    """Enrol and list providers: services that register people and get tokens."""


@provider.command("add")
@click.argument("name")
@click.option(
    "--sector", required=True, help="The provider's own sector, for ever: lower-case letters, digits, . and -."
)
@click.option(
    "--file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An enrolment in TOML, whose members are described below.",
)  # fmt: skip
@json_option
def provider_add(name: str, sector: str, file: Path | None, *, as_json: bool) -> None:
    """Enrol the provider NAME and print its credentials, the secret this once.

    Without a file it may register, introspect and sanction. Its tokens are good in its own sector alone.

    \b
    scopes = ["register", "introspect"]       # some of register, introspect, sanction
    expires = 2029-12-31                      # the last day of its credentials, at most three years ahead
    [policy]
    required = ["birth_date", "document"]     # what a registration must state
    expired_documents = "review"              # or "refuse"
    review_needs_reveal = true                # no decision without a look
    legacy_scope = "read"                     # of accounts that are not approved; or ""
    legacy_until = 2031-01-01                 # from that day legacy accounts have no scope
    caps = {personal = 1, public = 2}         # accounts that one person may have
    degrees = {serious = "limit_publish"}     # minor, serious, grave, extreme -> rung
    reach_serious = {views = 5000, reposts = 500}
    default_days = {limit_publish = 7, suspend_updates = 30}
    """  # noqa: D301 - \b keeps click from wrapping the list
    terms = _enrolment(file, "scopes", "expires")
    with open_vault() as vault:
        show(vault.enrolling.add_provider(name, sector, **terms), as_json=as_json)


@provider.command("change")
@click.argument("name")
@click.option(
    "--file", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The table [policy] of `provider add` in TOML, alone: it takes the place of the one in force.",
)  # fmt: skip
@json_option
def provider_change(name: str, file: Path, *, as_json: bool) -> None:
    """Give the provider NAME (or client id) another policy. In a vault of officers this prints a request first."""
    policy = _enrolment(file)["policy"]
    with open_vault() as vault:
        show(vault.enrolling.change_policy(name, policy), as_json=as_json)


@provider.command("list")
@json_option
def provider_list(*, as_json: bool) -> None:
    """List the providers."""
    with open_vault() as vault:
        _list(vault.enrolling.listed("provider"), "providers", as_json=as_json)


@provider.command("show")
@click.argument("name")
@json_option
def provider_show(name: str, *, as_json: bool) -> None:
    """Show one provider by NAME or client id, with its policy, its agreements, and its end where it has one."""
    with open_vault() as vault:
        row = vault.enrolling.find("provider", name)
        ends = {} if row.expires is None else {"expires": to_text(from_epoch(row.expires))}
        more = {"policy": row.policy, "agreements": vault.agreeing.listed(row.id)}
        show(_shown(row) | ends | more, as_json=as_json)


@click.group()
def reviewer() -> None:
    """Enrol, list and disable reviewers: who look at evidence and decide."""


@reviewer.command("add")
@click.argument("name")
@click.option("--provider", "owner", help="Bind him to one provider; without it he is a vault reviewer.")
@json_option
def reviewer_add(name: str, owner: str | None, *, as_json: bool) -> None:
    """Enrol the reviewer NAME and print his credentials, the secret this once.

    A bound reviewer sees and unites at his provider only. A vault reviewer's word counts across providers.
    """
    with open_vault() as vault:
        show(vault.enrolling.add_reviewer(name, owner), as_json=as_json)


@reviewer.command("list")
@json_option
def reviewer_list(*, as_json: bool) -> None:
    """List the reviewers."""
    with open_vault() as vault:
        _list(vault.enrolling.listed("reviewer"), "reviewers", as_json=as_json)


@reviewer.command("disable")
@click.argument("name")
@json_option
def reviewer_disable(name: str, *, as_json: bool) -> None:
    """Disable the reviewer NAME (or client id) at once: the key agent opens nothing for him any more."""
    with open_vault() as vault:
        vault.enrolling.disable_reviewer(name)
        show({"name": name, "state": "disabled"}, as_json=as_json)


@click.group()
def operator() -> None:
    """Enrol, list and disable operators: who watch the vault's metrics and see nobody's records."""


@operator.command("add")
@click.argument("name")
@json_option
def operator_add(name: str, *, as_json: bool) -> None:
    """Enrol the operator NAME and print his credentials, the secret this once. His scope is `metrics`."""
    with open_vault() as vault:
        show(vault.enrolling.add_operator(name), as_json=as_json)


@operator.command("list")
@json_option
def operator_list(*, as_json: bool) -> None:
    """List the operators."""
    with open_vault() as vault:
        _list(vault.enrolling.listed("operator"), "operators", as_json=as_json)


@operator.command("disable")
@click.argument("name")
@json_option
def operator_disable(name: str, *, as_json: bool) -> None:
    """Disable the operator NAME (or client id) at once."""
    with open_vault() as vault:
        vault.enrolling.disable_operator(name)
        show({"name": name, "state": "disabled"}, as_json=as_json)
