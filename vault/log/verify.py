"""The verifier: recomputes a whole log from what it serves, and says at which entry it is wrong first.

It reads a mirror or an export, and shares with the writer the hash rules, the signature scheme and nothing else: paths,
bundles, notes, checkpoints and entries are read here a second time, from their specifications.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import orjson

from keys.errors import ProofError
from keys.merkle import EMPTY_ROOT, check_consistency, leaf_hash, node_hash
from keys.primitives import ed25519_holds

Read = Callable[[str], bytes]
"""Returns what lies at a path of the log; raises FileNotFoundError where nothing does."""
Progress = Callable[[int], None]
_BUNDLE: Final = 256
_HASH: Final = 32
_ED25519: Final = b"\x01"
_SIGNED_PARTS: Final = 68
"""Key id and an Ed25519 signature."""
_MEMBERS: Final = frozenset({"v", "type", "minute", "subjects", "pad"})
_DISCLOSURE: Final = "disclosure"
_NOTICE: Final = "notice_due"
_GRANTED: Final = "disclosure.granted"
_MINUTES_A_DAY: Final = 24 * 60
_DEFERRED_DAYS: Final = 90
_TALLIED: Final = "report.tallied"
_SANCTION: Final = "sanction.set"


class BadLogError(Exception):
    """The log is not what its checkpoint says; `index` is the first entry that shows it, None where none alone does."""

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message if index is None else f"entry {index}: {message}")
        self.index = index


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint whose signature holds."""

    origin: str
    size: int
    root: bytes


@dataclass(slots=True)
class Verified:
    """What a log was found to be: its head, how many entries of each type, and notices that are overdue."""

    head: Head
    types: dict[str, int] = field(default_factory=dict)
    overdue: list[int] = field(default_factory=list)
    """Entries of disclosures whose person was to be told by now, and that no later entry tells to have been."""
    granted: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)
    """disclosure → (entry, minute)."""
    dues: dict[str, list[tuple[int, int]]] = field(default_factory=dict, repr=False)
    """disclosure → [(by which minute its person is to be told, the entry that says so)]."""
    told: set[str] = field(default_factory=set, repr=False)
    days: dict[tuple[int, str], tuple[int, int]] = field(default_factory=dict, repr=False)
    """(day since 1970, type) → (entries, how many attempts they say)."""
    tallies: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict, repr=False)
    """month → (entry, what it says)."""
    hashes: list[bytes] = field(default_factory=list, repr=False)


def head_of(note: bytes, vkey: str) -> Head:
    """Return the head that a checkpoint's note says, if the log's key signed it.

    Args:
        note: as served.
        vkey: the log's public key, known beforehand.

    Raises:
        BadLogError: it is no checkpoint, or that key did not sign it.
    """
    name, _, rest = vkey.partition("+")
    key = base64.b64decode(rest.partition("+")[2])
    if key[:1] != _ED25519 or len(key) != 1 + _HASH:
        raise BadLogError("the log's key is no Ed25519 key of a log")
    key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    text, _, lines = note.rpartition(b"\n\n")
    text += b"\n"
    held = [ed25519_holds(key[1:], value[4:], text) for value in _signatures(lines, name) if value[:4] == key_id]
    if not held or not all(held):
        raise BadLogError("the checkpoint is not signed by the log's key")
    try:
        origin, size, root, *_ = text.decode().split("\n")
        head = Head(origin, int(size), base64.b64decode(root, validate=True))
    except ValueError:
        raise BadLogError("the checkpoint cannot be read") from None
    if origin != name or str(head.size) != size or len(head.root) != _HASH:
        raise BadLogError("the checkpoint is another log's, or cannot be read")
    return head


def _signatures(lines: bytes, name: str) -> Iterator[bytes]:
    start = f"— {name} ".encode()
    for line in lines.split(b"\n"):
        if line.startswith(start):
            try:
                value = base64.b64decode(line[len(start) :], validate=True)
            except ValueError:
                raise BadLogError("a signature of the checkpoint cannot be read") from None
            if len(value) == _SIGNED_PARTS:
                yield value


