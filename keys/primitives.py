"""The cryptographic primitives of the vault, and the one type that holds raw key bytes.

Guarantees: no other module of the project imports `cryptography` or `hmac`; every failure to open is the one
`OpenError`, without cause, so that "wrong key", "tampered" and "wrong context" look the same to callers.
Leaves to others: formats (`frame`), derivation labels (`docs/formats.md`), the life of keys (`keyring`).
"""

import secrets
from hashlib import sha256, sha512
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, NoReturn, Self

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from keys.errors import OpenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from hashlib import _Hash

KEY_BYTES: Final = 32
"""AES-256, HMAC-SHA-256 (NIST SP 800-57 part 1, 256-bit strength)."""
SIV_KEY_BYTES: Final = 64
"""AES-256-SIV takes two 256-bit keys (RFC 5297 section 2.2)."""
SIV_TAG_BYTES: Final = 16
HYBRID_PUBLIC_BYTES: Final = 1216
"""ML-KEM-768 has public keys of 1184 bytes (FIPS 203 table 3), X25519 of 32."""
HYBRID_SEED_BYTES: Final = 96
"""ML-KEM has seeds of 64 bytes (FIPS 203 section 7.1), X25519 private keys of 32."""
_HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_SHA512: Final = hashes.SHA512()
_SHA256_BLOCK: Final = 64
_SHA512_BLOCK: Final = 128
_SHA512_BYTES: Final = 64
_SHA256_BYTES: Final = 32
_NUMBERS: Final = tuple(bytes((number,)) for number in range(256))
_INNER_PAD: Final = bytes(one ^ 0x36 for one in range(256))
_OUTER_PAD: Final = bytes(one ^ 0x5C for one in range(256))
_LATTICE_SEED_BYTES: Final = 64
_LATTICE_PUBLIC_BYTES: Final = 1184


class Secret:
    """Raw key bytes in a buffer that `close` overwrites.

    Has no useful repr, cannot be pickled, copied or ordered, and compares in constant time. Python may have copied the
    bytes elsewhere (`SECURITY.md`): closing bounds the exposure, it does not end it.
    """

    __slots__ = ("_bytes",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, material: bytes) -> None:
        self._bytes = bytearray(material)

    @classmethod
    def random(cls, size: int = KEY_BYTES) -> Self:
        """Return `size` fresh bytes of the operating system's generator."""
        return cls(secrets.token_bytes(size))

    def expose_cleartext(self) -> bytes:
        """Return the raw bytes: for wrapping, for a primitive, and for the workers' sealing keys; nowhere else."""
        return bytes(self._bytes)

    def close(self) -> None:
        """Overwrite the buffer; the secret is unusable afterwards."""
        self._bytes[:] = bytes(len(self._bytes))
        self._bytes = bytearray()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(self._bytes, other._bytes)

    def __len__(self) -> int:
        return len(self._bytes)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")


def random_bytes(size: int) -> bytes:
    """Return `size` bytes of the operating system's generator."""
    return secrets.token_bytes(size)


def equal(one: bytes, other: bytes) -> bool:
    """Compare in time that depends on the lengths alone."""
    return compare_digest(one, other)


def _padded(key: Secret, block: int, sha: "Callable[[bytes], _Hash]") -> bytes:
    raw = key.expose_cleartext()
    return (raw if len(raw) <= block else sha(raw).digest()).ljust(block, b"\0")


