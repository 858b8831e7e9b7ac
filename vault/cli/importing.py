"""idvault import"""

import io
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from keys.agent.process import settle_interpreter
from vault.cli.common import json_option, open_vault, served, show
from vault.errors import StartError
from vault.importing import rows
from vault.importing.sender import Sender, remote_token
from vault.services.reviewing import METHODS

_CHUNK_ROWS: Final = 1000
_CONNECTIONS: Final = 5


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--provider", required=True, help="Whose accounts these are: name or client id.")
@click.option(
    "--state", type=click.Choice(["in_review", "legacy"]), default="in_review", show_default=True,
    help="in_review: rows with identities, into the review queue. legacy: accounts without, which may read.",
)  # fmt: skip
@click.option("--refused", type=click.Path(dir_okay=False, path_type=Path), help="Write refused rows here, JSON Lines.")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), help="Write what rows became, JSON Lines.")
@click.option("--dry-run", is_flag=True, help="Check every row; make nothing.")
@click.option("--undo", is_flag=True, help="Take back the import of this file, within 72 hours of its begin.")
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl"]), help="Where the file's ending does not say.")
@click.option("--kind", "account_kind", type=click.Choice(["personal", "public"]), help="Of rows without a kind.")
@click.option("--terms", help="The version of the terms that people accepted, of rows without `accepts`.")
@click.option("--chunk-rows", type=click.IntRange(1, 1000), default=_CHUNK_ROWS, show_default=True,
              help="Rows in a request.")  # fmt: skip
@click.option("--connections", type=click.IntRange(1, 64), default=_CONNECTIONS, show_default=True,
              help="Requests under way at once.")  # fmt: skip
