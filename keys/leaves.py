"""What a leaf of the public log says: a closed list of acts, each with entries of one size; nobody can be read from it.

    entry   = RFC 8785 form of {"v": 1, "type", "minute", "subjects": [base64url of 32 bytes…], "pad"} and facts
    subject = HMAC(commitment key of a record, label ‖ u64be n), n counted without gaps from 0 for each record, label
              "told" of whom an act of others is about that his provider may have a receipt of, else "leaf",
              or HMAC(commitment key of a record, "erased") of the one that tells its erasure,
              or HMAC(opening, LP(type) ‖ LP(client) ‖ LP(detail)), opening = HMAC(key of a client, "leaf" ‖ audit id);
              a place that stands for nobody is random

Guarantees: entries of one type have one length and one number of subjects, whoever took part and whatever came of it;
a subject tells nothing to whoever has not its key, and once that was destroyed, nobody. Some types say something more
(`FACTS`), which names nobody: a count, the counts of a month, which disclosure and by when its person is to be told.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import orjson
import rfc8785

from keys.errors import NoteError
from keys.frame import length_prefixed
from keys.notes import decoded
from keys.primitives import Secret, hmac_sha256, random_bytes

VERSION: Final = 1
MAX_BYTES: Final = 4096
SUBJECT_BYTES: Final = 32
_SUBJECT_CHARACTERS: Final = 43
"""Of its base64url."""
_LABEL: Final = b"leaf"
_TOLD_LABEL: Final = b"told"
_ERASED_LABEL: Final = b"erased"
_MEMBERS: Final = frozenset({"v", "type", "minute", "subjects", "pad"})
_NONE: Final[Mapping[str, object]] = MappingProxyType({})
_STEP: Final = 64
"""Entries are padded up to a multiple of this, with room for later members."""
_ROOM: Final = 16
PLACES: Final[Mapping[str, int]] = MappingProxyType(
    {
        # of the key store: acts on records
        "registration.created": 1,
        "registration.revised": 1,
        "registration.erased": 1,
        "review.opened": 8,
        "review.decided": 2,
        "evidence.sealed": 1,
        "evidence.viewed": 1,
        "evidence.dropped": 1,
        "exchange.opened": 1,
        "exchange.redeemed": 1,
        "disclosure.granted": 1,
        "disclosure.deferred": 1,
        "disclosure.notified": 1,
        "hold.lifted": 1,
        "hold.set": 1,
        "person.split": 2,
        "import.chunk": 1,
        # of the key store: acts of officers
        "ceremony.begun": 1,
        "officers.asked": 1,
        "officers.objected": 1,
        "officers.recorded": 1,
        "keys.unsealed": 0,
        "keys.sealed": 0,
        "keys.locked": 0,
        "keys.rotated": 0,
        "keys.destroyed": 0,
        "keys.resealed": 0,
        "seal.migrated": 0,
        "backup.made": 0,
        # of the directory
        "attempt.refused": 1,
        "report.tallied": 0,
        "account.bound": 1,
        "account.renamed": 1,
        "account.closed": 1,
        "account.revealed": 1,
        "account.reviewed": 1,
        "client.secret_dropped": 1,
        "client.secret_rotated": 1,
        "exchange.allowed": 1,
        "exchange.revoked": 1,
        "import.begun": 1,
        "operator.added": 1,
        "operator.disabled": 1,
        "operator.enrolled": 1,
        "operator.removed": 1,
        "provider.changed": 1,
        "provider.enrolled": 1,
        "provider.renewed": 1,
        "provider.suspended": 1,
        "reviewer.disabled": 1,
        "reviewer.enrolled": 1,
        "sanction.lifted": 1,
        "sanction.set": 1,
        "supervisor.enrolled": 1,
        "token.revoked": 1,
        "token.rotated": 1,
    }
)
"""How many subjects an act of each type names. A review names whom it shows beside the one who registered: up to seven
candidates; more than that take a further leaf."""
BY_SUBJECT: Final = frozenset(
    {"ceremony.begun", "officers.asked", "officers.objected", "officers.recorded", "registration.erased"}
)
"""Acts whose rows hold the subject itself: the digest of the officers' record or request that they made or were about,
which holds random bits; or what a record was named by whose keys went with the act."""
OF_PROVIDERS: Final = frozenset({
    "registration.created", "registration.revised", "evidence.sealed", "evidence.dropped", "exchange.opened",
    "exchange.redeemed",
})  # fmt: skip
"""Acts on records that a provider does itself: it is told which of their leaves are its registration's."""
FACTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "attempt.refused": frozenset({"kind", "count"}),
        "disclosure.granted": frozenset({"disclosure", "notice_due"}),
        "disclosure.deferred": frozenset({"disclosure", "notice_due"}),
        "disclosure.notified": frozenset({"disclosure"}),
        "keys.resealed": frozenset({"count"}),
        "report.tallied": frozenset({"tally"}),
    }
)
"""What entries of a type say beside what all say."""
_FACT_BYTES: Final[Mapping[str, int]] = MappingProxyType({
    "attempt.refused": 64, "disclosure.granted": 96, "disclosure.deferred": 96, "disclosure.notified": 96,
    "keys.resealed": 32,
    "report.tallied": 3840,
})  # fmt: skip
"""Room for them, in the form of RFC 8785."""
_KEYS: Final = MappingProxyType({kind: _MEMBERS | FACTS.get(kind, frozenset()) for kind in PLACES})
_LATEST: Final[dict[str, tuple[int, bytes, bytes]]] = {}
"""Type → the minute of its last entry without facts, and what that says before and behind its subjects."""
PUBLIC: Final[Mapping[str, str]] = MappingProxyType({
    "exchange.made": "exchange.redeemed",
    "registration.decided": "review.decided",
    "registration.opened": "review.opened",
    "registration.parted": "person.split",
    "registration.viewed": "evidence.viewed",
})  # fmt: skip
"""Acts that are told under another's name: whether a person was known to the taker is nobody's business, nor whether a
review was of a registration or of a match with somebody else's, or a split parted a person from one known elsewhere."""
TOLD: Final = frozenset({"registration.decided", "registration.opened", "registration.parted", "registration.viewed"})
"""Acts of others that a provider is told of, where they were done to its registration first: their leaves name the
first by the label `told`, as no other leaf does. So a match, and whoever was shown beside, look the same in the log,
and are told to no provider."""
HELD: Final = frozenset({"hold.set", "hold.lifted"})
DISCLOSED: Final = frozenset({"disclosure.granted", "disclosure.deferred", "disclosure.notified"})
"""Acts on authority's order: a provider is told of its registration's once they are no secret any more."""
ERASED: Final = "registration.erased"
RECEIPTED: Final = OF_PROVIDERS | HELD | DISCLOSED | {ERASED} | {PUBLIC[kind] for kind in TOLD}
"""Types of leaves among which a provider finds those that are its registration's."""


