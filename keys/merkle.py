"""The hash rules of the log, and the check of proofs: RFC 6962 section 2.1, RFC 9162 sections 2.1.3.2 and 2.1.4.2.

    MTH({}) = SHA-256("")    leaf = SHA-256(0x00 ‖ entry)    node = SHA-256(0x01 ‖ left ‖ right)

The agent checks proofs before it signs, writer and verifier of the log hash by these rules; they share nothing else.
A check returns nothing and raises: what was not checked never looks like what holds.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from keys.errors import ProofError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a tree without leaves (RFC 6962 section 2.1)."""
_LEAF: Final = hashlib.sha256(b"\x00")
_NODE: Final = hashlib.sha256(b"\x01")
MAX_SIZE: Final = 2**63 - 1


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry."""
    hashed = _LEAF.copy()
    hashed.update(entry)
    return hashed.digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees."""
    hashed = _NODE.copy()
    hashed.update(left + right)
    return hashed.digest()


def folded(hashes: Sequence[bytes]) -> bytes:
    """Return the root of a tree over hashes of equal subtrees, level by level (the split of RFC 6962 section 2.1)."""
    level = list(hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        odd = level[len(level) & ~1 :]
        level = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)] + odd
    return level[0]


class CompactRange:
    """A tree that grows leaf by leaf and remembers the roots of its perfect subtrees alone."""

    __slots__ = ("_roots",)

    def __init__(self) -> None:
        """Begin with no leaf."""
        self._roots: list[tuple[int, bytes]] = []

    def append(self, hashed: bytes) -> None:
        """Add the hash of the next leaf."""
        height = 0
        while self._roots and self._roots[-1][0] == height:
            hashed, height = node_hash(self._roots.pop()[1], hashed), height + 1
        self._roots.append((height, hashed))

    def root(self) -> bytes:
        """Return the root of all leaves so far."""
        if not self._roots:
            return EMPTY_ROOT
        current = self._roots[-1][1]
        for _, left in reversed(self._roots[:-1]):
            current = node_hash(left, current)
        return current


def check_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with an index is in the tree of a size with a root (RFC 9162 section 2.1.3.2).

    Args:
        index: the leaf's, from 0.
        size: of the tree.
        leaf: the leaf's hash, not its entry.
        proof: the leaf's sibling first, the child of the root last.
        root: of the tree.

    Raises:
        ProofError: it is not shown.
    """
    _check_hashes(leaf, root, *proof)
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError
    number, last, current = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise ProofError
        if number & 1 or number == last:
            current = node_hash(step, current)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            current = node_hash(current, step)
        number, last = number >> 1, last >> 1
    if last != 0 or current != root:
        raise ProofError


def check_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Check that the tree of the new size begins with the tree of the old one (RFC 9162 section 2.1.4.2).

    Returns:
        True if that was shown; False if the old size is 0, where there is nothing to show and nothing was.

    Raises:
        ProofError: it is not shown.
    """
    _check_hashes(old_root, new_root, *proof)
    if not 0 <= old <= new <= MAX_SIZE:
        raise ProofError
    if old in {0, new}:
        _check_trivial(old, new, proof, old_root, new_root)
        return old != 0
    if not proof:
        raise ProofError
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    former = current = path[0]
    for step in path[1:]:
        if last == 0:
            raise ProofError
        if number & 1 or number == last:
            former, current = node_hash(step, former), node_hash(step, current)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            current = node_hash(current, step)
        number, last = number >> 1, last >> 1
    if last != 0 or former != old_root or current != new_root:
        raise ProofError
    return True


def _check_trivial(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    if proof or (old == new and old_root != new_root):
        raise ProofError
    if (old == 0 and old_root != EMPTY_ROOT) or (new == 0 and new_root != EMPTY_ROOT):
        raise ProofError


def _check_hashes(*hashes: bytes) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofError
