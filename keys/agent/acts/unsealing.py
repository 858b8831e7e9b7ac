"""Ceremonies, as the holder `names` holds them while it is shut: begin, confirm, unseal.

The root key is made when a ceremony begins, split, and forgotten: it is nobody's until M officers gave their shares
back, which confirms that they open. Only then are there keys under it, the first record of the chain, and its head, all
in one transaction. So a kill at any moment leaves nothing, a ceremony that waits, or one that is in force.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import Engine, select

from keys import ceremonies, chain, deployments, store
from keys.agent.arguments import Args, listed, text, whole
from keys.ceremonies import Held, Stage
from keys.chain import Record
from keys.chains import Chain, seen
from keys.engine import reading, writing
from keys.entries import OFFICER_HEAD
from keys.errors import ConflictError, OpenError, QuorumError, RefusedError, ShareError
from keys.files import replace_durably
from keys.keyring import Keyring
from keys.officers import Card
from keys.primitives import KEY_BYTES, Secret, random_bytes
from keys.quorum import Approval, Policy
from keys.seals.shares import Ceremony, Collecting, Fault, split


class Opens(Protocol):
    """Opens the vault with a root key and what names it: both holders, or standing alone."""

    def __call__(self, root_id: bytes, root: Secret, *, directory: bool) -> None:
        """Open it."""


FILE_NAME: Final = "ceremony.begun"
"""The digest of the first ceremony that the agent began."""


@dataclass(slots=True)
class Unsealing:
    """What is under way in one shut holder: the shares that were given so far, by what they are given for."""

    engine: Engine
    home: Path
    now: Callable[[], int]
    open_with: Opens
    _collecting: dict[str, Collecting] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, args: Args) -> dict[str, Any]:
        """Begin the first ceremony {cards, threshold, no_spare, replace}; return {deployment, ceremony, set}.

        Raises:
            RefusedError: there are officers, or keys, already.
            ConflictError: another ceremony waits, and is not to be replaced.
            OfficerError, ShareError: a card or the threshold breaks a rule.
        """
        cards = [Card.parse(str(one)) for one in listed(args, "cards", most=64)]
        threshold, no_spare = whole(args, "threshold"), bool(args.get("no_spare", False))
        Policy(threshold).check(len(cards))
        with self._lock, writing(self.engine) as connection:
            if connection.execute(select(store.deployment.c.id)).first() is not None:
                raise RefusedError("this vault has keys already; officers change them: idvault-keys rekey")
            if any(ceremonies.all_of(connection)) and not args.get("replace", False):
                raise ConflictError("a ceremony waits to be confirmed; --replace makes its shares worthless")
            root, deployment = Secret.random(KEY_BYTES), random_bytes(16)
            record, sealed = split(root, deployment, 1, threshold, cards, no_spare=no_spare)
            root.close()
            first = chain.first(record, cards, Policy(threshold), self.now())
            # Before the commit: one that is not vouched for is begun anew, one that another hand wrote is none.
            replace_durably(self.home / FILE_NAME, record.digest.hex().encode())
            ceremonies.begin(connection, record, cards, sealed, first=first)
            self._collecting = {}
        return {"deployment": deployment.hex(), "ceremony": record.digest.hex(), "set": record.set_id}

    def pending(self) -> Held | None:
        """Return the first ceremony, where it waits to be confirmed."""
        with reading(self.engine) as connection:
            held = next((one for one in ceremonies.all_of(connection) if one.stage is Stage.PENDING), None)
        return held if held is not None and self.vouched(held) else None

    def vouched(self, held: Held) -> bool:
        """Tell whether the agent itself began a ceremony that waits.

        Of a vault without keys a file beside the agent says so: who writes the key store could make shares of a root
        key that he knows, for the same officers. A later ceremony's root key is sealed, for its record alone.
        """
        if held.root is not None or held.stage is not Stage.PENDING:
            return True
        try:
            return (self.home / FILE_NAME).read_text() == held.record.digest.hex()
        except (OSError, UnicodeDecodeError):
            return False

    def confirm(self, card: Card, args: Mapping[str, Any]) -> dict[str, Any]:
        """Take an officer's share and signature {ceremony, share, approval}: it opens, so he can unseal the vault.

        Returns:
            {needed}: how many more must confirm before it is in force; 0 opens the vault.

        Raises:
            ConflictError: no ceremony waits, or another than he means.
            ShareError, QuorumError: the share or the signature is not his of this ceremony; progress is kept.
        """
        with self._lock:
            waiting = self.pending()
            first = waiting if waiting is not None and waiting.first is not None else None
            held, approval = checked_confirmation(first, card, args, self.now())
            collecting = self._collecting.setdefault("confirm", Collecting(held.record))
            try:
                collecting.give(text(args, "share", max_chars=1024), card.key_id)
            except ShareError as error:
                if error.fault is not Fault.REPEATED:
                    raise
            with writing(self.engine) as connection:
                ceremonies.confirm(connection, held.record.generation, approval, self.now())
            if collecting.missing:
                return {"needed": collecting.missing}
            root = collecting.root()
            self._put_in_force(held, root)
            self._collecting = {}
        self.open_with(held.record.root_id, root, directory=False)
        return {"needed": 0}

    def _put_in_force(self, held: Held, root: Secret) -> None:
        record = held.record
        with writing(self.engine) as connection:
            deployments.create(connection, record.deployment, record.root_id, root, self.now())
            made = Chain(self.engine, Keyring.within(connection, record.root_id, root), self.home)
            signatures = [one.confirmation for one in ceremonies.shares_of(connection, record.generation)]
            said = Record(held.first or b"", tuple(one for one in signatures if one is not None))
            state = made.append(connection, None, said, self.now() // 60)
            ceremonies.put_in_force(connection, record.generation)
        made.note(state.head)

    def unseal(self, card: Card, args: Mapping[str, Any]) -> dict[str, Any]:
        """Take an officer's share {generation, share, directory}; return {needed}: 0 opens the vault.

        Raises:
            RefusedError: there are no officers, or another generation of them is in force.
            ShareError: it is not his of this set, said why; progress is kept.
            ChainError: what the shares open was put back to an earlier state, or altered.
        """
        directory = bool(args.get("directory", False))
        with self._lock:
            state = seen(self.engine)
            if state is None:
                raise RefusedError("this vault has no officers; the first confirm their shares: idvault-keys confirm")
            purpose = "directory" if directory else "names"
            held = self._collecting.get(purpose)
            if held is None or held.record != state.ceremony:
                with reading(self.engine) as connection:
                    earlier = [one.record for one in ceremonies.all_of(connection) if one.stage is Stage.PAST]
                held = self._collecting[purpose] = Collecting(state.ceremony, earlier)
            missing = held.give(text(args, "share", max_chars=1024), card.key_id)
            with writing(self.engine) as connection:
                ceremonies.prove(connection, state.generation, card.key_id, self.now())
            if missing:
                return {"needed": missing}
            root = held.root()
            self._collecting = {}
            self._check(state.ceremony, root)
        self.open_with(state.ceremony.root_id, root, directory=directory)
        return {"needed": 0}

    def _check(self, record: Ceremony, root: Secret) -> None:
        try:
            keys = Keyring.of_earlier_version(self.engine, record.root_id, root)
            if keys.has(OFFICER_HEAD):
                Chain(self.engine, keys, self.home).state()
        except OpenError:
            raise RefusedError("the shares make a key that opens nothing here: the key store is another one") from None

    def progress(self) -> dict[str, int]:
        """Return how many shares are needed still, by what they are given for."""
        with self._lock:
            return {purpose: held.missing for purpose, held in self._collecting.items()}


def checked_confirmation(
    waiting: Held | None, card: Card, args: Mapping[str, Any], now: int
) -> tuple[Held, Approval]:  # fmt: skip
    """Return the ceremony that waits and an officer's signature on it, of {ceremony, approval}.

    Raises:
        ConflictError: none waits, or another than he means.
        QuorumError: the signature is not his, or not of this ceremony.
    """
    if waiting is None or waiting.record.digest.hex() != text(args, "ceremony"):
        raise ConflictError("no such ceremony waits to be confirmed; look again, and compare the words")
    approval = approval_of(args)
    if approval.key != card.key_id or not approval.holds(waiting.to_confirm, card):
        raise QuorumError("approval: not this officer's, of this ceremony")
    if now >= approval.not_after:
        raise QuorumError("approval: expired; look at this machine's clock")
    return waiting, approval


def approval_of(args: Mapping[str, Any]) -> Approval:
    """Return the approval in an officer's message.

    Raises:
        QuorumError: not of its form.
    """
    try:
        return Approval.of_plain(args["approval"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise QuorumError("approval: not of its form") from None
