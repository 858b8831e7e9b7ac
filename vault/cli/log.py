"""idvault log …"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from keys.errors import NoteError, ProofError
from vault import running
from vault.cli.common import json_option, open_vault, prepared, show
from vault.config import Settings
from vault.domain.clock import SystemClock, epoch
from vault.errors import Kind, StartError, VaultError
from vault.log import receipts, sources
from vault.log.cosignatures import holds
from vault.log.policy import Policy
from vault.log.proofs import LogProof
from vault.log.sources import CHECKPOINT, Read, SourceError
from vault.log.verify import BadLogError, Head, Verified, continues, head_of, verify
from vault.services.reading_log import LogReader
from vault.stores.leading import leading
from vault.wiring import Vault, build_refilling, build_sequencer

EXIT_VERIFICATION_FAILED: Final = 4
_SIGNED_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.2
_LEAD_SECONDS: Final = 5.0
"""How long a refill waits for the sequencer to be gone, and a command for it to sign a first checkpoint."""
_MISSING: Final = "checkpoint is missing"
_WHERE: Final = "A folder that mirrors the log, an export, or a URL; without it this vault's own log."
from_option = click.option("--from", "where", help=_WHERE)


@click.group()
def log() -> None:
    """Show, copy and verify the public log of what was done.

    Of a vault that was never served, a command that reads its own log has the first checkpoint signed.
    """


@contextmanager
def own_log() -> Iterator[Vault]:
    """Have the vault, with a checkpoint of its log: where none ever was, what waits is written and one is signed.

    Raises:
        BadLogError: the agent has signed one, and the log store has none: it was lost.
        StartError: none was signed, and it is for another process to sign the first.
    """
    with open_vault() as vault:
        if not vault.log.has_checkpoint():
            _, signed = vault.log.signed_last()
            if signed.size:
                raise BadLogError(_MISSING)
            _sign_first(vault.settings)
            if not vault.log.has_checkpoint():
                raise StartError("this log has no checkpoint yet; idvault serve or idvault sequencer signs the first")
        yield vault


def _sign_first(settings: Settings) -> None:
    """Do a round of the sequencer, unless another process is to, or does."""
    if not settings.sequences or running.is_separate(settings):
        return
    ending, (made, store) = threading.Event(), build_sequencer(settings)
    timer = threading.Timer(_LEAD_SECONDS, ending.set)
    timer.start()
    try:
        with leading(store, settings.home / ".sequencing", ending) as leads:
            if leads():
                made.once()
    finally:
        timer.cancel()
        made.close()


@contextmanager
def read_from(where: str | None) -> Iterator[Read]:
    """Have what reads a log's files: of this vault, or of what `where` names.

    Raises:
        BadLogError: this vault's own log lost its checkpoint.
        StartError: a log cannot be read from there.
    """
    try:
        if where is None:
            with own_log() as vault:
                yield vault.log.read
        else:
            yield sources.reader(where)
    except SourceError as error:
        raise StartError(str(error)) from None


def _newest(reader: LogReader) -> tuple[bytes, str, Head]:
    """Return the newest checkpoint, the newest key, and what they say; right after a rotation, once it has signed.

    Raises:
        StartError: it does not.
    """
    end = time.monotonic() + _SIGNED_SECONDS
    while True:
        note, (key, _) = reader.checkpoint(), reader.signed_last()
        try:
            return note, key, head_of(note, key)
        except BadLogError as error:
            if time.monotonic() > end:
                raise StartError(f"{error}; after a rotation it signs the next one: does the sequencer run?") from None
        time.sleep(_PAUSE_SECONDS)


@log.command()
@json_option
def checkpoint(*, as_json: bool) -> None:
    """Print the newest checkpoint of this vault's log, and the key that verifies it.

    Give the key to whoever is to verify the log, by a way of its own: a log that says its own key proves nothing.
    """
    with own_log() as vault:
        note, key, head = _newest(vault.log)
    if as_json:
        found = {"origin": head.origin, "size": head.size, "root": head.root.hex(), "key": key, "note": note.decode()}
        show(found, as_json=True)
        return
    click.echo(note.decode(), nl=False)
    click.echo(f"idvault: verify it with --key {key}", err=True)


@log.command(name="verify")
@click.argument("where", required=False)
@click.option(
    "--key", help="The log's public key; it must come from elsewhere than the log. Without WHERE: the agent's."
)
@click.option(
    "--since",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help="A checkpoint that was kept: the log must still begin with it. May be given more than once.",
)
@click.option(
    "--policy",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A policy of witnesses (c2sp.org/tlog-policy): the checkpoint must have their quorum.",
)
@json_option
def verify_(where: str | None, key: str | None, since: tuple[Path, ...], policy: Path | None, *, as_json: bool) -> None:
    """Recompute a whole log from its entries, and name the first that is not as it must be. Exit code 4 then.

    WHERE is a folder that mirrors it, an export, or a URL such as https://vault.example/log; without it, this vault's
    own log. A checkpoint that was kept earlier (--since) shows whether the end was cut off or the tree replaced.
    Witnesses (--policy) saw that each checkpoint which they signed continues the one before: with their quorum nobody
    was shown another log.
    """
    witnesses = None if policy is None else _policy(policy)
    if where is not None and key is None:
        key = _only_log(witnesses)
    try:
        found = _verified(where, key, since, witnesses, quiet=as_json)
    except BadLogError as error:
        if as_json:
            click.echo(orjson.dumps({"verified": False, "entry": error.index, "problem": str(error)}).decode())
        else:
            click.echo(f"BAD  {error}")
        sys.exit(EXIT_VERIFICATION_FAILED)
    shown: dict[str, Any] = {
        "verified": True, "origin": found.head.origin, "size": found.head.size, "root": found.head.root.hex(),
        "overdue": found.overdue,
    }  # fmt: skip
    show(shown | ({"types": found.types} if as_json else found.types), as_json=as_json)


def _policy(path: Path) -> Policy:
    try:
        return Policy.parse(path.read_bytes())
    except (OSError, NoteError):
        raise StartError("--policy: the file cannot be read as a policy of witnesses") from None


def _only_log(policy: Policy | None) -> str:
    """Return the key of the one log that a policy names."""
    if policy is None or len(policy.logs) != 1:
        raise StartError("--key: the public key of the log is needed; idvault log checkpoint prints it")
    return str(policy.logs[0].key)


def _verified(
    where: str | None, key: str | None, since: tuple[Path, ...], policy: Policy | None, *, quiet: bool
) -> Verified:
    read: Read
    with ExitStack() as open_:
        if where is None:
            vault = open_.enter_context(own_log())
            read, own = vault.log.read, key or vault.log.signed_last()[0]
        else:
            read, own = open_.enter_context(read_from(where)), str(key)
        note = _need_checkpoint(read)
        found = verified(lambda name: note if name == CHECKPOINT else read(name), own, quiet=quiet)
    if policy is not None:
        try:
            policy.check_note(note)
        except NoteError as error:
            raise BadLogError(str(error)) from None
    for path in since:
        continues(found, _kept(path, own))
    return found


def _need_checkpoint(read: Read) -> bytes:
    try:
        return read(CHECKPOINT)
    except FileNotFoundError:
        raise BadLogError(_MISSING) from None


def verified(read: Read, key: str, *, quiet: bool) -> Verified:
    """Return a log that was recomputed whole, with a progress bar unless quiet.

    Raises:
        BadLogError: it is not what its checkpoint says.
    """
    console, minute = Console(stderr=True), epoch(SystemClock().now()) // 60
    with Progress(console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("entries", total=None)
        return verify(read, key, minute, lambda done: bar.update(task, completed=done))


def _kept(path: Path, key: str) -> Head:
    try:
        return head_of(path.read_bytes(), key)
    except OSError:
        raise StartError("--since: the file cannot be read") from None


@log.command()
@click.argument("index", type=click.IntRange(0))
@click.argument("proof", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--entry", type=click.Path(dir_okay=False, path_type=Path), help="Write the entry itself here.")
@json_option
def proof(index: int, proof: Path, entry: Path | None, *, as_json: bool) -> None:
    """Write the proof (c2sp.org/tlog-proof) that entry INDEX is in the newest checkpoint of this vault's log."""
    with own_log() as vault:
        try:
            made, raw = vault.log.proof(index)
        except VaultError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            raise StartError("INDEX: the newest checkpoint has no such entry") from None
    proof.write_text(str(made))
    if entry is not None:
        entry.write_bytes(raw)
    show({"index": index, "proof": str(proof), "entry": raw.decode()}, as_json=as_json)