def type_of(kind: str) -> str:
    """Return the type that a leaf says for an act.

    Raises:
        NoteError: no act of the closed list.
    """
    public = PUBLIC.get(kind, kind)
    if public not in PLACES:
        raise NoteError("no act that the log knows")
    return public


def record_subject(commitment_key: Secret, number: int, *, told: bool = False) -> bytes:
    """Return how a leaf names a record: its commitment to the record's `number`-th leaf; `told` as `TOLD` says."""
    return hmac_sha256(commitment_key, (_TOLD_LABEL if told else _LABEL) + number.to_bytes(8, "big"))


def record_subjects(commitment_key: Secret, number: int) -> Iterator[bytes]:
    """Return the two ways in which a record's `number`-th leaf may name it."""
    return (record_subject(commitment_key, number, told=told) for told in (False, True))


def erased_subject(commitment_key: Secret) -> bytes:
    """Return how the leaf of its erasure names a record: by no number, for its key is gone when the leaf is written.

    Who has the key again, as after an older key store came back, finds it by that.
    """
    return hmac_sha256(commitment_key, _ERASED_LABEL)


def client_opening(commitment_key: Secret, audit_id: bytes) -> Secret:
    """Return what opens a leaf of a client's act, and no other leaf."""
    return Secret(hmac_sha256(commitment_key, _LABEL + audit_id))


def client_subject(opening: Secret, kind: str, client: bytes, detail: bytes) -> bytes:
    """Return how a leaf names a client: its commitment to the act that it took, and to what the act was done to."""
    return hmac_sha256(opening, length_prefixed(type_of(kind).encode(), client, detail))


