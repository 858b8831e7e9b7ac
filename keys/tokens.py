"""Tokens that carry their own proof, for workers: pairwise pseudonyms, access tokens and cursors (AES-256-SIV).

    nym_ + base64url( SIV(token key of the sector, pid ‖ u32be generation; AD = sector, version) ‖ version )
    vat_ + base64url( SIV(directory key, LP(client) ‖ LP(scopes) ‖ u64be expiry ‖ jti; AD = "vat", version) ‖ version )
    cur_ + base64url( SIV(directory key, LP(list) ‖ LP(client) ‖ LP(key); AD = "cur", version) ‖ version )
    hnd_ + base64url( 32 random bytes ), drawn by the agent, which keeps its SHA-256

Nothing of the first three is stored. The version stands last, so that tokens share no prefix. Each token has one
spelling; all others are refused. Sources: RFC 5297; `docs/formats.md` section 3.
"""

import hashlib
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from time import monotonic
from typing import Final, NamedTuple

from keys.errors import EndedError, OpenError
from keys.frame import length_prefixed, split_length_prefixed
from keys.primitives import SIV_TAG_BYTES, Secret, Siv
from keys.siv import SivOfMany

NYM: Final = "nym_"
ACCESS: Final = "vat_"
CURSOR: Final = "cur_"
HANDOFF: Final = "hnd_"
HANDOFF_BYTES: Final = 32
PID_BYTES: Final = 16
JTI_BYTES: Final = 16
_NYM_TEXT_CHARS: Final = 54
_GENERATION: Final = Struct(">I").pack
_NYM_PLAIN_BYTES: Final = PID_BYTES + 4
_NYM_RAW: Final = Struct(f">{SIV_TAG_BYTES + _NYM_PLAIN_BYTES + 1}sH")
_NYM_FILLED_BYTES: Final = 2
_FILLED: Final = "AA"
"""What fills a pseudonym's text up to whole groups of four, as two zero bytes: so that many are read in one go."""
_FEW: Final = 16
"""Up to so many are cheaper one by one: `siv` has ciphers made first."""
_NO_BODY: Final = "A" * (_NYM_TEXT_CHARS - len(NYM))
_VERSIONS: Final = tuple(bytes((version,)) for version in range(256))
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
"""From the alphabet of tokens to that of `binascii`, which reads a token in a fifth of the time of `base64`; what is of
the other alphabet, or padding, becomes what is of none."""
_MAX_TEXT_CHARS: Final = 2048
_UNKNOWN_SECONDS: Final = 0.1
"""For how long a version that was asked for in vain is not asked for again."""