@log.command()
@click.option("--from", "where", required=True, help="A folder that mirrors this log, an export, or a URL.")
@json_option
def refill(where: str, *, as_json: bool) -> None:
    """Fill this vault's log store up from a copy, after an older store was put back. Stop `idvault serve` first.

    The copy is verified, must reach what the agent signed last, and must begin with what the store still has. What lay
    sealed beside the entries that are filled in is in no copy, and stays lost.
    """
    settings, ending = prepared(), threading.Event()
    console = Console(stderr=True)
    timer = threading.Timer(_LEAD_SECONDS, ending.set)
    with running.agent(settings), read_from(where) as read, Progress(console=console, disable=as_json) as bar:
        made, store = build_refilling(settings)
        task = bar.add_task("entries", total=None)
        timer.start()
        with leading(store, settings.home / ".sequencing", ending) as leads:
            timer.cancel()
            if not leads():
                raise StartError("the sequencer runs; stop idvault serve, or idvault sequencer, first")
            minute = epoch(SystemClock().now()) // 60
            try:
                done = made.refill(read, minute, lambda count: bar.update(task, completed=count))
            except BadLogError as error:
                click.echo(f"idvault: {error}", err=True)
                sys.exit(EXIT_VERIFICATION_FAILED)
            except FileNotFoundError:
                raise StartError("--from: there is no whole log") from None
    show({"before": done.before, "after": done.after, "rows that were told already": done.settled}, as_json=as_json)