def _path(kind: str, number: int, width: int) -> str:
    digits = f"{number:03}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    path = "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    return f"tile/{kind}/{path}" + ("" if width == _BUNDLE else f".p/{width}")


def _widths(count: int) -> Iterator[tuple[int, int]]:
    for number in range(-(-count // _BUNDLE)):
        yield number, min(_BUNDLE, count - number * _BUNDLE)


def _entries(raw: bytes, first: int, width: int) -> Iterator[bytes]:
    place = 0
    for index in range(first, first + width):
        length = int.from_bytes(raw[place : place + 2], "big")
        entry = raw[place + 2 : place + 2 + length]
        if len(raw) < place + 2 + length:
            raise BadLogError("its bundle is cut", index)
        yield entry
        place += 2 + length
    if place != len(raw):
        raise BadLogError("its bundle goes on beyond the last", first + width - 1)


def _said(entry: bytes, index: int) -> dict[str, Any]:
    try:
        said = orjson.loads(entry)
    except ValueError:
        raise BadLogError("it is not JSON", index) from None
    if not isinstance(said, dict) or not said.keys() >= _MEMBERS or said["v"] != 1:
        raise BadLogError("it has not the members of an entry", index)
    if not isinstance(said["minute"], int) or (said["type"] == _TALLIED and not isinstance(said.get("tally"), dict)):
        raise BadLogError("it has not the members of an entry", index)
    if orjson.dumps(said, option=orjson.OPT_SORT_KEYS) != entry:
        raise BadLogError("it is not in canonical form", index)
    return said


def verify(read: Read, vkey: str, now_minute: int, progress: Progress = lambda _: None) -> Verified:
    """Recompute a whole log: every entry, every tile, the root that the log's key signed.

    Args:
        read: of a mirror, an export or a URL.
        vkey: the log's public key, known beforehand.
        now_minute: since 1970, to tell which notices are overdue.
        progress: is told how many entries were read.

    Raises:
        BadLogError: something is not as it must be; it names the first entry that shows it.
    """
    found = Verified(head_of(_need(read, "checkpoint", None), vkey))
    size, sizes = found.head.size, dict[str, int]()
    for number, width in _widths(size):
        first = number * _BUNDLE
        raw = _need(read, _path("entries", number, width), first)
        hashes = _need(read, _path("0", number, width), first)
        for index, entry in enumerate(_entries(raw, first, width), first):
            hashed = leaf_hash(entry)
            place = (index - first) * _HASH
            if hashes[place : place + _HASH] != hashed:
                raise BadLogError("it is not the one that the tree was made of", index)
            _count(found, _said(entry, index), index, len(entry), sizes)
            found.hashes.append(hashed)
        if len(hashes) != width * _HASH:
            raise BadLogError("its tile has another width", first)
        progress(first + width)
    _check_notices(found, now_minute)
    _check_tallies(found)
    _check_levels(read, found.hashes)
    if _root(found.hashes) != found.head.root:
        raise BadLogError("the root over all entries is not the one that was signed", max(size - 1, 0))
    return found


def _need(read: Read, path: str, index: int | None) -> bytes:
    try:
        return read(path)
    except FileNotFoundError:
        raise BadLogError(f"{path} is missing", index) from None


def _count(found: Verified, said: dict[str, Any], index: int, length: int, sizes: dict[str, int]) -> None:
    kind = str(said["type"])
    if sizes.setdefault(kind, length) != length:
        raise BadLogError("its size is not that of others of its type", index)
    found.types[kind] = found.types.get(kind, 0) + 1
    day = said["minute"] // _MINUTES_A_DAY, kind
    entries, times = found.days.get(day, (0, 0))
    found.days[day] = entries + 1, times + said.get("count", 0)
    if kind == _TALLIED and found.tallies.setdefault(said["tally"]["month"], (index, said["tally"]))[0] != index:
        raise BadLogError("the month has a tally already", index)
    if _DISCLOSURE in said:
        _notice(found, str(said[_DISCLOSURE]), said, index)


def _notice(found: Verified, disclosure: str, said: dict[str, Any], index: int) -> None:
    """Note by when the person of a disclosure is to be told, or that he was."""
    if said["type"] == _GRANTED and found.granted.setdefault(disclosure, (index, said["minute"]))[0] != index:
        raise BadLogError("it is of a disclosure that was granted before", index)
    if _NOTICE not in said:
        found.told.add(disclosure)
    elif isinstance(said[_NOTICE], int):
        found.dues.setdefault(disclosure, []).append((said[_NOTICE], index))
    else:
        raise BadLogError("it has not the members of an entry", index)


def _check_notices(found: Verified, now: int) -> None:
    """Find notices that are overdue, and check that none was deferred by more than one order may.

    What was drained together stands in no order, so that all entries of a disclosure are looked at together.
    """
    for disclosure, (first, granted) in found.granted.items():
        before, dues = granted, sorted(found.dues.get(disclosure, []))
        for due, index in dues:
            if due - before > _DEFERRED_DAYS * _MINUTES_A_DAY:
                raise BadLogError("it has the person told later than one order may defer it", index)
            before = due
        if disclosure not in found.told and before < now:
            found.overdue.append(first)
    found.overdue.sort()


def _check_tallies(found: Verified) -> None:
    """Check that no month says more sanctions than the log has entries of them."""
    entries = dict[str, int]()
    for (day, kind), (count, _) in found.days.items():
        if kind == _SANCTION:
            month = (date(1970, 1, 1) + timedelta(days=day)).strftime("%Y-%m")
            entries[month] = entries.get(month, 0) + count
    for month, (index, said) in found.tallies.items():
        if (said["sanctions"]["total"] or 0) > entries.get(month, 0):
            raise BadLogError("the month's tally says more sanctions than there are entries of them", index)


def _check_levels(read: Read, hashes: list[bytes]) -> None:
    """Check the tiles above the lowest: each hash is the root of a full tile beneath."""
    level, below = 1, hashes
    while len(below) >= _BUNDLE:
        above = [_root(below[place : place + _BUNDLE]) for place in range(0, len(below) // _BUNDLE * _BUNDLE, _BUNDLE)]
        for number, width in _widths(len(above)):
            first = number * _BUNDLE
            held = _need(read, _path(str(level), number, width), first * _BUNDLE**level)
            for place in range(width):
                if held[place * _HASH : (place + 1) * _HASH] != above[first + place]:
                    raise BadLogError(f"the hash over it at level {level} is wrong", (first + place) * _BUNDLE**level)
            if len(held) != width * _HASH:
                raise BadLogError(f"the tile over it at level {level} has another width", first * _BUNDLE**level)
        level, below = level + 1, above


def _root(hashes: list[bytes]) -> bytes:
    """Return the root by a stack of perfect subtrees, from the left (RFC 9162 section 2.1.1, the appending form)."""
    stack: list[tuple[int, bytes]] = []
    for one in hashes:
        height, current = 0, one
        while stack and stack[-1][0] == height:
            current = node_hash(stack.pop()[1], current)
            height += 1
        stack.append((height, current))
    if not stack:
        return EMPTY_ROOT
    current = stack.pop()[1]
    while stack:
        current = node_hash(stack.pop()[1], current)
    return current


def continues(found: Verified, earlier: Head) -> None:
    """Check that a log still begins with what an earlier checkpoint said: a lost end or another tree shows here.

    Raises:
        BadLogError: it does not.
    """
    if earlier.origin != found.head.origin:
        raise BadLogError("the earlier checkpoint is another log's")
    if earlier.size > found.head.size:
        raise BadLogError("the log lost its end: an earlier checkpoint has more entries", found.head.size)
    if _root(found.hashes[: earlier.size]) != earlier.root:
        raise BadLogError("the log is not the one that the earlier checkpoint was made of")
    if earlier.size == found.head.size:
        try:
            check_consistency(earlier.size, earlier.size, [], earlier.root, found.head.root)
        except ProofError:
            raise BadLogError("two checkpoints of one size differ") from None
