"""Who else might this be: tags made from the sealed fields themselves, rows asked for, candidates proven.

Used by `review.open` and `review.decide` alike. A bound reviewer's matching goes by the provider's local tags alone; a
vault reviewer's also by the vault-wide fingerprints. A row that claims a match which its record does not bear out is
refused, so that planted tags open nothing.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import rfc8785
from sqlalchemy import Connection

from keys import records
from keys.agent.arguments import listed, mapping, octets, sealed_fields
from keys.agent.names import Names, Reviewer, Standing, check_standing, open_record
from keys.agent.wire import Dialogue
from keys.errors import OpenError, RefusedError
from keys.fields import FieldValue
from keys.frame import Place, Purpose
from keys.primitives import hmac_sha256
from keys.records import Record
from keys.tags import DOCUMENT, EXACT_KINDS, Tag, fingerprints, local_tags
from keys.tokens import PID_BYTES

EXACT = "exact"
SAME_DOCUMENT = "same_document"
LOOK_ALIKE = "look_alike"
_SHOWN_FIELDS = ("legal_name", "names", "birth_date", "document")
Entries = dict[bytes, list[bytes]]
"""uid → rids, as a fingerprint row seals them"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person who may be the registrant; `standing` where this provider has him, `rids` all known records of his."""

    id: str
    kind: str
    uid: bytes
    standing: Standing | None
    rids: tuple[bytes, ...]
    matched: Record
    fields: Mapping[str, FieldValue]
    sanctions: tuple[Mapping[str, object], ...]

    def shown(self) -> dict[str, Any]:
        """Return what a reviewer sees of him."""
        fields = {name: json.loads(self.fields[name].shown) for name in _SHOWN_FIELDS if name in self.fields}
        return {"id": self.id, "kind": self.kind, "fields": fields, "sanctions": [dict(s) for s in self.sanctions]}


@dataclass(frozen=True, slots=True)
class Ban:
    """Someone whose record is erased and of whom a running ban alone is left; `pid` holds its sanctions."""

    id: str
    kind: str
    pid: bytes
    sanctions: tuple[Mapping[str, object], ...]

    def shown(self) -> dict[str, Any]:
        """Return what a reviewer sees: the ban, and no field, for there is none any more."""
        return {"id": self.id, "kind": self.kind, "fields": {}, "sanctions": [dict(s) for s in self.sanctions]}


@dataclass(frozen=True, slots=True)
class Matching:
    """What matching found; `fingerprint_rows` are the rows as read (tag → sealed), for the writes of a decision."""

    fields: Mapping[str, FieldValue]
    local: list[Tag]
    fingerprints: list[Tag]
    fingerprint_rows: Mapping[bytes, bytes]
    exact: list[Candidate]
    conflicts: list[Candidate]
    bans: list[Ban]

    @property
    def doubtful(self) -> list[Candidate | Ban]:
        """Everyone who needs a reviewer's verdict."""
        return [*self.conflicts, *(ban for ban in self.bans if ban.kind != EXACT)]

    def shown(self) -> list[dict[str, Any]]:
        """Return what a reviewer sees of those who need his verdict."""
        return [candidate.shown() for candidate in self.doubtful]


def digest(shown: list[dict[str, Any]]) -> bytes:
    """Return SHA-256 over the candidates in RFC 8785 form: what a decision must name."""
    return hashlib.sha256(rfc8785.dumps(shown)).digest()


def open_sealed(names: Names, record: Record, sealed: object) -> dict[str, FieldValue]:
    """Open a record's fields inside the agent.

    Raises:
        RefusedError: a field was altered, moved, added or taken away.
    """
    try:
        return open_record(names, record).open_fields(names.keyring.deployment, sealed_fields(sealed))
    except OpenError:
        raise RefusedError from None


def ask_records(dialogue: Dialogue, rids: Iterable[bytes]) -> dict[bytes, Any]:
    """Ask for the sealed fields of records: rid → fields."""
    wanted = list(dict.fromkeys(rids))
    if not wanted:
        return {}
    return {octets(mapping(row, "record"), "rid", 16): row.get("fields") for row in _ask(dialogue, "records", wanted)}


