"""The acts `disclose.ask`, `disclose.show`, `disclose` and `orders.due`: names leave the vault by due process alone.

Whoever asks names one account, one case and the fields; M officers sign every word of it; the agent finds the record
behind the account by itself, opens what was named and nothing else, and seals it to the recipient. The approvals are
used, the package and its audit row written in one transaction: so it happens once, and never unseen.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from keys import audit, budgets, disclosures, ended, records, requests
from keys.agent.acts import deferring
from keys.agent.acts.matching import ask_records
from keys.agent.arguments import Args, mapping, sealed_fields, text
from keys.agent.names import Names, Standing, check_named, open_record
from keys.agent.wire import Dialogue
from keys.disclosures import Made
from keys.engine import reading, writing
from keys.errors import BudgetError, ConflictError, EndedError, MissingError, OpenError, QuorumError, RefusedError
from keys.orders import DAY_SECONDS, Disclosure, case_of
from keys.quorum import Kind
from keys.requests import Held, Stage

BUDGET: Final = "disclosures"
AT_ONCE: Final = 100
MOST_OPEN: Final = 50
"""How many disclosures of one client may wait for officers: each is for them to read."""
_ORDERED: Final = ("case", "legal_basis", "authority", "ordered_by", "retrieved_by", "fields", "recipient",
                   "notice_days", "defer")  # fmt: skip


def ask(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Propose a disclosure to the officers; it is nothing until they approve it. Idempotent by its id.

    Args:
        names: the holder.
        args: {id, client, standing, account, order: {case, legal_basis, authority, ordered_by, retrieved_by, fields,
            recipient: a card, notice_days, defer}}.
        dialogue: unused.

    Returns:
        What `show` does.

    Raises:
        RefusedError: the rows do not agree.
        BudgetError: too many of this client's wait already.
        QuorumError: the order breaks a rule; it says which.
        ConflictError: there are no officers, or the case is about another account.
    """
    subject, client = text(args, "id"), text(args, "client")
    order = mapping(args.get("order"), "order")
    if names.officers.state() is None:
        raise ConflictError("this vault has no officers, who alone can approve that")
    with reading(names.engine) as connection:
        _, named = check_named(names, connection, args)
        detail = {"client": client, **named} | {name: order[name] for name in _ORDERED if name in order}
        Disclosure.of(detail)
    with names.officers.lock:
        with reading(names.engine) as connection:
            known = requests.of_kind(connection, Kind.DISCLOSE, subject)
            if not known:
                _check_open(connection, client)
                _check_case(connection, detail, {Stage.PENDING, Stage.DONE})
        if not known:
            names.officers.propose(Kind.DISCLOSE, subject, detail)
    return show(names, args, dialogue)


def _check_open(connection: Connection, client: str) -> None:
    """Check that a client has not more waiting than officers can read."""
    asked = [one for one in requests.of_kind(connection, Kind.DISCLOSE) if one.said_detail().get("client") == client]
    done = {one.id for one in asked if one.stage not in {Stage.PROPOSED, Stage.PENDING}}
    if len({one.id for one in asked} - done) >= MOST_OPEN:
        raise BudgetError(
            f"{MOST_OPEN} disclosures wait for officers; ask again once they decided, or their time is over"
        )


def _check_case(connection: Connection, detail: Mapping[str, Any], stages: set[Stage]) -> None:
    """Check that a case is about one account: who wants to know of a second one brings a second case (A61)."""
    others = [one.said_detail() for one in requests.of_kind(connection, Kind.DISCLOSE) if one.stage in stages]
    for said in others:
        if "case" in said and case_of(said) == case_of(detail) and said.get("account") != detail["account"]:
            raise ConflictError("this case names another account; one case is about one")


