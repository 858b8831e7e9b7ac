"""idvault-keys backup, restore: the key store alone. The work is that of `idvault`, which reaches the stores.

And idvault-keys officers export: what officers did, kept beside the mirror of the log for the day of a restore.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import orjson

from keys.carrying import Carried
from keys.cli.beside import agent
from keys.cli.seat import failing, home_option, json_option, sockets_option
from keys.errors import BackupError
from keys.files import replace_durably

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
@click.option("--officers", "officers_file", type=_FILE, help="What officers did after it: `officers export`.")
@click.option("--new-share-file", "new_share_files", multiple=True, type=_FILE, metavar="FILE",
              help="With --officers: a share of who is an officer since, where they are others.")  # fmt: skip
@click.option("--lose-officer-changes", is_flag=True, help="Go on though officers changed something after it.")
@home_option
@json_option
def restore(folder: Path, key_file: Path, share_files: tuple[Path, ...], passphrase_file: Path | None,
            officers_file: Path | None, new_share_files: tuple[Path, ...], home: Path, *, lose_later: bool,
            lose_officer_changes: bool, as_json: bool) -> None:  # fmt: skip
    """Bring the key store alone back from FOLDER, under stores that lived on: `idvault restore --keys-alone`.

    The vault's own log tells what came after the backup: who was erased is erased again, agreements that may have been
    revoked are, requests are withdrawn. Acts on records that the backup does not know are named first, and lost with
    --lose-later: `idvault fsck` then says whom they concern. It may be killed and said again.
    """
    said = ["restore", str(folder), "--key-file", str(key_file), "--keys-alone"]
    said += [part for file in share_files for part in ("--share-file", str(file))]
    said += [part for file in new_share_files for part in ("--new-share-file", str(file))]
    said += [] if passphrase_file is None else ["--passphrase-file", str(passphrase_file)]
    said += [] if officers_file is None else ["--officers", str(officers_file)]
    said += ["--lose-later"] if lose_later else []
    said += ["--lose-officer-changes"] if lose_officer_changes else []
    sys.exit(idvault(home, said, as_json=as_json))


@click.group()
def officers() -> None:
    """Keep what officers did elsewhere than in the vault, for the day on which an older backup comes back."""


@officers.command()
@click.argument("file", type=_FILE)
@home_option
@sockets_option
@json_option
def export(file: Path, home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """Write the chain of officers to FILE, over an older one: as often as `idvault log mirror`, and beside the mirror.

    After a restore it says who is an officer and what was used, so that nobody who left comes back by an older backup.
    It is sealed: it opens in a restore of this vault alone. FILE is for its owner alone (mode 0600).
    """
    with failing():
        with agent(home, sockets) as client:
            made = client.call("officers.export", {})
        _check_replaceable(file, Carried.parse(made["file"]))
        try:
            replace_durably(file, made["file"], 0o600)
        except OSError:
            raise BackupError("FILE: the folder cannot be written") from None
    found = {"file": str(file), "records": made["number"] + 1}
    click.echo(orjson.dumps(found).decode() if as_json else f"{found['records']} records of officers")


def _check_replaceable(file: Path, made: Carried) -> None:
    """Check that a file is of this vault, and no later than what is to be written over it."""
    try:
        there = Carried.parse(file.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, BackupError):
        raise BackupError("FILE: there is another file of this name; it is never written over") from None
    if there.deployment != made.deployment:
        raise BackupError("FILE: of another vault; it is never written over")
    if there.head.number > made.head.number:
        raise BackupError(
            f"FILE: it has {there.head.number + 1} records, this vault {made.head.number + 1}: the vault was put back "
            "to an earlier state; keep FILE, and restore a newer backup"
        )
