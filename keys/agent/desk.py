"""Where officers' messages arrive: `message.sock`, served by the holder `names` in whatever state it is.

A relay carries them. What it hands over is junk until the boot key opens it and an officer's signature holds; only then
is anything looked up, and an officer is answered under the same seal. Each start has a boot key of its own, so that
what was said to an earlier one is not heard again, and no clock is asked.
"""

import base64
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from keys import ceremonies, store
from keys.agent.acts import asking
from keys.agent.acts.deciding import Deciding
from keys.agent.acts.unsealing import Unsealing
from keys.agent.arguments import Args, octets
from keys.agent.holder import Act
from keys.agent.process import log_failure
from keys.agent.wire import Dialogue
from keys.ceremonies import Held, Stage
from keys.chain import State, plain_policy
from keys.chains import head_of, seen
from keys.engine import reading, writing
from keys.errors import KeysError, MessageError, ProtocolError, RefusedError, UnavailableError
from keys.identity import BOOT_BYTES, Statement, code_hash, software_version
from keys.messages import MAX_BYTES, Said, answer, heard
from keys.officers import Card
from keys.primitives import HYBRID_SEED_BYTES, Ed25519Signer, HybridReceiver, Secret, random_bytes
from keys.quorum import Policy
from keys.uses import by_version

NEW: Final = "new"
_MOST_HEARD: Final = 20_000
"""Messages of one officer to one start: each is remembered, so that none is heard twice."""
Verb = Callable[[Said], Mapping[str, Any]]