def show(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return how far a disclosure is.

    Args:
        names: the holder.
        args: {id, client}.
        _: unused.

    Returns:
        {request, order, state, needed, missing, expires}; once it took place {made, notice_due, notified} too, in
        minutes since 1970, and whether its package is there.

    Raises:
        MissingError: this client asked for none of this id.
    """
    with reading(names.engine) as connection:
        held = _own(connection, args)
        made = disclosures.find(connection, names.keyring, text(args, "id"))
    told = {"request": held.id, "order": held.said_detail(), **names.officers.progress_of(held)}
    if made is None:
        return told
    return told | {"state": "done", "missing": 0, "made": made.made, "notice_due": made.notice_due,
                   "notified": made.notified, "package": made.package is not None}  # fmt: skip


def _own(connection: Connection, args: Args) -> Held:
    """Return the request that a client's disclosure is, or is proposed as."""
    asked = [one for one in requests.of_kind(connection, Kind.DISCLOSE, text(args, "id"))
             if one.said_detail().get("client") == text(args, "client")]  # fmt: skip
    if not asked:
        raise MissingError("no such disclosure")
    real = [one for one in asked if one.stage is not Stage.PROPOSED] or asked
    return next((one for one in real if one.stage is Stage.DONE), real[-1])


def disclose(names: Names, args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Return the package of an approved disclosure, made at the first call and the same ever after.

    Args:
        names: the holder.
        args: {id, client, standing, account}.
        dialogue: asks for the record's sealed fields.

    Returns:
        {package}: JSON that its recipient opens.

    Raises:
        MissingError: this client asked for none of this id.
        ConflictError: not enough officers have approved it, or what they signed is not so any more.
        EndedError: the time in which the package could be fetched is over.
        BudgetError: more disclosures than an hour may have.
        RefusedError: the rows do not agree.
    """
    with names.officers.lock, reading(names.engine) as connection:
        _own(connection, args)
        made = disclosures.find(connection, names.keyring, text(args, "id"))
        if made is None:
            _, held = names.officers.approved(connection, Kind.DISCLOSE, text(args, "id"))
            subject, named = check_named(names, connection, args)
    if made is not None:
        return _package(made)
    order = _signed(names, held, subject, named)
    fields = _fields(names, subject, order, dialogue)
    with names.officers.lock:
        with writing(names.engine) as connection:
            made = disclosures.find(connection, names.keyring, text(args, "id"))
            if made is not None:
                return _package(made)
            state, again = names.officers.approved(connection, Kind.DISCLOSE, text(args, "id"))
            if again.digest != held.digest or records.load(connection, names.keyring, subject.record.rid) != (
                subject.record
            ):
                raise ConflictError
            _check_case(connection, order.said, {Stage.DONE})
            budgets.spend(connection, BUDGET, names.limits.disclosures_per_hour, names.now() // budgets.HOUR_SECONDS)
            head = names.officers.use(connection, state, held, held.request()).head
            made = _make(names, connection, held, order, subject, fields)
        names.officers.chain.note(head)
    return _package(made)


def _signed(names: Names, held: Held, subject: Standing, named: dict[str, Any]) -> Disclosure:
    """Return what the officers signed, if it is about this account and the record that was behind it then."""
    try:
        order = Disclosure.of(held.request().detail)
        link = bytes.fromhex(order.said["link"])
        rid = names.keyring.links(subject.sector).rid(link, subject.pid)
    except (QuorumError, ValueError, OpenError, MissingError):
        raise ConflictError("what was approved is not so any more; ask anew") from None
    same = all(order.said[name] == named[name] for name in ("account", "handle"))
    if not same or rid != subject.record.rid:
        raise ConflictError("what was approved is not so any more; ask anew")
    return order


def _fields(names: Names, subject: Standing, order: Disclosure, dialogue: Dialogue) -> dict[str, Any]:
    """Open the fields that were named and no other; one that the record has not is none."""
    record, deployment = subject.record, names.keyring.deployment
    sealed = sealed_fields(ask_records(dialogue, [record.rid]).get(record.rid) or {})
    opened, shown = open_record(names, record), dict[str, Any]()
    for name in order.fields:
        if name not in record.revisions:
            shown[name] = None
            continue
        revision = record.revisions[name]
        try:
            value = opened.open_one(deployment, name, revision, sealed.get(name, b""))
        except OpenError:
            raise RefusedError from None
        shown[name] = json.loads(value.shown)
    return shown


def _make(
    names: Names, connection: Connection, held: Held, order: Disclosure, subject: Standing, fields: dict[str, Any]
) -> Made:
    """Write the package and its audit row."""
    record, deployment = subject.record, names.keyring.deployment
    due = names.minute + order.notice_days * DAY_SECONDS // 60
    said = {
        "made": datetime.fromtimestamp(names.minute * 60, UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "state": str(record.state), "assurance": str(record.assurance), "fields": fields,
    }  # fmt: skip
    request = held.request()
    package = disclosures.seal_package(request.subject, deployment, held.said, order.recipient.receives, said)
    made = Made(request.subject, held.digest, record.rid, package, names.minute, due, None)
    disclosures.add(connection, names.keyring, made)
    detail = {name: value for name, value in order.said.items() if name not in {"recipient", "link", "client"}}
    detail |= {"recipient": order.recipient.name, "notice_due": due}
    row = audit.row(deployment, open_record(names, record), "disclosure.granted", names.minute, detail)
    audit.write_all(connection, [row | {"address": audit.disclosure_address(record.rid, held.digest, due)}])
    return made


def _package(made: Made) -> dict[str, Any]:
    if made.package is None:
        raise EndedError("the time in which this package could be fetched is over")
    return {"package": made.package}


def due(names: Names, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Tell persons whose notice is due, and end what has had its time; return {told}. Idempotent.

    A package goes after `package_days`; all that is kept of a disclosure goes with the end of the year after it, once
    its person was told (R-DE-07), and so do officers' requests of every kind and what is known of ended registrations.
    """
    today = datetime.fromtimestamp(names.now(), UTC)
    kept_since = int(datetime(today.year - 1, 1, 1, tzinfo=UTC).timestamp()) // 60
    with writing(names.engine) as connection:
        untold = disclosures.untold(connection, names.keyring, names.minute, AT_ONCE)
        for made in untold:
            deferring.tell(connection, names.keyring, made, names.minute)
        before = names.minute - names.limits.package_days * DAY_SECONDS // 60
        disclosures.forget_packages(connection, names.keyring, before, AT_ONCE)
        disclosures.destroy(connection, kept_since, AT_ONCE)
        ended.forget(connection, kept_since, AT_ONCE)
        requests.expire(connection, names.now())
        requests.forget(connection, kept_since * 60, disclosures.ids(connection))
    return {"told": len(untold)}
