"""idvault-keys request, requests, show, approve, reject, withdraw, watch, rekey and replace-officer: for several."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import rfc8785

from keys.chain import rekey_kind
from keys.cli.ceremony import card_in
from keys.cli.seat import Seat, seated
from keys.errors import OfficerError, QuorumError
from keys.officers import Card, words_of
from keys.quorum import Approval, Kind, Request

_ASKED: Final = ("policy", "raise-budget", "rekey", "destroy-sector", "defer-notice")
"""Kinds that an officer asks for by himself; the others begin with a command on the host or a provider's call."""
_BY_SHARES: Final = {
    "end-lockdown": "idvault-keys unseal --as FILE, said by M officers, each with his share",
    "restore": "idvault restore, with the shares of M officers from paper",
}
"""Kinds for which M shares are given, which no approval can take the place of: nothing else opens what is shut."""
_HOURS: Final = 72
_WATCH_SECONDS: Final = 5
_YES = click.option("--yes", is_flag=True, help="Do not ask whether exactly this is to be signed.")
_HOURS_OPTION = click.option(
    "--hours", type=click.IntRange(1, 720), default=_HOURS, show_default=True, help="How long it waits for signatures."
)
_THRESHOLD = click.option(
    "--threshold", "-m", type=int, help="How many are needed from then on; default: as many as now."
)
_NO_SPARE = click.option(
    "--no-spare", is_flag=True, help="Take M = N above 2, though one lost share then loses the vault."
)
_REPLACE = click.option(
    "--replace", is_flag=True, help="Begin anew in place of a ceremony that waits: its shares become void."
)


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice((*_ASKED, *_BY_SHARES)))
@click.argument("subject", default="")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A member of the detail; VALUE as JSON.")
@_HOURS_OPTION
@_YES
@seated
def request(seat: Seat, kind: str, subject: str, given: tuple[str, ...], hours: int, *, yes: bool) -> None:
    """Ask for an act of KIND on SUBJECT, and sign it as the first.

    \b
      idvault-keys request raise-budget creates_per_hour --set per_hour=500000 --as anna.officer
      idvault-keys request policy --set disclose=3 --as anna.officer      disclosures then need three
      idvault-keys request policy --set 'by_officers=["disclose"]' --as anna.officer     only once shares opened it
      idvault-keys request rekey --as anna.officer                        the ceremony that waits, once it is confirmed
      idvault-keys request destroy-sector chat.example --as anna.officer  then, on the host: idvault-keys destroy sector
      idvault-keys request defer-notice dis_… --set days=90 --set ordered_by="…" --set law="…" --as anna.officer

    The asker's signature is one of those that are needed; another person must sign too. What a command on the host asks
    for (`idvault provider add` and the like) is listed by `requests`; `approve` signs it.
    """  # noqa: D301 - \b keeps click from wrapping the lines
    if kind in _BY_SHARES:
        raise click.UsageError(f"{kind} takes no request: {_BY_SHARES[kind]}")
    seat.look()
    state = seat.ask("look", {})
    chosen, detail = Kind(kind), dict(_member(text) for text in given)
    if chosen is Kind.POLICY:
        by_officers = detail.pop("by_officers", state["policy"].get("by_officers", []))
        more = {**state["policy"]["more"], **detail}
        detail = {"threshold": state["policy"]["threshold"], "more": {name: n for name, n in more.items() if n}}
        detail |= {"by_officers": sorted(by_officers)} if by_officers else {}
    if chosen is Kind.REKEY:
        chosen, detail = _rekeying(seat, state)
    _ask(seat, state, chosen, subject, detail, hours, yes=yes)