class Pseudonym(NamedTuple):
    """What a pairwise token says: who at this provider (`pid`, 16 bytes), and which rotation of his token."""

    pid: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token says; `expires` in seconds since 1970, `jti` 16 bytes."""

    client: str
    scopes: frozenset[str]
    expires: int
    jti: bytes


def _spell(prefix: str, sealed: bytes, version: int) -> str:
    spelled = b2a_base64(sealed + _VERSIONS[version], newline=False).translate(_URL_SAFE)
    return prefix + spelled.rstrip(b"=").decode()


def _read(prefix: str, text: str) -> tuple[bytes, int]:
    if not text.startswith(prefix) or len(text) > _MAX_TEXT_CHARS or not text.isascii():
        raise OpenError
    body = text[len(prefix) :].encode().translate(_STANDARD)
    body += b"=" * (-len(body) % 4)
    try:
        raw = a2b_base64(body, strict_mode=True)
    except ValueError:
        raise OpenError from None
    # The last character of one spelling has no bits but those of the bytes.
    if len(raw) < 2 or b2a_base64(raw, newline=False) != body:  # noqa: PLR2004 - one byte and a version
        raise OpenError
    return raw[:-1], raw[-1]


class Ciphers:
    """The versions of one key, each with its cipher made once; the highest version seals."""

    __slots__ = ("_by_version", "_of_many", "current")

    def __init__(self, keys: Mapping[int, Secret]) -> None:
        self._by_version = {version: Siv(key) for version, key in keys.items()}
        self._of_many: dict[tuple[int, int, tuple[bytes, ...]], SivOfMany] = {}
        self.current = max(keys, default=0)

    def __contains__(self, version: object) -> bool:
        return version in self._by_version

    def seal(self, plaintext: bytes, *associated: bytes, row: bytes | None = None) -> tuple[bytes, int]:
        """Return (sealed, version); the associated data are those given, the version and, where given, the row.

        Raises:
            EndedError: there is no version: all were destroyed.
        """
        cipher, version = self._by_version.get(self.current), self.current
        if cipher is None:
            raise EndedError
        return cipher.seal(plaintext, *associated, *_bound(version, row)), version

    def seal_under(self, version: int, plaintext: bytes, *associated: bytes) -> bytes:
        """Return what is sealed under one version."""
        return self._by_version[version].seal(plaintext, *associated, *_bound(version, None))

    def open(self, sealed: bytes, version: int, *associated: bytes, row: bytes | None = None) -> bytes:
        """Return the plaintext.

        Raises:
            OpenError: of no version here, or it does not open.
        """
        cipher = self._by_version.get(version)
        if cipher is None:
            raise OpenError
        return cipher.open(sealed, *associated, *_bound(version, row))

    def of_many(self, version: int, size: int, *associated: bytes) -> SivOfMany:
        """Return what seals and opens many messages of one size under one version.

        Raises:
            EndedError: there is no such version.
        """
        key = version, size, associated
        found = self._of_many.get(key)
        if found is None:
            if version not in self._by_version:
                raise EndedError
            found = SivOfMany(*self._by_version[version].halves, size, (*associated, *_bound(version, None)))
            self._of_many[key] = found
        return found


def _bound(version: int, row: bytes | None) -> tuple[bytes, ...]:
    return (_VERSIONS[version],) if row is None else (_VERSIONS[version], row)


def _raw_pseudonyms(texts: Sequence[str]) -> list[bytes | None]:
    """Return sealed ‖ version of each text that is the one spelling of some, None for another, in one reading."""
    bodies = [
        text[len(NYM) :] if len(text) == _NYM_TEXT_CHARS and text.startswith(NYM) and text.isascii() else _NO_BODY
        for text in texts
    ]
    joined = _FILLED.join([*bodies, ""]).encode().translate(_STANDARD)
    try:
        raw = a2b_base64(joined, strict_mode=True)
    except ValueError:
        return [_raw_pseudonym(text) for text in texts]
    # The last character of one spelling has no bits but those of the bytes; version 0 is no key's.
    return [None if filled or not one[-1] else one for one, filled in _NYM_RAW.iter_unpack(raw)]


def _raw_pseudonym(text: str) -> bytes | None:
    if len(text) != _NYM_TEXT_CHARS:
        return None
    try:
        sealed, version = _read(NYM, text)
    except OpenError:
        return None
    return sealed + _VERSIONS[version]


def handoff_text(secret: bytes) -> str:
    """Return the text of a hand-off of 32 random bytes."""
    return HANDOFF + b2a_base64(secret, newline=False).translate(_URL_SAFE).rstrip(b"=").decode()


def handoff_hash(text: str) -> bytes:
    """Return what is kept of a hand-off: SHA-256 of its text; it carries 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(text.encode(errors="replace")).digest()


