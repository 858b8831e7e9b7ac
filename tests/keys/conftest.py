"""Fixtures: a real key store in a folder of the test's own, with a development seal, opened as the agent does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.keys.stores import KeyStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    """A set up key store with the sectors shop.example and bank.example."""
    made = KeyStore.create(tmp_path)
    yield made
    made.engine.dispose()