@dataclass(slots=True)
class Desk:
    """One start of the agent, as officers meet it."""

    engine: Engine
    identity: Ed25519Signer
    seal: Callable[[], str]
    """The kind of the seal: shares, or what stands beside or instead of them."""
    state: Callable[[], str]
    """sealed, lockdown or open; of a vault that has no keys yet it is told as new."""
    control: Callable[[str], Mapping[str, Any]]
    unsealing: Unsealing
    kek_uses: int
    """How often a version of the key encryption key may seal."""
    deciding: Deciding | None = None
    """Once names are open."""
    _receiver: HybridReceiver = field(init=False)
    _boot: bytes = field(init=False)
    _code: str = field(init=False)
    _heard: set[tuple[str, str]] = field(default_factory=set)
    _counts: Counter[str] = field(default_factory=Counter)
    _seen: tuple[str, State] | None = None
    """The digest of the head by which the chain was last read, and what it said."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Draw the boot key."""
        self._receiver, self._boot = HybridReceiver(Secret.random(HYBRID_SEED_BYTES)), random_bytes(BOOT_BYTES)
        self._code = code_hash()

    def acts(self) -> dict[str, Act]:
        """Return what stands behind `message.sock`."""
        return {"statement": self.statement, "message": self.message, "describe": self.describe}

    def describe(self, _args: Args, _: Dialogue) -> dict[str, Any]:
        """Return {seal, names, threshold, officers, generation}: by how many persons the vault is kept.

        Raises:
            UnavailableError: the key store does not answer.
        """
        try:
            chain, state = self._chain(), self._told_state()
        except DBAPIError:
            raise UnavailableError("the key store does not answer; try again") from None
        return {
            "seal": self.seal(), "names": state, "threshold": chain.policy.threshold if chain else 0,
            "officers": len(chain.officers) if chain else 0, "generation": chain.generation if chain else 0,
        }  # fmt: skip

    def statement(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Return {statement, signature} for {nonce}: what the agent states of itself to whoever asks, now.

        Raises:
            ProtocolError: a nonce is 16 bytes, or none.
            UnavailableError: the key store does not answer.
        """
        nonce = octets(args, "nonce") if "nonce" in args else b""
        if len(nonce) not in (0, BOOT_BYTES):
            raise ProtocolError
        made = self._statement(nonce)
        return {"statement": bytes(made), "signature": made.signed(self.identity)}

    def message(self, args: Args, _: Dialogue) -> dict[str, Any]:
        """Return {answer} to an officer's message; both are opaque to the relay.

        Raises:
            MessageError: it is no officer's to this start, or was heard before.
            UnavailableError: the key store does not answer.
        """
        raw = octets(args, "message")
        if len(raw) > MAX_BYTES:
            raise MessageError
        said = heard(raw, self._receiver, self.identity.public(), self._boot, self._card_of)
        with self._lock:
            if (said.card.key_id, said.nonce) in self._heard:
                raise MessageError("message: heard before")
            if self._counts[said.card.key_id] >= _MOST_HEARD:
                raise MessageError("message: this officer said too much to this start of the agent")
            self._heard.add((said.card.key_id, said.nonce))
            self._counts[said.card.key_id] += 1
        return {"answer": answer(said, self.identity, self._answer(said))}

    def _answer(self, said: Said) -> dict[str, Any]:
        try:
            return {"ok": dict(self._verb(said.do)(said))}
        except KeysError as error:
            return {"error": error.kind, "message": str(error)}
        except (DBAPIError, OSError):
            return {"error": UnavailableError.kind, "message": "the key store does not answer; try again"}
        except (KeyError, TypeError, ValueError):
            return {"error": ProtocolError.kind, "message": ProtocolError.default}
        except Exception as error:  # noqa: BLE001 - one message must not end the others
            log_failure("message_failed", error)
            return {"error": KeysError.kind, "message": KeysError.default}

    def _verb(self, do: str) -> Verb:
        known: dict[str, Verb] = {
            "look": self._look, "share": self._share, "proved": self._proved, "seal": self._seal,
            "lockdown": self._lockdown,
        }  # fmt: skip
        if self.deciding is not None:
            known |= asking.verbs(self.deciding)
        else:
            known |= {
                "confirm": lambda said: self.unsealing.confirm(said.card, said.args),
                "unseal": lambda said: self.unsealing.unseal(said.card, said.args),
            }
        if do not in known:
            raise RefusedError(f"not while the vault is {self._told_state()}")
        return known[do]

    def _told_state(self) -> str:
        with reading(self.engine) as connection:
            keyed = connection.execute(select(store.deployment.c.id)).first() is not None
        return self.state() if keyed else NEW

    def _ceremonies(self) -> list[Held]:
        with reading(self.engine) as connection:
            return ceremonies.all_of(connection)

    def _chain(self) -> State | None:
        """Return what the chain says; whether its end is there shows under the root key alone, where it is opened."""
        with reading(self.engine) as connection:
            head = head_of(connection)
        if head is None:
            return None
        if self._seen is None or self._seen[0] != head.digest:
            found = seen(self.engine)
            if found is None:
                return None
            self._seen = (head.digest, found)
        return self._seen[1]

    def _waiting(self) -> Held | None:
        """Return the ceremony that waits, if the agent itself began it."""
        held = next((one for one in self._ceremonies() if one.stage is Stage.PENDING), None)
        return held if held is not None and self.unsealing.vouched(held) else None

    def _card_of(self, key: str) -> Card:
        """Return the card of an officer in force, or of one who is to confirm a share.

        Raises:
            MessageError: there is none of that id.
        """
        chain, waiting = self._chain(), self._waiting()
        if chain is not None:
            for officer in chain.officers:
                if officer.card.key_id == key:
                    return officer.card
        card = None if waiting is None else waiting.card(key)
        if card is None:
            raise MessageError
        return card

    def _statement(self, nonce: bytes) -> Statement:
        try:
            chain, waiting, state = self._chain(), self._waiting(), self._told_state()
        except DBAPIError:
            raise UnavailableError("the key store does not answer; try again") from None
        record = chain.ceremony if chain is not None else None if waiting is None else waiting.record
        return Statement(
            self.identity.public(), self._boot, self._receiver.public(), b"" if record is None else record.deployment,
            software_version(), self._code, state, 0 if chain is None else chain.generation,
            "" if record is None else record.digest.hex(), "" if chain is None else chain.head.digest, nonce,
        )  # fmt: skip

    def _in_force(self, said: Said) -> State:
        # Under the root key, where it is open: a chain of officers that an administrator made has no head there.
        chain = self._chain() if self.deciding is None else self.deciding.state()
        if chain is None or said.card not in {one.card for one in chain.officers}:
            raise RefusedError("only an officer in force may do that")
        return chain

    def _share(self, said: Said) -> Mapping[str, Any]:
        """Return an officer's own share, sealed, with the record of its ceremony: that in force, or that which waits.

        Raises:
            RefusedError: he has none there.
        """
        waiting = self._waiting()
        chosen = waiting if said.args.get("waiting") else None
        if chosen is None:
            chosen = next((one for one in self._ceremonies() if one.stage is Stage.IN_FORCE), None)
        if chosen is None:
            raise RefusedError("no such ceremony")
        with reading(self.engine) as connection:
            shares = ceremonies.shares_of(connection, chosen.record.generation)
        own = next((one for one in shares if one.key == said.card.key_id), None)
        if own is None:
            raise RefusedError("no share of this officer in that ceremony")
        return {
            "waiting": chosen.stage is Stage.PENDING,
            "record": base64.b64encode(bytes(chosen.record)).decode(),
            "cards": [str(card) for card in chosen.cards],
            "first": base64.b64encode(chosen.first or b"").decode(),
            "sealed": base64.b64encode(own.sealed).decode(),
        }

    def _look(self, said: Said) -> Mapping[str, Any]:
        """Return what an officer is shown of the state: officers, their proofs, what waits."""
        chain, waiting = self._chain(), self._waiting()
        with reading(self.engine) as connection:
            shares = [] if chain is None else ceremonies.shares_of(connection, chain.generation)
            new = [] if waiting is None else ceremonies.shares_of(connection, waiting.record.generation)
        proven = {one.key: one.proven for one in (*shares, *new)}
        cards = [one.card for one in chain.officers] if chain is not None else list(waiting.cards if waiting else ())
        seats = [{"name": card.name, "key": card.key_id, "proven": proven.get(card.key_id)} for card in cards]
        return {
            "names": self._told_state(),
            "control": dict(self.control("status")),
            "officers": seats,
            "threshold": chain.policy.threshold if chain else waiting.record.threshold if waiting else 0,
            "generation": chain.generation if chain else 0,
            "needed": self.unsealing.progress(),
            "confirmed": [one.key for one in new if one.confirmation is not None],
            "record": chain.head.number if chain else 0,
            "cards": [str(card) for card in cards],
            "policy": plain_policy(Policy(0) if chain is None else chain.policy),
            "by_officers": self.deciding is not None and self.deciding.by_officers,
            "keys": self._ages(),
            "uses": self._uses(),
            "budgets": dict(chain.budgets) if chain else {},
            "requests": [] if self.deciding is None else self.deciding.listed(),
            "now": int(time.time()),
            "you": said.card.key_id,
        }

    def _proved(self, said: Said) -> Mapping[str, Any]:
        """Note that an officer's own machine found his share of the ceremony in force to open.

        Raises:
            RefusedError: another ceremony is in force.
        """
        chain = self._in_force(said)
        if chain.ceremony.digest.hex() != said.args["ceremony"]:
            raise RefusedError("another ceremony is in force; this share is of an earlier one")
        with writing(self.engine) as connection:
            ceremonies.prove(connection, chain.generation, said.card.key_id, int(time.time()))
        return {}

    def _ages(self) -> list[dict[str, Any]]:
        """Return {purpose, version, created} of the newest version of each key that is no provider's own."""
        key = store.key.c
        newest = select(key.purpose, func.max(key.version), func.max(key.created)).where(key.scope == "")
        with reading(self.engine) as connection:
            rows = connection.execute(newest.group_by(key.purpose).order_by(key.purpose)).all()
        return [{"purpose": purpose, "version": version, "created": created} for purpose, version, created in rows]

    def _uses(self) -> list[dict[str, int]]:
        """Return {version, uses, limit} of each version of the key encryption key, as the rows stand."""
        with reading(self.engine) as connection:
            found = by_version(connection)
        return [{"version": version, "uses": used, "limit": self.kek_uses} for version, used in sorted(found.items())]

    def _seal(self, said: Said) -> Mapping[str, Any]:
        """Close names and standing at once, at one officer's word."""
        self._in_force(said)
        self._note("keys.sealed")
        self._after_answer("seal")
        return {}

    def _lockdown(self, said: Said) -> Mapping[str, Any]:
        """Close names at once, at one officer's word."""
        self._in_force(said)
        self._note("keys.locked")
        self._after_answer("lockdown")
        return {}

    def _note(self, kind: str) -> None:
        """Write that an officer shut the vault, where it is open; the act itself waits for nothing."""
        try:
            if self.deciding is not None:
                self.deciding.note(kind)
        except DBAPIError as error:
            log_failure("shut_without_audit_row", error)

    def _after_answer(self, order: str) -> None:
        after_answer(lambda: self.control(order))


_ANSWER_SECONDS: Final = 0.1


def after_answer(do: Callable[[], object]) -> None:
    """Do what ends this process shortly after the answer to who ordered it was sent."""
    timer = threading.Timer(_ANSWER_SECONDS, do)
    timer.daemon = True
    timer.start()
