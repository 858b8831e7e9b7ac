"""Random values over forked processes: none twice, whether they were forked before or after the first use (A6)."""

import multiprocessing
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pytest

from keys.frame import HEADER_BYTES, SALT_BYTES, Place, Purpose, seal
from keys.primitives import Secret, random_bytes
from keys.seals.shares import split
from tests.keys.test_chain import officer

if TYPE_CHECKING:
    from keys.officers import Officer

PROCESSES: Final = 8
KEY: Final = Secret(bytes(range(32)))
PLACE: Final = Place(bytes(16), "identity.record", bytes(16), "legal_name", 1)


def salts(count: int) -> list[bytes]:
    """Seal one plaintext so often; return each message's salt."""
    frames = (seal(KEY, Purpose.FIELD, PLACE, b"ANNA", key_id=bytes(16), version=1) for _ in range(count))
    return [frame[HEADER_BYTES : HEADER_BYTES + SALT_BYTES] for frame in frames]


def ids(count: int) -> list[bytes]:
    """Draw ids: of persons, records, tokens."""
    return [random_bytes(16) for _ in range(count)]


def shares(count: int) -> list[bytes]:
    """Split one root key so often; return what the first officer's share is known by, and the sealed share."""
    people: list[Officer] = [officer(number) for number in (1, 2)]
    cards = [one.card for one in people]
    made = [split(KEY, bytes(16), 1, 2, cards, no_spare=True) for _ in range(max(1, count // 500))]
    return [share for record, sealed in made for share in (*(one.encode() for one in record.shares), *sealed)]


@pytest.mark.parametrize("drawn", [salts, ids, shares])
@pytest.mark.parametrize("preloaded", [False, True])
@pytest.mark.timeout(600)
def test_a6_eight_forked_processes_draw_nothing_twice(drawn: Callable[[int], list[bytes]], *, preloaded: bool) -> None:
    each = 200_000 // PROCESSES
    before = drawn(each) if preloaded else []  # what a process has drawn already lies in all that are forked from it
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        found = [value for part in pool.map(drawn, [each] * PROCESSES, chunksize=1) for value in part]
    found += before
    assert len(found) >= PROCESSES
    assert len(set(found)) == len(found), "a value was drawn twice"
