"""idvault-keys open-package: what was disclosed, for its recipient, at his own machine and without the vault."""

import json
from pathlib import Path
from typing import Final

import click

from keys import disclosures, officers
from keys.cli.seat import asked_passphrase, json_option, passphrase_option, read_secret
from keys.errors import OfficerError

MAX_BYTES: Final = 1024 * 1024


@click.command("open-package")
@click.argument("package", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as", "file", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="The recipient's own key file.")  # fmt: skip
@passphrase_option
@json_option
def open_package(package: Path, file: Path, passphrase_file: Path | None, *, as_json: bool) -> None:
    """Open PACKAGE, as GET /v1/disclosures/…/package gave it out, and print what was disclosed.

    \b
    The recipient of a disclosure makes a key file once, and hands out his card; it goes into the order:
      idvault-keys officer new court.officer --name "Local court Bonn, registry"
      idvault-keys open-package package.json --as court.officer

    It opens for that file alone, and only as the officers signed it. Nothing is written to the disk.
    """  # noqa: D301 - \b keeps click from wrapping the lines
    try:
        raw = package.read_bytes()[: MAX_BYTES + 1]
        passphrase = asked_passphrase() if passphrase_file is None else read_secret(passphrase_file)
        found = disclosures.open_package(raw, officers.open_file(file, passphrase))
    except OSError:
        raise click.ClickException("PACKAGE: it cannot be read") from None
    except OfficerError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    detail = found["request"]["detail"]
    click.echo(f"disclosure  {found['id']}, made {found['made']}")
    for name in ("case", "legal_basis", "authority", "ordered_by", "retrieved_by"):
        click.echo(f"{name:<12}{detail[name]}")
    click.echo(f"record      {found['state']}, by the word of: {found['assurance']}")
    for name, value in found["fields"].items():
        click.echo(f"  {name}: {json.dumps(value, ensure_ascii=False)}")
