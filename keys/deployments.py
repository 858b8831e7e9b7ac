"""A deployment: its id, and the first version of every key that is not a sector's."""

from sqlalchemy import Connection, Engine, insert, select

from keys import store
from keys.engine import reading
from keys.entries import KEK, ROOT_PURPOSES, STANDING_KEK, STANDING_PURPOSES, root_key, write_key
from keys.errors import SetupError
from keys.primitives import Mac, Secret, expand_sha256
from keys.rows import LABEL
from keys.uses import values


def deployment_of(engine: Engine) -> bytes:
    """Return the deployment id, 16 bytes.

    Raises:
        SetupError: the key store has none, or more than one.
    """
    with reading(engine) as connection:
        ids = connection.execute(select(store.deployment.c.id)).scalars().all()
    if len(ids) != 1:
        raise SetupError("the key store has no deployment id; it was never set up, or was restored in part")
    return bytes(ids[0])


def create(connection: Connection, deployment: bytes, root_id: bytes, root: Secret, now: int) -> None:
    """Write a new deployment: its id and the first version of every key that is not a sector's.

    Args:
        connection: an open transaction on an empty key store.
        deployment: the deployment id, 16 random bytes.
        root_id: 16 bytes that name the root key.
        root: 32 bytes.
        now: seconds since 1970.
    """
    connection.execute(insert(store.deployment).values(id=deployment, created=now))
    wrapper = root_key(root_id, root)
    made = {purpose: write_key(connection, deployment, wrapper, purpose, "", now) for purpose in ROOT_PURPOSES}
    mac = Mac(expand_sha256(made["map"].secret, LABEL))
    connection.execute(insert(store.key_use).values(values(mac, made[KEK].id, 0)))
    for purpose in STANDING_PURPOSES:
        write_key(connection, deployment, made[STANDING_KEK], purpose, "", now)
