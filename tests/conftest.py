"""Fixtures: one served vault a session for what does not disturb it, fresh ones for what does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import Cluster
from tests.serving import Server


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --full: sweeps whole and samples large (`make test-full`)."""
    parser.addoption("--full", action="store_true", help="run the sweeps whole and with large samples")


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the sweeps run whole."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A served vault that tests share: each enrols its own providers."""
    served = Server(tmp_path_factory.mktemp("vault") / "home").start()
    yield served
    assert served.stop() == 0


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL that tests share: each vault has databases of its own."""
    made = Cluster(tmp_path_factory.mktemp("postgresql"))
    yield made
    made.stop()


@pytest.fixture
def on_postgresql(cluster: Cluster, tmp_path: Path) -> Iterator[Server]:
    """A served vault of the test's own on PostgreSQL."""
    served = Server(tmp_path / "home", **cluster.vault())
    served.run("db", "upgrade")
    served.start()
    yield served
    served.stop()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A served vault of the test's own."""
    served = Server(tmp_path / "home").start()
    yield served
    served.stop()
