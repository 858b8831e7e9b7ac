"""idvault-keys keys, rotate, rewrap, destroy: the life of the keys, beside the agent."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from keys.agent.client import AgentClient
from keys.cli.backup import idvault
from keys.cli.beside import agent
from keys.cli.seat import failing, home_option, json_option, sockets_option
from keys.uses import to_rotate

PURPOSES: Final = ("kek", "token", "link", "fingerprint", "signing", "log")
EXIT_BAD: Final = 4
_BATCH: Final = 2000
_AT_A_TIME: Final = min(os.cpu_count() or 1, 8)
_RID_BITS: Final = 128
_PASSES: Final = 5
"""Records that are changed while a batch is sealed wait for the next pass."""
_LISTED: Final = {"sign/es256": "signing", "sign/log": "log"}
"""What `keys` and `status` call a key, to what officers say."""
_OF_SECTOR: Final = ("token", "link")
_SECTOR = click.option("--sector", default="", help="The provider's sector, whose token key it is.")
_WORDS: Final = {
    "kek": "of names",
    "token": "of one provider's tokens",
    "link": "of one provider's links",
    "fingerprint": "of tags",
    "signing": "of signed answers",
    "log": "of checkpoints",
}


class _Purpose(click.Choice[str]):
    """The name of a key: as officers say it, or as it is listed; `token/S` and `link/S` have their sector in it."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name that officers say; that of a sector's key stays whole."""
        kind, _, sector = value.partition("/")
        return value if kind in _OF_SECTOR and sector else super().convert(_LISTED.get(value, value), param, ctx)


_PURPOSE = click.argument("purpose", type=_Purpose(PURPOSES))


def _key(purpose: str, sector: str) -> tuple[str, str]:
    """Return (purpose, sector), of which either may name the sector.

    Raises:
        UsageError: they name two.
    """
    kind, _, named = purpose.partition("/")
    if named and sector not in ("", named):
        raise click.UsageError("--sector: PURPOSE names another one")
    return kind, named or sector


def _beside_agent(command: Callable[..., None]) -> Callable[..., None]:
    return home_option(sockets_option(json_option(command)))


def _asked(home: Path, sockets: Path | None, verb: str, args: Mapping[str, Any]) -> dict[str, Any]:
    with agent(home, sockets) as client:
        return client.call(verb, dict(args))


