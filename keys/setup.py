"""Setting up a key store: the development seal and the first version of every key."""

from pathlib import Path

from sqlalchemy import Engine

from keys import keyring
from keys.engine import writing
from keys.seals import development


def create_development(engine: Engine, seal: Path, now: int) -> None:
    """Seal a new, empty key store with a development seal.

    Args:
        engine: on a migrated, empty key store.
        seal: where the seal file will stand.
        now: seconds since 1970.

    Raises:
        FileExistsError: there is a seal already.
    """
    root_id, root = development.create(seal)
    with writing(engine) as connection:
        keyring.create(connection, root_id, root, now)
    root.close()