def hmac_sha256(key: Secret, message: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104), 32 bytes.

    Of two hashes, since `hmac.digest` gives up the interpreter's lock in each call, and so its turn where threads wait.
    """
    padded = _padded(key, _SHA256_BLOCK, sha256)
    return sha256(padded.translate(_OUTER_PAD) + sha256(padded.translate(_INNER_PAD) + message).digest()).digest()


class Mac:
    """HMAC-SHA-256 under one key, whose two pads are hashed once, a third less work a message than `hmac_sha256`."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: Secret) -> None:
        padded = _padded(key, _SHA256_BLOCK, sha256)
        self._inner, self._outer = sha256(padded.translate(_INNER_PAD)), sha256(padded.translate(_OUTER_PAD))

    def of(self, message: bytes) -> bytes:
        """Return the MAC, 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


def expand_sha256(key: Secret, info: bytes, size: int = KEY_BYTES) -> Secret:
    """HKDF-Expand with SHA-256 (RFC 5869 section 2.3); `key` is uniformly random already, so there is no extract."""
    made = last = hmac_sha256(key, info + _NUMBERS[1])
    for number in range(2, -(-size // _SHA256_BYTES) + 1):
        last = hmac_sha256(key, last + info + _NUMBERS[number])
        made += last
    return Secret(made[:size])


def expand_each(key: Secret, infos: "Iterable[bytes]") -> list[bytes]:
    """Return what `expand_sha256` gives for each of many, 32 bytes each."""
    first = Mac(key)  # the first block of an expansion is all of it
    return [first.of(info + _NUMBERS[1]) for info in infos]


class Expander:
    """HKDF-Expand with SHA-512 under one key, whose two pads (RFC 2104) are hashed once: half the work of a derivation.

    For keys that are used again and again; OpenSSL clears its states when they go.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: Secret) -> None:
        padded = _padded(key, _SHA512_BLOCK, sha512)
        self._inner, self._outer = sha512(padded.translate(_INNER_PAD)), sha512(padded.translate(_OUTER_PAD))

    def expand(self, info: bytes, size: int) -> bytes:
        """Return `size` bytes; see `expand_sha512`."""
        made = last = self._block(info + _NUMBERS[1])
        for number in range(2, -(-size // _SHA512_BYTES) + 1):
            last = self._block(last + info + _NUMBERS[number])
            made += last
        return made[:size]

    def _block(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


def expand_sha512(key: Secret | Expander, info: bytes, size: int) -> bytes:
    """HKDF-Expand with SHA-512 (RFC 5869 section 2.3)."""
    if isinstance(key, Expander):
        return key.expand(info, size)
    return HKDFExpand(_SHA512, size, info).derive(key.expose_cleartext())


class Aead:
    """AES-256-GCM under one message key (NIST SP 800-38D); nonces are the caller's, never repeated."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, nonce: bytes, plaintext: bytes) -> bytes:
        """Return ciphertext ‖ tag(16)."""
        return self._cipher.encrypt(nonce, plaintext, None)

    def open(self, nonce: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            OpenError: the tag does not hold.
        """
        try:
            return self._cipher.decrypt(nonce, ciphertext, None)
        except InvalidTag:
            raise OpenError from None


class Blocks:
    """AES on single blocks, for `siv` alone: no mode of its own, so it hides nothing but what is random."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - a mode is made of it

    def encrypt(self, blocks: bytes) -> bytes:
        """Return each block encrypted."""
        return self._cipher.encryptor().update(blocks)


class Siv:
    """AES-256-SIV (RFC 5297): deterministic, authenticated; associated data is a vector, so parts cannot be moved."""

    __slots__ = ("_cipher", "halves")

    def __init__(self, key: Secret) -> None:
        raw = key.expose_cleartext()
        self._cipher = AESSIV(raw)
        self.halves = Blocks(raw[: len(raw) // 2]), Blocks(raw[len(raw) // 2 :])
        """Of the MAC and of the counters, for `siv`."""

    def seal(self, plaintext: bytes, *associated: bytes) -> bytes:
        """Return tag(16) ‖ ciphertext; equal for equal input, which is the point."""
        return self._cipher.encrypt(plaintext, list(associated))

    def open(self, sealed: bytes, *associated: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            OpenError: tampered, cut, another key or other associated data.
        """
        if len(sealed) <= SIV_TAG_BYTES:
            raise OpenError
        try:
            return self._cipher.decrypt(sealed, list(associated))
        except InvalidTag:
            raise OpenError from None


class P256Signer:
    """ECDSA with P-256 and SHA-256 (FIPS 186-5), as ES256 spells it (RFC 7518 section 3.4)."""

    __slots__ = ("_key",)

    def __init__(self, scalar: Secret) -> None:
        self._key = ec.derive_private_key(int.from_bytes(scalar.expose_cleartext(), "big"), ec.SECP256R1())

    @staticmethod
    def draw() -> Secret:
        """Return the private scalar of a fresh key, 32 bytes."""
        number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
        return Secret(number.to_bytes(KEY_BYTES, "big"))

    def sign(self, message: bytes) -> bytes:
        """Return r(32) ‖ s(32)."""
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def public(self) -> tuple[bytes, bytes]:
        """Return the public point, x(32) and y(32)."""
        point = self._key.public_key().public_numbers()
        return point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")


def p256_holds(x: bytes, y: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether an ES256 signature r(32) ‖ s(32) holds under a public point; False for what is no point."""
    if len(signature) != 2 * KEY_BYTES:
        return False
    r, s = int.from_bytes(signature[:KEY_BYTES], "big"), int.from_bytes(signature[KEY_BYTES:], "big")
    try:
        point = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
        point.public_key().verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


class Ed25519Signer:
    """Ed25519 (RFC 8032): deterministic, so that what is signed twice is the same bytes."""

    __slots__ = ("_key",)

    def __init__(self, seed: Secret) -> None:
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(seed.expose_cleartext())

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self._key.sign(message)

    def public(self) -> bytes:
        """Return the public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()


def ed25519_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether an Ed25519 signature holds."""
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class MlDsa44Signer:
    """ML-DSA-44 (FIPS 204), with an empty context; hedged, so that two signatures of one message differ."""

    __slots__ = ("_key",)

    def __init__(self, seed: Secret) -> None:
        self._key = mldsa.MLDSA44PrivateKey.from_seed_bytes(seed.expose_cleartext())

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 2420 bytes."""
        return self._key.sign(message)

    def public(self) -> bytes:
        """Return the public key, 1312 bytes."""
        return self._key.public_key().public_bytes_raw()


def ml_dsa_44_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether an ML-DSA-44 signature holds."""
    try:
        mldsa.MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class HybridReceiver:
    """HPKE (RFC 9180) with the hybrid key agreement of ML-KEM-768 (FIPS 203) and X25519 (RFC 7748), as X-Wing has it.

    The seed is that of ML-KEM, 64 bytes, and the private key of X25519, 32 bytes, one after the other.
    """

    __slots__ = ("_curve", "_lattice")

    def __init__(self, seed: Secret) -> None:
        raw = seed.expose_cleartext()
        self._lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(raw[:_LATTICE_SEED_BYTES])
        self._curve = x25519.X25519PrivateKey.from_private_bytes(raw[_LATTICE_SEED_BYTES:])

    def public(self) -> bytes:
        """Return the public key, 1216 bytes: that of ML-KEM-768, and that of X25519."""
        return self._lattice.public_key().public_bytes_raw() + self._curve.public_key().public_bytes_raw()

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Return what was sealed to this key with the same `info`.

        Raises:
            OpenError: altered, of another `info`, or sealed to another key.
        """
        try:
            return _HPKE.decrypt(sealed, hpke.MLKEM768X25519PrivateKey(self._lattice, self._curve), info)
        except (InvalidTag, ValueError):
            raise OpenError from None


def seal_to(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal to the public key of a `HybridReceiver`; `info` is what it is for, and must be the same to open it.

    Raises:
        OpenError: no such public key.
    """
    try:
        lattice = mlkem.MLKEM768PublicKey.from_public_bytes(public[:_LATTICE_PUBLIC_BYTES])
        curve = x25519.X25519PublicKey.from_public_bytes(public[_LATTICE_PUBLIC_BYTES:])
        return _HPKE.encrypt(plaintext, hpke.MLKEM768X25519PublicKey(lattice, curve), info)
    except ValueError:
        raise OpenError from None
