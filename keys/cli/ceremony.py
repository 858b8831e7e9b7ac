"""idvault-keys init, trust, confirm, unseal, verify-share: the keys come into being, and are opened, by M of N."""

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any, Final

import click
import orjson
import rfc8785

from keys.chain import Record
from keys.cli.beside import running_agent
from keys.cli.seat import Seat, failing, home_option, json_option, read_secret, seated, sockets_option
from keys.errors import KeysError, OfficerError, OpenError, ShareError
from keys.files import create_durably
from keys.identity import Statement, words
from keys.officers import PREFIX, Card, read_card
from keys.pins import Pins
from keys.quorum import Approval
from keys.seals.shares import Ceremony, Collecting, opened

CONFIRMATION_SECONDS: Final = 7 * 86_400
"""How long a confirmation may wait for the others'; officers' clocks may be days apart."""
words_option = click.option(
    "--words", metavar="WORDS", help="The agent's ten words, as they were told by voice: compared instead of asked for."
)


@click.command()
@click.argument("cards", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--threshold", "-m", required=True, type=int, help="How many of them are needed: M.")
@click.option("--no-spare", is_flag=True, help="Take M = N above 2, though one lost share then loses the vault.")
@click.option("--replace", is_flag=True, help="Begin anew in place of a ceremony that waits: its shares become void.")
@home_option
@sockets_option
@json_option
def init(cards: tuple[Path, ...], threshold: int, home: Path, sockets: Path | None, *, no_spare: bool, replace: bool,
         as_json: bool) -> None:  # fmt: skip
    """Begin the first ceremony of a vault, for the officers of CARDS: one file with a card each.

    Runs beside the agent of a vault that was made with `idvault db upgrade --officers`, or of one with the development
    seal, which officers take over. The agent makes a root key, splits it, seals a share to each card, and forgets it.
    Nothing is in force until M officers confirmed that their shares open:

    \b
      idvault-keys init --threshold 2 anna.card maria.card nikos.card
      idvault-keys confirm --as maria.officer --vault https://vault.example       each on a machine of his own

    Read the words that this command prints to each officer by voice.
    """  # noqa: D301 - \b keeps click from wrapping the lines
    with failing():
        read = [card_in(path) for path in cards]
        with running_agent(home, sockets) as client:
            made = client.call("begin", {
                "cards": [str(card) for card in read], "threshold": threshold, "no_spare": no_spare, "replace": replace,
            })  # fmt: skip
    officers = [{"name": card.name, "key": card.key_id, "words": card.words()} for card in read]
    found = {"state": "pending", "threshold": threshold, "officers": officers, **made}
    if as_json:
        click.echo(orjson.dumps(found).decode())
        return
    click.echo(f"{threshold} of {len(read)} officers; nothing is in force until {threshold} confirmed their shares.")
    click.echo(f"\nagent     {' '.join(made['agent'])}")
    for card in read:
        click.echo(f"officer   {card.name}: {' '.join(card.words())}")
    click.echo("\nRead the agent's words to each officer by voice. Each then says on a machine of his own:")
    click.echo("  idvault-keys confirm --as FILE --vault URL")


def card_in(path: Path) -> Card:
    """Return the card in a file: an officer's own, or one that holds nothing but a card.

    Raises:
        OfficerError: it cannot be read, or holds none.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        raise OfficerError(f"{path.name}: cannot be read") from None
    return Card.parse(text) if text.startswith(PREFIX) else read_card(path)


@click.command()
@words_option
@seated
def trust(seat: Seat, words: str | None) -> None:
    """Remember the vault's agent, once its ten words were compared by voice.

    `confirm` does the same at the ceremony. Use this on a new machine, or after the agent was set up anew.
    """
    stated = _first_look(seat, words)
    seat.tell({"agent": _words_of(stated), "vault": seat.line.url}, "This officer knows the vault now.")


def _first_look(seat: Seat, words: str | None) -> Statement:
    """Return what an agent states whose words were compared, and remember it; a share that is remembered stays."""
    stated = seat.line.statement()
    pins = seat.pins
    if pins is not None and pins.agent == stated.agent:
        pins.check(stated)
    seat.show(stated, [])
    _compare(stated, words)
    made = Pins.of(seat.line.url, stated)
    if pins is not None and pins.deployment == stated.deployment:
        made = pins.trusting(seat.line.url, stated)
    seat.trust(made, stated)
    return stated


def _words_of(stated: Statement) -> list[str]:
    return words(stated.agent)


def _compare(stated: Statement, told: str | None) -> None:
    """Have the agent's words compared with what was told by voice.

    Raises:
        OfficerError: they are others.
    """
    if told is not None:
        if told.lower().split() != _words_of(stated):
            raise OfficerError("--words: not the words of the agent that answers; nothing was sent")
        return
    question = "Are the agent's words those that you were told by voice?"
    if not click.confirm(question, err=True):
        raise OfficerError("the agent's words are others than were told; nothing was sent, and nothing is remembered")


@click.command()
@words_option
@click.option("--paper", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the share's words to a new file, mode 0600, to be printed and kept on paper.")  # fmt: skip
@seated
def confirm(seat: Seat, words: str | None, paper: Path | None) -> None:
    """Confirm a ceremony: that this officer's share opens, and that the officers are those who were agreed on.

    The agent's words are compared, the share is fetched sealed, opened on this machine and held against the public
    record, and given to the agent with the officer's signature. With M confirmations the vault's keys are made, and it
    is open. May be said again.
    """
    stated = seat.look() if seat.pins is not None else _first_look(seat, words)
    found = seat.ask("share", {"waiting": True})
    record, first, sealed = _ceremony(seat, found, stated)
    if found["waiting"] and words is None:
        question = "Are these the officers, and is this the number of them, that were agreed on?"
        click.confirm(question, abort=True, err=True)
    share = opened(seat.officer, record, sealed)
    seat.remember((seat.pins or Pins.of(seat.line.url, stated)).with_share(record, sealed).seen(stated))
    if paper is not None:
        _write_paper(paper, seat, record, share)
    if not found["waiting"]:
        seat.ask("proved", {"ceremony": record.digest.hex()})
        seat.tell({"ceremony": record.digest.hex(), "needed": 0}, "In force already; this officer's share opens.")
        return
    digest = bytes.fromhex(Record(first, ()).digest) if first else record.digest
    approval = Approval.of(digest, seat.card, seat.officer.signer, int(time.time()) + CONFIRMATION_SECONDS)
    answer = seat.ask("confirm", {"ceremony": record.digest.hex(), "share": share, "approval": approval.plain()})
    needed = int(answer["needed"])
    told = f"Confirmed; {needed} more must confirm."
    if not needed and first and stated.names == "open":
        told = "Confirmed; the development seal is gone, and the vault is sealed: idvault-keys unseal"
    elif not needed:
        told = "Confirmed; the vault's keys are made, and it is open."
    if not needed and not first:
        told = "Confirmed; an officer in force can ask for it now: idvault-keys request rekey"
    seat.tell({"ceremony": record.digest.hex(), "needed": needed}, told)


def _ceremony(seat: Seat, found: dict[str, Any], stated: Statement) -> tuple[Ceremony, bytes, bytes]:
    """Return (record, what the first record of the chain says or nothing, sealed share), held against each other.

    Raises:
        OfficerError: they are not of one ceremony of this vault, or the officers are not those who were agreed on.
    """
    try:
        raw, first, sealed = (base64.b64decode(found[part], validate=True) for part in ("record", "first", "sealed"))
        record, cards = Ceremony.parse(raw), [Card.parse(text) for text in found["cards"]]
        said = json.loads(first) if first else None
    except (ValueError, KeyError, TypeError, RecursionError, ShareError, OfficerError):
        raise OfficerError("ceremony: not of its form; nothing was confirmed") from None
    if record.deployment != stated.deployment or tuple(card.key_id for card in cards) != record.keys:
        raise OfficerError("ceremony: of another vault, or of other officers; nothing was confirmed")
    if said is not None and (
        rfc8785.dumps(said.get("ceremony")) != raw
        or said.get("cards") != [str(card) for card in cards]
        or said.get("policy") != {"threshold": record.threshold, "more": {}}
    ):
        raise OfficerError("ceremony: what is to be signed is of other officers or rules; nothing was confirmed")
    click.echo(f"ceremony  {record.threshold} of {len(cards)}, generation {record.generation}", err=True)
    for card in cards:
        mine = "   (you)" if card == seat.card else ""
        click.echo(f"officer   {card.name}: {' '.join(card.words())}{mine}", err=True)
    return record, first, sealed


def _write_paper(path: Path, seat: Seat, record: Ceremony, share: str) -> None:
    lines = [
        f"idvault share of {seat.card.name}", f"deployment {record.deployment.hex()}",
        f"generation {record.generation}, set {record.set_id}, {record.threshold} of {len(record.keys)}", "",
        *(f"{number:2}  {word}" for number, word in enumerate(share.split(), 1)), "",
    ]  # fmt: skip
    try:
        create_durably(path, "\n".join(lines).encode())
    except FileExistsError:
        raise OfficerError("--paper: there is a file already; it is never overwritten") from None
    except OSError:
        raise OfficerError("--paper: the folder cannot be written") from None


def _own_share(seat: Seat, paper: Path | None, *, typed: bool) -> tuple[Ceremony, str]:
    """Return the record and this officer's share: from paper, or sealed on this machine.

    Raises:
        OfficerError: this machine has none.
        ShareError: mistyped, or of another set.
    """
    pins = seat.pins
    if pins is None or not (pins.record or pins.next_record):
        raise OfficerError("this officer has confirmed no share yet: idvault-keys confirm")
    record = Ceremony.parse(pins.record or pins.next_record)
    if paper is not None or typed:
        share = read_paper(paper) if paper is not None else click.prompt("Share", hide_input=True, err=True)
        Collecting(record).give(share, seat.card.key_id)
        return record, " ".join(share.lower().split())
    try:
        return record, opened(seat.officer, record, pins.sealed if pins.record else pins.next_sealed)
    except OpenError:
        raise OfficerError("the share on this machine does not open with this officer's keys") from None


def read_paper(path: Path) -> str:
    """Return the words of a paper file as `confirm` writes it, or of a file with the words in its first line."""
    first = read_secret(path, "--share-file")
    if not first.startswith("idvault share"):
        return first
    lines = [line.split() for line in path.read_text().splitlines()]
    return " ".join(parts[1] for parts in lines if len(parts) == 2 and parts[0].isdigit())  # noqa: PLR2004 - number, word


share_file_option = click.option(
    "--share-file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Take the share from a paper's file instead of this machine.",
)  # fmt: skip
type_option = click.option("--type", "typed", is_flag=True, help="Type the share from paper; it is not shown.")


@click.command("verify-share")
@share_file_option
@type_option
@click.option("--tell", is_flag=True, help="Tell the vault, which shows when each officer last proved his share.")
@seated
def verify_share(seat: Seat, share_file: Path | None, *, typed: bool, tell: bool) -> None:
    """Prove, on this machine, that this officer's share opens and is of the ceremony that he confirmed.

    Do it every quarter, from this machine and from paper, so that a share that was lost is found out while the others
    are enough.
    """
    record, _ = _own_share(seat, share_file, typed=typed)
    found = {
        "deployment": record.deployment.hex(), "generation": record.generation, "set": record.set_id,
        "threshold": record.threshold, "officers": len(record.keys), "share": "opens",
    }  # fmt: skip
    if tell:
        seat.look()
        seat.ask("proved", {"ceremony": record.digest.hex()})
    of = f"{record.threshold} of {len(record.keys)}"
    seat.tell(found, f"The share opens: generation {record.generation}, {of}, set {record.set_id}.")


def unseal_as(seat: Seat, share_file: Path | None, *, directory: bool, typed: bool) -> None:
    """Give this officer's share to unseal the vault, or standing alone."""
    stated = seat.look()
    if share_file is None and not typed:
        _renew(seat, stated)
    _, share = _own_share(seat, share_file, typed=typed)
    try:
        needed = int(seat.ask("unseal", {"share": share, "directory": directory})["needed"])
    except ShareError as error:
        # A share that was given before is no fault: a retry after a lost answer says the same.
        needed = _still_needed(seat, error, directory=directory)
    if not needed:
        # Whoever opens standing alone is ended once it is; what comes after it says lockdown.
        seat.await_names("lockdown" if directory else "open")
    what = "Standing is open." if directory else "The vault is open."
    seat.tell({"needed": needed}, f"Given; still needed: {needed}." if needed else what)


def _renew(seat: Seat, stated: Statement) -> None:
    """Fetch this officer's share where another ceremony is in force than that of the share on this machine."""
    pins = (seat.pins or Pins.of(seat.line.url, stated)).seen(stated)
    if stated.ceremony in {hashlib.sha256(pins.record).hexdigest(), ""}:
        seat.remember(pins)
        return
    record, _, sealed = _ceremony(seat, seat.ask("share", {}), stated)
    if record.digest.hex() != stated.ceremony:
        raise OfficerError("share: not of the ceremony that the agent states to be in force")
    opened(seat.officer, record, sealed)
    seat.remember(pins.with_share(record, sealed).seen(stated))


def _still_needed(seat: Seat, error: KeysError, *, directory: bool) -> int:
    if "already provided" not in str(error):
        raise error
    needed = seat.ask("look", {})["needed"].get("directory" if directory else "names", 0)
    return int(needed)