def entry(kind: str, minute: int, subjects: Sequence[bytes], facts: Mapping[str, object] = _NONE) -> bytes:
    """Return the entry of one leaf; places that stand for nobody are filled with random bytes.

    Args:
        kind: of the act.
        minute: since 1970.
        subjects: as many as the type has places, or fewer.
        facts: what entries of this type say beside what all say.

    Raises:
        NoteError: no act that the log knows, more subjects than it has places, or other facts than it says.
    """
    public = type_of(kind)
    places = PLACES[public]
    if len(subjects) > places:
        raise NoteError("an act names more than its leaf has places")
    if facts.keys() != FACTS.get(public, frozenset()):
        raise NoteError("a leaf says the facts of its type")
    filled = [*subjects, *(random_bytes(SUBJECT_BYTES) for _ in range(places - len(subjects)))]
    named = [base64.urlsafe_b64encode(subject).rstrip(b"=") for subject in filled]
    if facts or not named:
        return _padded(public, minute, [text.decode() for text in named], facts)
    before, after = _around(public, minute)
    return before + b'","'.join(named) + after


def _around(public: str, minute: int) -> tuple[bytes, bytes]:
    """Return what stands before and behind the subjects of entries that say no facts: the same for all of a minute."""
    held = _LATEST.get(public)
    if held is None or held[0] != minute:
        blank = ["-" * _SUBJECT_CHARACTERS] * PLACES[public]
        before, _, after = _padded(public, minute, blank, _NONE).partition('","'.join(blank).encode())
        held = _LATEST[public] = minute, before, after
    return held[1:]


def _padded(public: str, minute: int, named: list[str], facts: Mapping[str, object]) -> bytes:
    leaf: dict[str, Any] = {"v": VERSION, "type": public, "minute": minute, "subjects": named, "pad": "", **facts}
    room = _SIZES[public] - len(_canonical(leaf))
    if room < 0:
        raise NoteError("the facts of a leaf are larger than its type has room for")
    leaf["pad"] = "0" * room
    return _canonical(leaf)


def _canonical(leaf: Mapping[str, Any]) -> bytes:
    """Return the form of RFC 8785; where all members are texts, lists of texts and integers, by a faster way to it."""
    if FACTS.get(leaf["type"]):
        return rfc8785.dumps(dict(leaf))
    return orjson.dumps(leaf, option=orjson.OPT_SORT_KEYS)


def size_of(public: str) -> int:
    """Return how long each entry of a type is, in bytes."""
    return _SIZES[public]


def _size_of(public: str) -> int:
    bare: dict[str, Any] = {
        "v": VERSION,
        "type": public,
        "minute": 10_000_000,
        "subjects": ["0" * _SUBJECT_CHARACTERS] * PLACES[public],
        "pad": "",
    }
    return -(-(len(rfc8785.dumps(bare)) + _FACT_BYTES.get(public, 0) + _ROOM) // _STEP) * _STEP


_SIZES: Final[Mapping[str, int]] = MappingProxyType({kind: _size_of(kind) for kind in PLACES})


def read(raw: bytes) -> dict[str, Any]:
    """Return what an entry says.

    Raises:
        NoteError: not the one spelling of an entry, or of another size than its type has.
    """
    try:
        leaf: Any = orjson.loads(raw)
    except ValueError:
        raise NoteError("an entry is JSON in the form of RFC 8785") from None
    if not isinstance(leaf, dict) or not _is_whole(leaf.get("v")) or leaf["v"] != VERSION:
        raise NoteError("an entry is of a version that is known")
    kind = leaf.get("type")
    if not isinstance(kind, str) or kind not in PLACES or len(raw) != _SIZES[kind]:
        raise NoteError("an entry is of a known type, in its size")
    if leaf.keys() != _KEYS[kind]:
        raise NoteError("an entry has the members of its version")
    try:
        one_spelling = _canonical(leaf) == raw
    except (ValueError, TypeError, rfc8785.CanonicalizationError):
        one_spelling = False
    if not one_spelling:
        raise NoteError("an entry has one spelling")
    subjects, minute = leaf["subjects"], leaf["minute"]
    if not _is_whole(minute) or minute < 0 or not isinstance(leaf["pad"], str) or leaf["pad"].strip("0"):
        raise NoteError("an entry says a minute and is padded with zeros")
    if not isinstance(subjects, list) or len(subjects) != PLACES[kind]:
        raise NoteError("an entry names as many as its type has places")
    return leaf | {"subjects": [subject_of(text) for text in subjects]}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def subject_of(text: object) -> bytes:
    """Return a subject of its text.

    Raises:
        NoteError: not base64url of 32 bytes in its one spelling.
    """
    if not isinstance(text, str) or {"+", "/", "="}.intersection(text):
        raise NoteError("a subject is base64url of 32 bytes")
    raw = decoded(text.replace("-", "+").replace("_", "/") + "=")
    if len(raw) != SUBJECT_BYTES:
        raise NoteError("a subject is base64url of 32 bytes")
    return raw
