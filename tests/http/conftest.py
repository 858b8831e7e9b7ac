"""A served vault that the tests of a module share, two providers and a reviewer; at their end all of it is clean."""

from collections.abc import Iterator

import pytest

from tests.serving import Client, Server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The vault; a module may have another one of this name, and the same clients."""
    server = Server(tmp_path_factory.mktemp("served") / "home").start()
    yield server
    report = server.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]
    assert server.stop() == 0


@pytest.fixture(scope="module")
def chat(served: Server) -> Client:
    """A provider."""
    return served.provider("chat")


@pytest.fixture(scope="module")
def blog(served: Server) -> Client:
    """Another provider."""
    return served.provider("blog")


@pytest.fixture(scope="module")
def rita(served: Server) -> Client:
    """A vault reviewer."""
    return served.reviewer("rita")
