"""Trees and proofs a second time, by the recursive definitions of RFC 6962 section 2.1, as slow as they are."""

from collections.abc import Sequence
from hashlib import sha256


def _split(count: int) -> int:
    k = 1
    while 2 * k < count:
        k *= 2
    return k


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n]), over leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return sha256(b"\x01" + root(leaves[:k]) + root(leaves[k:])).digest()


def inclusion(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion(index, leaves[:k]), root(leaves[k:])]
    return [*inclusion(index - k, leaves[k:]), root(leaves[:k])]


def consistency(old: int, leaves: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """PROOF(m, D[n]), by SUBPROOF(m, D[n], b)."""
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = _split(len(leaves))
    if old <= k:
        return [*consistency(old, leaves[:k], whole=whole), root(leaves[k:])]
    return [*consistency(old - k, leaves[k:], whole=False), root(leaves[:k])]
