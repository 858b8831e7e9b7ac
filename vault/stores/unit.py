"""Units of work on one store: leaving normally commits, raising rolls back. There is no transaction across stores."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from keys.engine import reading, writing

Unit = Connection


class Store:
    """One store's engine, as services see it."""

    __slots__ = ("engine",)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def reading(self) -> Iterator[Unit]:
        """Return a connection for single statements, each its own transaction."""
        with reading(self.engine) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Unit]:
        """Return a connection in a write transaction."""
        with writing(self.engine) as connection:
            yield connection
