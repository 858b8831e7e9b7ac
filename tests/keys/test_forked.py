"""Random values and uses of a key over forked processes: none twice, whether they were forked before or after the first
use (A6)."""

import multiprocessing
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from keys.engine import open_engine
from keys.frame import HEADER_BYTES, SALT_BYTES, Place, Purpose, seal
from keys.keyring import Keyring
from keys.primitives import Secret, random_bytes
from keys.record_keys import draw
from keys.seals.shares import split
from tests.fresh import store_url
from tests.keys.stores import SHOP, KeyStore
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


def _opened(url: str, root_id: bytes, root: bytes, limit: int) -> Keyring:
    return Keyring.under_root(open_engine(url, busy_seconds=60), root_id, Secret(root), limit)


def reserved(url: str, root_id: bytes, root: bytes, count: int) -> list[range]:
    """Set so many blocks aside in a holder of one's own; return their numbers."""
    ring = _opened(url, root_id, root, 64 * 10_000)
    return [ring.uses.reserve(ring.current("kek").id, 0) for _ in range(count)]


def drawn_keys(url: str, root_id: bytes, root: bytes, count: int) -> int:
    """Wrap the keys of so many fresh records in a holder of one's own."""
    ring = _opened(url, root_id, root, 64 * 100)
    for _ in range(count):
        draw(ring, SHOP, bytes(16), {}, 0)
    return count


@pytest.mark.timeout(300)
def test_a6_eight_forked_processes_that_set_uses_aside_at_once_never_get_the_same(store: KeyStore) -> None:
    set_aside = partial(reserved, store_url(store.home, "keys"), store.root_id, store.root.expose_cleartext())
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        found = sorted((one for part in pool.map(set_aside, [8] * PROCESSES, chunksize=1) for one in part), key=min)
    assert [len(one) for one in found] == [10_000] * 64
    assert [number for one in found for number in (one.start, one.stop)] == [
        number for at in range(64) for number in (10_000 * at, 10_000 * (at + 1))
    ]
    assert [row.used for row in store.rows("key_use")] == [640_000]


@pytest.mark.timeout(300)
def test_a6_what_eight_forked_processes_seal_is_never_more_than_is_counted(store: KeyStore) -> None:
    seal_some = partial(drawn_keys, store_url(store.home, "keys"), store.root_id, store.root.expose_cleartext())
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        sealed = sum(pool.map(seal_some, [250] * PROCESSES, chunksize=1))
    [row] = store.rows("key_use")
    assert sealed <= row.used <= sealed + PROCESSES * 100