def _ask(dialogue: Dialogue, what: str, values: list[bytes], **more: object) -> list[Any]:
    return listed({what: dialogue.ask(what, values=values, **more)}, what)


def read_fingerprint(names: Names, tag: bytes, sealed: bytes) -> Entries:
    """Return who a fingerprint row names.

    Raises:
        RefusedError: altered or moved.
    """
    place = Place(names.keyring.deployment, "identity.fingerprint", tag, "sealed")
    try:
        plain = names.keyring.opener("map", sealed).open(Purpose.FINGERPRINT, place, sealed)
    except OpenError:
        raise RefusedError from None
    return {uid: list(rids) for uid, rids in msgpack.unpackb(plain)}


def seal_fingerprint(names: Names, tag: bytes, entries: Entries) -> bytes:
    """Return the sealed content of a fingerprint row."""
    place = Place(names.keyring.deployment, "identity.fingerprint", tag, "sealed")
    packed: bytes = msgpack.packb([[uid, sorted(set(rids))] for uid, rids in sorted(entries.items())])
    return names.keyring.current("map").seal(Purpose.FINGERPRINT, place, packed)


def ask_fingerprints(dialogue: Dialogue, tags: Iterable[Tag]) -> dict[bytes, bytes]:
    """Ask for fingerprint rows: tag → sealed."""
    rows = (mapping(row, "fingerprint") for row in _ask(dialogue, "fingerprints", [tag.value for tag in tags]))
    return {octets(row, "tag"): octets(row, "sealed") for row in rows}


def vault_tags(names: Names, fields: Mapping[str, FieldValue]) -> list[Tag]:
    """Return the fingerprints of a person: what is written and asked, under each version where two overlap."""
    active = names.keyring.active("fingerprint")
    return [tag for key in active for tag in fingerprints(key.secret, key.version, fields)]


def sector_tags(names: Names, sector: str, fields: Mapping[str, FieldValue]) -> list[Tag]:
    """Return the local tags of a person that are written, under each version where two overlap."""
    active = names.keyring.active("fingerprint")
    return [tag for key in active for tag in local_tags(key.secret, key.version, sector, fields)]


def asked_tags(names: Names, sector: str, fields: Mapping[str, FieldValue]) -> list[Tag]:
    """Return the local tags that are asked: of former versions too, by which a ban of an erased person may be known."""
    known = names.keyring.versions("fingerprint").values()
    return [tag for key in known for tag in local_tags(key.secret, key.version, sector, fields)]


def _kind(tags: set[str]) -> str:
    return EXACT if EXACT_KINDS & tags else SAME_DOCUMENT if DOCUMENT in tags else LOOK_ALIKE


def _candidate_id(names: Names, subject: Standing, other: bytes) -> str:
    # Stable between reveal and decision, and of no use for any other registration.
    key = names.keyring.current("index").secret
    raw = hmac_sha256(key, b"idvault/v1/candidate" + subject.pid + subject.record.rid + other)[:16]
    return "cnd_" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def match(
    names: Names,
    connection: Connection,
    subject: Standing,
    reviewer: Reviewer,
    fields: Mapping[str, FieldValue],
    dialogue: Dialogue,
) -> Matching:
    """Return everyone whom the subject may be.

    Raises:
        RefusedError: a row that was given does not hold.
    """
    local, asked = sector_tags(names, subject.sector, fields), asked_tags(names, subject.sector, fields)
    vault = vault_tags(names, fields)
    found, bans = _local(names, connection, subject, asked, dialogue)
    # Asked for a bound reviewer too, and then not looked at: the same work whatever exists elsewhere.
    rows = ask_fingerprints(dialogue, vault)
    if reviewer.vault:
        found = _with_elsewhere(names, subject, vault, rows, found)
    found = found[: names.limits.candidates]
    candidates = _proven(names, connection, subject, found, {tag.value for tag in (*asked, *vault)}, dialogue)
    return Matching(
        fields=fields, local=local, fingerprints=vault, fingerprint_rows=rows if reviewer.vault else {},
        exact=[c for c in candidates if c.kind == EXACT], conflicts=[c for c in candidates if c.kind != EXACT],
        bans=bans[: names.limits.candidates],
    )  # fmt: skip


