"""idvault backup, idvault restore: a copy of the whole vault, and a vault that comes back from it."""

import sys
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from keys.backups import Keeper
from keys.carrying import Carried
from keys.cli.ceremony import read_paper
from keys.cli.seat import asked_passphrase, read_secret
from keys.errors import BackupError
from keys.restoring import OfficersLater, RootKey, needed, root_of_ceremony, root_of_seal, root_of_shares
from keys.seals.shares import Ceremony
from vault import backups, restores, restores_of_keys, running
from vault.cli.common import json_option, open_vault, show
from vault.config import STORES, load
from vault.domain.clock import SystemClock, epoch
from vault.errors import StartError
from vault.log import sources
from vault.log.sources import SourceError
from vault.log.verify import BadLogError

EXIT_VERIFICATION_FAILED: Final = 4
_ANOTHER: Final = "another restore runs here; wait until it ends: where it fails, say this one again"
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


def _bar(*, as_json: bool) -> Progress:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=as_json or not console.is_terminal)


def _now() -> int:
    return epoch(SystemClock().now())


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--key-file", required=True, type=_FILE,
              help="Where the backup keys are written, sealed under the root key; not in FOLDER.")  # fmt: skip
@click.option("--keys-alone", is_flag=True, help="The key store alone: small, and good beside stores that live on.")
@json_option
def backup(folder: Path, key_file: Path, *, keys_alone: bool, as_json: bool) -> None:
    """Back the whole vault up into FOLDER, while it is being used: all four stores at one moment.

    The key store's part is sealed under a backup key that is replaced each month. What opens it is written to the key
    file: keep that on another machine than the backups, in its newest form alone, for then what it has no key for any
    more opens nowhere, and who was erased stays erased. It opens under the root key alone: for M officers.

    Keep a mirror of the log too (idvault log mirror): it says what came after a backup.
    """
    with open_vault() as vault, _bar(as_json=as_json) as bar:
        task = bar.add_task("copying", total=None)
        made = backups.make(
            vault.settings, vault.officer, folder, key_file, _now(),
            lambda rows: bar.update(task, description=f"{rows:,} rows copied"),
            (restores_of_keys.KEYS,) if keys_alone else STORES,
        )  # fmt: skip
    said = made.manifest.said
    found = {
        "backup": said["id"], "rows": made.rows, "bytes": sum(one["bytes"] for one in said["files"].values()),
        "log": said["log"]["size"], "generation": said["generation"], "backup_key": said["key"]["version"],
        "folder": str(folder), "key_file": str(key_file),
    }  # fmt: skip
    show(found, as_json=as_json)


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("--key-file", type=_FILE, help="The key file of that time, or a later one of the same officers.")
@click.option("--mirror", help="A copy of the log that is newer than the backup: a folder, an export, or a URL.")
@click.option("--no-mirror", is_flag=True, help="Nothing came after the backup: the vault was shut down before it.")
@click.option("--share-file", "share_files", multiple=True, type=_FILE, metavar="FILE",
              help="An officer's share, as `idvault-keys confirm --paper` wrote it; once for each.")  # fmt: skip
@click.option("--passphrase-file", type=_FILE, help="The passphrase, of a vault that one opens.")
@click.option("--officers", "officers_file", type=_FILE,
              help="What officers did after the backup, as `idvault-keys officers export` wrote it.")  # fmt: skip
@click.option("--new-share-file", "new_share_files", multiple=True, type=_FILE, metavar="FILE",
              help="With --officers: a share of who is an officer since, where they are others.")  # fmt: skip
@click.option("--lose-officer-changes", is_flag=True,
              help="Go on though officers changed something after the backup. Hold a rekey at once.")  # fmt: skip
@click.option("--keys-alone", is_flag=True,
              help="The key store alone, under stores and a log that lived on; without a mirror.")  # fmt: skip
@click.option("--lose-later", is_flag=True,
              help="With --keys-alone: go on though acts on records came after the backup.")  # fmt: skip
@click.option("--check", is_flag=True, help="Check the backup without any key, say what it is, and restore nothing.")
@json_option
def restore(folder: Path, key_file: Path | None, mirror: str | None, share_files: tuple[Path, ...],
            passphrase_file: Path | None, officers_file: Path | None, new_share_files: tuple[Path, ...], *,
            no_mirror: bool, lose_officer_changes: bool, keys_alone: bool, lose_later: bool, check: bool,
            as_json: bool) -> None:  # fmt: skip
    """Bring a vault back from a backup in FOLDER, on a machine or in databases that hold none.

    M officers of the backup's generation give their shares, from paper or by --share-file. What the log tells of later
    is carried out before anybody is served: who was erased since is erased again, agreements are revoked where one was.
    What officers did since comes from --officers: who left is no officer, and no approval counts twice. Where they are
    others since, M of them give their shares too, and theirs alone open the vault. Without that file a restore stops
    where the log tells of such changes. What else came after the backup is lost: tell the providers that the result
    names to compare what they hold with what the vault says.

    With --keys-alone the key store alone comes back, where the others lived on: what acts on records made since is
    lost with their keys, and said before anything is done.

    It may be killed and said again. Afterwards start the vault; M officers unseal it, and each first says
    `idvault-keys trust`, since its agent has another identity here. Exit code 4 where something does not hold.
    """
    settings = load()
    try:
        read = backups.Backup.read(folder)
        if check:
            show(_shown(read.told(), as_json=as_json), as_json=as_json)
            return
        if keys_alone and (mirror is not None or no_mirror):
            raise StartError("--keys-alone: the vault's own log tells what came later; no --mirror")
        if key_file is None or (not keys_alone and (mirror is None) == (not no_mirror)):
            raise StartError("--key-file is needed, and --mirror or --no-mirror")
        if no_mirror and officers_file is not None:
            raise StartError("--officers: what came later is said by the log; --mirror is needed")
        keeper, carried = _keeper(key_file), None if officers_file is None else _carried(officers_file)
        (restores_of_keys if keys_alone else restores).check_empty(settings)
        root = _root(keeper, share_files, passphrase_file)
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with running.alone(settings.home / ".restoring", _ANOTHER), _bar(as_json=as_json) as bar:
            task = bar.add_task("restoring", total=None)

            def progress(rows: int) -> None:
                bar.update(task, description=f"{rows:,} rows restored")

            def root_of(record: Ceremony) -> RootKey:
                bar.stop()  # which would write over what is asked
                return root_of_ceremony(record, _shares(new_share_files, record.threshold, "New share"))

            officers = OfficersLater(carried, root_of, lose_officer_changes)
            if keys_alone:
                found = restores_of_keys.restore(
                    settings, read, keeper, root, _now, progress, officers, lose_later=lose_later
                )
            else:
                found = restores.restore(
                    settings, read, keeper, root, sources.reader(mirror) if mirror is not None else None, _now,
                    progress, officers,
                )  # fmt: skip
    except (BackupError, BadLogError, SourceError) as error:
        click.echo(f"idvault: {error}", err=True)
        sys.exit(EXIT_VERIFICATION_FAILED)
    except FileNotFoundError:
        raise StartError("--mirror: there is no whole log") from None
    show(_shown(found, as_json=as_json), as_json=as_json)


def _shown(found: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    if as_json:
        return found
    return {name: " ".join(value) if isinstance(value, list) else value for name, value in found.items()}


def _keeper(path: Path) -> Keeper:
    try:
        return Keeper.parse(path.read_bytes())
    except OSError:
        raise BackupError("key file: cannot be read") from None


def _carried(path: Path) -> Carried:
    try:
        return Carried.parse(path.read_bytes())
    except OSError:
        raise BackupError("officers' file: cannot be read") from None


def _root(keeper: Keeper, share_files: tuple[Path, ...], passphrase_file: Path | None) -> RootKey:
    """Have the root key, by shares where there are officers, else by the seal."""
    if not keeper.ceremony:
        return root_of_seal(
            keeper, lambda: read_secret(passphrase_file) if passphrase_file is not None else asked_passphrase()
        )
    return root_of_shares(keeper, _shares(share_files, needed(keeper), "Share"))


def _shares(files: tuple[Path, ...], threshold: int, asked_for: str) -> list[str]:
    """Have as many shares as are needed, from paper in files or from the terminal."""
    shares = [read_paper(path) for path in files]
    return shares + [
        click.prompt(f"{asked_for} {number} of {threshold}", hide_input=True, err=True)
        for number in range(len(shares) + 1, threshold + 1)
    ]
