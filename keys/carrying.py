"""The officers' chain, carried out of a vault, for the day on which an older backup of it comes back.

    file   = RFC 8785 form of {"v": 1, "deployment", "number", "digest", "sealed": base64}                    mode 0600
    sealed = frame of zlib of the RFC 8785 form of {"records": [{"said", "signatures": […]}, …], "shares": {key id:
             base64}} under HKDF-Expand(officer-head key, "idvault/v1/officers-export", 32), purpose BACKUP, no key id,
             table `backup.officers`, address the digest, field `chain`, revision the number

Guarantees: a file that opens was made by this vault's agent, and its last record was in force: the key is in every
backup, and nowhere without the root key. Each record is checked again by the signatures on it. Whether later records
were put in force the file cannot say; the log does, which has the digest of each.
"""

import base64
import json
import re
import zlib
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import rfc8785
from sqlalchemy import Connection

from keys import ceremonies
from keys.chain import REKEYS, Head, Record, State, folded
from keys.chains import Chain, records
from keys.engine import reading, writing
from keys.entries import OFFICER_HEAD, Key
from keys.errors import BackupError, ChainError, ConflictError, OpenError
from keys.frame import NO_KEY_ID, Place, Purpose, open_frame, seal
from keys.keyring import Keyring
from keys.primitives import Secret, expand_sha256
from keys.quorum import Approval, Kind, Request
from keys.seals.shares import Ceremony

IN_CHAIN: Final = REKEYS | {Kind.POLICY, Kind.RAISE_BUDGET}
"""Of these the chain itself has all that they did; what others did is in rows and keys that a backup has not."""
MAX_BYTES: Final = 8 * 1024 * 1024
"""Of a sealed chain, so that it fits into one message of the agent; some twenty thousand records."""
_LABEL: Final = b"idvault/v1/officers-export"
_NUMBER_MAX: Final = 2**32 - 1
"""A record's number is the revision of what is sealed (`keys.frame.Place`)."""
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_DEPLOYMENT_BYTES: Final = 16
_FORM: Final = "officers' file: not of its form"


@dataclass(frozen=True, slots=True)
class Carried:
    """The file: what is sealed in it, and which record of the chain is its last."""

    deployment: bytes
    head: Head
    sealed: bytes

    def __bytes__(self) -> bytes:
        return rfc8785.dumps({
            "v": 1, "deployment": self.deployment.hex(), "number": self.head.number, "digest": self.head.digest,
            "sealed": base64.b64encode(self.sealed).decode(),
        })  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> "Carried":
        """Return the file of its bytes.

        Raises:
            BackupError: it is none.
        """
        try:
            said: Any = json.loads(raw)
            number, digest, deployment = said["number"], said["digest"], bytes.fromhex(said["deployment"])
            if not (0 <= number <= _NUMBER_MAX and _DIGEST.fullmatch(digest) and len(deployment) == _DEPLOYMENT_BYTES):
                raise ValueError  # noqa: TRY301 - one way out for all that is no such file
            made = cls(deployment, Head(number, digest), base64.b64decode(said["sealed"], validate=True))
            if said["v"] != 1 or bytes(made) != raw:
                raise ValueError  # noqa: TRY301
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, rfc8785.CanonicalizationError):
            raise BackupError(_FORM) from None
        return made

    def opened(self, keyring: Keyring) -> tuple[list[Record], dict[str, bytes]]:
        """Return the records, and the sealed shares of the officers in force by their key ids.

        Raises:
            BackupError: it is another vault's, or was altered.
        """
        if self.deployment != keyring.deployment:
            raise BackupError("officers' file: of another vault")
        try:
            plain = open_frame(_key(keyring), Purpose.BACKUP, _place(keyring.deployment, self.head), self.sealed,
                               key_id=NO_KEY_ID, version=0)  # fmt: skip
        except OpenError:
            raise BackupError("officers' file: altered, or not made by this vault") from None
        said = json.loads(zlib.decompress(plain))
        made = [
            Record(one["said"].encode(), tuple(map(Approval.of_plain, one["signatures"]))) for one in said["records"]
        ]
        return made, {key: base64.b64decode(share) for key, share in said["shares"].items()}