@click.option("--url", help="A vault elsewhere; with --client-id and --secret-file.")
@click.option("--client-id", help="The provider's client id at that vault.")
@click.option("--secret-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its secret.")
@json_option
def import_(file: Path, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's own
    """Import the accounts in FILE (CSV or JSON Lines), a chunk of rows a request.

    A row is a registration as in POST /v1/registrations; a CSV names members with dots, such as identity.legal_name
    (docs/import.md). Rows that break a rule are refused by row, member and rule, never with the value; all others
    are imported. Cut off, the same command goes on where it was and doubles nobody.

    \b
    Examples:
      idvault import people.csv --provider chat --terms 2026-01 --dry-run --refused refused.jsonl
      idvault import people.csv --provider chat --terms 2026-01 --results made.jsonl
      idvault import people.csv --provider chat --terms 2026-01 --undo
    """  # noqa: D301 - \b keeps click from wrapping the list
    format_ = rows.format_of(file, options["kind"])
    defaults = _defaults(options)
    decides = {"format": format_, "defaults": defaults, "chunk_rows": options["chunk_rows"]}
    with _sender(options) as sender:
        body = {"state": options["state"], "file": rows.digest(file, decides), "dry_run": options["dry_run"]}
        begun = sender.call("POST", "/v1/imports", body)
        if options["undo"]:
            _undo(sender, begun["id"], as_json=as_json)
            return
        _say_if_resumed(begun, as_json=as_json)
        started = time.monotonic()
        sent = _send(sender, file, format_, defaults, begun, options, quiet=as_json)
        result = sender.call("GET", f"/v1/imports/{begun['id']}")
        for name in ("refused", "results"):
            if options[name] is not None:
                _write(options[name], sender.pages(f"/v1/imports/{begun['id']}/{name}"))
    seconds = time.monotonic() - started
    _show(result | {"seconds": round(seconds, 3), "rows_per_second": round(sent / seconds)}, options, as_json=as_json)


def _defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    if options["account_kind"] is not None:
        defaults["kind"] = options["account_kind"]
    if options["terms"] is not None:
        defaults["terms_version"] = options["terms"]
    return defaults


@contextmanager
def _sender(options: Mapping[str, Any]) -> Iterator[Sender]:
    """Have a client of a vault elsewhere, or of this one, which is served for the command's time where it is not."""
    if options["url"] is not None:
        if options["client_id"] is None or options["secret_file"] is None:
            raise StartError("--url needs --client-id and --secret-file")
        secret = options["secret_file"].read_text().strip()
        yield Sender(options["url"], remote_token(options["url"], options["client_id"], secret))
        return
    with ExitStack() as open_:
        vault = open_.enter_context(open_vault())
        vault.peek(*vault.settings.role_sockets)  # shut, it would never be ready: that is told here, by its exit code
        url, token = open_.enter_context(served(vault.settings)), ""

        def local_token(renew: bool) -> str:  # noqa: FBT001 - the sender's own call
            nonlocal token
            if renew or not token:
                token = vault.access.issue_named(options["provider"])
            return token

        yield Sender(url, local_token)


def _send(
    sender: Sender,
    file: Path,
    format_: str,
    defaults: Mapping[str, Any],
    begun: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    quiet: bool,
) -> int:
    """Send what does not stand yet; return how many rows that was."""
    settle_interpreter()
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    size, sent, refused, started = file.stat().st_size, 0, 0, time.monotonic()
    with (
        file.open("rb") as stream,
        io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text,
        Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bars,
    ):
        bar = bars.add_task("importing", total=size, said="")
        found = rows.chunks(rows.read(stream, text, format_, defaults), options["chunk_rows"])
        for told in sender.send(begun["id"], _missing(found, begun["chunks"]), options["connections"]):
            sent, refused = sent + told.rows, refused + told.refused
            rate = sent / (time.monotonic() - started)
            bars.update(bar, completed=stream.tell(), said=f"{sent:,} rows, {refused:,} refused, {rate:,.0f}/s")
        bars.update(bar, completed=size)
    return sent


def _missing(
    found: Iterable[tuple[int, int, list[Any]]], stand: list[list[int]]
) -> Iterator[tuple[int, int, list[Any]]]:
    """Return the chunks that do not stand yet."""
    for chunk in found:
        if not any(first <= chunk[0] <= last for first, last in stand):
            yield chunk


def _say_if_resumed(begun: Mapping[str, Any], *, as_json: bool) -> None:
    if begun["rows"] and not as_json:
        click.echo(f"idvault: going on with {begun['id']}, of which {begun['rows']:,} rows stand", err=True)


def _undo(sender: Sender, import_id: str, *, as_json: bool) -> None:
    kept: list[int] = []
    while True:
        answer = sender.call("POST", f"/v1/imports/{import_id}/undo")
        kept += answer["kept"]
        if answer["undone"]:
            break
        if not as_json:
            click.echo("idvault: undoing…", err=True)
    rows_kept = sorted(set(kept))
    if as_json:
        click.echo(orjson.dumps({"id": import_id, "undone": True, "kept": rows_kept}).decode())
    else:
        click.echo(f"undone; {len(rows_kept)} rows became part of another person, or a case holds them, and stay")


def _write(file: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Write items, a line each; the file is there whole or not at all."""
    partial = file.with_name(file.name + ".part")
    with partial.open("wb") as stream:
        partial.chmod(0o600)
        for item in items:
            stream.write(orjson.dumps(item) + b"\n")
    partial.replace(file)


def _show(result: Mapping[str, Any], options: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps({name: value for name, value in result.items() if name != "chunks"}).decode())
        return
    made = "would be imported" if result["dry_run"] else "imported"
    click.echo(
        f"{result['id']}: {result['accepted']:,} of {result['rows']:,} rows {made}, {result['refused']:,} refused"
    )
    if result["refused"] and options["refused"] is None:
        click.echo("Which and why: the same command with --refused FILE.")
    if not result["dry_run"]:
        click.echo(f"To take it back until {result['undo_until']}: the same command with --undo.")


@click.command("approve-import")
@click.argument("import_id", metavar="IMPORT")
@click.option("--method", required=True, type=click.Choice(sorted(METHODS)), help="How these people were identified.")
@json_option
def approve_import(import_id: str, method: str, *, as_json: bool) -> None:
    """Approve the registrations of IMPORT (imp_…) as a whole, by the officers' word; who matches somebody is left.

    In a vault of officers this prints a request, and is said again in the same words once they approved that many
    registrations of that provider. Cut off, it goes on when it is said again. Those who match somebody, exactly or
    nearly, stay in the reviewers' queue. A vault reviewer does the same by POST /v1/imports/IMPORT/decision.
    """
    console = Console(stderr=True)
    columns = (TextColumn("approving {task.completed:,} registrations"), TextColumn("{task.fields[rate]}"))
    begun = time.monotonic()
    with open_vault() as vault, Progress(*columns, console=console, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task("", total=None, rate="")

        def progress(done: int) -> None:
            bar.update(task, completed=done, rate=f"{done / (time.monotonic() - begun):,.0f}/s")

        found = vault.approving.approve_by_officers(import_id, method, progress)
    show(found, as_json=as_json)