def _member(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise click.UsageError("--set: NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _rekeying(seat: Seat, state: Mapping[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """Return the kind and the detail of the request that puts the waiting ceremony in force."""
    waiting = seat.ask("ceremony", {})
    if waiting["missing"]:
        raise OfficerError(f"ceremony: {waiting['missing']} more must confirm first: idvault-keys confirm")
    cards = [Card.parse(text) for text in waiting["cards"]]
    for card in cards:
        click.echo(f"officer   {card.name}: {' '.join(card.words())}", err=True)
    detail = {name: waiting[name] for name in ("ceremony", "cards", "confirmations")}
    if waiting["ceremony"]["threshold"] == len(cards) > 2:  # noqa: PLR2004 - two persons can have no spare
        detail["no_spare"] = True
    return rekey_kind(
        frozenset(one["key"] for one in state["officers"]), frozenset(card.key_id for card in cards)
    ), detail


def _ask(
    seat: Seat, state: Mapping[str, Any], kind: Kind, subject: str, detail: Mapping[str, Any], hours: int, *, yes: bool
) -> None:
    stated = seat.look_again()
    # By the vault's clock: officers' clocks may be days apart, and the vault judges by its own.
    made = Request.of(
        stated.deployment, stated.generation, kind, subject, detail, seat.card, int(state["now"]), hours * 3600
    )
    _show_request(json.loads(bytes(made)), made.digest)
    _sure(yes=yes)
    approval = Approval.of(made.digest, seat.card, seat.officer.signer, made.expires)
    found = seat.ask("ask", {"request": json.loads(bytes(made)), "approval": approval.plain()})
    seat.tell(found, _line(found))


def _sure(*, yes: bool) -> None:
    if not yes:
        click.confirm("Sign exactly this?", abort=True, err=True)


def _show_request(said: Mapping[str, Any], digest: bytes) -> None:
    """Show all that is signed, and words for its digest that two officers can compare by voice."""
    detail = dict(said["detail"])
    shown = [
        f"kind      {said['kind']}",
        f"subject   {said['subject'] or '-'}",
        f"detail    {json.dumps(_short(detail), ensure_ascii=True, sort_keys=True)}",
    ]
    if "expires" in said:
        shown += [f"expires   {_time(said['expires'])}", f"words     {' '.join(words_of(digest))}"]
    click.echo("\n".join(shown), err=True)


def _short(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return a detail with cards by their names and words, and without what is no person's to read."""
    shown = {name: value for name, value in detail.items() if name not in {"cards", "ceremony", "confirmations"}}
    if "cards" in detail:
        cards = [Card.parse(text) for text in detail["cards"]]
        shown["officers"] = {card.name: " ".join(card.words()) for card in cards}
    if "recipient" in detail:
        card = Card.parse(str(detail["recipient"]))
        shown["recipient"] = f"{card.name}: {' '.join(card.words())}"
    if "ceremony" in detail:
        shown["threshold"], shown["generation"] = (detail["ceremony"][name] for name in ("threshold", "generation"))
    return shown


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _line(found: Mapping[str, Any]) -> str:
    if found["state"] == "altered":
        return f"{found['id']}  altered in the key store"
    told = f"{found['id']}  {found['kind']} {found['subject']}: {found['state']}".replace(" :", ":")
    if found["state"] in {"pending", "proposed"}:
        told += f", {found['missing']} more must approve"
    for one in found["against"]:
        told += f"\n  against: {one['name']}: {one['reason']}"
    return told


@click.command()
@seated
def requests(seat: Seat) -> None:
    """List what waits for officers, and what was done lately."""
    seat.look()
    found = seat.ask("look", {})["requests"]
    seat.tell({"requests": found}, "\n".join(_line(one) for one in found) or "Nothing waits.")


@click.command()
@click.argument("request_id", metavar="ID")
@seated
def show(seat: Seat, request_id: str) -> None:
    """Show the request ID whole, as it is to be signed, with who approved it and who is against it."""
    seat.look()
    found = seat.ask("show", {"request": request_id})
    _show_request(found["request"], bytes.fromhex(found["digest"]))
    by = ", ".join(found["approved"]) or "nobody"
    seat.tell(found, f"{_line(found)}\n  approved by {by}; {found['needed']} needed")


@click.command()
@click.argument("request_id", metavar="ID")
@_HOURS_OPTION
@_YES
@seated
def approve(seat: Seat, request_id: str, hours: int, *, yes: bool) -> None:
    """Sign the request ID: exactly what is shown, and nothing else. May be said again.

    Of what a command on the host proposed, the first officer who approves becomes the one who asks.
    """
    stated = seat.look()
    found = seat.ask("show", {"request": request_id})
    if found["state"] == "proposed":
        said = found["request"]
        detail = {**said["detail"], "proposal": found["id"]}
        _ask(seat, found, Kind(said["kind"]), str(said["subject"]), detail, hours, yes=yes)
        return
    made = Request.parse(rfc8785.dumps(found["request"]))
    if made.deployment != stated.deployment or made.generation != stated.generation:
        raise QuorumError("request: of another vault, or of another generation of officers; nothing was signed")
    _show_request(found["request"], made.digest)
    _sure(yes=yes)
    approval = Approval.of(made.digest, seat.card, seat.officer.signer, made.expires)
    answer = seat.ask("approve", {"request": made.digest.hex(), "approval": approval.plain()})
    seat.tell(answer, _line(answer))


@click.command()
@click.argument("request_id", metavar="ID")
@click.option("--reason", required=True, help="Why; it is shown to the others. Name no person of the records.")
@seated
def reject(seat: Seat, request_id: str, reason: str) -> None:
    """Say that you are against the request ID, and why. It is shown and logged; it ends nothing by itself."""
    seat.look()
    found = seat.ask("object", {"request": request_id, "reason": reason})
    seat.tell(found, _line(found))


@click.command()
@click.argument("request_id", metavar="ID")
@seated
def withdraw(seat: Seat, request_id: str) -> None:
    """Withdraw the request ID that you asked for yourself."""
    seat.look()
    found = seat.ask("withdraw", {"request": request_id})
    seat.tell(found, _line(found))


@click.command()
@click.option("--times", type=click.IntRange(1), help="How often to look; default: until it is interrupted.")
@seated
def watch(seat: Seat, times: int | None) -> None:
    """Watch the vault: print each request when it changes, and the state of names when that does."""
    seen: dict[str, str] = {}
    seat.look()
    looked = 0
    while times is None or looked < times:
        state = seat.ask("look", {})
        told = {"names": f"names     {state['names']}"} | {one["id"]: _line(one) for one in state["requests"]}
        for name, line in told.items():
            if seen.get(name) != line:
                seat.tell({"changed": name, "line": line}, line)
        seen, looked = told, looked + 1
        if times is None or looked < times:
            time.sleep(_WATCH_SECONDS)


@click.command()
@click.option("--add", "added", multiple=True, type=click.Path(dir_okay=False, path_type=Path), metavar="CARD",
              help="A file with the card of an officer to come.")  # fmt: skip
@click.option("--remove", "removed", multiple=True, metavar="NAME", help="An officer who leaves, by name or key id.")
@_THRESHOLD
@_NO_SPARE
@_REPLACE
@seated
def rekey(seat: Seat, added: tuple[Path, ...], removed: tuple[str, ...], threshold: int | None, *, no_spare: bool,
          replace: bool) -> None:  # fmt: skip
    """Begin another ceremony: a new root key and new shares, for the same officers or for others.

    Nothing changes until it is in force. The order of it:

    \b
      idvault-keys rekey --remove "Nikos" --add petra.card --as anna.officer
      idvault-keys confirm --as FILE              each officer to come: his new share opens
      idvault-keys request rekey --as FILE        one who is in force, once M confirmed
      idvault-keys approve ID --as FILE           the others in force

    From then on the old shares, old paper and old approvals are worthless.
    """  # noqa: D301 - \b keeps click from wrapping the lines
    seat.look()
    state = seat.ask("look", {})
    cards = [Card.parse(text) for text in state["cards"]]
    for name in removed:
        if not any(name in {card.name, card.key_id} for card in cards):
            raise OfficerError("--remove: no officer of that name or key id; see idvault-keys status")
        cards = [card for card in cards if name not in {card.name, card.key_id}]
    cards += [card_in(path) for path in added]
    _begin(seat, cards, threshold or state["threshold"], no_spare=no_spare, replace=replace)


@click.command("replace-officer")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW", type=click.Path(dir_okay=False, path_type=Path))
@_THRESHOLD
@_NO_SPARE
@_REPLACE
@seated
def replace_officer(seat: Seat, old: str, new: Path, threshold: int | None, *, no_spare: bool, replace: bool) -> None:
    """Begin a ceremony in which the officer whose card is in the file NEW takes the place of OLD (name or key id).

    It is `rekey --remove OLD --add NEW`, and goes on as that does: those who are to be officers `confirm`, then one
    who is in force says `request rekey`, and others `approve` it. Until then OLD is an officer, and his share is good.
    """
    seat.look()
    state = seat.ask("look", {})
    cards = [Card.parse(text) for text in state["cards"]]
    staying = [card for card in cards if old not in {card.name, card.key_id}]
    if len(staying) != len(cards) - 1:
        raise OfficerError("OLD: no officer of that name or key id, or several; see idvault-keys status --json")
    _begin(seat, [*staying, card_in(new)], threshold or state["threshold"], no_spare=no_spare, replace=replace)


def _begin(seat: Seat, cards: list[Card], threshold: int, *, no_spare: bool, replace: bool) -> None:
    """Begin the ceremony of these officers."""
    args = {"cards": [str(card) for card in cards], "threshold": threshold, "no_spare": no_spare, "replace": replace}
    found = seat.ask("rekey", args)
    told = [f"officer   {card.name}: {' '.join(card.words())}" for card in cards]
    told.append(f"Generation {found['generation']} waits; each of these says: idvault-keys confirm --as FILE")
    seat.tell(found | {"officers": [card.name for card in cards]}, "\n".join(told))
