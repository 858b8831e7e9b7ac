"""idvault-keys backup, restore: the key store alone. The work is that of `idvault`, which reaches the stores."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from keys.cli.seat import home_option, json_option

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


def idvault(home: Path, said: Sequence[str], *, as_json: bool) -> int:
    """Have `idvault` do what reaches other stores than the keys; return its exit code.

    This package does not know it: where it is installed, it is beside.
    """
    sys.stdout.flush()
    command = [sys.executable, "-m", "vault.cli.main", *said, *(["--json"] if as_json else [])]
    return subprocess.call(command, env={**os.environ, "IDVAULT_HOME": str(home)})  # noqa: S603 - our own module


@click.command()
@_FOLDER
@click.option("--key-file", required=True, type=_FILE, help="Where the backup keys are written; not in FOLDER.")
@home_option
@json_option
def backup(folder: Path, key_file: Path, home: Path, *, as_json: bool) -> None:
    """Back the key store alone up into FOLDER, while the vault is used: `idvault backup --keys-alone`.

    It opens for M officers of its generation alone, and runs out with its backup key, as whole backups do. Keep it
    beside whole ones, not in their place: it is of use where the other stores lived on.
    """
    sys.exit(idvault(home, ["backup", str(folder), "--key-file", str(key_file), "--keys-alone"], as_json=as_json))


@click.command()
@_FOLDER
@click.option("--key-file", required=True, type=_FILE, help="The key file of that time, or a later one.")
@click.option("--share-file", "share_files", multiple=True, type=_FILE, metavar="FILE",
              help="An officer's share, as `idvault-keys confirm --paper` wrote it; once for each.")  # fmt: skip
@click.option("--passphrase-file", type=_FILE, help="The passphrase, of a vault that one opens.")
@click.option("--lose-later", is_flag=True, help="Go on though acts on records came after the backup.")
@click.option("--lose-officer-changes", is_flag=True, help="Go on though officers changed something after it.")
@home_option
@json_option
def restore(folder: Path, key_file: Path, share_files: tuple[Path, ...], passphrase_file: Path | None, home: Path, *,
            lose_later: bool, lose_officer_changes: bool, as_json: bool) -> None:  # fmt: skip
    """Bring the key store alone back from FOLDER, under stores that lived on: `idvault restore --keys-alone`.

    The vault's own log tells what came after the backup: who was erased is erased again, agreements that may have been
    revoked are, requests are withdrawn. Acts on records that the backup does not know are named first, and lost with
    --lose-later: `idvault fsck` then says whom they concern. It may be killed and said again.
    """
    said = ["restore", str(folder), "--key-file", str(key_file), "--keys-alone"]
    said += [part for file in share_files for part in ("--share-file", str(file))]
    said += [] if passphrase_file is None else ["--passphrase-file", str(passphrase_file)]
    said += ["--lose-later"] if lose_later else []
    said += ["--lose-officer-changes"] if lose_officer_changes else []
    sys.exit(idvault(home, said, as_json=as_json))
