"""Fixtures: a real key store, opened as the agent does, and real backends of seals."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from keys.primitives import random_bytes
from tests.keys.backends import SoftHsm, Transit
from tests.keys.stores import KeyStore
from tests.openbao import Bao, served


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    """A set up key store with the sectors shop.example and bank.example."""
    made = KeyStore.create(tmp_path)
    yield made
    made.engine.dispose()


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with served(tmp_path_factory.mktemp("bao")) as started:
        yield started


@pytest.fixture
def transit(bao: Bao, tmp_path: Path) -> Transit:
    return Transit(bao, tmp_path, f"k{random_bytes(4).hex()}")


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    return SoftHsm(tmp_path / "hsm", monkeypatch)
