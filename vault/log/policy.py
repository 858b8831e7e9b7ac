"""Which witnesses are believed, and how many of them it takes: c2sp.org/tlog-policy.

log <vkey> [<url>]    witness <name> <vkey> [<url>]    group <name> all|any|<k> <name>…    quorum <name>|none
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from keys.errors import NoteError
from keys.notes import ED25519, MAX_NOTE_BYTES, Note, VerifierKey
from vault.log.cosignatures import holds

NONE: Final = "none"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_TAB, _NEWLINE, _SPACE, _DELETE = 0x09, 0x0A, 0x20, 0x7F


@dataclass(frozen=True, slots=True)
class Party:
    """A log or a witness: its key, and where it is reached."""

    key: VerifierKey
    url: str = ""


@dataclass(slots=True)
class Policy:
    """One policy file."""

    logs: list[Party] = field(default_factory=list)
    witnesses: dict[str, Party] = field(default_factory=dict)
    groups: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    quorum: str = ""

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the policy.

        Raises:
            NoteError: a line that is none of the four, a name or key twice, or not one quorum.
        """
        if len(raw) > MAX_NOTE_BYTES or any(
            (octet < _SPACE and octet not in {_TAB, _NEWLINE}) or octet == _DELETE for octet in raw
        ):
            raise NoteError("a policy has no control characters but tab and newline")
        policy = cls()
        for line in raw.decode("utf-8", "surrogateescape").split("\n"):
            words = [word for word in re.split(r"[ \t]+", line) if word]
            if words and not words[0].startswith("#"):
                policy._take(words)
        if not policy.quorum:
            raise NoteError("a policy has one quorum line")
        return policy

    def _take(self, words: list[str]) -> None:
        match words:
            case ["log", key, *url] if len(url) <= 1:
                self._add_log(VerifierKey.parse(key), "".join(url))
            case ["witness", name, key, *url] if len(url) <= 1:
                self._add_witness(name, VerifierKey.parse(key), "".join(url))
            case ["group", name, needed, *members] if members:
                self._add_group(name, needed, tuple(members))
            case ["quorum", name] if not self.quorum:
                if name != NONE and name not in self._names():
                    raise NoteError("a quorum names a witness or group above it")
                self.quorum = name
            case _:
                raise NoteError("a policy has lines for logs, witnesses, groups and one quorum")

    def _names(self) -> set[str]:
        return self.witnesses.keys() | self.groups.keys()

    def _add_log(self, key: VerifierKey, url: str) -> None:
        if key.kind != ED25519 or any(key.public == log.key.public for log in self.logs):
            raise NoteError("a log has an Ed25519 key, and stands once")
        self.logs.append(Party(key, url))

    def _add_witness(self, name: str, key: VerifierKey, url: str) -> None:
        known = {witness.key.public for witness in self.witnesses.values()}
        if key.kind == ED25519 or key.public in known or name in self._names() | {NONE}:
            raise NoteError("a witness has a cosigner's key and a name, each once")
        self.witnesses[name] = Party(key, url)

    def _add_group(self, name: str, needed: str, members: tuple[str, ...]) -> None:
        used = {member for _, listed in self.groups.values() for member in listed}
        if name in self._names() | {NONE} or len(set(members)) != len(members):
            raise NoteError("a group has a name and members, each once")
        if not self._names().issuperset(members) or used.intersection(members):
            raise NoteError("a group's members stand above it, and in no other group")
        count = {"all": len(members), "any": 1}.get(needed) or (int(needed) if _NUMBER.fullmatch(needed) else 0)
        if not 1 <= count <= len(members):
            raise NoteError("a group needs all, any, or a number of its members")
        self.groups[name] = (count, members)

    def keys(self) -> Iterator[VerifierKey]:
        """Return the keys of logs and witnesses."""
        for party in (*self.logs, *self.witnesses.values()):
            yield party.key

    def check(self, signed: Collection[VerifierKey]) -> None:
        """Check that those whose signatures hold suffice: one of the logs, and the quorum.

        Raises:
            NoteError: they do not.
        """
        if not any(log.key in signed for log in self.logs):
            raise NoteError("no log of the policy signed the checkpoint")
        if self.quorum != NONE and not self._witnessed(self.quorum, signed):
            raise NoteError("too few witnesses of the policy signed the checkpoint")

    def check_note(self, note: bytes) -> None:
        """Check that a checkpoint is signed as the policy asks.

        Raises:
            NoteError: it is no checkpoint, a known signature does not hold, or too few are there.
        """
        self.check(Note.parse(note).signed_by(self.keys(), holds))

    def _witnessed(self, name: str, signed: Collection[VerifierKey]) -> bool:
        if name in self.witnesses:
            return self.witnesses[name].key in signed
        needed, members = self.groups[name]
        return sum(self._witnessed(member, signed) for member in members) >= needed
