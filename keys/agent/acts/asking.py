"""What officers say while names are open: they ask, approve, object, withdraw and look.

A request is void in another generation and once it expired. The approval that completes one has done what it asks for,
where that is the agent's own; else it waits for the command on the host that uses it.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import rfc8785

from keys import chain, orders, requests
from keys.agent.acts import deferring, renewing
from keys.agent.acts.deciding import AT_ONCE, BUDGETS, BY_COMMAND, Deciding
from keys.agent.acts.unsealing import approval_of
from keys.agent.arguments import text
from keys.chain import REKEYS, State
from keys.engine import reading, writing
from keys.errors import ConflictError, QuorumError, RefusedError
from keys.messages import Said
from keys.quorum import Approval, Kind, Request
from keys.requests import Held, Stage

_MAX_REASON_CHARS: Final = 500


def verbs(deciding: Deciding) -> dict[str, Callable[[Said], Mapping[str, Any]]]:
    """Return what officers may say while names are open."""
    known: dict[str, Callable[[Deciding, Said], Mapping[str, Any]]] = {
        "ask": ask, "approve": approve, "object": object_to, "withdraw": withdraw, "show": show,
        "rekey": renewing.rekey, "confirm": renewing.confirm, "ceremony": renewing.ceremony,
    }  # fmt: skip
    return {name: partial(verb, deciding) for name, verb in known.items()}


def ask(deciding: Deciding, said: Said) -> dict[str, Any]:
    """Take a request {request, approval}: the asker signed it too. Idempotent.

    Raises:
        QuorumError: not of its form, not his, or it asks for what cannot be done.
        ConflictError: the public log is behind.
    """
    with deciding.lock:
        state = deciding.in_force(said.card)
        request = Request.parse(rfc8785.dumps(said.args["request"]))
        if request.by != said.card.key_id:
            raise QuorumError("request: each asks in his own name")
        if request.kind not in AT_ONCE | BY_COMMAND:
            raise QuorumError(f"request: {request.kind} takes M officers' shares, and no request")
        if request.kind is Kind.RAISE_BUDGET and request.subject not in BUDGETS:
            raise QuorumError(f"request: the budget is one of {', '.join(sorted(BUDGETS))}")
        orders.check(request.kind, request.detail, deciding.now())
        if request.kind is Kind.DEFER_NOTICE:
            with reading(deciding.engine) as connection:
                deferring.deferred(connection, deciding.keyring, request)
        deciding.check_open(state, request)
        chain.needed(state, request, deciding.now())
        approval = _signed(deciding, said, request)
        with writing(deciding.engine) as connection:
            deciding.check_logged(connection)
            digest = requests.put(connection, bytes(request), Stage.PENDING, request.expires)
            if approval.key not in {one.key for one in requests.find(connection, digest.hex()).approvals}:
                requests.approve(connection, digest, approval)
                deciding.note("officers.asked", connection, digest)
        return _settled(deciding, state, digest)


def approve(deciding: Deciding, said: Said) -> dict[str, Any]:
    """Take an approval {request, approval} of a request that another asked for. Idempotent.

    Raises:
        QuorumError: the signature is not his on this request, or the request is void.
        ConflictError: the public log is behind.
    """
    with deciding.lock:
        state = deciding.in_force(said.card)
        held = _find(deciding, said)
        if held.stage is Stage.DONE:
            return deciding.told(state, held)
        if held.stage is not Stage.PENDING:
            raise QuorumError(f"request: it is {held.stage}")
        request = held.request()
        deciding.check_open(state, request)
        approval = _signed(deciding, said, request)
        with writing(deciding.engine) as connection:
            deciding.check_logged(connection)
            requests.approve(connection, held.digest, approval)
        return _settled(deciding, state, held.digest)


def _signed(deciding: Deciding, said: Said, request: Request) -> Approval:
    approval = approval_of(said.args)
    if approval.key != said.card.key_id or not approval.holds(request.digest, said.card):
        raise QuorumError("approval: not this officer's, of this request")
    if deciding.now() >= approval.not_after:
        raise QuorumError("approval: expired; look at this machine's clock")
    return approval


def object_to(deciding: Deciding, said: Said) -> dict[str, Any]:
    """Write that an officer is against a request {request, reason}; shown to all, and in the log. Ends nothing."""
    reason = text(said.args, "reason", max_chars=_MAX_REASON_CHARS)
    with deciding.lock:
        state = deciding.in_force(said.card)
        held = _find(deciding, said)
        if held.stage is not Stage.PENDING:
            raise ConflictError(f"request: it is {held.stage}")
        with writing(deciding.engine) as connection:
            requests.object_to(connection, held.digest, said.card.key_id, reason)
            deciding.note("officers.objected", connection, held.digest)
        return deciding.told(state, _find(deciding, said))


def withdraw(deciding: Deciding, said: Said) -> dict[str, Any]:
    """Withdraw a request {request} that one asked for himself."""
    with deciding.lock:
        state = deciding.in_force(said.card)
        held = _find(deciding, said)
        if held.stage is not Stage.PENDING or held.request().by != said.card.key_id:
            raise RefusedError("request: who asked may withdraw it, while it is pending")
        with writing(deciding.engine) as connection:
            requests.mark(connection, held.digest, Stage.WITHDRAWN)
            deciding.note("officers.objected", connection, held.digest)
        return deciding.told(state, _find(deciding, said))


def show(deciding: Deciding, said: Said) -> dict[str, Any]:
    """Return a request {request} whole, as it is to be signed, with who approved and who is against."""
    state = deciding.in_force(said.card)
    held = _find(deciding, said)
    try:
        whole_request: Any = json.loads(held.said)
    except ValueError:
        raise QuorumError("request: altered in the key store") from None
    return deciding.told(state, held) | {"request": whole_request, "digest": held.digest.hex(), "now": deciding.now()}


def _find(deciding: Deciding, said: Said) -> Held:
    with reading(deciding.engine) as connection:
        return requests.find(connection, text(said.args, "request"))


def _settled(deciding: Deciding, state: State, digest: bytes) -> dict[str, Any]:
    """Do what a request asks for, if enough have signed it; return what it is then."""
    with reading(deciding.engine) as connection:
        held = requests.find(connection, digest.hex())
    request = held.request()
    if request.kind in AT_ONCE and deciding.progress(state, held) == "approved":
        state = _do(deciding, state, held, request)
        with reading(deciding.engine) as connection:
            held = requests.find(connection, digest.hex())
    return deciding.told(state, held)


def _do(deciding: Deciding, state: State, held: Held, request: Request) -> State:
    if request.kind in REKEYS:
        made = renewing.put_in_force(deciding, state, held, request)
    else:
        with writing(deciding.engine) as connection:
            made = deciding.use(connection, state, held, request)
            if request.kind is Kind.DEFER_NOTICE:
                deferring.defer(connection, deciding.keyring, request, deciding.now() // 60)
    deciding.chain.note(made.head)
    deciding.apply_budgets()
    return made
