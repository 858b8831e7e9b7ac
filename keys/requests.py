"""Where officers' requests are kept, with who approved and who is against; none of it decides anything by itself.

    proposal = RFC 8785 form of {"v": 1, "kind", "subject", "detail", "nonce"}      what a command on the host asks for

Guarantees: a row is what was written, or is refused by name: an approval is over the request's own bytes, so that a
row which another hand altered is another request, without approvals.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import rfc8785
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from keys import store
from keys.errors import ConflictError, MissingError, QuorumError
from keys.primitives import random_bytes
from keys.quorum import NONCE_BYTES, Approval, Kind, Request

ID_DIGITS: Final = 16
"""Hexadecimal digits of the digest by which people name a request."""
_NOT_ASKED: Final = frozenset({"proposal", "made"})
"""Members of a detail that are not what is asked for: by what it is known, and what a first try chose."""
_REQUEST: Final = store.request.c
_APPROVAL: Final = store.approval.c


class Stage(StrEnum):
    """What became of a request."""

    PROPOSED = "proposed"
    """By a command on the host; no officer asked for it yet."""
    PENDING = "pending"
    DONE = "done"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    """Its time was over when somebody looked; a clock that is set back afterwards does not bring it back."""


@dataclass(frozen=True, slots=True)
class Held:
    """A request as it is kept."""

    digest: bytes
    stage: Stage
    said: bytes
    approvals: tuple[Approval, ...]
    against: Mapping[str, str]
    """key id → reason"""

    @property
    def id(self) -> str:
        """By what people name it: a proposal and the request that was made of it have one."""
        return id_of(self.digest, self.said_detail())

    @property
    def subject(self) -> str:
        """What it is about; nothing of a row that cannot be read."""
        try:
            return str(json.loads(self.said)["subject"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""

    def said_detail(self) -> dict[str, Any]:
        """Return the detail, whether it is a proposal's or a request's."""
        try:
            detail = json.loads(self.said)["detail"]
        except (ValueError, KeyError, TypeError, RecursionError):
            detail = None
        return detail if isinstance(detail, dict) else {}

    @property
    def is_whole(self) -> bool:
        """Whether it is the request of its digest: the chain keeps digests of what was used, not what they said."""
        return hashlib.sha256(self.said).digest() == self.digest

    def is_about(self, kind: Kind, subject: str) -> bool:
        """Tell whether a request is of a kind and about a subject, whatever else it says."""
        try:
            said = json.loads(self.said)
            return bool((said["kind"], said["subject"]) == (kind.value, subject))
        except (ValueError, KeyError, TypeError, RecursionError):
            return False

    def is_of(self, kind: Kind, subject: str, detail: Mapping[str, Any]) -> bool:
        """Tell whether a request is for exactly this; what the command chose anew each time stands in `made`."""
        asked = {name: value for name, value in self.said_detail().items() if name not in _NOT_ASKED}
        wanted = {name: value for name, value in detail.items() if name not in _NOT_ASKED}
        return self.is_about(kind, subject) and asked == wanted

    def request(self) -> Request:
        """Return the request.

        Raises:
            QuorumError: it is not as it was written.
        """
        if not self.is_whole:
            raise QuorumError("request: altered in the key store")
        return Request.parse(self.said)


def id_of(digest: bytes, detail: Mapping[str, Any]) -> str:
    """Return by what people name a request."""
    made_of = detail.get("proposal")
    return made_of if isinstance(made_of, str) else digest.hex()[:ID_DIGITS]


def proposal(kind: Kind, subject: str, detail: Mapping[str, Any]) -> bytes:
    """Return what a command on the host asks for; the first officer who approves makes a request of it."""
    return rfc8785.dumps({
        "v": 1, "kind": kind.value, "subject": subject, "detail": dict(detail),
        "nonce": random_bytes(NONCE_BYTES).hex(),
    })  # fmt: skip


def put(connection: Connection, said: bytes, stage: Stage, expires: int) -> bytes:
    """Keep a request or proposal; return its digest. One that is there stays as it is."""
    digest = hashlib.sha256(said).digest()
    values = {"digest": digest, "said": said, "state": stage, "expires": expires}
    connection.execute(upsert(store.request).values(**values).on_conflict_do_nothing(index_elements=["digest"]))
    return digest


def mark(connection: Connection, digest: bytes, stage: Stage) -> None:
    """Write what became of a request."""
    connection.execute(update(store.request).where(_REQUEST.digest == digest).values(state=stage))


def approve(connection: Connection, digest: bytes, approval: Approval) -> None:
    """Keep an approval; an officer's later word takes the place of his earlier one."""
    _say(connection, digest, approval.key, approval.plain())


def object_to(connection: Connection, digest: bytes, key: str, reason: str) -> None:
    """Keep that an officer is against a request, and why."""
    _say(connection, digest, key, {"against": reason})


def _say(connection: Connection, digest: bytes, key: str, said: Mapping[str, Any]) -> None:
    statement = upsert(store.approval).values(digest=digest, key=key, said=rfc8785.dumps(dict(said)))
    changed = {"said": statement.excluded.said}
    connection.execute(statement.on_conflict_do_update(index_elements=["digest", "key"], set_=changed))


def find(connection: Connection, name: str) -> Held:
    """Return a request by its digest, or by the digits that people name it by; of those with one name, the newest act.

    Raises:
        MissingError: there is none.
        ConflictError: the digits stand for several.
    """
    if not name or set(name) - set("0123456789abcdef"):
        raise MissingError("request: no such request; see idvault-keys requests")
    named = [one for one in every(connection) if one.digest.hex().startswith(name) or one.id.startswith(name)]
    asked = [one for one in named if one.stage is not Stage.PROPOSED] or named
    if not asked:
        raise MissingError("request: no such request; see idvault-keys requests")
    if len({one.id for one in asked}) > 1:
        raise ConflictError("request: these digits stand for several; give more of them")
    return asked[-1]


def of_kind(connection: Connection, kind: Kind, subject: str | None = None) -> list[Held]:
    """Return all requests of a kind, or those about a subject, proposals too."""
    return [one for one in every(connection) if one.is_about(kind, one.subject if subject is None else subject)]


def expire(connection: Connection, now: int) -> None:
    """End requests and proposals whose time is over, in seconds since 1970."""
    waiting = _REQUEST.state.in_([Stage.PENDING, Stage.PROPOSED])
    connection.execute(update(store.request).where(waiting, _REQUEST.expires <= now).values(state=Stage.EXPIRED))


def forget(connection: Connection, before: int, kept: Collection[str]) -> None:
    """Delete requests that expired before a time in seconds since 1970, but for those about a kept subject."""
    old = connection.execute(select(store.request).where(_REQUEST.expires < before)).all()
    for digest in [row.digest for row in old if _held(row, []).subject not in kept]:
        connection.execute(delete(store.approval).where(_APPROVAL.digest == digest))
        connection.execute(delete(store.request).where(_REQUEST.digest == digest))


def every(connection: Connection) -> list[Held]:
    """Return all requests, those that expire first before the others."""
    rows = connection.execute(select(store.request).order_by(_REQUEST.expires, _REQUEST.digest)).all()
    words: dict[bytes, list[Any]] = {}
    for word in connection.execute(select(store.approval).order_by(_APPROVAL.key)).all():
        words.setdefault(bytes(word.digest), []).append(word)
    return [_held(row, words.get(bytes(row.digest), [])) for row in rows]


def _held(row: Any, words: list[Any]) -> Held:  # noqa: ANN401 - SQL rows
    approvals, against = [], {}
    for word in words:
        said = bytes(word.said)
        try:
            approvals.append(Approval.parse(said))
        except QuorumError:
            reason = _reason(said)
            if reason is not None:
                against[str(word.key)] = reason
    return Held(bytes(row.digest), Stage(row.state), bytes(row.said), tuple(approvals), MappingProxyType(against))


def _reason(said: bytes) -> str | None:
    try:
        reason = json.loads(said)["against"]
    except (ValueError, KeyError, TypeError):
        return None
    return reason if isinstance(reason, str) else None