def _show(found: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    if "pending" in found:
        found = {"request": found["pending"], "state": "pending"}
        text = f"{found['request']}  pending: officers approve it (idvault-keys approve); then say the same again"
    click.echo(orjson.dumps(dict(found)).decode() if as_json else text)


@click.command("keys")
@_beside_agent
def list_keys(home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """List all keys by purpose, sector and version, with their states (NIST SP 800-57) and days.

    Of each version of `kek` it says how many records lie under it, and how often it sealed: at most, for uses are set
    aside before they are made. From nine tenths of IDVAULT_KEK_USES on it says that it is to be rotated.
    """
    with failing():
        found = _asked(home, sockets, "keys.list", {})
    if as_json:
        click.echo(orjson.dumps(found).decode())
        return
    table = Table()
    for column in ("purpose", "sector", "version", "state", "since", "records", "uses"):
        table.add_column(column)
    for key in found["keys"]:
        day = datetime.fromtimestamp(key["created"], UTC).date().isoformat()
        used = ("unknown" if key["uses"] is None else str(key["uses"])) if "uses" in key else ""
        records = str(key.get("records", ""))
        table.add_row(key["purpose"], key["sector"], str(key["version"]), key["state"], day, records, used)
    Console().print(table)
    for key in found["keys"]:
        if key["state"] == "active" and "uses" in key and (why := to_rotate(key["uses"], key["limit"])):
            click.echo(f"idvault-keys: kek version {key['version']} {why}: idvault-keys rotate kek", err=True)


@click.command()
@_PURPOSE
@_SECTOR
@click.option("--from", "begun", type=click.IntRange(min=1), help="The version to be followed: makes a retry safe.")
@click.option("--compromised", is_flag=True, help="Mark the version before as compromised, not as deactivated.")
@_beside_agent
def rotate(purpose: str, sector: str, begun: int | None, home: Path, sockets: Path | None, *, compromised: bool,
           as_json: bool) -> None:  # fmt: skip
    """Give the key PURPOSE its next version, which protects from now on.

    \b
    kek       wraps each record's own keys. What it wrapped opens as before; `rewrap` seals it anew, online.
    token     makes one provider's tokens (--sector). Its old tokens go on being good: POST /v1/tokens/translate
              gives that provider, and only it, the new ones. They end with `destroy`.
    link      leads from a provider's registrants to their records (--sector), and tells one person there. Both
              versions are written and asked until `idvault retag` has made everybody's anew, and ended that.
    fingerprint   makes the tags by which people are recognised; as `link`.
    signing   signs introspection answers (RFC 9701). /jwks.json shows both versions until the old one is destroyed.
    log       signs checkpoints of the public log. Both versions sign until the old one is destroyed, so that whoever
              knows one of them goes on verifying; `idvault log checkpoint` prints the new one.

    In a vault of officers this prints a request, and is said again in the same words once they approved it. It takes
    one transaction, whatever the number of records. Keys may be named as `keys` lists them, too: sign/es256, sign/log;
    token/S and link/S are those of the sector S.
    """  # noqa: D301 - \b keeps click from wrapping the lines
    purpose, sector = _key(purpose, sector)
    args = {"purpose": purpose, "sector": sector, "from": begun or 0, "compromised": compromised}
    with failing():
        found = _asked(home, sockets, "keys.rotate", args)
    text = ""
    if "pending" not in found:
        text = (
            f"{purpose}: version {found['version']} is in force; version {found['version'] - 1} is {found['former']}."
        )
        if purpose == "kek":
            text += "\nSeal what it wrapped anew: idvault-keys rewrap"
        if purpose in ("link", "fingerprint"):
            text += "\nBoth are written and asked until everybody's are made anew: idvault retag"
    _show(found, text, as_json=as_json)


@click.command()
@click.option("--batch", type=click.IntRange(1, 5000), default=_BATCH, show_default=True, help="Records a transaction.")
@click.option("--deep", is_flag=True, help="Give each record another key, and seal its fields anew under it.")
@_beside_agent
def rewrap(batch: int, home: Path, sockets: Path | None, *, deep: bool, as_json: bool) -> None:
    """Seal the keys of all records anew under the newest key encryption key, beside the traffic.

    It can be cut off at any time and said again: each batch is one transaction. It ends when nothing is left under
    former versions, and says so; then `destroy` takes them. After the first batch it has a process for each processor,
    which yields to everything else.

    After a compromise, --deep does more: who read records' own keys can open their fields as they lie, and not those
    that are sealed under other keys. It re-wraps first; in a vault of officers it then prints a request, and is said
    again once that was approved. It ends by `idvault reseal`, which reads and writes the identity store.
    """
    if deep:
        _deep(home, sockets, batch, as_json=as_json)
        return
    columns = (TextColumn("sealed anew"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"),
               TimeRemainingColumn())  # fmt: skip
    console, begun, sealed, left, version, altered = Console(stderr=True), time.monotonic(), 0, 0, 0, 0
    bar_of = Progress(*columns, console=console, disable=as_json or not console.is_terminal)
    with failing(), agent(home, sockets) as client, bar_of as bars:
        bar = bars.add_task("", total=None, rate="")
        for found in batches(client, batch):
            sealed, version, altered = sealed + found["sealed"], found["version"], altered + found["altered"]
            if found["left"] >= 0:
                left = found["left"]
                bars.update(bar, total=sealed + left)
            bars.update(bar, completed=sealed, rate=f"{sealed / (time.monotonic() - begun):,.0f} keys/s")
    done = {"version": version, "sealed": sealed, "left": left, "seconds": round(time.monotonic() - begun, 3)}
    text = f"{sealed} keys sealed anew under version {version}; {left} are left under former versions."
    _show(done, text, as_json=as_json)
    if altered:
        click.echo("idvault-keys: records were altered by another hand and stay as they are: idvault fsck", err=True)
        sys.exit(EXIT_BAD)


def _deep(home: Path, sockets: Path | None, batch: int, *, as_json: bool) -> None:
    """Re-wrap, begin, and hand over to the command that reaches the identity store."""
    with failing(), agent(home, sockets) as client:
        for _ in batches(client, batch):
            continue
        found = client.call("deep.begin", {"sure": True})
        if "pending" in found:
            _show(found, "", as_json=as_json)
            return
        sys.exit(idvault(home, ["reseal"], as_json=as_json))


def batches(client: AgentClient, batch: int) -> Iterator[dict[str, Any]]:
    """Have batch after batch sealed anew until nothing is left, or what is left keeps being changed by others."""
    for _ in range(_PASSES):
        first = client.call("keys.rewrap", {"after": b"", "until": b"", "batch": batch})
        yield first
        altered = first["altered"]
        if first["after"]:
            for found in _at_once(client, first["after"], batch):
                altered += found["altered"]
                yield found
        elif first["left"] == 0:
            return
        if altered:
            return


def _at_once(client: AgentClient, after: bytes, batch: int) -> Iterator[dict[str, Any]]:
    """Have what comes behind a rid sealed anew in as many parts at a time as there are processors."""
    told: Queue[dict[str, Any] | Exception | None] = Queue()

    def part(begin: bytes, end: bytes) -> None:
        try:
            with closing(client):  # this thread's connection
                while begin:
                    found = client.call("keys.rewrap", {"after": begin, "until": end, "batch": batch})
                    told.put(found)
                    begin = found["after"]
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits
            told.put(error)
        finally:
            told.put(None)

    # Ids of records are random, so that parts of their range hold equally many.
    first, last = int.from_bytes(after, "big"), 2**_RID_BITS - 1
    bounds = [(first + (last - first) * n // _AT_A_TIME).to_bytes(16, "big") for n in range(_AT_A_TIME + 1)]
    threads = [Thread(target=part, args=ends, daemon=True) for ends in pairwise(bounds)]
    for thread in threads:
        thread.start()
    for _ in threads:
        while (found := told.get()) is not None:
            if isinstance(found, Exception):
                raise found
            yield found


@click.command()
@click.argument("purpose", type=_Purpose([*PURPOSES, "sector"]))
@_SECTOR
@click.option("--version", type=click.IntRange(min=1), help="Which version; of `sector` all of them go.")
@click.option("--yes", "sure", is_flag=True, help="Do it; without this it is only said what would be done.")
@click.option("--lose-bans", is_flag=True,
              help="Of fingerprint: end bans of the erased known by it (idvault retag: how many).")  # fmt: skip
@_beside_agent
def destroy(purpose: str, sector: str, version: int | None, home: Path, sockets: Path | None, *, sure: bool,
            lose_bans: bool, as_json: bool) -> None:  # fmt: skip
    """Destroy a former version of the key PURPOSE for good; refused while anything is sealed under it.

    A destroyed `token` version ends the tokens that it made. In a vault of officers this prints a request, and is said
    again once they approved it. PURPOSE is named as in `rotate`.

    \b
    sector    ends all token and link keys of one provider's sector (--sector): its tokens lead to nobody any more, and
              nobody can follow them or bring them back. Erase first, through that provider, whom it owes erasure.
    """  # noqa: D301 - \b keeps click from wrapping the lines
    if purpose == "sector":
        if version is not None or not sector:
            raise click.UsageError("sector: with --sector, and without --version")
        _destroy_sector(sector, home, sockets, sure=sure, as_json=as_json)
        return
    if version is None:
        raise click.UsageError("Missing option '--version'.")
    purpose, sector = _key(purpose, sector)
    args = {"purpose": purpose, "sector": sector, "version": version, "sure": sure, "lose_bans": lose_bans}
    with failing():
        found = _asked(home, sockets, "keys.destroy", args)
    text = f"{purpose} {_WORDS[purpose]}, version {version}: "
    if sure:
        text += "destroyed"
    else:
        text += f"{found['state']}, {found['references']} keys are sealed under it"
        text += "; say it with --yes to destroy it." if not found["references"] else "; idvault-keys rewrap first."
    _show(found, text, as_json=as_json)


def _destroy_sector(sector: str, home: Path, sockets: Path | None, *, sure: bool, as_json: bool) -> None:
    with failing():
        found = _asked(home, sockets, "keys.destroy_sector", {"sector": sector, "sure": sure})
    text = f"sector {sector}: destroyed; its tokens lead to nobody. Now: idvault provider suspend"
    if not sure:
        text = f"sector {sector}: {found['state']}"
        if found["state"] == "active":
            held = ", ".join(f"{number} of {purpose}" for purpose, number in found["versions"].items())
            text += f", versions: {held}; {found['agreements']} agreements in force; say it with --yes to destroy it"
    _show(found, text, as_json=as_json)