class PairwiseTokens:
    """The token codec of one sector."""

    __slots__ = ("_ciphers", "_renewed", "_sector", "_unknown")

    def __init__(
        self, sector: str, keys: Mapping[int, Secret], renewed: Callable[[], Mapping[int, Secret]] | None = None
    ) -> None:
        """Take the keys by version.

        Args:
            sector: whose tokens these are.
            keys: by version; the newest seals.
            renewed: asked for the keys once more when a token names a version that is not among them.
        """
        self._sector, self._ciphers, self._renewed = sector.encode(), Ciphers(keys), renewed
        self._unknown: dict[int, float] = {}

    def encode(self, pseudonym: Pseudonym) -> str:
        """Return the token; equal for equal input as long as the token key is not rotated."""
        return _spell(NYM, *self._ciphers.seal(pseudonym.pid + pseudonym.generation.to_bytes(4, "big"), self._sector))

    def decode(self, text: str) -> Pseudonym:
        """Return what the token says.

        Raises:
            OpenError: forged, foreign, or not the one spelling.
        """
        if len(text) != _NYM_TEXT_CHARS:
            raise OpenError
        sealed, version = _read(NYM, text)
        if version not in self._ciphers:
            self._ask_for(version)
        plain = self._ciphers.open(sealed, version, self._sector)
        return Pseudonym(plain[:PID_BYTES], int.from_bytes(plain[PID_BYTES:], "big"))

    def encode_all(self, pseudonyms: Sequence[Pseudonym]) -> list[str]:
        """Return the token of each.

        Raises:
            EndedError: there is no key.
        """
        if len(pseudonyms) <= _FEW:
            return [self.encode(one) for one in pseudonyms]
        plain = [pid + _GENERATION(generation) for pid, generation in pseudonyms]
        version = self._ciphers.current
        sealed = self._ciphers.of_many(version, _NYM_PLAIN_BYTES, self._sector).seal(plain)
        filled = _VERSIONS[version] + bytes(_NYM_FILLED_BYTES)
        spelled = b2a_base64(filled.join([*sealed, b""]), newline=False).translate(_URL_SAFE).decode()
        step = _NYM_TEXT_CHARS - len(NYM) + len(_FILLED)
        return [NYM + spelled[at : at + step - len(_FILLED)] for at in range(0, len(spelled), step)]

    def decode_all(self, texts: Sequence[str]) -> list[Pseudonym | None]:
        """Return what each token says, None for one that `decode` refuses."""
        if len(texts) <= _FEW:
            return [self._decoded(text) for text in texts]
        said: list[Pseudonym | None] = [None] * len(texts)
        of_version: dict[int, list[tuple[int, bytes]]] = {}
        for at, raw in enumerate(_raw_pseudonyms(texts)):
            if raw is not None:
                of_version.setdefault(raw[-1], []).append((at, raw[:-1]))
        for version, found in of_version.items():
            if version not in self._ciphers:
                self._ask_for(version)
            ciphers = self._ciphers
            if version in ciphers:
                places, sealed = zip(*found, strict=True)
                opened = ciphers.of_many(version, _NYM_PLAIN_BYTES, self._sector).open(sealed)
                for at, plain in zip(places, opened, strict=True):
                    if plain is not None:
                        said[at] = Pseudonym(plain[:PID_BYTES], int.from_bytes(plain[PID_BYTES:], "big"))
        return said

    def _decoded(self, text: str) -> Pseudonym | None:
        try:
            return self.decode(text)
        except OpenError:
            return None

    def _ask_for(self, version: int) -> None:
        """Ask for the keys once more, unless the same version was asked for a moment ago: forged tokens name any."""
        now = monotonic()
        if self._renewed is None or now < self._unknown.get(version, 0.0):
            return
        self._ciphers = Ciphers(self._renewed())
        if version not in self._ciphers:
            self._unknown[version] = now + _UNKNOWN_SECONDS


class DirectoryTokens:
    """Access tokens and cursors, under the directory key."""

    __slots__ = ("_ciphers",)

    def __init__(self, keys: Mapping[int, Secret]) -> None:
        self._ciphers = Ciphers(keys)

    def encode_access(self, access: Access) -> str:
        """Return the access token."""
        scopes = " ".join(sorted(access.scopes))
        plain = length_prefixed(access.client.encode(), scopes.encode()) + access.expires.to_bytes(8, "big")
        return _spell(ACCESS, *self._ciphers.seal(plain + access.jti, b"vat"))

    def decode_access(self, text: str) -> Access:
        """Return what the access token says; whether it has expired or was revoked is the caller's question.

        Raises:
            OpenError: forged, or not the one spelling.
        """
        plain = self._ciphers.open(*_read(ACCESS, text), b"vat")
        client, scopes = split_length_prefixed(plain[: -8 - JTI_BYTES])
        expires = int.from_bytes(plain[-8 - JTI_BYTES : -JTI_BYTES], "big")
        return Access(client.decode(), frozenset(scopes.decode().split()), expires, plain[-JTI_BYTES:])

    def encode_cursor(self, listing: str, client: str, key: bytes) -> str:
        """Return an opaque cursor: good for one list of one client."""
        return _spell(CURSOR, *self._ciphers.seal(length_prefixed(listing.encode(), client.encode(), key), b"cur"))

    def decode_cursor(self, listing: str, client: str, text: str) -> bytes:
        """Return the key that a cursor carries.

        Raises:
            OpenError: forged, of another list, or of another client.
        """
        named, owner, key = split_length_prefixed(self._ciphers.open(*_read(CURSOR, text), b"cur"))
        if (named, owner) != (listing.encode(), client.encode()):
            raise OpenError
        return key
