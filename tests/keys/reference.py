"""A second computation of every format, written from the specifications with `cryptography` alone.

Sources: c2sp.org/chunked-encryption, RFC 5869, RFC 5297, RFC 2104. Nothing here imports the package under test.
"""

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.cmac import CMAC

CHUNK = 16_384
LABEL = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"


def lp(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def hkdf_expand(algorithm: str, key: bytes, info: bytes, size: int) -> bytes:
    okm, block, counter = b"", b"", 1
    while len(okm) < size:
        block = hmac.digest(key, block + info + bytes((counter,)), algorithm)
        okm, counter = okm + block, counter + 1
    return okm[:size]


def header(purpose: int, key_id: bytes, version: int) -> bytes:
    return b"IVR1\x01" + bytes((purpose,)) + key_id + version.to_bytes(4, "big")


def context(head: bytes, deployment: bytes, table: str, address: bytes, field: str, revision: int | None) -> bytes:
    found = lp(b"idvault/v1", deployment) + head + lp(table.encode(), address, field.encode())
    return found if revision is None else found + lp(revision.to_bytes(4, "big"))


def cobblestone(key: bytes, salt: bytes, message_context: bytes, plaintext: bytes) -> bytes:
    okm = hkdf_expand("sha512", key, LABEL + salt + message_context, 76)
    cipher, base, commitment = AESGCM(okm[:32]), okm[32:44], okm[44:]
    chunks = [plaintext[at : at + CHUNK] for at in range(0, len(plaintext), CHUNK)]
    if not chunks or len(chunks[-1]) == CHUNK:
        chunks.append(b"")
    body = b""
    for number, chunk in enumerate(chunks):
        nonce = bytes(a ^ b for a, b in zip(base, number.to_bytes(12, "big"), strict=True))
        body += cipher.encrypt(nonce, chunk, b"")
    return salt + commitment + body


def _double(block: bytes) -> bytes:
    value = int.from_bytes(block, "big") << 1
    return (value & (1 << 128) - 1 ^ (0x87 if value >> 128 else 0)).to_bytes(16, "big")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def siv(key: bytes, plaintext: bytes, *associated: bytes) -> bytes:
    """RFC 5297 section 2.6: tag ‖ ciphertext."""
    half = len(key) // 2
    mac_key, counter_key = key[:half], key[half:]
    digest = _cmac(mac_key, bytes(16))
    for part in associated:
        digest = _xor(_double(digest), _cmac(mac_key, part))
    if len(plaintext) >= 16:
        last = plaintext[:-16] + _xor(plaintext[-16:], digest)
    else:
        last = _xor(_double(digest), plaintext + b"\x80" + bytes(15 - len(plaintext)))
    tag = _cmac(mac_key, last)
    counter = (int.from_bytes(tag, "big") & ~(1 << 63 | 1 << 31)).to_bytes(16, "big")
    encryptor = Cipher(algorithms.AES(counter_key), modes.CTR(counter)).encryptor()
    return tag + encryptor.update(plaintext) + encryptor.finalize()


def spelt(prefix: str, raw: bytes) -> str:
    return prefix + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hmac256(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def pattern(size: int) -> bytes:
    """The plaintext of the frame vectors: byte i is 7·i + 3 mod 256."""
    return bytes((7 * at + 3) % 256 for at in range(size))
