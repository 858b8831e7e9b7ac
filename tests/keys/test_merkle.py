"""The hash rules and the check of proofs, against RFC 6962's reference code and a tree made by recursion."""

from hashlib import sha256
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import ProofError
from keys.merkle import EMPTY_ROOT, check_consistency, check_inclusion, folded, leaf_hash, node_hash
from tests.log.reference import consistency, inclusion, root

PROBES: Final = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS: Final = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of the reference tests of Certificate Transparency: roots of the first 0 to 8 probes."""
LEAVES: Final = [leaf_hash(bytes([number])) for number in range(64)]


def test_a26_hashes_are_those_of_the_reference_code() -> None:
    assert leaf_hash(b"").hex() == ROOTS[1]
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    assert sha256(b"").digest() == EMPTY_ROOT
    leaves = [leaf_hash(bytes.fromhex(probe)) for probe in PROBES]
    assert [folded(leaves[:size]).hex() for size in range(9)] == ROOTS


@given(st.integers(0, 300))
def test_folding_level_by_level_gives_the_root_that_the_recursion_of_rfc_6962_gives(size: int) -> None:
    leaves = [leaf_hash(number.to_bytes(2, "big")) for number in range(size)]
    assert folded(leaves) == root(leaves)


def faults(proof: list[bytes]) -> list[list[bytes]]:
    """Return proofs with one fault: a bit flipped, a hash dropped, put in, swapped, or of another length."""
    found = [[*proof, bytes(32)], [bytes(32), *proof], [*proof, b""]]
    for place, one in enumerate(proof):
        rest, flipped = proof[:place] + proof[place + 1 :], bytes([one[0] ^ 1]) + one[1:]
        found += [rest, [*proof[:place], flipped, *proof[place + 1 :]], [*proof[:place], one, *proof[place:]]]
        found += [[*proof[:place], wrong, *proof[place + 1 :]] for wrong in (one[:31], one + b"\0")]
        if place and proof[place - 1] != one:
            found.append([*proof[: place - 1], one, proof[place - 1], *proof[place + 1 :]])
    return [one for one in found if one != proof]


def test_a27_every_inclusion_proof_of_up_to_64_leaves_holds_and_none_with_a_fault_does() -> None:
    for size in range(1, 65):
        top = root(LEAVES[:size])
        for index in range(size):
            proof = inclusion(index, LEAVES[:size])
            check_inclusion(index, size, LEAVES[index], proof, top)
            # A greater size may have the very same path: a root does not say its size, its checkpoint does.
            wrong = [(index + 1, size), (index - 1, size), (index, index), (-1, size), (size, size)]
            for other, of_size in wrong:
                with pytest.raises(ProofError):
                    check_inclusion(other, of_size, LEAVES[index], proof, top)
            for leaf, of_root in ((LEAVES[index - 1] if size > 1 else bytes(32), top), (LEAVES[index], bytes(32))):
                with pytest.raises(ProofError):
                    check_inclusion(index, size, leaf, proof, of_root)
            for bad in faults(proof):
                with pytest.raises(ProofError):
                    check_inclusion(index, size, LEAVES[index], bad, top)


def test_a27_every_consistency_proof_of_up_to_64_leaves_holds_and_none_with_a_fault_does() -> None:
    roots = [root(LEAVES[:size]) for size in range(65)]
    for new in range(1, 65):
        for old in range(1, new + 1):
            proof = consistency(old, LEAVES[:new])
            assert check_consistency(old, new, proof, roots[old], roots[new]) is True
            for other in (old - 1, old + 1, new + 1):
                with pytest.raises(ProofError):
                    check_consistency(other, new, proof, roots[old], roots[new])
            for first, last in ((bytes(32), roots[new]), (roots[old], bytes(32)), (roots[new], roots[old])):
                if first != last:
                    with pytest.raises(ProofError):
                        check_consistency(old, new, proof, first, last)
            for bad in faults(proof):
                with pytest.raises(ProofError):
                    check_consistency(old, new, bad, roots[old], roots[new])


def test_nothing_is_shown_of_an_empty_tree_and_the_answer_says_so() -> None:
    some = root(LEAVES[:5])
    assert check_consistency(0, 5, [], EMPTY_ROOT, some) is False
    assert check_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT) is False
    for old, new, proof, old_root, new_root in (
        (0, 5, [bytes(32)], EMPTY_ROOT, some), (0, 5, [], some, some), (0, 0, [], EMPTY_ROOT, some),
        (0, 0, [], some, some), (-1, 5, [], EMPTY_ROOT, some), (5, 5, [bytes(32)], some, some),
        (5, 5, [], some, EMPTY_ROOT), (2**63, 2**63, [], some, some), (4, 5, [], some, some),
    ):  # fmt: skip
        with pytest.raises(ProofError):
            check_consistency(old, new, proof, old_root, new_root)