def _key(keyring: Keyring) -> Secret:
    return expand_sha256(keyring.current(OFFICER_HEAD).secret, _LABEL)


def _place(deployment: bytes, head: Head) -> Place:
    return Place(deployment, "backup.officers", bytes.fromhex(head.digest), "chain", head.number)


def carried_out(chain: Chain) -> Carried:
    """Return the chain that is in force, to be kept elsewhere.

    Raises:
        ConflictError: there are no officers; or the chain is too long to be one file.
        ChainError: it was altered, or put back.
    """
    with reading(chain.engine) as connection:
        state = chain.state_in(connection)
        if state is None:
            raise ConflictError("this vault has no officers, and no chain of them")
        found, shares = records(connection), ceremonies.shares_of(connection, state.generation)
    plain = zlib.compress(rfc8785.dumps({
        "records": [{"said": one.said.decode(), "signatures": [by.plain() for by in one.signatures]} for one in found],
        "shares": {one.key: base64.b64encode(one.sealed).decode() for one in shares},
    }))  # fmt: skip
    if len(plain) > MAX_BYTES:
        raise ConflictError("the chain is too long to be carried out in one file; keep backups that are newer")
    deployment = chain.keyring.deployment
    sealed = seal(_key(chain.keyring), Purpose.BACKUP, _place(deployment, state.head), plain, key_id=NO_KEY_ID,
                  version=0)  # fmt: skip
    return Carried(deployment, state.head, sealed)


def carry_in(
    chain: Chain, carried: Carried, logged: Collection[bytes], root_of: Callable[[Ceremony], Key]
) -> list[Request]:
    """Put in force, in a key store that came back, what officers did after its backup; return their requests.

    Where the officers are others since, all lies under their root key from then on: the shares that opened the backup
    open nothing any more.

    Args:
        chain: of the store, under the backup's root key.
        carried: the file.
        logged: digests of records that the log tells of; it is told of those that are not among them.
        root_of: has M officers of a ceremony give their shares.

    Raises:
        BackupError: the file is another vault's, or its chain does not hold, or is not that of the backup.
        ShareError: the shares are not those of the newest officers.
    """
    found, shares = carried.opened(chain.keyring)
    with reading(chain.engine) as connection:
        held, state = records(connection), chain.state_in(connection)
    try:
        made = folded(found, chain.keyring.deployment, carried.head)
    except ChainError as error:
        raise BackupError(f"officers' file: {error}") from None
    if any(one.digest != other.digest for one, other in zip(held, found, strict=False)):
        raise BackupError("officers' file: its chain is another than that of the backup")
    later = found[len(held) :]
    if not later:
        return []
    moved = state is None or made.generation != state.generation
    root = root_of(made.ceremony) if moved else None
    under = nullcontext() if root is None else chain.keyring.moving_under(root.id, root.secret)
    with under, writing(chain.engine) as connection:
        if root is not None:
            chain.keyring.rewrap_under(connection, root.id, root.secret)
        for record in later:
            told = bytes.fromhex(record.digest) in logged
            state = chain.append(connection, state, record, record.read()["at"] // 60, told=told)
            if record.number == 0 or request_of(record).kind in REKEYS:
                _appoint(connection, state, shares if state.generation == made.generation else {})
    chain.note(made.head)
    return [request_of(record) for record in later if record.number]


def request_of(record: Record) -> Request:
    """Return what a record after the first was for."""
    return Request.parse(rfc8785.dumps(record.read()["request"]))


def _appoint(connection: Connection, state: State, shares: Mapping[str, bytes]) -> None:
    """Have a ceremony in force whose shares the newest officers hold; those of ceremonies between are nobody's."""
    cards = [one.card for one in state.officers]
    sealed = [shares.get(card.key_id, b"") for card in cards]
    ceremonies.begin(connection, state.ceremony, cards, sealed)
    ceremonies.put_in_force(connection, state.generation)
