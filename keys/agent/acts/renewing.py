"""Another ceremony of an open vault: for officers to come, or for the first, who take over from the development seal.

The next root key waits in the store, sealed under the keys in force for its record alone. It comes into force, and the
old one opens nothing, in one transaction: with the request that M officers signed, or with the first M confirmations.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import rfc8785
from sqlalchemy import Connection

from keys import ceremonies, chain
from keys.agent.acts import resealing
from keys.agent.acts.unsealing import checked_confirmation
from keys.agent.arguments import listed, text, whole
from keys.ceremonies import Held as Waiting
from keys.ceremonies import Stage
from keys.chain import Record, State
from keys.engine import reading, writing
from keys.errors import ConflictError, RefusedError, ShareError
from keys.frame import Place, Purpose
from keys.messages import Said
from keys.officers import Card
from keys.primitives import KEY_BYTES, Secret
from keys.quorum import Policy, Request
from keys.requests import Held
from keys.seals.shares import Ceremony, Collecting, Fault, split

if TYPE_CHECKING:
    from keys.agent.acts.deciding import Deciding


def begin(deciding: "Deciding", args: Mapping[str, Any]) -> dict[str, Any]:
    """Begin the ceremony by which officers take a vault over from the development seal.

    Args and result are those of `Unsealing.begin`.

    Raises:
        RefusedError: there are officers already.
        ConflictError: another ceremony waits, and is not to be replaced.
        OfficerError, ShareError, QuorumError: a card or the threshold breaks a rule.
    """
    with deciding.lock:
        if deciding.state() is not None:
            raise RefusedError("this vault has officers already; they change them: idvault-keys rekey")
        record = _begun(deciding, args, 1)
    return {"deployment": record.deployment.hex(), "ceremony": record.digest.hex(), "set": record.set_id}


def rekey(deciding: "Deciding", said: Said) -> dict[str, Any]:
    """Begin a ceremony for the officers to come {cards, threshold, no_spare, replace}: another root key and shares.

    Nothing changes until M of them confirmed, and M of those in force approved it.

    Raises:
        ConflictError: another waits, and is not to be replaced.
        OfficerError, ShareError, QuorumError: a card or the threshold breaks a rule.
    """
    with deciding.lock:
        state = deciding.in_force(said.card)
        record = _begun(deciding, said.args, state.generation + 1)
    return {"ceremony": record.digest.hex(), "generation": record.generation, "set": record.set_id}


def _begun(deciding: "Deciding", args: Mapping[str, Any], generation: int) -> Ceremony:
    """Write a ceremony that waits, with its root key sealed under the keys in force; return its record."""
    cards = [Card.parse(str(one)) for one in listed(args, "cards", most=64)]
    threshold, no_spare = whole(args, "threshold"), bool(args.get("no_spare", False))
    policy, keyring = Policy(threshold), deciding.keyring
    policy.check(len(cards))
    root = Secret.random(KEY_BYTES)
    record, shares = split(root, keyring.deployment, generation, threshold, cards, no_spare=no_spare)
    sealed = keyring.current("kek").seal(Purpose.KEYRING, _root_place(record), root.expose_cleartext())
    root.close()
    first = chain.first(record, cards, policy, deciding.now()) if generation == 1 else None
    with writing(deciding.engine) as connection:
        if _pending(connection) is not None and not args.get("replace", False):
            raise ConflictError("a ceremony waits to be confirmed; --replace makes its shares worthless")
        ceremonies.begin(connection, record, cards, shares, first=first, root=sealed)
        deciding.note("ceremony.begun", connection, record.digest)
    return record


def _pending(connection: Connection) -> Waiting | None:
    return next((one for one in ceremonies.all_of(connection) if one.stage is Stage.PENDING), None)


def ceremony(deciding: "Deciding", said: Said) -> dict[str, Any]:
    """Return the ceremony that waits, with the confirmations that were given: what a rekey's request says.

    Raises:
        ConflictError: none waits.
    """
    deciding.in_force(said.card)
    with reading(deciding.engine) as connection:
        held = _pending(connection)
        if held is None:
            raise ConflictError("no ceremony waits; begin one: idvault-keys rekey")
        shares = ceremonies.shares_of(connection, held.record.generation)
    confirmations = [one.confirmation.plain() for one in shares if one.confirmation is not None]
    return {
        "ceremony": json.loads(bytes(held.record)), "cards": [str(card) for card in held.cards],
        "confirmations": confirmations, "missing": max(0, held.record.threshold - len(confirmations)),
    }  # fmt: skip


def confirm(deciding: "Deciding", said: Said) -> dict[str, Any]:
    """Take a new share and its officer's signature {ceremony, share, approval}: it opens.

    Returns:
        {needed}: how many more must confirm before officers in force can approve it.

    Raises:
        ConflictError: no ceremony waits, or another than he means.
        ShareError, QuorumError: the share or the signature is not his of this ceremony.
    """
    with deciding.lock:
        with reading(deciding.engine) as connection:
            waiting = _pending(connection)
        held, approval = checked_confirmation(waiting, said.card, said.args, deciding.now())
        Collecting(held.record).give(text(said.args, "share", max_chars=1024), said.card.key_id)
        with writing(deciding.engine) as connection:
            ceremonies.confirm(connection, held.record.generation, approval, deciding.now())
            shares = ceremonies.shares_of(connection, held.record.generation)
        needed = max(0, held.record.threshold - sum(one.confirmation is not None for one in shares))
        if held.first is not None and not needed:
            _hand_over(deciding, held)
    return {"needed": needed}


def _hand_over(deciding: "Deciding", held: Waiting) -> None:
    """Have the first officers in force, in one transaction; the seal that opened the keys opens nothing then."""
    record, root, keyring = held.record, _waiting_root(deciding, held), deciding.keyring
    with keyring.moving_under(record.root_id, root), writing(deciding.engine) as connection:
        keyring.rewrap_under(connection, record.root_id, root)
        said = [one.confirmation for one in ceremonies.shares_of(connection, record.generation)]
        first = Record(held.first or b"", tuple(one for one in said if one is not None))
        made = deciding.chain.append(connection, None, first, deciding.now() // 60)
        ceremonies.put_in_force(connection, record.generation)
    deciding.chain.note(made.head)
    deciding.kept.put_aside()
    deciding.shut()


def put_in_force(deciding: "Deciding", state: State, held: Held, request: Request) -> State:
    """Have another root key and its shares in force, in one transaction: the old shares open nothing afterwards.

    Raises:
        ConflictError: the ceremony that the request is of waits no more.
        ChainError: it was not approved enough.
    """
    with reading(deciding.engine) as connection:
        waiting = _pending(connection)
    record, keyring = Ceremony.parse(rfc8785.dumps(request.detail["ceremony"])), deciding.keyring
    if waiting is None or waiting.record != record or waiting.root is None:
        raise ConflictError("request: its ceremony was replaced by another; ask anew")
    root = _waiting_root(deciding, waiting)
    with (
        resealing.sealing(deciding, state, record.root_id, root),
        keyring.moving_under(record.root_id, root),
        writing(deciding.engine) as connection,
    ):
        keyring.rewrap_under(connection, record.root_id, root)
        made = deciding.use(connection, state, held, request)
        ceremonies.put_in_force(connection, record.generation)
    return made


def _waiting_root(deciding: "Deciding", held: Waiting) -> Secret:
    key = deciding.keyring.current("kek")
    root = Secret(key.open(Purpose.KEYRING, _root_place(held.record), held.root or b""))
    if not held.record.commits_to(root):
        raise ShareError("ceremony: the root key is not the one that the shares are of", Fault.OTHER)
    return root


def _root_place(record: Ceremony) -> Place:
    return Place(record.deployment, "keys.ceremony", record.digest, "root")
