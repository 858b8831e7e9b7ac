"""What officers decided, and its use: how far a request is, and what is done once enough of them signed.

What they say is heard by `asking.py`. What changes officers, policy or budgets is done at once by the approval that
completes it. What a command on the host carries out (a provider, a reviewer, an agreement) is used by the agent's own
act, in the transaction that does it: the record of the use and what was asked for come to be together, or neither does.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine

from keys import audit, chain, requests
from keys.agent.names import Limits
from keys.chain import REKEYS, Record, State
from keys.chains import Chain
from keys.engine import reading, writing
from keys.errors import ConflictError, QuorumError, RefusedError
from keys.keyring import Keyring
from keys.officers import Card
from keys.quorum import MAX_SECONDS, Kind, Request
from keys.requests import Held, Stage
from keys.seals.kept import Kept

AT_ONCE: Final = frozenset(
    {
        Kind.REKEY, Kind.OFFICER_ADD, Kind.OFFICER_REMOVE, Kind.OFFICER_REPLACE, Kind.POLICY, Kind.RAISE_BUDGET,
        Kind.DEFER_NOTICE,
    }
)  # fmt: skip
"""Done by the approval that completes them."""
BY_COMMAND: Final = frozenset({
    Kind.PROVIDER_ADD, Kind.ALLOW_EXCHANGE, Kind.REVIEWER_ADD, Kind.ROTATE, Kind.DESTROY, Kind.DESTROY_SECTOR,
    Kind.MIGRATE_SEAL, Kind.HOLD, Kind.LIFT_HOLD, Kind.DISCLOSE, Kind.PROVIDER_WIDEN,
    Kind.BULK_APPROVAL,
})  # fmt: skip
"""Carried out by a command on the host or a provider's call, once they are approved."""
BUDGETS: Final = frozenset({"creates_per_hour", "disclosures_per_hour", "exchanges_per_hour"})
"""What `raise-budget` is about: limits of the agent, by their names."""
_BEHIND: Final = (
    "officers changed after the backup that this vault came from, and nobody knows how: nothing is carried out before "
    "another ceremony (idvault-keys rekey)"
)


