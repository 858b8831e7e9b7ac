"""A28: tiles, bundles, and proofs made from them, at the sizes where something changes; every spelling of a path."""

import json
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import NoteError
from keys.merkle import check_consistency, check_inclusion, folded, leaf_hash
from keys.notes import hash_of
from tests.log.make_vectors import FOLDER
from vault.log import tiles
from vault.log.proving import Tree
from vault.log.tiles import Tile

SIZES: Final = [0, 1, 2, 255, 256, 257, 65_535, 65_536, 70_000]
LEAVES: Final = [leaf_hash(number.to_bytes(4, "big")) for number in range(70_000)]


def grown(size: int, *steps: int) -> dict[tuple[int, int], bytes]:
    """Return the tiles of a tree that grew in steps."""
    edge: dict[int, bytes] = {}
    found: dict[tuple[int, int], bytes] = {}
    marks = [0, *steps, size]
    for low, high in pairwise(marks):
        for tile, held in tiles.grown(edge, low, LEAVES[low:high]).items():
            assert len(held) == tile.width * 32
            found[tile.level or 0, tile.number] = held
    return found


def tree(size: int, *steps: int) -> Tree:
    held = grown(size, *steps)
    return Tree(size, lambda wanted: {one: held[one] for one in wanted})


@pytest.mark.parametrize("size", SIZES)
def test_a28_a_tree_has_exactly_the_tiles_that_its_size_says(size: int) -> None:
    held = grown(size)
    said = {(tile.level, tile.number): tile.width for tile in tiles.of_size(size)}
    assert {key: len(hashes) // 32 for key, hashes in held.items()} == said
    assert tree(size).root() == folded(LEAVES[:size])


def test_a28_the_tiles_of_70_000_leaves_and_of_256_are_those_that_the_specification_names() -> None:
    paths = [tile.path for tile in tiles.of_size(70_000)]
    assert len(paths) == 274 + 2 + 1
    assert [path for path in paths if ".p/" in path] == ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert [tile.path for tile in tiles.of_size(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert Tile(0, 1_234_067).path == "tile/0/x001/x234/067"
    assert Tile(None, 5, 7).path == "tile/entries/005.p/7"


def test_a_tree_that_grew_in_steps_is_the_one_that_grew_at_once() -> None:
    at_once, in_steps = grown(70_000), grown(70_000, 1, 1, 255, 256, 257, 300, 65_535, 65_536, 65_537)
    assert at_once == {key: held for key, held in in_steps.items() if key in at_once}


@pytest.mark.parametrize("size", SIZES[1:])
def test_proofs_from_tiles_hold_and_are_no_longer_than_the_tree_is_high(size: int) -> None:
    made, root = tree(size), folded(LEAVES[:size])
    for index in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
        proof = made.inclusion(index)
        check_inclusion(index, size, LEAVES[index], proof, root)
        assert len(proof) <= (size - 1).bit_length()
    for old in {1, 2, 3, 255, 256, 257, size // 2, size - 1, size} & set(range(1, size + 1)):
        assert check_consistency(old, size, made.consistency(old), folded(LEAVES[:old]), root)
        assert made.root(old) == folded(LEAVES[:old])
    assert made.consistency(0) == []


@given(st.integers(1, 1000), st.data())
def test_proofs_of_any_tree_hold(size: int, data: st.DataObject) -> None:
    made, root = tree(size), folded(LEAVES[:size])
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    check_inclusion(index, size, LEAVES[index], made.inclusion(index), root)
    assert check_consistency(old, size, made.consistency(old), folded(LEAVES[:old]), root)


def test_a26_golden_roots_and_proofs() -> None:
    golden = json.loads((FOLDER / "golden.json").read_text())
    edge: dict[int, bytes] = {}
    (held,) = tiles.grown(edge, 0, [leaf_hash(entry.encode()) for entry in golden["entries"]]).values()
    made = Tree(5, lambda wanted: dict.fromkeys(wanted, held))
    assert [made.root(size).hex() for size in range(1, 6)] == golden["roots"]
    assert made.inclusion(2) == [hash_of(one) for one in golden["inclusion_2_of_5"]]
    assert made.consistency(3) == [hash_of(one) for one in golden["consistency_3_to_5"]]


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 2**55 - 1), st.integers(1, 256))
def test_every_path_reads_back_as_it_was_written(level: int | None, number: int, width: int) -> None:
    tile = Tile(level, number, width)
    assert Tile.parse(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    ["tile/0/000.p/256", "tile/0/000.p/0", "tile/0/000.p/01", "tile/0/1", "tile/0/0000", "tile/0/001000", "tile/0/x001",
     "tile/0/x000/001", "tile/0/001/x234/067", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/000/",
     "/tile/0/000", "tile/0//000", "tile/0/000.p/", "tile/0/000.p/1/", "tile/0/000.p/300", "tile/entries/x000/000",
     "tile/x/000", "tile/0/\u0660\u0660\u0660", "tile/data/000", "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
     "tile", ""],
)  # fmt: skip
def test_a28_what_is_not_the_one_spelling_of_a_path_is_none(path: str) -> None:
    with pytest.raises(NoteError):
        Tile.parse(path)


@pytest.mark.parametrize(
    ("path", "size", "served"),
    [("tile/0/000", 255, False), ("tile/0/000", 256, True), ("tile/0/000.p/255", 255, True),
     ("tile/0/000.p/1", 255, True), ("tile/0/001.p/1", 256, False), ("tile/1/000.p/1", 255, False),
     ("tile/1/000.p/1", 256, True), ("tile/1/000.p/1", 511, True), ("tile/1/000.p/2", 511, False),
     ("tile/entries/000.p/3", 2, False),
     ("tile/entries/000.p/2", 2, True), ("tile/63/000.p/1", 2**62, False)],
)  # fmt: skip
def test_a_tile_is_served_once_its_tree_has_it_whole_and_not_before(path: str, size: int, *, served: bool) -> None:
    assert Tile.parse(path).is_in(size) is served


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_every_bundle_reads_back_as_it_was_written(entries: list[bytes]) -> None:
    assert tiles.entries_of(tiles.bundle(entries)) == entries


def test_the_longest_entry_fits_and_a_longer_one_does_not() -> None:
    assert tiles.entries_of(tiles.bundle([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(NoteError):
        tiles.bundle([bytes(65_536)])


@pytest.mark.parametrize("raw", [b"\0", b"\0\1", b"\0\2a", b"\0\1ab", b"\0\0" * 257])
def test_a_bundle_that_is_cut_or_too_long_is_refused(raw: bytes) -> None:
    with pytest.raises(NoteError):
        tiles.entries_of(raw)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 257 * 32])
def test_a_tile_has_1_to_256_whole_hashes(length: int) -> None:
    with pytest.raises(NoteError):
        tiles.hashes_of(bytes(length))