@log.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--key", help="The log's public key; it must come from elsewhere than the receipt.")
@click.option(
    "--policy",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A policy of log and witnesses (c2sp.org/tlog-policy) in place of the key.",
)
@click.option(
    "--jwks",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The vault's /jwks.json, kept from before: by which it states receipts of registrations.",
)
@json_option
def receipt(file: Path, key: str | None, policy: Path | None, jwks: Path | None, *, as_json: bool) -> None:
    """Check a receipt, as GET /v1/sanctions/{id}/receipt gives it: that the log tells this act. Exit code 4 if not.

    It needs no connection: the receipt holds the proof and the checkpoint. One of GET /v1/registrations/{id}/receipts
    needs --jwks.
    """
    if (key is None) == (policy is None):
        raise StartError("--key or --policy: what the checkpoint is to be signed by is needed")
    try:
        known = Policy.parse(f"log {key}\nquorum none\n".encode()) if policy is None else _policy(policy)
        said = receipts.parse(file.read_bytes())
        index = receipts.check(said, known.keys(), holds, [] if jwks is None else receipts.keys_of(jwks.read_bytes()))
        known.check_note(str(LogProof.parse(said["proof"].encode()).checkpoint).encode())
    except OSError:
        raise StartError("the file cannot be read") from None
    except (NoteError, ProofError) as error:
        click.echo(f"idvault: {error}", err=True)
        sys.exit(EXIT_VERIFICATION_FAILED)
    show({"entry": index, **{name: said[name] for name in ("act", "object", "client", "minute")}}, as_json=as_json)


@log.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@from_option
@json_option
def export(file: Path, where: str | None, *, as_json: bool) -> None:
    """Write the whole log into one new file: a tar archive of what a mirror holds."""
    with read_from(where) as read:
        size = sources.export(read, file)
    show({"file": str(file), "size": size}, as_json=as_json)


@log.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@from_option
@json_option
def mirror(folder: Path, where: str | None, *, as_json: bool) -> None:
    """Bring a folder up to the log, for any static host to serve: tiles first, the checkpoint last."""
    with read_from(where) as read:
        size, fetched = sources.mirror(read, folder)
    show({"folder": str(folder), "size": size, "fetched": fetched}, as_json=as_json)
