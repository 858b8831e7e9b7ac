"""Setting up a key store: the development seal and the first version of every key; completing an older one."""

from pathlib import Path

from sqlalchemy import Engine, select

from keys import deployments, store
from keys.chains import head_of
from keys.engine import reading, writing
from keys.errors import SetupError
from keys.keyring import Keyring
from keys.primitives import random_bytes
from keys.seals import development
from keys.seals.configs import DEVELOPMENT, SHARES
from keys.seals.sealed import kind_at


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
        deployments.create(connection, random_bytes(16), root_id, root, now)
    root.close()


def complete(engine: Engine, seal: Path, now: int) -> list[str]:
    """Complete a key store of an earlier version, where a seal opens it; return the purposes of the keys written.

    One that is opened by shares or a passphrase is completed when it is; one without keys has none to be completed.

    Args:
        engine: on a migrated key store.
        seal: where its development seal would be.
        now: seconds since 1970.

    Raises:
        SetupError: there are keys, and neither a seal nor officers; or the seal cannot be opened.
        OpenError: the seal is of another key store.
    """
    kind = kind_at(seal)
    if kind == DEVELOPMENT:
        return complete_development(engine, seal, now)
    if kind == SHARES:
        check_openable(engine)
    return []


def held_by_officers(engine: Engine) -> bool:
    """Tell whether officers hold the keys of a key store."""
    with reading(engine) as connection:
        return head_of(connection) is not None


def check_openable(engine: Engine) -> None:
    """Check that officers open a key store without a development seal, or that it holds no keys yet.

    Raises:
        SetupError: there are keys, and neither a seal nor officers.
    """
    with reading(engine) as connection:
        keyed = connection.execute(select(store.deployment.c.id)).first() is not None
    if keyed and not held_by_officers(engine):
        raise SetupError(f"there are keys, and neither {development.FILE_NAME} nor officers; restore a backup")


def complete_development(engine: Engine, seal: Path, now: int) -> list[str]:
    """Complete a key store of an earlier version; return the purposes of the keys written. Idempotent.

    Args:
        engine: on a migrated key store.
        seal: its development seal.
        now: seconds since 1970.

    Raises:
        SetupError: the seal cannot be opened, or the key store was never set up.
        OpenError: the seal is of another key store.
    """
    root_id, root = development.open_seal(seal)
    try:
        with writing(engine) as connection:
            return Keyring.of_earlier_version(engine, root_id, root).complete(connection, now)
    finally:
        root.close()