_Found = tuple[str, Standing | None, bytes, tuple[bytes, ...]]
"""(kind, standing, uid, rids)"""


def _local(
    names: Names, connection: Connection, subject: Standing, tags: list[Tag], dialogue: Dialogue
) -> tuple[list[_Found], list[Ban]]:
    kinds: dict[bytes, set[str]] = {}
    standings: dict[bytes, Standing] = {}
    banned: dict[bytes, list[Any]] = {}
    by_value = {tag.value: tag.kind for tag in tags}
    for answer in _ask(dialogue, "local", list(by_value), sector=subject.sector):
        row = mapping(answer, "local")
        if "ban" in row:
            ban = mapping(row["ban"], "ban")
            pid = octets(ban, "pid", PID_BYTES)
            banned[pid] = listed(ban, "sanctions")
            kinds.setdefault(pid, set()).add(by_value[octets(row, "tag")])
            continue
        standing = check_standing(names, connection, row.get("standing"))
        if standing.sector != subject.sector:
            raise RefusedError
        if standing.pid == subject.pid or subject.record.rid in standing.rids:
            continue
        standings[standing.pid] = standing
        kinds.setdefault(standing.pid, set()).add(by_value[octets(row, "tag")])
    ordered = sorted(standings.values(), key=lambda standing: (standing.created, standing.pid))
    bans = [
        Ban(_candidate_id(names, subject, pid), _kind(kinds[pid]), pid, tuple(mapping(s, "sanction") for s in given))
        for pid, given in sorted(banned.items())
        if pid != subject.pid
    ]
    return [(_kind(kinds[s.pid]), s, s.uid, s.rids) for s in ordered], bans


def _with_elsewhere(
    names: Names, subject: Standing, tags: list[Tag], rows: Mapping[bytes, bytes], local: list[_Found]
) -> list[_Found]:
    kinds: dict[bytes, set[str]] = {}
    rids: dict[bytes, tuple[bytes, ...]] = {}
    for tag in tags:
        entries = read_fingerprint(names, tag.value, rows[tag.value]) if tag.value in rows else {}
        for uid, known in entries.items():
            if uid != subject.uid:
                kinds.setdefault(uid, set()).add(tag.kind)
                rids[uid] = tuple(dict.fromkeys((*rids.get(uid, ()), *known)))
    # Someone known here and elsewhere is one candidate, by the stronger of the two matches.
    merged = [
        (
            EXACT if EXACT in (kind, _kind(kinds.get(uid, set()))) else kind,
            standing, uid, tuple(dict.fromkeys((*known, *rids.pop(uid, ())))),
        )
        for kind, standing, uid, known in local
    ]  # fmt: skip
    return merged + [(_kind(kinds[uid]), None, uid, rids[uid]) for uid in sorted(rids)]


def _proven(
    names: Names,
    connection: Connection,
    subject: Standing,
    found: list[_Found],
    wanted: set[bytes],
    dialogue: Dialogue,
) -> list[Candidate]:
    sealed = ask_records(dialogue, (rid for _, _, _, rids in found for rid in rids))
    candidates = []
    for kind, standing, uid, rids in found:
        opened = {}
        for rid in rids:
            record = records.load(connection, names.keyring, rid)
            opened[rid] = record, open_sealed(names, record, sealed.get(rid))
        tags = {
            rid: {t.value for t in (*sector_tags(names, subject.sector, fields), *vault_tags(names, fields))}
            for rid, (_, fields) in opened.items()
        }
        matched = next((rid for rid in rids if tags[rid] & wanted), None)
        if matched is None:
            raise RefusedError
        record, fields = opened[matched]
        sanctions = standing.sanctions if standing is not None else ()
        candidate_id = _candidate_id(names, subject, uid if standing is None else standing.pid)
        candidates.append(Candidate(candidate_id, kind, uid, standing, rids, record, fields, sanctions))
    return candidates