@dataclass(slots=True)
class Deciding:
    """The officers' decisions of one open vault; without officers, with the development seal, all is allowed.

    One thread at a time decides: two approvals that complete a request do it once.
    """

    engine: Engine
    keyring: Keyring
    home: Path
    now: Callable[[], int]
    limits: Limits
    end: Callable[[], None]
    """Has the vault sealed once this act was answered."""
    by_officers: bool = False
    """Whether it was officers' shares that opened the vault."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Taken before a transaction that uses a request."""
    ended: bool = False
    """Whether another seal opens the vault from now on, and this process is to end."""

    def shut(self) -> None:
        """Have the vault sealed once this act was answered: another seal opens it from then on."""
        self.ended = True
        self.end()

    def state(self) -> State | None:
        """Return what is in force; None in a vault without officers.

        Raises:
            ChainError: the chain was altered, or put back.
        """
        with self.lock:  # records and head are two statements: nobody appends between them
            return self.chain.state()

    @property
    def chain(self) -> Chain:
        """Return the chain under the root key."""
        return Chain(self.engine, self.keyring, self.home)

    @property
    def kept(self) -> Kept:
        """Return the files of the seal."""
        return Kept(self.home)

    def in_force(self, card: Card) -> State:
        """Return what is in force, for an officer of it.

        Raises:
            RefusedError: he is none.
            ChainError: the chain was altered, or put back.
        """
        state = self.state()
        if state is None or card not in {one.card for one in state.officers}:
            raise RefusedError("only an officer in force may do that")
        return state

    def apply_budgets(self) -> None:
        """Have the limits that officers raised in force."""
        state = self.state()
        for name, limit in (state.budgets if state is not None else {}).items():
            if name in BUDGETS:
                setattr(self.limits, name, limit)

    def note(self, kind: str, connection: Connection | None = None, address: bytes = b"") -> None:
        """Write an audit row of the officers' doings; in a transaction of its own where none is given."""
        row = audit.sealed_row(self.keyring, address, kind, self.now() // 60, {})
        if connection is not None:
            audit.write_all(connection, [row])
            return
        with writing(self.engine) as own:
            audit.write_all(own, [row])

    def check_logged(self, connection: Connection) -> None:
        """Have nothing more decided while what was done does not reach the public log, whoever keeps it from there.

        What waits is as old as the clock or another row that waits says: a clock that is set back makes nothing newer.

        Raises:
            ConflictError: the public log is behind.
        """
        waiting, most, now = audit.waiting(connection), self.limits.unlogged_minutes, self.now() // 60
        if waiting is not None and max(now, *waiting) - min(now, *waiting) > most:
            raise ConflictError(f"the public log is more than {most} minutes behind; see to it, then say this again")

    def check_open(self, state: State, request: Request) -> None:
        """Check that a request is of this vault and of the officers in force, and has not expired.

        Raises:
            QuorumError: it is void.
        """
        if request.deployment != self.keyring.deployment:
            raise QuorumError("request: of another vault")
        if request.generation != state.generation:
            raise QuorumError("request: of another generation of officers; ask anew")
        if self.now() >= request.expires:
            raise QuorumError("request: expired; ask anew")

    def listed(self) -> list[dict[str, Any]]:
        """Return all requests that are not over, and of those that are over the ones that have not expired yet."""
        state = self.state()
        if state is None:
            return []
        with reading(self.engine) as connection:
            found = requests.every(connection)
        now, shown = self.now(), list[dict[str, Any]]()
        taken = {one.id for one in found if one.stage is not Stage.PROPOSED}
        for held in found:
            expires = self._expires(held)
            if expires > now and not (held.stage is Stage.PROPOSED and held.id in taken):
                shown.append(self.told(state, held))
        return shown

    def _expires(self, held: Held) -> int:
        try:
            return int(json.loads(held.said).get("expires", self.now() + MAX_SECONDS))
        except (ValueError, TypeError, AttributeError):
            return 0

    def told(self, state: State, held: Held) -> dict[str, Any]:
        """Return what officers are told of a request: {id, kind, subject, state, by, approved, needed, ...}."""
        names = {one.card.key_id: one.card.name for one in state.officers}
        try:
            said = json.loads(held.said)
            kind, subject, by = Kind(said["kind"]), str(said["subject"]), str(said.get("by", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"id": held.id, "state": "altered"}
        needed = state.policy.needed(kind)
        signed = {one.key for one in held.approvals if one.key in names}
        stage = str(held.stage)
        if held.stage is Stage.PENDING:
            stage = self.progress(state, held)
        if held.stage is Stage.DONE and not (held.digest in state.used and held.is_whole):
            stage = "altered"
        return {
            "id": held.id, "kind": kind.value, "subject": subject, "state": stage, "by": names.get(by, ""),
            "approved": sorted(names[key] for key in signed), "needed": needed,
            "missing": 0 if stage in ("approved", "done") else max(1, needed - len(signed)),
            "against": [{"name": names.get(key, ""), "reason": why} for key, why in held.against.items()],
            "expires": said.get("expires", 0),
        }  # fmt: skip

    def progress(self, state: State, held: Held) -> str:
        """Return how far a request is that nobody used: void, pending or approved."""
        try:
            request = held.request()
            self.check_open(state, request)
        except QuorumError:
            return "void"
        try:
            now = self.now()
            state.check(request, held.approvals, now, chain.needed(state, request, now))
        except QuorumError:
            return "pending"
        return "approved"

    def use(self, connection: Connection, state: State, held: Held, request: Request) -> State:
        """Write that a request was used, in the transaction that does what it asks for.

        Raises:
            ChainError: it was not approved enough, or may not be used.
            ConflictError: the officers' policy has this done only while their shares opened the vault; or who they are
                may have changed after the backup that this vault came from; or the public log is behind.
        """
        self.check_logged(connection)
        if request.kind not in REKEYS and self.chain.is_behind(connection):
            raise ConflictError(_BEHIND)
        if request.kind in state.policy.by_officers and not self.by_officers:
            raise ConflictError("the officers' policy: only while their shares opened the vault; seal and unseal it")
        said = chain.following(state, request, max(self.now(), state.at))
        counted = tuple(one for one in held.approvals if one.key in {officer.card.key_id for officer in state.officers})
        made = self.chain.append(connection, state, Record(said, counted), self.now() // 60)
        requests.mark(connection, held.digest, Stage.DONE)
        return made

    # What a command on the host does with a request.

    def used(
        self, connection: Connection, kind: Kind, subject: str, detail: Mapping[str, Any], *, stands: bool
    ) -> "Use":
        """Use the approved request for exactly this, in the caller's transaction; or say what is missing.

        Args:
            connection: of the transaction that does what is asked for; nothing is done where it is not `allowed`.
            kind: of the act.
            subject: what it is done to.
            detail: all of what is signed for; `made` in it is what a first try chose, and a retry keeps.
            stands: whether what is asked for is so already: then a request that was used allows a retry.
        """
        state = self.chain.state_in(connection)
        if state is None:
            return Use(allowed=True, detail=detail)
        found = [one for one in requests.every(connection) if one.is_of(kind, subject, detail)]
        progress = [(one, self.progress(state, one)) for one in found if one.stage is Stage.PENDING]
        for held in (one for one, how in progress if how == "approved"):
            head = self.use(connection, state, held, held.request()).head
            return Use(allowed=True, detail=held.said_detail(), after=partial(self.chain.note, head))
        for held in (one for one in found if stands and one.digest in state.used and one.is_whole):
            return Use(allowed=True, detail=held.said_detail())
        asked = [one for one, how in progress if how == "pending"]
        taken = {one.id for one in found if one.stage is not Stage.PROPOSED}
        asked += [one for one in found if one.stage is Stage.PROPOSED and one.id not in taken]
        return Use(allowed=False, detail=detail, id=asked[0].id if asked else "")

    def approved(self, connection: Connection, kind: Kind, subject: str) -> tuple[State, Held]:
        """Return what is in force, and the request about a subject that enough officers approved and nobody used yet.

        Raises:
            ConflictError: there are no officers, or none approved one so far.
        """
        state = self.chain.state_in(connection)
        if state is None:
            raise ConflictError("this vault has no officers, who alone can approve that")
        for held in requests.of_kind(connection, kind, subject):
            if held.stage is Stage.PENDING and self.progress(state, held) == "approved":
                return state, held
        raise ConflictError("not enough officers have approved it")

    def progress_of(self, held: Held) -> dict[str, Any]:
        """Return {state, needed, missing, expires} of a request: what whoever asked for the act is told."""
        state = self.state()
        if state is None:
            raise ConflictError("this vault has no officers, who alone can approve that")
        told = self.told(state, held)
        return {name: told.get(name, 0) for name in ("state", "needed", "missing", "expires")}

    def pending(self, kind: Kind, subject: str, use: "Use") -> dict[str, Any]:
        """Return {pending: id} for what was not allowed yet: proposed now, where nobody asked for it before."""
        return {"pending": use.id or self.propose(kind, subject, use.detail)}

    def propose(self, kind: Kind, subject: str, detail: Mapping[str, Any]) -> str:
        """Write what a command on the host asks for; return the id by which officers find it."""
        said = requests.proposal(kind, subject, detail)
        with writing(self.engine) as connection:
            digest = requests.put(connection, said, Stage.PROPOSED, self.now() + MAX_SECONDS)
            self.note("officers.asked", connection, digest)
        return digest.hex()[: requests.ID_DIGITS]


@dataclass(frozen=True, slots=True)
class Use:
    """Whether an act may be done, and what to do next."""

    allowed: bool
    detail: Mapping[str, Any]
    """What was signed for, where it is allowed."""
    id: str = ""
    """Of the request that waits, where one does."""
    after: Callable[[], None] = lambda: None
    """Called once the transaction was committed."""
